"""Puts a training step's LoRA onto ComfyUI's MODEL and CLIP, with a report of what matched."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from ...errors import NodeInputError
from ...families import FAMILIES, Family
from ...lora import Checkpoint, Lora, to_host_keys
from ...lora.delta import depends_on_base
from ...lora.fingerprint import fingerprint
from ...lora.fit import check_fit, fitting
from ...lora.reader import with_scale
from ...lora.report import LoadReport, load_report, summary
from ..family import class_of, family_of
from ..patchers import own_weights
from .active_range import RangedLora
from .names import Names, clip_names, model_names
from .placing import APPLY, BESIDE, Placed, beside_where_possible, merged_whole
from .runs import Choice, find
from .wait import read_when_written

_NO_CLIP = Names({}, frozenset(), {}, {})


@dataclass(frozen=True)
class Use:
    """How a LoRA is applied: strengths per part, the part of the denoising (0..1), seconds to wait for its file, beside
    or into the weights (see `placing.APPLY`), and its scale in place of the file's alpha / rank (-1 = the file's)."""

    strength_model: float = 1.0
    strength_clip: float = 1.0
    start: float = 0.0
    end: float = 1.0
    wait: float = 30.0
    apply: str = BESIDE
    scale: float = -1.0

    @property
    def ranged(self) -> bool:
        return (self.start, self.end) != (0.0, 1.0)


class Applied(NamedTuple):
    """EriLoraAtStep's outputs: MODEL, CLIP, the loaded step (-1 is unknown), the report as text and as JSON."""

    model: Any
    clip: Any
    step: int
    report: str
    details: str


def apply_step(model: Any, clip: Any, choice: Choice, use: Use) -> Applied:
    """Return MODEL and CLIP with the LoRA of the chosen step.

    clip may be None. The given objects keep their weights and patches, and one that the LoRA does not change is
    returned as it is. Step 0 of a run that saved none is the model as it is.

    Raises NodeInputError for an empty range. Raises LoraError, naming file and keys, when no key matches or a shape
    does not fit, and for files that cannot be used.
    """
    if not 0.0 <= use.start < use.end <= 1.0:
        raise NodeInputError(f"start is {use.start:g} and end {use.end:g}. Set 0 ≤ start < end ≤ 1.")
    if use.apply not in APPLY:
        raise NodeInputError(f"apply is {use.apply!r}. Known are: {', '.join(APPLY)}.")
    checkpoint = find(choice)
    if checkpoint is None:
        details = json.dumps({"run": choice.run, "step": 0, "lora": None})
        return Applied(model, clip, 0, f"{choice.run}, step 0: before training, no LoRA.", details)
    lora, content = _read(checkpoint.path, _family(model).id, use.wait)
    lora = lora if use.scale < 0 else with_scale(lora, use.scale)
    of_model, of_clip = model_names(model), _NO_CLIP if clip is None else clip_names(clip)
    misfits = check_fit(lora, {**of_model.shapes, **of_clip.shapes})
    whole, lora = lora, fitting(lora, misfits)
    keys = to_host_keys(lora)
    base = {**_base(lora, model), **({} if clip is None else _base(lora, clip.patcher))}
    if use.apply == BESIDE:
        on_model = beside_where_possible(lora, keys, of_model, base, use.strength_model)
        on_clip = beside_where_possible(lora, keys, of_clip, base, use.strength_clip)
    else:
        on_model = merged_whole(lora, keys, of_model, use.strength_model)
        on_clip = merged_whole(lora, keys, of_clip, use.strength_clip)
    merged = {**on_model.merged, **on_clip.merged}
    loaded = on_model.loaded | on_clip.loaded
    report = load_report(whole, loaded, base=base or None, merged=merged, misfits=misfits)
    text = "\n".join([report.as_text(), *_remarks(lora, clip, use)])
    details = json.dumps(_details(report, checkpoint, choice, use, content))
    step = -1 if checkpoint.step is None else checkpoint.step
    return Applied(_model_with(model, on_model, use), _clip_with(clip, on_clip), step, text, details)


def _family(model: Any) -> Family:
    """The model's family; raises NodeInputError, which names the model's class, for every other model."""
    family = family_of(model)
    if family is None:
        titles = ", ".join(known.title for known in FAMILIES.values())
        raise NodeInputError(
            f"model is a {class_of(model)} in ComfyUI, none of the supported families ({titles}). Connect a model of "
            "one of them, or use ComfyUI's own LoRA loader."
        )
    return family


#: The file that was read last, its fingerprint and family: other strengths of a step follow each other in a sweep.
_last: dict[tuple[Path, str, str | None], Lora] = {}


def _read(path: Path, family: str | None, wait: float) -> tuple[Lora, str]:
    """The LoRA and its file's fingerprint, both of the same content: a trainer may put another file in its place."""
    while True:
        before = fingerprint(path)
        if (path, before, family) in _last:
            return _last[path, before, family], before
        _last.clear()
        lora = read_when_written(path, family, wait)
        if fingerprint(path) == before:
            _last[path, before, family] = lora
            return lora, before


def _model_with(model: Any, placed: Placed, use: Use) -> Any:
    if not placed:
        return model
    if use.ranged:
        return RangedLora(placed, use.start, use.end).on(model)
    clone = model.clone()
    placed.put_on(clone)
    return clone


def _clip_with(clip: Any, placed: Placed) -> Any:
    if not placed:
        return clip
    clone = clip.clone()
    placed.put_on(clone.patcher)
    return clone


def _base(lora: Lora, patcher: Any) -> dict[str, Tensor]:
    """The model's own weights on which the LoRA's change depends (DoRA), whatever patches the model has just now."""
    wanted = {f"{adapter.target.weight}.weight" for adapter in lora.adapters if depends_on_base(adapter)}
    return own_weights(patcher, wanted) if wanted else {}


def _remarks(lora: Lora, clip: Any, use: Use) -> list[str]:
    """What of the LoRA has no effect, or another effect than one might expect, because of how it is used."""
    parts = {adapter.target.part == "model" for adapter in lora.adapters}
    remarks = []
    if False in parts and clip is None:
        remarks.append("note: no CLIP is connected, so the LoRA's text-encoder part has no effect")
    if True in parts and use.strength_model == 0.0:
        remarks.append("note: strength_model is 0, so the diffusion model is not changed")
    if False in parts and clip is not None and use.strength_clip == 0.0:
        remarks.append("note: strength_clip is 0, so the text encoders are not changed")
    if use.scale >= 0:
        remarks.append(f"scale {use.scale:g} in place of the file's own alpha / rank")
    if use.ranged:
        remarks.append(f"active from {use.start:.0%} to {use.end:.0%} of the denoising; the sigmas are split there")
    if use.ranged and False in parts and clip is not None and use.strength_clip != 0.0:
        remarks.append("note: the text-encoder part acts on all of the denoising, because the prompt is encoded once")
    return remarks


def _details(report: LoadReport, checkpoint: Checkpoint, choice: Choice, use: Use, content: str) -> dict[str, Any]:
    return summary(
        report,
        run=choice.run,
        trainer=checkpoint.trainer,
        epoch=checkpoint.epoch,
        fingerprint=content,
        strength_model=use.strength_model,
        strength_clip=use.strength_clip,
        start=use.start,
        end=use.end,
        apply=use.apply,
        **({} if use.scale < 0 else {"scale": use.scale}),
    )
