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
from ..names import NameTable, Target
from ..suffixes import DOWN, UP
from .base import Alpha, Dialect, stated_alpha

_DOUBLE = re.compile(r"double_blocks\.(\d+)\.(img|txt)_attn\.to_(q|k|v|out\.0)$")
_SINGLE = re.compile(r"single_blocks\.(\d+)\.attn\.to_([qkv])$")
_TEXT = {"q": "add_q_proj", "k": "add_k_proj", "v": "add_v_proj", "out.0": "to_add_out"}


class EriDiffusionV1FluxSplit(Dialect):
    """The dialect of EriDiffusion V1's first Flux trainer."""

    name = "eridiffusion-v1-flux-split"
    endings: ClassVar[dict[str, str]] = {"lora_a": DOWN, "lora_b": UP}

    def recognises(self, file: LoraFile) -> bool:
        return any(
            name.endswith(".lora_a") and (_DOUBLE.match(part.module) or _SINGLE.match(part.module))
            for name, part in file.parts.items()
        )

    def target(self, module: str, names: NameTable) -> Target | None:
        double, single = _DOUBLE.match(module), _SINGLE.match(module)
        if double is not None:
            block, stream, layer = double.groups()
            return names.diffusers(
                f"transformer_blocks.{block}.attn.{_TEXT[layer] if stream == 'txt' else f'to_{layer}'}"
            )
        if single is not None:
            return names.diffusers(f"single_transformer_blocks.{single[1]}.attn.to_{single[2]}")
        return None

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return stated_alpha(file, file.metadata.get("alpha"), "header")
