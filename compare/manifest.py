"""The manifest beside a run's pictures: one JSON line for each picture, with what made it.

What counts for going on with a sweep is what each picture says of itself; the manifest is for people and programs that
look at many pictures at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, Final, NoReturn

from ..errors import CompareError
from .axes import Value
from .json_lines import VERSION, append_lines, read_lines

FILE: Final = "manifest.jsonl"


@dataclass(frozen=True)
class ManifestLine:
    """What one picture is, and what made it.

    Args:
        run: Name of the training run.
        trainer, family: Ids, as in the spec.
        item: Index of the sample among those of the config.
        step: Training step; 0 is without LoRA, None is the newest checkpoint, whose step nobody knew.
        file: The picture, relative to the manifest's folder, with "/" between folders.
        axes: Values of the further axes of a sweep, by axis (`strength`, `cfg`, …).
        checkpoint: Fingerprint of the LoRA file, None where none was loaded or it is not known.
        graph: Hash of everything in the graph that made the picture but its samples.
        sigmas: Hash of the noise levels that it was sampled at, None where the picture does not say.
        sampling_steps: How many steps the sampler made.
        seconds: How long the picture took, None where that is not known.
        made: When it was made, in UTC, as ISO 8601.
        comfyui: ComfyUI's version.
        worker: Which ComfyUI made it: "local", or host and port.
    """

    run: str
    trainer: str
    family: str
    item: int
    prompt: str
    negative_prompt: str
    seed: int | None
    width: int
    height: int
    step: int | None
    file: str
    axes: Mapping[str, Value] = field(default_factory=dict)
    checkpoint: str | None = None
    graph: str | None = None
    sigmas: str | None = None
    sampling_steps: int | None = None
    seconds: float | None = None
    made: str | None = None
    comfyui: str | None = None
    worker: str | None = None

    @property
    def cell(self) -> tuple[tuple[tuple[str, Value], ...], int | None, int]:
        """What a later line replaces: that of the same axes, step and item."""
        return tuple(sorted(self.axes.items())), self.step, self.item


_FIELDS: Final = {entry.name: str(entry.type) for entry in fields(ManifestLine)}
_NEEDED: Final = [e.name for e in fields(ManifestLine) if e.default is MISSING and e.default_factory is MISSING]
_TYPES: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "int": (int,),
    "int | None": (int, type(None)),
    "str | None": (str, type(None)),
    "float | None": (int, float, type(None)),
    "Mapping[str, Value]": (dict,),
}


def read(folder: Path) -> list[ManifestLine]:
    """What the manifest of a run's folder says, the newest line of each cell, in the order of their first lines.

    [] where there is none. Raises CompareError as `read_lines` does, and for a line that is none of a manifest.
    """
    path = folder / FILE
    lines = (_parsed(document, f"{path}, line {number}") for number, document in read_lines(path))
    return list({line.cell: line for line in lines}.values())


def append(folder: Path, lines: Iterable[ManifestLine]) -> None:
    """Add lines to the manifest of a run's folder, which is made; several programs may do so at once.

    Raises CompareError where the disk refuses.
    """
    append_lines(folder / FILE, [as_json(line) for line in lines])


def as_json(line: ManifestLine) -> dict[str, Any]:
    """A line as JSON types, its version first."""
    return {"version": VERSION, **vars(line), "axes": dict(line.axes)}


def _parsed(document: Mapping[str, Any], place: str) -> ManifestLine:
    """A line of a manifest, which may have further fields; CompareError for anything else."""

    def bad(problem: str) -> NoReturn:
        remedy = "Mend the line or delete it: the next sweep adds what is missing."
        raise CompareError(problem, place=place, remedy=remedy)

    missing = [name for name in _NEEDED if name not in document]
    if missing:
        bad(f"the line lacks {', '.join(missing)}")
    known = {name: document[name] for name in _FIELDS if name in document}
    for name, value in known.items():
        if not isinstance(value, _TYPES[_FIELDS[name]]) or isinstance(value, bool):
            bad(f"{name} is {json.dumps(value)[:60]}")
    for value in known.get("axes", {}).values():
        if not isinstance(value, Value) or isinstance(value, bool):
            bad(f"axes holds {json.dumps(value)[:60]}, which is neither text nor number")
    inside = PurePosixPath(known["file"])
    if inside.is_absolute() or ".." in inside.parts or not inside.parts or "\\" in known["file"]:
        bad(f"file is {known['file'][:60]!r}, which is not below this folder")
    return ManifestLine(**known)
