"""ai-toolkit's Flux and SD 3.5 files: PEFT's names and endings, no alpha because the trainer sets alpha = rank there.

Its header carries `training_info`. SDXL is saved in kohya's spelling (kohya_diffusers.py). Whole modules are `.diff`,
a DoRA's `.magnitude` has no counterpart in ComfyUI and is left out by name.
Source: github ostris/ai-toolkit, toolkit/network_mixins.py, toolkit/lora_special.py, toolkit/models/DoRA.py.
"""

from __future__ import annotations

from ..metadata import LoraFile
from .base import Alpha
from .peft import Peft

_HEADER_KEY = "training_info"


class AiToolkit(Peft):
    """PEFT's dialect as ai-toolkit writes it."""

    name = "ai-toolkit"

    def recognises(self, file: LoraFile) -> bool:
        return _HEADER_KEY in file.metadata and super().recognises(file)

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return super().alpha(file, module, rank) or Alpha(float(rank), float(rank), "the trainer's rule")
