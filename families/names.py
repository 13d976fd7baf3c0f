"""What the model families have in common across trainers: variants, size rules, the meaning of one guidance number."""

from __future__ import annotations

from typing import Final

from ..configs.fields import Reading
from ..spec.model import MAX_PIXELS as MAX_PIXELS
from ..spec.model import MAX_SEED as MAX_SEED
from ..spec.model import MAX_STEPS as MAX_STEPS
from ..spec.model import MIN_SEED as MIN_SEED
from . import FAMILIES
from .others import other_by_name

#: Words a config uses for torch's number formats -> torch's name (ai-toolkit `train_tools.get_torch_dtype`).
PRECISIONS: Final = {
    **dict.fromkeys(("float", "fp32", "single", "float32"), "float32"),
    **dict.fromkeys(("fp16", "half", "float16"), "float16"),
    **dict.fromkeys(("bf16", "bfloat16"), "bfloat16"),
}


def variant_of(family: str, name: str) -> str | None:
    """The variant of a family that a model's name tells, None where it tells none."""
    return FAMILIES[family].variant_of(name)


def guidance_fields(family: str, value: float) -> tuple[float, float | None]:
    """`cfg_scale, guidance` for a config's one number."""
    return FAMILIES[family].guidance_fields(value)


def note_schnell(reading: Reading, variant: str | None) -> bool:
    """Say that Flux schnell has no guidance embedding; True when this is schnell."""
    note = FAMILIES["flux"].guidance_note(variant)
    if note:
        reading.note(note)
    return bool(note)


def other_family(name: str) -> str | None:
    """The unsupported family that a model's name gives away, None for the supported and the unknown."""
    return other_by_name(name)
