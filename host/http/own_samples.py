"""Where the samples lie that a trainer saved itself: in the run's folder, or in another folder that graphs may read.

A LoRA is often copied away from its trainer's output folder, which then stands in extra_model_paths.yaml or below it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ...errors import RequestError
from ...images.template import safe_name
from ...images.trainer_samples import TrainerSample, own_samples
from ...spec import SampleSpec
from ...trainers import layout_owner
from ..paths import input_roots, leading_inside, run_roots
from .run_config import Place

#: Begins the name of a file that lies elsewhere: the number of an allowed folder and the path in it follow.
_ELSEWHERE: Final = "allowed:"


def own_of(run: Place, spec: SampleSpec) -> dict[tuple[int, int], TrainerSample]:
    """The trainer's own samples of a run, by step and item; those in its folder first, and such that fit the config.

    Raises ImagesError where they cannot be looked up.
    """
    found: dict[tuple[int, int], TrainerSample] = {}
    # in no folder of its own there is nothing of which only the place says whose it is
    places = [] if run.folder in run_roots() else [(run.folder, False)]
    for folder, shared in [*places, *_elsewhere(run, spec)]:
        for place, sample in own_samples(folder, spec, run.checkpoints, shared=shared, allowed=_allowed).items():
            known = found.get(place)
            if known is None or (known.problem and not sample.problem):
                found[place] = sample
    return {place: found[place] for place in sorted(found)}


def _allowed(path: Path) -> bool:
    return bool(leading_inside([path]))


def _elsewhere(run: Place, spec: SampleSpec) -> Iterator[tuple[Path, bool]]:
    """Other allowed folders that may hold samples of a run, and whether those of several runs lie there.

    They are called as the run is; or, where file names tell the run, as the trainer calls the folder of its samples.
    """
    trainer = layout_owner(spec.layout)
    shared = sorted({name.shared_folder for name in trainer.saved} - {""}) if trainer else []
    for root in map(Path, input_roots()):
        named = [root / name for name in dict.fromkeys((spec.name, safe_name(spec.name), Path(run.name).name)) if name]
        candidates = [(place, False) for place in named]
        if shared and root.is_dir():
            above = [root, *sorted(place for place in root.iterdir() if place.is_dir())]
            candidates += [(place / name, True) for place in above for name in shared]
        for place, several in candidates:
            if place.is_dir() and place != run.folder and place.parent != run.folder and leading_inside([place]):
                yield place, several


def name_of_file(run: Place, path: Path) -> str:
    """What a sample's file is called in addresses: its path in the run's folder, or in another allowed folder."""
    if path.is_relative_to(run.folder):
        return path.relative_to(run.folder).as_posix()
    number, root = next((n, root) for n, root in enumerate(input_roots()) if path.is_relative_to(root))
    return f"{_ELSEWHERE}{number}/{path.relative_to(root).as_posix()}"


def folder_and_file(run: Place, name: str) -> tuple[Path, Path]:
    """The folder in which a file of that name has to lie, and its path there. RequestError 404 for no such folder."""
    if not name.startswith(_ELSEWHERE):
        return run.folder, Path(name)
    number, _, file = name.removeprefix(_ELSEWHERE).partition("/")
    roots = input_roots()
    if not number.isascii() or not number.isdigit() or len(number) > 4 or int(number) >= len(roots):
        raise RequestError(404, "missing_picture", f"there is no {name!r} any more.", field="file")
    return Path(roots[int(number)]), Path(file)
