"""EriDiffusion V2's programs, their flags that say what is sampled, and what each takes without them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Final

from ...configs.command_line import PROGRAM
from ...configs.fields import Section
from ...configs.parse import Notations, Programs
from ...families import FAMILIES
from ...spec.model import MAX_PIXELS, MAX_SEED, MAX_STEPS
from .sampling import CHROMA_SAMPLERS, SDXL_SCHEDULERS

#: Its programs, as a command line starts them; only there it says what it samples.
_MODELS: Final = (
    "flux|sd35|sdxl|klein|zimage|chroma|qwenimage|anima|ernie|hidream_o1|hidream|ideogram4?|ltx2|wan22|asymflow|acestep"
    "|u1|l2p|slider_klein"
)
PROGRAMS: Final = re.compile(
    rf"(?<![\w-])((?:train|sample)_(?:{_MODELS})|train(?:\.exe)?(?: --)? --model[ =](?:{_MODELS}))(?:\.exe)?(?![\w.-])"
)
#: EriTrainer starts all trainers by one program, whose first flag names the model.
_ONE_FOR_ALL: Final = re.compile(r"train(?:\.exe)?(?: --)? --model[ =]")

NOTATIONS: Final = Notations(lines=True, programs=Programs(PROGRAMS, repeats=False), repeated_keys=False)


@dataclass(frozen=True)
class Settings:
    """What holds for all images. every: steps between samples, None = the program samples once.

    locked: the only size the program takes, None = any. prompt_flag: the flag with a single prompt, "" = none.
    width, height: sides of their own, None = size. sampler: a word, None = the program's own. lora_scale: what the
    program multiplies a LoRA by in place of the file's own alpha / rank, None = the file's. rescale: phi of guidance.
    v_prediction: whether the model is taken for one. stem: name of a single prompt's file, without its suffix.
    in_run: whether a trainer samples in its run, where a library's sizes and seeds do nothing. image_format: that of
    --output.
    """

    program: str
    family: str
    size: int = 1024
    steps: int = 30
    cfg: float = 7.5
    guidance: float = 3.5
    shift: float = 3.0
    seed: int = 42
    negative: str = ""
    variant: str | None = None
    every: int | None = None
    locked: int | None = None
    prompt_flag: str = ""
    width: int | None = None
    height: int | None = None
    sampler: str | None = None
    lora_scale: float | None = None
    rescale: float = 0.0
    v_prediction: bool = False
    stem: str | None = None
    in_run: bool = False
    image_format: str | None = None

    def sized(self, size: int | None) -> Settings:
        """The same with another size, None = this one."""
        return self if size is None else replace(self, size=size)

    def against(self, negative: str | None) -> Settings:
        """The same with another negative prompt, None = this one."""
        return self if negative is None else replace(self, negative=negative)


_SAMPLERS: Final = {
    "flux": Settings("sample_flux", "flux", steps=20, cfg=1.0, prompt_flag="prompt"),
    "sd35": Settings("sample_sd35", "sd35", steps=28, cfg=4.5, locked=1024, prompt_flag="prompt"),
    "sdxl": Settings("sample_sdxl", "sdxl", prompt_flag="prompt"),
    "chroma": Settings("sample_chroma", "chroma", steps=20, cfg=4.0, prompt_flag="prompt"),
}
TRAIN_SD35: Final = replace(_SAMPLERS["sd35"], program="train_sd35", prompt_flag="sample_prompt", in_run=True)
#: EriTrainer's, which samples in the run since June 2026 (bin/train_chroma.rs:170-198).
_TRAIN_CHROMA: Final = replace(
    _SAMPLERS["chroma"], program="train_chroma", prompt_flag="sample_prompt", in_run=True, size=512, steps=50
)
_IN_RUN: Final = {settings.program: settings for settings in (TRAIN_SD35, _TRAIN_CHROMA)}
#: setting -> flag names in the order in which they are looked for, for programs that only sample and for trainers.
_SAMPLE_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "size": ("size",),
    "steps": ("steps",),
    "cfg": ("cfg", "cfg_scale"),
    "guidance": ("flux_guidance",),
    "shift": ("shift",),
    "seed": ("seed",),
    "negative": ("negative", "negative_prompt"),
}
_CHROMA_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    key: (key,) for key in ("width", "height", "steps", "cfg", "seed", "negative", "sampler")
}
_SDXL_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    **_SAMPLE_FLAGS,
    "sampler": ("scheduler",),
    "rescale": ("cfg_rescale",),
}
#: --lora-rank and --lora-alpha without the flags, by family; Chroma's alpha is its rank.
_LORA: Final = {"flux": (16, 16.0), "sd35": (16, 1.0), "sdxl": (16, 1.0), "chroma": (16, None)}
_OUTPUTS: Final = {"chroma": "chroma_sample"}
_FORMATS: Final = {".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp"}
_TRAIN_FLAGS: Final[Mapping[str, tuple[str, ...]]] = {
    "size": ("sample_size",),
    "steps": ("sample_steps",),
    "cfg": ("sample_cfg",),
    "shift": ("sample_shift",),
    "seed": ("sample_seed",),
    "negative": ("sample_neg_prompt",),
    "every": ("sample_every",),
}
#: Families whose program takes a word for the sampler: its flag, the words, and two of them for people.
_WORDS: Final = {
    "sdxl": ("scheduler", SDXL_SCHEDULERS, "euler_a or ddim"),
    "chroma": ("sampler", CHROMA_SAMPLERS.words, "euler or dpmpp_2m"),
}
_FLAGS: Final = {"chroma": _CHROMA_FLAGS, "sdxl": _SDXL_FLAGS}
_T5_TOKENS: Final = 77
_CHROMA_MULTIPLE: Final = 16


def settings_for(family: str) -> Settings:
    """What the family's sampling program takes by itself."""
    return _SAMPLERS[family]


def from_flags(root: Section, family: str | None) -> Settings:
    """Settings of one command line. Raises SpecError for programs of other models and for values that stop them."""
    program = _ONE_FOR_ALL.sub("train_", root.text(PROGRAM) or "")
    word, _, model = program.partition("_")
    if model not in FAMILIES or family not in (None, model):
        raise root.error(
            PROGRAM, f"{program} is for another model", f"Supported are programs for {', '.join(FAMILIES)}."
        )
    trains = word == "train"
    base = _IN_RUN.get(program, _SAMPLERS[model])
    if trains and not base.in_run:
        root.reading.note(f"{program} never samples in the run: the settings are those of {base.program}.")
        return base
    flags = _TRAIN_FLAGS if trains else _FLAGS.get(model, _SAMPLE_FLAGS)
    found = replace(base, **_values(root, flags))
    sides = {"sample_size": found.size} if trains else {"width": found.width, "height": found.height}
    for side, pixels in sides.items() if model == "chroma" else ():
        if (pixels or 0) % _CHROMA_MULTIPLE:
            raise root.error(side, f"{program} takes multiples of {_CHROMA_MULTIPLE} only", "Correct it.")
    if base.locked is not None and found.size != base.locked:
        raise root.error("sample_size" if trains else "size", f"{program} takes {base.locked} only", "Remove the flag.")
    key = "sample_t5_max_len" if trains else "t5_max_len"
    if root.has(key) and _whole(root, key, 1, 4096) != _T5_TOKENS:
        raise root.error(key, f"{program} takes {_T5_TOKENS} tokens only", "Remove the flag.")
    if trains and not found.every:
        root.reading.note("--sample-every is not given: the trainer itself makes no samples.")
    found = replace(found, every=found.every or None, variant=_variant(root, found))
    if trains:  # its LoRA in training has the scale that it is saved with
        root.get("lora_alpha")
    else:
        stem, kind = _output(root, model)
        found = replace(found, lora_scale=_lora_scale(root, model), stem=stem, image_format=kind)
    _check_sampler(root, found)
    if model == "sdxl":
        found = replace(found, v_prediction=root.get("v_prediction") is not None)
        _check_sdxl(root, found)
    # Without CFG above 1 the programs make one pass; the trainer and Chroma's always make two, which at 1 is the same.
    return found if trains or model == "chroma" else replace(found, cfg=max(found.cfg, 1.0))


def _lora_scale(root: Section, family: str) -> float:
    """--lora-alpha / --lora-rank; `LoRALinear::load_tensors` (lora.rs) leaves the alpha in the file alone."""
    rank, alpha = _LORA[family]
    if root.has("lora_rank"):
        rank = _whole(root, "lora_rank", 1, 2**31)
    if root.has("lora_alpha"):
        alpha = _decimal(root, "lora_alpha")
    scale = 1.0 if alpha is None else alpha / rank
    if scale < 0:
        raise root.error("lora_alpha", "a LoRA of negative alpha is not sampled here", "Give a number from 0.")
    root.reading.note(
        f"A LoRA is multiplied by --lora-alpha / --lora-rank = {scale:g}: the program ignores the alpha in the file."
    )
    return scale


def _output(root: Section, family: str) -> tuple[str, str | None]:
    """The name of --output, which a single prompt is written to, without folder and suffix, and its file type."""
    said = PurePosixPath((root.text("output") or "").replace("\\", "/"))
    return said.stem or _OUTPUTS.get(family, "output"), _FORMATS.get(said.suffix.lower())


def _check_sampler(root: Section, settings: Settings) -> None:
    """Refuse a word at which the program stops."""
    flag, known, remedy = _WORDS.get(settings.family, ("", {}, ""))
    if settings.sampler is not None and settings.sampler not in known:
        raise root.error(flag, f"there is no {flag} {settings.sampler!r}", f"Write {remedy}; the program stops.")


def _check_sdxl(root: Section, settings: Settings) -> None:
    """Refuse what stops sample_sdxl, and a rescale beyond what it means."""
    if settings.rescale > 1:
        raise root.error("cfg_rescale", f"{settings.rescale:g} is no share of the guidance", "Write 0 to 1.")
    if settings.steps > 1000:
        raise root.error("steps", f"{settings.steps} steps are more than timesteps", "Write 1000 at most.")


def _values(root: Section, flags: Mapping[str, tuple[str, ...]]) -> dict[str, Any]:
    """The settings that flags give."""
    limits = {
        **dict.fromkeys(("size", "width", "height"), (1, MAX_PIXELS)),
        "steps": (1, MAX_STEPS),
        "seed": (0, MAX_SEED),
        "every": (0, 2**31),
    }
    values: dict[str, Any] = {}
    for setting, names in flags.items():
        key = next((name for name in names if root.has(name)), None)
        if key is None:
            continue
        if setting in ("negative", "sampler"):
            values[setting] = root.text(key) or ""
        elif setting in limits:
            values[setting] = _whole(root, key, *limits[setting])
        else:
            values[setting] = _decimal(root, key)
    return values


def _variant(root: Section, settings: Settings) -> str | None:
    named = (root.text("variant") or "").lower()
    if settings.family != "flux":
        return None
    if named not in ("", "dev", "schnell"):
        raise root.error("variant", f"there is no variant {named!r}", "Write dev or schnell.")
    return named or "dev"


def _whole(root: Section, key: str, low: int, high: int) -> int:
    word = root.text(key) or ""
    if re.fullmatch(r"\+?[0-9]{1,40}", word) and low <= int(word) <= high:
        return int(word)
    raise root.error(key, f"{word!r} is no whole number from {low} to {high}", "Correct it; the program stops.")


def _decimal(root: Section, key: str) -> float:
    word = root.text(key) or ""
    if re.fullmatch(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?", word) and abs(float(word)) < 1e6:
        return float(word)
    raise root.error(key, f"{word!r} is no number", "Correct it; the program stops.")
