"""The dialects, in the order in which they are asked. A new one is one small file here and one line in this table."""

from __future__ import annotations

from .base import Alpha, Dialect
from .eridiffusion_v2 import EriDiffusionV2
from .kohya import Kohya
from .peft import Peft

DIALECTS: tuple[Dialect, ...] = (
    EriDiffusionV2(),
    Kohya(),
    Peft(),
)

__all__ = ["DIALECTS", "Alpha", "Dialect"]
