"""What a checkpoint's file name says: trainer, run, step or epoch. The first scheme that matches wins.

A trainer's schemes are in its folder and come from its save code. The others are here: XLabs-AI/x-flux, huggingface/
diffusers' training scripts, and names that tell no trainer. At the end: the runs among files, by their paths alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from ..trainers import TRAINERS
from .schemes import CHECKPOINT, NUMBER, TWIN, TWIN_SUFFIX, Scheme

SUFFIX = ".safetensors"

# Names of weight files that say nothing about the run: the folder they lie in does.
WEIGHT_NAMES = frozenset({"lora", "flux_lora", "sdxl_lora", "pytorch_lora_weights", "adapter_model"})

#: Whose names they are, and the scheme: those of the trainers, then those that are nobody's or whose writers sample
#: nothing here.
SCHEMES: tuple[tuple[str, Scheme], ...] = (
    *((trainer.id, scheme) for trainer in TRAINERS.values() for scheme in trainer.checkpoints),
    ("diffusers", Scheme(rf"{CHECKPOINT}/pytorch_lora_weights")),
    ("peft", Scheme(rf"{CHECKPOINT}/adapter_model")),
    ("x-flux", Scheme(rf"{CHECKPOINT}/lora")),
    ("unknown", Scheme(rf"(?:checkpoint|step)[-_]{NUMBER}(?P<rolling>-(?!tmp)[A-Za-z]\w*)?/[^/]+", sure=False)),
    ("unknown", Scheme(rf"(?:step|checkpoint)[-_]?{NUMBER}")),
    ("unknown", Scheme(rf"(?P<run>[^/]+?)[-_]step[-_]?{NUMBER}{TWIN}")),
    ("unknown", Scheme(rf"(?P<run>[^/]+?)[-_]{NUMBER}[-_]?steps{TWIN}")),
)
CONTAINERS = ("save", "checkpoints")  # folders of a run folder that checkpoints lie in
STEP_FOLDER = re.compile(r"(?:checkpoint|step)[-_][0-9]+(?:-(?!tmp)[A-Za-z]\w*)?$")

_NOT_A_CHECKPOINT = re.compile(
    r"(?:^|[._-])(?:optimizer|optstate|random_states|scheduler)(?:[._-]|$)"
    r"|^ema(?:[._-]|$)|[._-]ema$|^lora_ema_step"
    r"|(?:[._-]tmp|\.part|\.incomplete)$|^\."
    r"|_[0-9]{9}_(?:cn|t2i|ip|refiner)$|_(?:cn|t2i|ip|refiner)_[0-9]{9}$"
)
_NOT_A_CHECKPOINT_FOLDER = re.compile(
    r"[._-]tmp$|-state$|^ema$|^samples?$|^validation_images$|^(?:logs?|tensorboard|cache|latents?|datasets?)$|^\."
)


@dataclass(frozen=True)
class Reading:
    """What a name says. `run` is "" when only the folder names the run. A final file has neither step nor epoch."""

    run: str
    trainer: str
    step: int | None = None
    epoch: int | None = None
    twin: bool = False
    rolling: bool = False
    sure: bool = True

    @property
    def numbered(self) -> bool:
        return self.step is not None or self.epoch is not None


def read_name(relative: str) -> Reading | None:
    """Read a path relative to the run folder, with `.safetensors`. None when its name is not a checkpoint's.

    A file without a number is a final one: its reading has the stem as `run` and is not sure.
    """
    if not relative.lower().endswith(SUFFIX) or is_distractor(relative):
        return None
    name = relative[: -len(SUFFIX)]
    for trainer, scheme in SCHEMES:
        match = scheme.compiled.match(name)
        if match is not None:
            return _reading(trainer, scheme, match)
    if "/" in name:
        return None
    run, twin = name.removesuffix(TWIN_SUFFIX), name.endswith(TWIN_SUFFIX)
    return Reading(run="" if run in WEIGHT_NAMES else run, trainer="unknown", twin=twin, sure=False)


def _reading(trainer: str, scheme: Scheme, match: re.Match[str]) -> Reading:
    groups = match.groupdict()
    run = (groups.get("run") or "").rstrip("-_ ")
    step, epoch = int(groups["number"]), groups.get("epoch")
    return Reading(
        run=scheme.run_names.get(run, run),
        trainer=trainer,
        step=None if scheme.counts_epochs else step,
        epoch=step if scheme.counts_epochs else (None if epoch is None else int(epoch)),
        twin=bool(groups.get("twin")),
        rolling=bool(groups.get("rolling")),
        sure=scheme.sure,
    )


def is_distractor(relative: str) -> bool:
    """Whether a path is, by its name, something else that trainers leave beside checkpoints, or still being written."""
    *folders, name = relative.split("/")
    stem = name[: -len(SUFFIX)] if name.lower().endswith(SUFFIX) else name
    return bool(_NOT_A_CHECKPOINT.search(stem)) or any(is_clutter_folder(folder) for folder in folders)


def is_clutter_folder(name: str) -> bool:
    """Whether a folder is, by its name, one of samples, states, logs or caches, or still being written."""
    return bool(_NOT_A_CHECKPOINT_FOLDER.search(name))


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
