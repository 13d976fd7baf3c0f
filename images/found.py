"""Which samples of a run are on disk already: the layouts that wrote the file names read them back.

No file is opened, so thousands can be found within the time of a request, and the trainer's own pictures count too.
What `eri sweep` keeps is decided by the records inside the files instead (`client.sample_records`), because a name does
not say which models and settings made a picture.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Final

from ..whole_files import written_at
from .inner_texts import SUFFIXES
from .layouts import SampleFile, relative_path, template_in
from .template import TOKEN, safe_name

#: Most files looked at below one run's folder.
MAX_FILES: Final = 200_000
_NUMBERS: Final = frozenset(("step", "index", "nth", "seed", "ms"))
_SHAPES: Final = {
    "spot": r"[0-9]+_[0-9]+x[0-9]+",
    "time": r"[0-9_-]+",
    "pth": r"p[0-9]+|base",
    "bpth": r"(?:base_)?p[0-9]+",
}
#: What differs between two files of the same sample, so tells nothing about which sample a file is.
_NOT_THE_SAMPLE: Final = frozenset(("step", "seed", "ms", "time"))

Key = tuple[tuple[str, str], ...]


def samples_by_name(
    output: Path, trainer: str, samples: Iterable[SampleFile], place: str = ""
) -> dict[tuple[int, int], Path]:
    """Return (step, index) -> the newest picture of that sample below the output folder.

    Only files in the trainer's own layout are found. Links to folders are not followed. Of more than MAX_FILES files
    below the run's folder, the rest is not looked at.

    Args:
        output: the output folder.
        trainer: a key of LAYOUTS.
        samples: one per sample of the run, all of the same run and family. Their `step` and `created` do not matter.
        place: the folder in the run's that they lie in, "" = the layout's own.

    Raises ImagesError for an unknown trainer.
    """
    expected: dict[Key, int] = {}
    run = template = ""
    for sample in samples:
        run, template = sample.run, template_in(trainer, sample.family, place)
        read = _read(template, relative_path(trainer, sample, template=template).with_suffix(""))
        if read is not None:
            expected.setdefault(read[1], sample.index)
    newest: dict[tuple[int, int], tuple[int, Path]] = {}
    for path in _images(output / safe_name(run) / place) if expected else ():
        read = _read(template, PurePosixPath(path.relative_to(output).with_suffix("").as_posix()))
        index = None if read is None else expected.get(read[1])
        if read is None or index is None:
            continue
        written = written_at(path)
        if written is not None and written >= newest.get((read[0], index), (0, path))[0]:
            newest[read[0], index] = (written, path)
    return {place: path for place, (_, path) in newest.items()}


def _read(template: str, path: PurePosixPath) -> tuple[int, Key] | None:
    """The step in a path without suffix, and what says which sample it is; None when it is not of this layout."""
    match = _pattern(template).fullmatch(str(path))
    if match is None:
        return None
    found = match.groupdict()
    if "nth" in found:  # left out where a step has one sample only, which is the first
        found["nth"] = found["nth"] or "0"
    if found.get("pth") == "base":
        found["pth"] = "p1"
    if "bpth" in found:
        found["bpth"] = found["bpth"].removeprefix("base_")
    key = {
        name: str(int(text)) if name in _NUMBERS else text
        for name, text in found.items()
        if text is not None and name not in _NOT_THE_SAMPLE
    }
    return int(found["step"]), tuple(sorted(key.items()))


@lru_cache(maxsize=32)
def _pattern(template: str) -> re.Pattern[str]:
    """A template as a pattern with one group per placeholder; a name that comes again repeats its value."""
    pattern, seen = "", set()
    for piece in TOKEN.finditer(template):
        if piece["field"] and piece["field"] in seen:
            pattern += f"(?P={piece['field']})"
        elif piece["field"]:
            seen.add(piece["field"])
            shape = "[0-9]+" if piece["field"] in _NUMBERS else _SHAPES.get(piece["field"], "[^/]+?")
            pattern += f"(?P<{piece['field']}>{shape})"
        elif piece["bracket"]:
            pattern += "(?:" if piece["bracket"] == "[" else ")?"
        else:
            pattern += re.escape(piece["text"] or piece["escaped"][0])
    return re.compile(pattern)


def _images(folder: Path) -> Iterator[Path]:
    seen = 0
    for place, _, names in os.walk(folder):
        for name in names:
            seen += 1
            if seen > MAX_FILES:
                return
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(place, name)
