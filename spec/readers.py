"""The table of trainers, how each is recognised by its config's content, and `read_spec`."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from .ai_toolkit import read_ai_toolkit
from .eridiffusion import read_eridiffusion
from .json_tree import looks_like_json, parse_json
from .model import FAMILIES, SampleSpec, SpecError
from .native import MARKER, read_native
from .recognise import has_any, is_ambiguous, process_shape
from .tree import Document, Node, check_length, open_source
from .yaml_tree import parse_yaml

_VARIABLE: Final = re.compile(r"\$\{([^}]+)\}")


@dataclass(frozen=True)
class Trainer:
    """A trainer this pack knows. read is None where its configs are recognised but not read yet."""

    id: str
    title: str
    recognise: Callable[[Document], bool]
    read: Callable[[Document, str | None], SampleSpec] | None = None


#: In order: the first that recognises a config reads it. EriDiffusion V1 and ai-toolkit share one shape; see
#: `recognise.process_shape` for how they are told apart. A new trainer is one file and one line here.
TRAINERS: Final = (
    Trainer("native", "the pack's own form", lambda doc: has_any(doc, MARKER), read_native),
    Trainer("ai-toolkit", "ai-toolkit", lambda doc: process_shape(doc) == "ai-toolkit", read_ai_toolkit),
    Trainer(
        "eridiffusion",
        "EriDiffusion V1",
        lambda doc: process_shape(doc) == "eridiffusion" or has_any(doc, "validation", "model_kind"),
        read_eridiffusion,
    ),
    Trainer("simpletuner", "SimpleTuner", lambda doc: has_any(doc, "model_family", "--model_family")),
    Trainer("eridiffusion-v2", "EriDiffusion V2", lambda doc: has_any(doc, "validation_prompts_file")),
    Trainer("onetrainer", "OneTrainer", lambda doc: has_any(doc, "training_method", "sample_definition_file_name")),
    Trainer("kohya", "kohya sd-scripts", lambda doc: doc.suffix == ".toml" or has_any(doc, "sample_prompts")),
    Trainer("musubi", "musubi-tuner", lambda doc: has_any(doc, "dit", "sample_at_first")),
)


def read_spec(
    source: str | bytes | os.PathLike[str],
    trainer: str | None = None,
    family: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> SampleSpec:
    """What a training config samples, fully resolved.

    source: path of the config, or its text. trainer: id of the trainer, None or "auto" = by content (where a config
    reads for EriDiffusion V1 and ai-toolkit alike, EriDiffusion is taken and a note says so). family: "flux", "sd35"
    or "sdxl" instead of what the config says, None or "auto" = by content. env: variables for ai-toolkit's `${VAR}`
    (e.g. `os.environ`); without it nothing is taken from the environment and such a field is an error.
    Raises SpecError naming file, line, field and the fix.
    """
    text, name, suffix = open_source(source)
    return _read(text, name, suffix, _given(trainer), _given(family), env)


def read_text(
    text: str,
    trainer: str | None = None,
    family: str | None = None,
    *,
    source: str = "<text>",
    env: Mapping[str, str] | None = None,
) -> SampleSpec:
    """As `read_spec`, for text that is certainly no path; source: what to call it in messages."""
    return _read(check_length(text), source, "", _given(trainer), _given(family), env)


def _given(value: str | None) -> str | None:
    return None if value in (None, "", "auto") else value


def _read(
    text: str, name: str, suffix: str, trainer: str | None, family: str | None, env: Mapping[str, str] | None
) -> SampleSpec:
    known = {entry.id: entry for entry in TRAINERS}
    if trainer is not None and trainer not in known:
        raise SpecError(f"there is no trainer {trainer!r}", remedy=f"Trainers are {', '.join(known)}.")
    if family is not None and family not in FAMILIES:
        raise SpecError(f"there is no model family {family!r}", remedy=f"Families are {', '.join(FAMILIES)}.")
    if suffix == ".toml" or (suffix == ".txt" and trainer not in ("native", "ai-toolkit", "eridiffusion")):
        raise SpecError(
            f"{suffix} configs (kohya sd-scripts, musubi-tuner) cannot be read yet",
            source=name,
            remedy=f"Supported are {_supported()}.",
        )
    document = Document(_parse(text, name, suffix), name, suffix)
    found = known[trainer] if trainer else _recognised(document)
    if found.id == "ai-toolkit" and env is not None:
        document = Document(_parse(_substituted(text, name, env), name, suffix), name, suffix)
    if found.read is None:
        raise SpecError(
            f"this is a config of {found.title}, which cannot be read yet",
            source=name,
            remedy=f"Supported are {_supported()}.",
        )
    if found.id != "native":
        _refuse_native(document)
    spec = found.read(document, family)
    if trainer is None and found.id == "eridiffusion" and is_ambiguous(document):
        spec.notes.append("ai-toolkit would read this config too; it is taken as EriDiffusion's. Pass trainer= if not.")
    return spec


def _parse(text: str, name: str, suffix: str) -> Node:
    """JSON by suffix or look, else YAML; a text that only looks like JSON may still be YAML."""
    if suffix in (".json", ".jsonc"):
        return parse_json(text, name)
    if suffix not in (".yaml", ".yml") and looks_like_json(text):
        try:
            return parse_json(text, name)
        except SpecError as json_error:
            try:
                return parse_yaml(text, name)
            except SpecError:
                raise json_error from None
    return parse_yaml(text, name)


def _recognised(document: Document) -> Trainer:
    if not isinstance(document.root.value, dict):
        raise SpecError(
            "this is no training config: a set of `key: value` lines is expected",
            source=document.source,
            line=document.root.line,
            remedy="Give a path that exists, or the text of a config.",
        )
    for entry in TRAINERS:
        if entry.recognise(document):
            return entry
    keys = ", ".join(list(document.root.value)[:8]) or "none"
    raise SpecError(
        f"no known trainer's config (its top-level keys: {keys})",
        source=document.source,
        remedy=f"Supported are {_supported()}; name one with trainer= if this is one of theirs.",
    )


def _supported() -> str:
    return ", ".join(f"{entry.title} ({entry.id})" for entry in TRAINERS if entry.read is not None)


def _refuse_native(document: Document) -> None:
    if has_any(document, MARKER):
        raise SpecError(
            "this is a resolved spec in the pack's own form, not a trainer's config",
            source=document.source,
            field=MARKER,
            remedy='Leave the trainer on "auto".',
        )


def _substituted(text: str, name: str, env: Mapping[str, str]) -> str:
    """`${VAR}` replaced in the raw text, as ai-toolkit does; SpecError for a variable that is not set."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in env:
            line = text.count("\n", 0, match.start()) + 1
            raise SpecError(
                f"the environment variable {match[1]} is not set",
                source=name,
                line=line,
                remedy="Set it, or write the value itself.",
            )
        return env[match[1]]

    return check_length(_VARIABLE.sub(value, text))
