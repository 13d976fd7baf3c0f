"""The manifest beside a run's pictures: one JSON line for each picture, with what made it.

What counts for going on with a sweep is what each picture says of itself; the manifest is for people and programs that
look at many pictures at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, NoReturn

from ..errors import CompareError

FILE: Final = "manifest.jsonl"
VERSION: Final = 1
#: The most bytes of a line: prompts are long, pictures are not in it.
MAX_LINE: Final = 1 << 20

Value = str | int | float


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
        sigmas: Hash of the noise levels that it was sampled at, None where ComfyUI did not tell.
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

    [] where there is none. A last line that a killed program left unfinished does not count. Raises CompareError for
    any other line that is no line of a manifest, and for a newer version.
    """
    path = folder / FILE
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CompareError(
            f"cannot be read ({error.strerror or error})", place=str(path), remedy="Let this program read it."
        ) from error
    *whole, torn = data.split(b"\n")
    texts = [(number, text) for number, text in enumerate(whole, 1) if text.strip()]
    found = {line.cell: line for line in (_parsed(path, number, text) for number, text in texts)}
    if torn.strip():
        with contextlib.suppress(CompareError):
            line = _parsed(path, len(whole) + 1, torn)
            found[line.cell] = line
    return list(found.values())


def append(folder: Path, lines: Iterable[ManifestLine]) -> None:
    """Add lines to the manifest of a run's folder, which is made; several programs may do so at once.

    What a killed program left unfinished at its end is taken away first. Raises CompareError where the disk refuses.
    """
    text = "".join(json.dumps(as_json(line), ensure_ascii=False) + "\n" for line in lines)
    if not text:
        return
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as stream, _alone(stream):
            _mend_end(stream)
            stream.write(text.encode("utf-8"))
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise CompareError(
            f"cannot be written ({error.strerror or error})",
            place=str(path),
            remedy="Free space on the disk, or choose another folder with --output.",
        ) from error


def as_json(line: ManifestLine) -> dict[str, Any]:
    """A line as JSON types, its version first."""
    return {"version": VERSION, **vars(line), "axes": dict(line.axes)}


def _mend_end(stream: BinaryIO) -> None:
    """Cut off an unfinished last line."""
    end = stream.seek(0, os.SEEK_END)
    start = max(0, end - MAX_LINE)
    stream.seek(start)
    tail = stream.read(end - start)
    if tail and not tail.endswith(b"\n"):
        stream.truncate(start + tail.rfind(b"\n") + 1)


@contextlib.contextmanager
def _alone(stream: BinaryIO) -> Iterator[None]:
    """Hold other programs that append back meanwhile; the system lets go of the lock of one that is killed."""
    if sys.platform == "win32":
        import msvcrt

        place = 1 << 40  # a byte that no manifest has: the text stays readable meanwhile
        stream.seek(place)
        msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            stream.seek(place)
            msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)
        return
    import fcntl

    with contextlib.suppress(OSError):  # network drives without locks: appending is all there is
        fcntl.flock(stream.fileno(), fcntl.LOCK_EX)
    yield


def _parsed(path: Path, number: int, text: bytes) -> ManifestLine:
    """A line of a manifest, which may have further fields; CompareError for anything else."""

    def bad(problem: str, remedy: str = "Mend the line or delete it: the next sweep adds what is missing.") -> NoReturn:
        raise CompareError(problem, place=f"{path}, line {number}", remedy=remedy)

    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        bad("this is not JSON")
    version = document.get("version") if isinstance(document, dict) else None
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        bad(f"this is no line of a manifest: it does not say version {VERSION}")
    if version > VERSION:
        bad(f"the line is of version {version}, this program reads {VERSION}", "Use a newer version of the pack.")
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
