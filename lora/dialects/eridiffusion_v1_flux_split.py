"""EriDiffusion V1, Flux from `src/trainers`: native blocks with split projections, `.lora_a` and `.lora_b` alone.

Rank and alpha are texts in the header of `checkpoint-N/flux_lora.safetensors` and `flux_lora_final.safetensors`.
Its own model gives a single block an attention output layer, which Flux has not: those pairs have no place.
Source: CodeAlexx/EriDiffusion@33ee36e src/trainers/flux_lora.rs (save_checkpoint, generate_parameter_names),
src/models/flux_custom/lora.rs@0acda9e (lora_a [rank, in], lora_b [out, rank], scale alpha / rank).
"""

from __future__ import annotations

import re
from typing import ClassVar

from ..metadata import LoraFile
from ..suffixes import DOWN, UP
from .base import Alpha, Dialect, stated_alpha

_OWN = re.compile(r"double_blocks\.\d+\.(?:img|txt)_attn\.to_(?:[qkv]|out\.0)$|single_blocks\.\d+\.attn\.to_[qkv]$")


class EriDiffusionV1FluxSplit(Dialect):
    """The dialect of EriDiffusion V1's first Flux trainer."""

    name = "eridiffusion-v1-flux-split"
    endings: ClassVar[dict[str, str]] = {"lora_a": DOWN, "lora_b": UP}

    def recognises(self, file: LoraFile) -> bool:
        return any(name.endswith(".lora_a") and _OWN.match(part.module) for name, part in file.parts.items())

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return stated_alpha(file, file.metadata.get("alpha"), "header")
