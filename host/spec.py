"""Turns a training config, as text or as a file, into the lists over which a graph runs."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..configs.second_file import Folders, text_of
from ..configs.tree import check_length, open_source
from ..errors import NodeInputError, SpecError
from ..images.layouts import sample_name
from ..spec import SampleSpec
from ..spec.model import draw_seeds, fill_trigger
from ..spec.readers import TEXT, read_opened
from .control import control_files
from .paths import candidates, input_roots

log = logging.getLogger(__name__)

_SUFFIXES: Final = (".yaml", ".yml", ".json", ".jsonc", ".toml", ".txt", ".env", ".sh", ".bat", ".cmd", ".ps1")


@dataclass(frozen=True)
class SpecInputs:
    """EriSampleSpec's inputs. "auto" and "" take what the config says."""

    config: str
    family: str = "auto"
    trainer: str = "auto"
    trigger_word: str = ""
    items: str = ""


def load_spec(inputs: SpecInputs) -> SampleSpec:
    """Read the spec, take the wanted items, and fill in the trigger word and random seeds, which `.notes` name.

    Raises SpecError for faults of the config, and NodeInputError for a file that is missing or not allowed.
    """
    try:
        spec = read_config(inputs, config_path(inputs.config))
    except SpecError as error:
        raise error.told_to("node")  # noqa: B904  (the same error)
    spec, notes = draw_seeds(with_trigger(spec.select(inputs.items), inputs.trigger_word.strip()))
    return replace(spec, notes=[*spec.notes, *notes])


def read_config(inputs: SpecInputs, path: Path | None) -> SampleSpec:
    """The spec in a config's file, or in its text where path is None; to be left as it is.

    It is parsed once for as long as the config and the files that it names hold the same text: ComfyUI asks for it
    twice in a prompt, and a sweep in every prompt.
    """
    text, name, suffix = (check_length(inputs.config), TEXT, "") if path is None else open_source(path)
    trainer = None if inputs.trainer == "auto" else inputs.trainer
    family = None if inputs.family == "auto" else inputs.family
    question = (text, name, suffix, trainer, family, tuple(input_roots()))
    spec, opened = _parsed(*question)
    if any(text_of(file) != held for file, held in opened.items()):
        _parsed.cache_clear()
        spec, opened = _parsed(*question)
    return spec


@lru_cache(maxsize=8)
def _parsed(
    text: str, name: str, suffix: str, trainer: str | None, family: str | None, roots: tuple[Path, ...]
) -> tuple[SampleSpec, dict[Path, str | None]]:
    """The spec, and the other files that were looked at with the text that was there (None = no file)."""
    folders = Folders(None if name == TEXT else Path(name).absolute().parent, roots)
    return read_opened(text, name, suffix, trainer, family, None, folders), folders.opened


def config_path(config: str) -> Path | None:
    """Return the file that `config` names, or None when it holds the config's text itself.

    One line that ends in a config suffix (.yaml, .json, …) is a name: relative to ComfyUI's input folder or a loras
    folder, or absolute inside one of them. Raises NodeInputError when it is empty, outside these folders, or missing.
    """
    text = config.strip().strip('"')
    if not text:
        raise NodeInputError(
            "config is empty. Paste a training config, or give the name of one in ComfyUI's input folder."
        )
    if "\n" in text or not text.lower().endswith(_SUFFIXES) or text.lstrip().startswith(("{", "[")):
        return None
    tries = candidates(text, input_roots(), "config")
    for path in tries:
        if path.is_file():
            return path
    raise NodeInputError(f"config: there is no file {text!r}; tried {', '.join(str(path) for path in tries)}.")


def with_trigger(spec: SampleSpec, trigger: str) -> SampleSpec:
    """Return the spec with a trigger word in place of the placeholders in its prompts; "" changes nothing.

    Raises NodeInputError when the config sets another word itself, because its prompts then hold that one.
    """
    if not trigger or trigger == spec.trigger_word:
        return spec
    if spec.trigger_word:
        raise NodeInputError(
            f"trigger_word is {trigger!r}, but the config sets {spec.trigger_word!r} and its prompts hold that "
            "already. Leave trigger_word empty, or change it in the config."
        )

    items = [replace(item, prompt=fill_trigger(item.prompt, trigger)) for item in spec.items]
    count = sum(old != new for old, new in zip(spec.items, items, strict=True))
    note = f"trigger_word {trigger!r} was put into {count} of {len(items)} prompts."
    return replace(spec, items=items, trigger_word=trigger, notes=[*spec.notes, note])


def fingerprint(inputs: SpecInputs) -> str:
    """A text that changes when the node must run again: with the config's file, and always when a seed is random."""
    try:
        path = config_path(inputs.config)
        spec, state = read_config(inputs, path), inputs.config
        if path is not None:
            stat = path.stat()
            # The spec itself as well: it holds what a prompts file that the config names says.
            state = f"{path}|{stat.st_mtime_ns}|{stat.st_size}|{spec.to_json()}"
        state += "".join(f"|{file}|{file.stat().st_mtime_ns}" for file in control_files(spec))
    except (ValueError, OSError) as error:
        return f"unreadable: {error}"
    random = any(item.seed is None for item in spec.items)
    return f"{state}|{secrets.token_hex(8)}" if random else state


def as_text(spec: SampleSpec) -> str:
    """What was read, for people: a line per sample, then the notes and the fields that were not used."""
    lines = [f"{spec.name}: {spec.trainer}, {spec.family}{f' {spec.variant}' if spec.variant else ''}"]
    for item in spec.items:
        guidance = "" if item.guidance is None else f", guidance {item.guidance:g}"
        lines.append(
            f"{item.index}: {item.width}x{item.height}, seed {item.seed}, {item.steps} steps, cfg {item.cfg_scale:g}"
            f"{guidance}: {item.prompt}"
        )
    lines += [f"note: {note}" for note in spec.notes]
    if spec.ignored:
        lines.append(f"not used: {', '.join(spec.ignored)}")
    return "\n".join(lines)


def columns(spec: SampleSpec) -> dict[str, list[object]]:
    """The spec as parallel lists by output id of EriSampleSpec, with one entry per sample."""
    items = spec.items
    return {
        "prompt": [item.prompt for item in items],
        "negative": [item.negative_prompt for item in items],
        "width": [item.width for item in items],
        "height": [item.height for item in items],
        "seed": [item.seed for item in items],
        "steps": [item.steps for item in items],
        "cfg": [item.cfg_scale for item in items],
        "guidance": [0.0 if item.guidance is None else item.guidance for item in items],
        "name": [sample_name(item.index) for item in items],
        "prompt_2": [item.prompt_2 or "" for item in items],
        "prompt_3": [item.prompt_3 or "" for item in items],
    }
