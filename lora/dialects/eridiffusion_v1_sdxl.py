"""EriDiffusion V1, SDXL: the base tensor's whole name, its `.weight` included, before `.lora_down.weight`.

`model.diffusion_model.` may stand in front. Rank and alpha are texts in the header.
Source: github CodeAlexx/EriDiffusion, src/trainers (sdxl).
"""

from __future__ import annotations

from ..metadata import LoraFile
from .base import Alpha, Dialect, stated_alpha

_PREFIX = "model.diffusion_model."
_WEIGHT = ".weight"
_BLOCKS = ("input_blocks.", "middle_block.", "output_blocks.")


class EriDiffusionV1Sdxl(Dialect):
    """The dialect of EriDiffusion V1's SDXL trainer."""

    name = "eridiffusion-v1-sdxl"

    def recognises(self, file: LoraFile) -> bool:
        return any(
            module.endswith(_WEIGHT) and module.removeprefix(_PREFIX).startswith(_BLOCKS) for module in file.modules
        )

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return stated_alpha(file, file.metadata.get("alpha"), "header")
