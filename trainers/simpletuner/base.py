"""What SimpleTuner does to its base model, and whose weights it samples with.

Sources: bghira/SimpleTuner@bc8e6ab `helpers/models/flux/model.py::check_user_config`, `helpers/training/validation.py`
(`setup_scheduler`, `_validation_types`), `helpers/training/save_hooks.py`, `helpers/training/quantisation/`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from ...spec.model import SampleItem
from ..reading import masked, quantised
from .options import Options

_UNQUANTISED: Final = ("no_change", "none", "fp32", "bf16", "fp16")
#: Flavours whose validation has at least so many steps, and real guidance.
_FORCED: Final = ("fluxbooru", "libreflux")
_FEWEST_STEPS: Final = 28
_REAL_GUIDANCE: Final = 6.0
_RANK: Final = 16


def real_guidance(options: Options, flavour: str | None) -> float:
    """The scale of true classifier-free guidance on Flux; two flavours do not go without."""
    real = options.number("validation_guidance_real", 1.0)
    return _REAL_GUIDANCE if flavour in _FORCED and real <= 1.0 else real


def steps_of(options: Options, flavour: str | None, steps: int) -> int:
    """The steps of a validation, which two of Flux's flavours raise."""
    if flavour not in _FORCED:
        return steps
    made, real = max(steps, _FEWEST_STEPS), real_guidance(options, flavour)
    options.reading.note(f"{flavour}: the trainer takes {_FEWEST_STEPS} steps or more and real guidance, {real:g}.")
    return made


def note_base(options: Options, family: str, flavour: str | None) -> None:
    """Count what differs because the base model, its text or the LoRA is another one than the graph loads."""
    _note_quantised(options)
    _note_masks(options, family, flavour)
    _validation_adapters(options)
    for name in ("controlnet", "control"):
        if options.flag(name):
            text = f"{name}: the trainer's pictures follow control images, the ones made here do not."
            options.reading.differs("model", text)


def _note_quantised(options: Options) -> None:
    names = {"base_model_precision": "base model"}
    names |= {f"text_encoder_{number}_precision": f"text encoder {number}" for number in (1, 2, 3)}
    for name, what in names.items():
        kind = options.text(name)
        if kind is not None and kind.lower() not in _UNQUANTISED:
            quantised(options.reading, options.key(name), what, kind)


def _validation_adapters(options: Options) -> None:
    """Count LoRAs that only the validation loads.

    Source: SimpleTuner `helpers/training/validation_adapters.py::build_validation_adapter_runs`.
    """
    unused = (options.text("validation_adapter_mode") or "").lower() == "none"
    for name in ("validation_adapter_config",) if unused else ("validation_adapter_path", "validation_adapter_config"):
        if options.node(name) is not None:
            text = f"{options.key(name)}: the trainer's pictures have a LoRA of the validation's own in the model."
            options.reading.differs("model", text)


def _note_masks(options: Options, family: str, flavour: str | None) -> None:
    """LibreFlux masks, FluxBooru does not, whatever the config says; others as it says, Chroma always."""
    if family not in ("flux", "sd35"):
        return
    asked = options.flag("flux_attention_masked_training")
    if flavour == "libreflux":
        masked(options.reading, "model_flavour libreflux")
    elif asked and flavour != "fluxbooru":
        masked(options.reading, options.key("flux_attention_masked_training"))


def lora_scale(options: Options) -> dict[str, str | float | bool]:
    """alpha / rank, for files of this trainer held no alpha until mid-2025; later it stands in their header.

    Source: SimpleTuner of 2024-08 train.py:658 and helpers/training/save_hooks.py:217-242.
    """
    if not options.has("lora_alpha") or (options.text("lora_type") or "standard") != "standard":
        return {}
    alpha, rank = options.number("lora_alpha", 0.0), options.integer("lora_rank", 1, 2**16) or _RANK
    if alpha in (0.0, rank):
        return {}
    options.reading.note(f"lora_alpha {alpha:g}, lora_rank {rank}: the LoRA acts with {alpha / rank:g}, as here.")
    return {"lora_scale": alpha / rank}


def with_average(options: Options, items: list[SampleItem]) -> list[SampleItem]:
    """The images, made with the plain weights, with averaged ones (EMA), or with both, the latter after the others.

    Averaged weights lie in a folder `ema` in each checkpoint's.
    """
    kind = options.text("ema_validation") or "comparison"
    if not options.flag("use_ema"):
        return items
    if kind == "none":
        options.reading.note("use_ema: the trainer samples the weights that are not averaged, as here.")
        return items
    if kind == "ema_only":
        options.reading.note("use_ema: the trainer samples averaged weights (EMA) only, as here.")
        return [replace(item, ema=True) for item in items]
    options.reading.note(
        "use_ema: the trainer shows each picture beside that of the averaged weights (EMA), in one file; here those "
        "are further pictures, after the others."
    )
    average = [
        replace(item, index=item.index + len(items), ema=True, label=f"{item.label}_ema" if item.label else None)
        for item in items
    ]
    return items + average
