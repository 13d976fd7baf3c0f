"""`read_spec`: a config is shown to the trainers in turn, and the first that recognises it reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Final

from ..configs.fields import Reading
from ..configs.parse import Notations, parse
from ..configs.second_file import Folders
from ..configs.tree import Document, check_length, find, named, open_source
from ..errors import OtherModelError, SpecError, UnknownConfigError, WorkflowError
from ..families import FAMILIES
from ..trainers import LAYOUT_NAMES, LISTED, TRAINERS, Trainer, layout_owner
from ..trainers.native import TRAINER as NATIVE
from ..trainers.native.reader import refuse_own_form
from ..trainers.process import is_process
from ..trainers.profiles import profile_for
from .model import SampleSpec, placeholders

#: What a config is called in messages when it came as text.
TEXT: Final = "<text>"
#: Where other trainers' configs say what they train, diffusion-pipe's first.
_SAY_MODEL: Final = ("model.type", "model.arch", "model_type", "model.name")
_VARIABLE: Final = re.compile(r"\$\{([^}]+)\}")


def read_spec(
    source: str | bytes | os.PathLike[str],
    trainer: str | None = None,
    family: str | None = None,
    *,
    env: Mapping[str, str] | None = None,
    prompts: str | os.PathLike[str] | None = None,
    roots: Sequence[str | os.PathLike[str]] | None = None,
) -> SampleSpec:
    """What a training config samples, fully resolved.

    source: path of the config, or its text. trainer: id of the trainer, None or "auto" = by content (where a config
    reads for EriDiffusion V1 and ai-toolkit alike, EriDiffusion is taken and a note says so). family: its id, instead
    of what the config says, None or "auto" = by content. env: variables for ai-toolkit's `${VAR}`
    (e.g. `os.environ`); without it nothing is taken from the environment and such a field is an error.
    prompts: a prompts file instead of the one that the config names; an error with a trainer whose configs name none.
    roots: folders in which files that the config names must lie, None = anywhere; a config that came as text opens
    none at all.
    Raises SpecError naming file, line, field and the fix.
    """
    text, name, suffix = open_source(source)
    base = Path(name).absolute().parent if name != TEXT else None
    folders = Folders(base, roots, prompts)
    spec = read_opened(text, name, suffix, _given(trainer), _given(family), env, folders)
    if prompts is not None and not folders.prompts_used:
        raise SpecError(
            f"{spec.trainer} configs hold their prompts themselves, so {os.fspath(prompts)} would not be read",
            source=name,
            remedy={
                "python": "Leave out prompts=, or give the prompts file itself as the config.",
                "cli": "Leave out --prompts, or give the prompts file itself as the config.",
            },
        )
    return spec


def read_text(
    text: str,
    trainer: str | None = None,
    family: str | None = None,
    *,
    source: str = TEXT,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> SampleSpec:
    """As `read_spec`, for text that is certainly no path; no file is ever opened.

    source: what to call it in messages; its suffix tells the notation, where it has one. files: texts of the files
    that the config names, by name or path as it is written there.
    """
    suffix = PurePath(source).suffix.lower() if source != TEXT else ""
    folders = Folders(given=files or {})
    return read_opened(check_length(text, source), source, suffix, _given(trainer), _given(family), env, folders)


def from_json(text: str) -> SampleSpec:
    """Read what `SampleSpec.to_json` wrote; raises SpecError naming the field where the text is anything else."""
    return read_text(text, trainer=NATIVE.id)


def _given(value: str | None) -> str | None:
    return None if value in (None, "", "auto") else value


def read_opened(
    text: str,
    name: str,
    suffix: str,
    trainer: str | None,
    family: str | None,
    env: Mapping[str, str] | None,
    folders: Folders,
) -> SampleSpec:
    """As `read_spec`, of a text that was read already; `folders` tells afterwards which other files it needed.

    name: what the config is called in messages. suffix: of its file, "" = unknown.
    """
    if trainer is not None and trainer not in TRAINERS:
        raise SpecError(f"there is no trainer {trainer!r}", remedy=f"Trainers are {', '.join(TRAINERS)}.")
    if family is not None and family not in FAMILIES:
        raise SpecError(f"there is no model family {family!r}", remedy=f"Families are {', '.join(FAMILIES)}.")
    notations = [entry.notations for entry in TRAINERS.values() if trainer in (None, entry.id)]
    document = _parsed(text, name, suffix, notations, folders)
    found = TRAINERS[trainer] if trainer else _recognised(document)
    if found.variables and env is not None:
        document = _parsed(_substituted(text, name, env), name, suffix, notations, folders)
    if found is not NATIVE:
        refuse_own_form(document)
    if document.repeated and not found.notations.repeated_keys:
        key, line, column = document.repeated[0]
        raise SpecError(
            f"the key {key!r} is given twice", source=document.source, line=line, column=column,
            remedy="Keep one of the two.",
        )  # fmt: skip
    if family is not None and family not in found.families:
        raise SpecError(
            f"{found.title} does not train {family}",
            source=document.source,
            remedy=f"Of the families here it trains {', '.join(found.families)}; leave family away.",
        )
    spec = found.read(document, family)
    if family is not None:
        _note_other_family(spec, found, document)
    _check_names(document, spec)
    if found is not NATIVE:  # what a program wrote is refused where a graph is made of it
        _check_sampling(document, spec)
    _note_placeholders(spec, found)
    doubt = found.doubt(document) if trainer is None else None
    if doubt is not None:
        spec.notes.append(doubt)
    return spec


def _parsed(text: str, name: str, suffix: str, notations: Sequence[Notations], folders: Folders) -> Document:
    """As `parse`; a section that was cut out of the list `config.process` is taken out of it."""
    document = parse(text, name, suffix, notations, folders)
    alone = document.root.value
    if isinstance(alone, list) and len(alone) == 1 and is_process(alone[0]):
        return replace(document, root=alone[0])
    return document


def _note_other_family(spec: SampleSpec, trainer: Trainer, document: Document) -> None:
    """Count it as a difference that the caller takes a config for another family's than the config itself says."""
    said = ""
    try:
        own = trainer.read(document, None).family
        said = f"it is for {own}" if own != spec.family else ""
    except OtherModelError as error:
        said = error.problem
    except SpecError:
        pass  # it tells no family
    if said:
        text = f"The config is read as one for {spec.family}, as asked for; by itself: {said}."
        spec.differences.setdefault("model", []).append(text)
        spec.notes.append(text)


def _check_names(document: Document, spec: SampleSpec) -> None:
    """Refuse a trainer or a layout that there is not; a misspelt one would change pictures without a word."""
    for field, value, known in (("trainer", spec.trainer, LISTED), ("layout", spec.layout, LAYOUT_NAMES)):
        if value not in TRAINERS and (field == "trainer" or layout_owner(value) is None):
            remedy = f"Write one of {', '.join(known)}."
            raise Reading(document).root().error(field, f"there is no {field} {value!r}", remedy)


def _check_sampling(document: Document, spec: SampleSpec) -> None:
    """Refuse what no graph can have, while the config is read."""
    for item in {(item.sampler, item.shift): item for item in spec.items}.values():
        try:
            profile_for(spec, item.sampler, item.shift)
        except WorkflowError as error:
            raise _at_its_place(document, error) from error


def _at_its_place(document: Document, error: WorkflowError) -> SpecError:
    """The error where the config has the field, that of its samples before others of the name."""
    found = named(document.root, (error.field or "").rpartition(".")[2])
    path, node = min(found, key=lambda one: "sampl" not in one[0], default=(error.field, None))
    return Reading(document).error(error.problem, node, path, error.remedy or "")


def _note_placeholders(spec: SampleSpec, trainer: Trainer) -> None:
    """Say so when a trigger placeholder reaches the text encoders as it is written, and the reader did not."""
    left = (found for item in spec.items for found in placeholders(item.prompt) if not trainer.tells_placeholder(found))
    first = next(left, None)
    if first is not None:
        spec.notes.append(f"{first} stays in the prompts as text: the trainer does not replace it.")


def _recognised(document: Document) -> Trainer:
    for entry in TRAINERS.values():
        if entry.recognise(document):
            return entry
    if not isinstance(document.root.value, dict):
        raise UnknownConfigError(
            "this is no training config: a set of `key: value` lines is expected",
            source=document.source,
            line=document.root.line,
            remedy="Give a path that exists, or the text of a config.",
        )
    keys = ", ".join(list(document.root.value)[:8]) or "none"
    model = next((node for path in _SAY_MODEL if (node := find(document.root, path)) is not None), None)
    said = f" for the model {model.value!r}" if model is not None and isinstance(model.value, str) else ""
    raise UnknownConfigError(
        f"no known trainer's config{said} (its top-level keys: {keys})",
        source=document.source,
        remedy={
            "python": f"Supported are {_supported()}; name the trainer with trainer= if this is one of theirs.",
            "cli": f"Supported are {_supported()}; name the trainer with --trainer if this is one of theirs.",
            "http": f"Supported are {_supported()}; send the trainer if this is one of theirs.",
            "canvas": f"Supported are {_supported()}.",
            "node": f"Supported are {_supported()}; choose the trainer in this node if this is one of theirs.",
        },
    )


def _supported() -> str:
    return ", ".join(f"{entry.title} ({entry.id})" for entry in TRAINERS.values())


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

    last = text.rfind("}") + 1  # behind it every "${" would be followed to the end of the text
    return check_length(_VARIABLE.sub(value, text[:last]) + text[last:])
