"""EriDiffusion V1, Flux from `src/trainers`: native blocks with split projections, `.lora_a` and `.lora_b` alone.

Rank and alpha are texts in the header of `checkpoint-N/flux_lora.safetensors` and `flux_lora_final.safetensors`.
The writer takes its names from a list, one by one for the tensors as its model gives them, 16 in a double and 8 in a
single block. The one version of that model that is published has other layers in these places, as many of them: there
`img_attn.to_q` is the fused qkv. Its file is told by the rows of that.
Source: CodeAlexx/EriDiffusion@33ee36e src/trainers/flux_lora.rs (save_checkpoint, generate_parameter_names), @0acda9e
src/models/flux_custom/lora.rs (lora_a [rank, in], lora_b [out, rank], scale alpha / rank), @2dd8b39
eridiffusion/src/models/flux_custom/blocks.rs (get_trainable_params).
"""

from __future__ import annotations

import re
from typing import ClassVar

from ..metadata import LoraFile
from ..names import NameTable, Target
from ..suffixes import DOWN, UP
from .base import Alpha, Dialect, stated_alpha

_OWN = re.compile(r"double_blocks\.\d+\.(?:img|txt)_attn\.to_(?:[qkv]|out\.0)$|single_blocks\.\d+\.attn\.to_[qkv]$")
_FUSED = re.compile(r"(?:double_blocks\.\d+\.(?:img|txt)_attn|single_blocks\.\d+\.attn)\.to_q$")
_LISTED = re.compile(r"(double_blocks|single_blocks)\.(\d+)\.(\S+)$")
#: Names of the list -> the layers whose tensors stand there.
_LAYERS = {
    "img_attn.to_q": "img_attn.qkv",
    "img_attn.to_k": "img_attn.proj",
    "img_attn.to_v": "txt_attn.qkv",
    "img_attn.to_out.0": "txt_attn.proj",
    "txt_attn.to_q": "img_mlp.0",
    "txt_attn.to_k": "img_mlp.2",
    "txt_attn.to_v": "txt_mlp.0",
    "txt_attn.to_out.0": "txt_mlp.2",
    "attn.to_q": "linear1_qkv",
    "attn.to_v": "proj_mlp",
}
_NO_PLACE = (
    "EriDiffusion V1 trained Flux' single blocks in a model of its own, which adds the attention's output, through a "
    "layer that Flux has not, before the MLP: that layer is left out, and the rest acts otherwise than in training"
)


class EriDiffusionV1FluxSplit(Dialect):
    """The dialect of EriDiffusion V1's first Flux trainer, where the names are those of the layers."""

    name = "eridiffusion-v1-flux-split"
    endings: ClassVar[dict[str, str]] = {"lora_a": DOWN, "lora_b": UP}

    def recognises(self, file: LoraFile) -> bool:
        return any(name.endswith(".lora_a") and _OWN.match(part.module) for name, part in file.parts.items())

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return stated_alpha(file, file.metadata.get("alpha"), "header")

    def warnings(self, file: LoraFile) -> tuple[str, ...]:
        single = any(module.startswith("single_blocks.") for module in file.modules)
        return (_NO_PLACE,) if single else ()


class EriDiffusionV1FluxListed(EriDiffusionV1FluxSplit):
    """The same, where the tensors are others than those that the list of names means."""

    name = "eridiffusion-v1-flux-listed"

    def recognises(self, file: LoraFile) -> bool:
        return super().recognises(file) and any(
            part.kind == UP and _FUSED.match(part.module) and file.header.shapes[name][:1] == (3 * width,)
            for name, part in file.parts.items()
            for width in file.header.shapes.get(f"{part.module}.lora_a", ())[1:]
        )

    def target(self, module: str, names: NameTable) -> Target | None:
        match = _LISTED.match(module)
        layer = None if match is None else _LAYERS.get(match[3])
        return None if match is None or layer is None else super().target(f"{match[1]}.{match[2]}.{layer}", names)

    def warnings(self, file: LoraFile) -> tuple[str, ...]:
        listed = (
            "EriDiffusion V1 gave its tensors names by a list that does not fit its model: they are placed by their "
            "order (img_attn.to_q is the fused qkv)"
        )
        return (listed, *super().warnings(file))
