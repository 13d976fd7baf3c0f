"""What a checkpoint's file name says: trainer, run, step or epoch. One line per naming scheme, first match wins.

Names are matched without `.safetensors` and relative to the run folder, with `/` between folders. Zero padding varies
between versions of the trainers, so digits are parsed and never formatted. Sources: the trainers' save code (github
CodeAlexx/EriDiffusion and EriDiffusionV2, ostris/ai-toolkit, kohya-ss/sd-scripts and musubi-tuner, bghira/SimpleTuner,
Nerogar/OneTrainer, XLabs-AI/x-flux, huggingface/diffusers' training scripts).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SUFFIX = ".safetensors"
TWIN_SUFFIX = "_comfyui"  # EriDiffusion V2's companion of the same step with kohya's keys

_NUMBER = r"(?P<number>[0-9]+)"
_EPOCH = r"(?P<epoch>[0-9]+)"
_TWIN = rf"(?P<twin>{TWIN_SUFFIX})?"
# SimpleTuner keeps the newest state in `-rolling` and may add another word; `-tmp` is one that is being written
_CHECKPOINT = rf"checkpoint-{_NUMBER}(?P<rolling>-(?!tmp)[A-Za-z]\w*)?"
# Names of weight files that say nothing about the run: the folder they lie in does.
WEIGHT_NAMES = frozenset({"lora", "flux_lora", "sdxl_lora", "pytorch_lora_weights", "adapter_model"})


@dataclass(frozen=True)
class Scheme:
    """One way to name checkpoints: who uses it, the pattern, and what its number counts."""

    trainer: str
    pattern: re.Pattern[str]
    counts_epochs: bool = False
    sure: bool = True  # False: the name alone does not show that this is a LoRA


def _scheme(trainer: str, pattern: str, counts_epochs: bool = False, sure: bool = True) -> Scheme:
    return Scheme(trainer, re.compile(pattern + "$"), counts_epochs, sure)


SCHEMES: tuple[Scheme, ...] = (
    _scheme("eridiffusion-v2", rf"(?P<run>[^/]+_lora)_step{_NUMBER}{_TWIN}"),
    _scheme("eridiffusion-v2", rf"(?P<run>[^/]+_lora)_{_NUMBER}steps{_TWIN}"),
    _scheme("eridiffusion", rf"step_{_NUMBER}/lora"),
    _scheme("eridiffusion", rf"{_CHECKPOINT}/(?:flux|sdxl)_lora"),
    _scheme("eridiffusion", rf"checkpoint-{_NUMBER}"),
    _scheme("eridiffusion", rf"lora_step{_NUMBER}"),
    _scheme("diffusers", rf"{_CHECKPOINT}/pytorch_lora_weights"),
    _scheme("peft", rf"{_CHECKPOINT}/adapter_model"),
    _scheme("x-flux", rf"{_CHECKPOINT}/lora"),
    _scheme("unknown", rf"(?:checkpoint|step)[-_]{_NUMBER}(?P<rolling>-(?!tmp)[A-Za-z]\w*)?/[^/]+", sure=False),
    _scheme("onetrainer", rf"(?:[^/]+-)?backup-{_NUMBER}-{_EPOCH}-[0-9]+/lora/lora"),
    _scheme("onetrainer", rf"(?P<run>[^/]*?)[0-9-]+_[0-9-]+-save-{_NUMBER}-{_EPOCH}-[0-9]+"),
    _scheme("onetrainer", rf"(?P<run>[^/]+)-save-{_NUMBER}-{_EPOCH}-[0-9]+"),
    _scheme("kohya", rf"(?P<run>[^/]+)-step{_NUMBER}"),
    _scheme("kohya", r"(?P<run>[^/]+)-(?P<number>[0-9]{6})", counts_epochs=True),
    _scheme("ai-toolkit", r"(?P<run>[^/]+?)(?:_LoRA)?_(?P<number>[0-9]{9})", sure=False),
    _scheme("unknown", rf"(?:step|checkpoint)[-_]?{_NUMBER}"),
    _scheme("unknown", rf"(?P<run>[^/]+?)[-_]step[-_]?{_NUMBER}{_TWIN}"),
    _scheme("unknown", rf"(?P<run>[^/]+?)[-_]{_NUMBER}[-_]?steps{_TWIN}"),
)
CONTAINERS = ("save", "checkpoints")  # folders of a run folder that checkpoints lie in
STEP_FOLDER = re.compile(r"(?:checkpoint|step)[-_][0-9]+(?:-(?!tmp)[A-Za-z]\w*)?$")

# sd-scripts' names when the user gave none: "at-step…", "epoch-…" and the final "last" are one run.
_KOHYA_DEFAULTS = {"at": "last", "epoch": "last"}

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
    """What a name says. `run` is "" where only the folder names the run; a final file has neither step nor epoch."""

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
    """Read a path relative to the run folder, `.safetensors` included; None when it is no checkpoint by its name.

    A file without a number is a final one: its reading has the stem as `run` and is not sure.
    """
    if not relative.lower().endswith(SUFFIX) or is_distractor(relative):
        return None
    name = relative[: -len(SUFFIX)]
    for scheme in SCHEMES:
        match = scheme.pattern.match(name)
        if match is not None:
            return _reading(scheme, match)
    if "/" in name:
        return None
    run, twin = name.removesuffix(TWIN_SUFFIX), name.endswith(TWIN_SUFFIX)
    return Reading(run="" if run in WEIGHT_NAMES else run, trainer="unknown", twin=twin, sure=False)


def _reading(scheme: Scheme, match: re.Match[str]) -> Reading:
    groups = match.groupdict()
    run = (groups.get("run") or "").rstrip("-_ ")
    step, epoch = int(groups["number"]), groups.get("epoch")
    return Reading(
        run=_KOHYA_DEFAULTS.get(run, run) if scheme.trainer == "kohya" else run,
        trainer=scheme.trainer,
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
