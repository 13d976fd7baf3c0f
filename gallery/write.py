"""Writes a gallery: pictures, small copies, moving pictures and the page, each file whole or not at all.

Files are called after their content, so that writing again makes only what is new, and no name tells the step.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ..compare.collection import GALLERY_MARKER, Collection, Place
from ..compare.measured import read_means
from ..errors import CompareError, ImagesError
from ..images.thumbnails import thumbnails
from ..whole_files import as_bytes, read_small, write_whole
from .moving import FRAMES, moving_picture
from .page import page
from .verdicts import verdicts

#: Longest sides of the small copies; `gallery/web/source.js` knows them.
COPIES: Final = (288, 576)
PAGE: Final = "index.html"
VERSION: Final = 1
#: Of the marker: some hundred for each picture.
_MOST_BYTES: Final = 64 << 20
_FOLDERS: Final = ("pictures", "small", "moving")
_WORKERS: Final = 4

Animation = Literal["webp", "gif", "none"]
#: How many files are made, of how many.
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Written:
    """A gallery that was written.

    Args:
        page: its page.
        pictures: how many it shows.
        made: how many files were made for it this time.
        linked: whether its pictures are the run's own files under other names.
        notes: what was left out, and why.
    """

    page: Path
    pictures: int
    made: int
    linked: bool
    notes: tuple[str, ...] = ()


@dataclass
class _Plan:
    """What the folder is to hold.

    Args:
        jobs: files that are made together, by relative path -> what makes them.
        names: picture -> its name in the folder.
        known: picture, as the marker calls it -> size, time and name.
    """

    jobs: dict[tuple[str, ...], Callable[..., object]] = field(default_factory=dict)
    names: dict[Path, str] = field(default_factory=dict)
    known: dict[str, list[Any]] = field(default_factory=dict)


def write_gallery(
    found: Collection,
    folder: Path | None = None,
    *,
    title: str = "",
    link: bool = False,
    animation: Animation = "webp",
    marks: Iterable[Mapping[str, Any]] = (),
    report: Report | None = None,
) -> Written:
    """Write the gallery of these pictures, or bring one up to date.

    Args:
        found: what it shows.
        folder: where; None = `gallery` in the run's folder.
        title: the page's title; "" = the run's name.
        link: give the pictures a second name instead of copying them, where the disk can.
        animation: the form of the moving pictures, one for each row.
        marks: favourites and rejects, as `eridiffusion.json` holds them.

    Raises CompareError where the folder is something else, or of another run; OSError where the disk refuses.
    """
    folder = found.root / "gallery" if folder is None else folder
    before = _opened(folder, found.name)
    plan, notes = _Plan(), list(found.notes)
    for path in dict.fromkeys([*found.pictures.values(), *found.theirs.values()]):
        try:
            _plan_picture(plan, path, _source(path, found), before["known"], link)
        except FileNotFoundError:  # a sweep that goes on puts others in their place
            notes.append(f"{path.name} went meanwhile.")
    rows = _plan_moving(plan, found, folder, animation)
    files = {name for names in plan.jobs for name in names}
    _mark(folder, found.name, before["files"] | files, plan.known, before["verdicts"])
    linked, made, broken = _make(plan, folder, report)
    notes += sorted({problem for name, problem in broken.items() if not name.startswith("moving/")})
    shown = {path: name for path, name in plan.names.items() if name not in broken}
    compared = verdicts(found, shown, folder / _FOLDERS[0], before["verdicts"], report)
    notes += compared.notes
    measures, problem = _measures(found)
    notes += problem
    data = _data(found, shown, [row for row in rows if row[2] not in broken], marks, title)
    write_whole(folder / PAGE, page({**data, "verdicts": compared.rows, "measures": measures}, title or found.name))
    _mark(folder, found.name, files - set(broken), plan.known, compared.known)
    for name in before["files"] - files:  # made by an earlier writing, and no longer shown
        (folder / name).unlink(missing_ok=True)
    return Written(folder / PAGE, len(data["pictures"]) + len(data["theirs"]), made, link and linked, tuple(notes))


def read_marker(folder: Path) -> dict[str, Any]:
    """What a gallery's marker says: its run, its files, the pictures that they are of, and how far pairs are apart.

    Raises CompareError where the folder is no gallery that this version writes.
    """
    path = folder / GALLERY_MARKER
    try:
        document = json.loads(read_small(path, _MOST_BYTES).decode("utf-8"))
        version, run = document["version"], str(document["run"])
        files, known = {str(name) for name in document["files"]}, dict(document["known"])
        apart = {pair: said for pair, said in dict(document.get("verdicts", {})).items() if isinstance(said, dict)}
    except FileNotFoundError as error:
        raise CompareError("this folder is no gallery", place=str(folder), remedy=_ELSEWHERE) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        remedy = "Delete the file and the folders beside it, or write to another folder."
        raise CompareError(f"this is no gallery's file ({error})", place=str(path), remedy=remedy) from error
    if version != VERSION:
        remedy = "Use the version of the pack that wrote it, or write to another folder."
        problem = f"a gallery of version {version}, this program knows {VERSION}"
        raise CompareError(problem, place=str(path), remedy=remedy)
    return {"run": run, "files": {name for name in files if _is_ours(name)}, "known": known, "verdicts": apart}


_ELSEWHERE: Final = "Nothing was changed. Name another folder with --output, or one that is empty."


def _is_ours(name: str) -> bool:
    """Whether a file may be one that a gallery made: what is deleted must not lie elsewhere."""
    folder, _, file = name.partition("/")
    return folder in _FOLDERS and file.replace("-", "").replace(".", "").isalnum()


def _opened(folder: Path, run: str) -> dict[str, Any]:
    """What the folder holds as a gallery, which is made where it is not there."""
    if folder.exists() and not folder.is_dir():
        raise CompareError("this is a file, no folder", place=str(folder), remedy=_ELSEWHERE)
    if not folder.is_dir() or not any(folder.iterdir()):
        before: dict[str, Any] = {"run": run, "files": set(), "known": {}, "verdicts": {}}
    else:
        before = read_marker(folder)
    if before["run"] != run:
        raise CompareError(f"the gallery of another run, {before['run']!r}", place=str(folder), remedy=_ELSEWHERE)
    for name in _FOLDERS:
        place = folder / name
        if place.is_symlink() or (place.exists() and not place.is_dir()):
            raise CompareError("a gallery's folder that is a link or a file", place=str(place), remedy=_ELSEWHERE)
        place.mkdir(parents=True, exist_ok=True)
    return before


def _source(path: Path, found: Collection) -> str:
    """What the marker calls a picture: no path of this machine."""
    if path.is_relative_to(found.root):
        return path.relative_to(found.root).as_posix()
    return f"theirs/{hashlib.sha256(str(path).encode('utf-8', 'surrogateescape')).hexdigest()[:20]}"


def _plan_picture(plan: _Plan, path: Path, source: str, known: Mapping[str, Any], link: bool) -> None:
    state = path.stat()
    stamp = [state.st_size, state.st_mtime_ns]
    before = known.get(source)
    if isinstance(before, list) and before[:2] == stamp and len(before) == 3:
        name = str(before[2])
    else:
        with open(path, "rb") as file:
            name = f"{_digest(file.read())}{path.suffix.lower()}"
    plan.known[source] = [*stamp, name]
    plan.names[path] = name
    plan.jobs[f"pictures/{name}",] = functools.partial(_link if link else _copy, path)
    plan.jobs[tuple(_small(name, side) for side in COPIES)] = functools.partial(_shrink, path)


def _small(name: str, side: int) -> str:
    return f"small/{name.rpartition('.')[0]}-{side}.webp"


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:20]


def _copy(path: Path, target: Path) -> bool:
    write_whole(target, path.read_bytes())
    return False


def _link(path: Path, target: Path) -> bool:
    """Give the file a second name; copy it where the disk has no such names. Whether it could."""
    try:
        os.link(path.resolve(), target)
    except FileExistsError:
        return True
    except OSError:
        return _copy(path, target)
    return True


def _shrink(path: Path, *targets: Path) -> None:
    for target, data in zip(targets, thumbnails(path, COPIES).values(), strict=True):
        write_whole(target, data)


def _plan_moving(plan: _Plan, found: Collection, folder: Path, animation: Animation) -> list[tuple[int, int, str]]:
    """The moving picture of each row that has several steps: variant's number, item, file."""
    rows: list[tuple[int, int, str]] = []
    if animation == "none":
        return rows
    for number, variant in enumerate(found.variants):
        for item in found.items:
            shots = {step: found.pictures.get(Place(variant.key, step, item.index)) for step in found.steps}
            steps = _spread([step for step, path in shots.items() if path in plan.names])
            if len(steps) < 2:
                continue
            names = [plan.names[path] for step in steps if (path := shots[step]) is not None]
            told = json.dumps([steps, names])
            name = f"moving/{_digest(told.encode())}.{animation}"
            frames = [folder / _small(name, COPIES[-1]) for name in names]
            plan.jobs[name,] = functools.partial(_move, frames, steps, animation)
            rows.append((number, item.index, name))
    return rows


def _spread(steps: Sequence[int]) -> list[int]:
    """At most FRAMES of the steps, spread evenly, the first and the last among them."""
    if len(steps) <= FRAMES:
        return list(steps)
    return [steps[round(place * (len(steps) - 1) / (FRAMES - 1))] for place in range(FRAMES)]


def _move(frames: list[Path], steps: list[int], animation: Literal["webp", "gif"], target: Path) -> None:
    write_whole(target, moving_picture(frames, steps, animation))


def _make(plan: _Plan, folder: Path, report: Report | None) -> tuple[bool, int, dict[str, str]]:
    """Make the files that are not there: whether all pictures could be linked, how many were made, what is broken."""
    broken: dict[str, str] = {}
    open_jobs = [names for names in plan.jobs if not all((folder / name).is_file() for name in names)]
    linked, made, total = True, 0, sum(map(len, open_jobs))

    def one(names: tuple[str, ...]) -> tuple[int, object]:
        try:
            return len(names), plan.jobs[names](*(folder / name for name in names)) is not False
        except (ImagesError, FileNotFoundError) as error:
            broken.update(dict.fromkeys(names, str(error)))
            return 0, True

    # pictures, then their copies, then what is made of those
    for part in _FOLDERS:
        jobs = [names for names in open_jobs if names[0].startswith(f"{part}/")]
        with ThreadPoolExecutor(max(1, min(_WORKERS, os.cpu_count() or 1))) as workers:
            for count, whole in workers.map(one, jobs):
                made += count
                linked = linked and whole is True
                if report is not None:
                    report(made, total)
    for name in [name for name in broken if name.startswith("small/")]:
        stem = name.removeprefix("small/").rpartition("-")[0]
        broken.update({shown: broken[name] for shown in plan.names.values() if shown.startswith(f"{stem}.")})
    return linked, made, broken


def _data(
    found: Collection, names: Mapping[Path, str], rows: list[tuple[int, int, str]],
    marks: Iterable[Mapping[str, Any]], title: str,
) -> dict[str, Any]:  # fmt: skip
    """What the page is told, in an order that does not depend on when the pictures were made."""
    numbers = {variant.key: number for number, variant in enumerate(found.variants)}
    pictures = sorted(
        (numbers[place.key], place.step, place.item, names[path])
        for place, path in found.pictures.items() if path in names
    )  # fmt: skip
    theirs = sorted((step, item, names[path]) for (step, item), path in found.theirs.items() if path in names)
    steps = sorted({row[1] for row in pictures} | {row[0] for row in theirs})
    items = [
        {"index": item.index, "prompt": item.prompt, "seed": item.seed, "width": item.width, "height": item.height}
        for item in found.items
    ]
    return {
        "version": VERSION,
        "run": {"id": found.name, "name": title or found.name, "family": found.family, "trainer": found.trainer},
        "items": items,
        "steps": steps,
        "variants": [{"key": one.key, "title": one.title, "values": dict(one.values)} for one in found.variants],
        "pictures": pictures,
        "theirs": theirs,
        "moving": rows,
        "marks": [dict(mark) for mark in marks],
    }


def _measures(found: Collection) -> tuple[list[Any], list[str]]:
    """The means of what `eri measure` wrote: measure, then variant's number, then step and mean; and what is wrong."""
    try:
        means = read_means(found.root)
    except CompareError as error:
        return [], [f"The measures were left out: {error}"]
    numbers = {variant.key: number for number, variant in enumerate(found.variants)}
    lines = [
        [name, [[numbers[key], list(steps.items())] for key, steps in variants.items() if key in numbers]]
        for name, variants in means.items()
    ]
    return [line for line in lines if line[1]], []


def _mark(folder: Path, run: str, files: set[str], known: Mapping[str, Any], verdicts: Mapping[str, Any]) -> None:
    document = {"version": VERSION, "run": run, "files": sorted(files), "known": known, "verdicts": verdicts}
    write_whole(folder / GALLERY_MARKER, as_bytes(document, indent=0))
