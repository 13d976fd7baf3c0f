"""Names of the training runs among LoRA files, from their paths alone: what a list can offer without reading files."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePosixPath

from .file_names import CONTAINERS, STEP_FOLDER, is_clutter_folder, read_name

_SEVERAL = 2


def run_names(files: Iterable[str]) -> list[str]:
    """Return every run that `find_checkpoints` finds under such a name below the same folder, sorted.

    `files` are paths of .safetensors files relative to that folder, with `/`. A run is the folder that holds its files
    or their step folders, `<folder>/<name>` when a folder holds several runs, or `<name>` for numbered files in no
    folder.
    """
    runs: dict[str, list[str]] = defaultdict(list)
    for file in files:
        path = PurePosixPath(file)
        folder = _run_folder(path.parent)
        runs[folder].append(_run(path, folder))
    names = set(runs) - {"."}
    for folder, found in runs.items():
        several = {run for run in found if run}
        if folder == ".":
            names |= {run for run in several if found.count(run) >= _SEVERAL}
        elif len(several) >= _SEVERAL:
            names |= {f"{folder}/{run}" for run in several}
    return sorted(names)


def _run_folder(folder: PurePosixPath) -> str:
    """The folder of a run, from the folder of one of its files: above step folders and the trainers' own containers."""
    run = folder
    while len(run.parts) > 1:
        if run.name == "lora" and run.parts[-3:-2] == ("backup",):
            run = run.parents[2]
        elif STEP_FOLDER.match(run.name) or run.name in CONTAINERS:
            run = run.parent
        elif is_clutter_folder(run.name) and (STEP_FOLDER.match(run.parent.name) or run.name.endswith("tmp")):
            run = run.parent  # SimpleTuner's `checkpoint-100/ema`, `checkpoint-100-tmp`
        else:
            break
    return str(run if run.parts else folder)


def _run(path: PurePosixPath, folder: str) -> str:
    """The run in the name of a numbered file; "" when the name has none."""
    above = PurePosixPath(folder)
    inside = [part for part in path.relative_to(above).parts if part not in CONTAINERS]
    reading = read_name("/".join(inside))
    return reading.run if reading is not None and reading.numbered else ""
