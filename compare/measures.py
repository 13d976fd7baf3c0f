"""Measures of a run's pictures over its steps: what changes, and how much. None of them says which picture is good.

docs/choosing.md tells what each can and cannot say.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import CompareError
from ..whole_files import as_bytes, write_whole
from .collection import Collection, Place
from .measured import FILE, Means, means_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

VERSION: Final = 1


@dataclass(frozen=True)
class Measured:
    """One picture. values: name of a measure -> number; a measure that this picture cannot have is not in it.

    nearest: name of the training picture that is most like it, "" = not looked for.
    """

    place: Place
    values: Mapping[str, float]
    nearest: str = ""


#: What was measured: a place, the pictures that were compared and their times -> its measures.
Known = dict[Hashable, Measured]


@dataclass(frozen=True)
class Embeddings:
    """What a CLIP vision model makes of pictures, each of length 1.

    Args:
        ours: place -> vector.
        training: name of a training picture -> vector.
    """

    ours: Mapping[Place, Array]
    training: Mapping[str, Array]


def measure(
    found: Collection,
    embeddings: Embeddings | None = None,
    report: Callable[[], None] = lambda: None,
    known: Known | None = None,
) -> list[Measured]:
    """Measure all pictures of a collection, in the order of variants, items and steps.

    Args:
        report: is called after each picture.
        known: what was measured before, which is not measured again; takes what is new. None = nothing.

    Raises ImagesError for a picture that is not whole.
    """
    kept: dict[Path, Any] = {}  # of the row: the picture without LoRA, and that of the step before
    before_now = {} if known is None else known
    measured = []
    in_order = sorted(found.pictures, key=lambda place: (place.key, place.item, place.step))
    for _, row in groupby(in_order, key=lambda place: (place.key, place.item)):
        plain = before = None
        for place in row:
            path = found.pictures[place]
            plain = path if place.step == 0 else plain
            state = place, *((one, one.stat().st_mtime_ns) for one in (path, plain, before) if one is not None)
            if embeddings is not None or state not in before_now:
                kept = {one: kept.get(one) or _opened(one) for one in (path, plain, before) if one is not None}
                before_now[state] = _measured(place, path, plain, before, kept, embeddings)
            measured.append(before_now[state])
            before = path
            report()
    return measured


def _opened(path: Path) -> Any:
    from ..images.compare import read_picture
    from ..images.pixels import on_white

    return on_white(read_picture(path))


def _measured(
    place: Place, path: Path, plain: Path | None, before: Path | None, pictures: Mapping[Path, Any],
    embeddings: Embeddings | None,
) -> Measured:  # fmt: skip
    """Measure one picture, beside the one without LoRA and that of the step before, where there are any."""
    picture = pictures[path]
    values = {"sharpness": sharpness(picture)}
    if plain is not None and pictures[plain].size == picture.size:
        values |= _apart(pictures[plain], picture)
    if before is not None and pictures[before].size == picture.size:
        values["change_before"] = mean_difference(pictures[before], picture)
    nearest = ""
    if embeddings is not None:
        nearest, more = _alike(place, embeddings)
        values |= more
    return Measured(place, values, nearest)


def mean_difference(one: Any, other: Any) -> float:
    """The mean difference of two pictures of one size, over pixels and channels, of 255."""
    import numpy as np

    first, second = (np.asarray(picture, dtype=np.int16) for picture in (one, other))
    return float(np.abs(first - second).mean())


def sharpness(picture: Any) -> float:
    """The variance of the Laplacian of a picture's light, 0..255 (Pech-Pacheco et al., ICPR 2000)."""
    import numpy as np
    from scipy.ndimage import laplace

    return float(laplace(np.asarray(picture.convert("L"), dtype=np.float64), mode="mirror").var())


def _apart(plain: Any, picture: Any) -> dict[str, float]:
    from ..images.compare import structural_similarity

    return {"change": mean_difference(plain, picture), "change_ssim": structural_similarity(plain, picture)}


def _alike(place: Place, embeddings: Embeddings) -> tuple[str, dict[str, float]]:
    """The nearest training picture, the cosine with it, and the mean one with the step's pictures of other prompts."""
    own = embeddings.ours[place]
    values: dict[str, float] = {}
    nearest = ""
    if embeddings.training:
        cosines = {name: float(vector @ own) for name, vector in embeddings.training.items()}
        nearest = max(cosines, key=lambda name: cosines[name])
        values["training"] = cosines[nearest]
    others = [
        float(vector @ own)
        for at, vector in embeddings.ours.items()
        if (at.key, at.step) == (place.key, place.step) and at.item != place.item
    ]
    if others:
        values["each_other"] = sum(others) / len(others)
    return nearest, values


def means(measured: Sequence[Measured]) -> Means:
    """The means over the prompts."""
    return means_of((name, *entry.place[:2], value) for entry in measured for name, value in entry.values.items())


def write_measures(found: Collection, measured: Sequence[Measured]) -> Path:
    """Write `measures.jsonl` beside the pictures, one JSON object for each. CompareError where it cannot be written."""
    lines = b"".join(as_bytes(line) + b"\n" for line in _lines(found, measured))
    path = found.root / FILE
    try:
        return write_whole(path, lines)
    except OSError as error:
        remedy = "Let it be written."
        raise CompareError(f"it cannot be written ({error.strerror})", place=str(path), remedy=remedy) from error


def _lines(found: Collection, measured: Sequence[Measured]) -> Iterator[dict[str, Any]]:
    axes = {variant.key: dict(variant.values) for variant in found.variants}
    for entry in measured:
        key, step, item = entry.place
        path = found.pictures[entry.place]
        file = path.relative_to(found.root).as_posix() if path.is_relative_to(found.root) else path.name
        about = {"version": VERSION, "run": found.name, "item": item, "step": None if step < 0 else step}
        nearest = {"nearest": entry.nearest} if entry.nearest else {}
        yield {**about, "axes": axes[key], "file": file, **{k: round(v, 6) for k, v in entry.values.items()}, **nearest}
