"""diffusers before PEFT: `unet.….attn1.processor.to_q_lora.down.weight`, later `unet.….attn1.to_q.lora.down.weight`.

The out projection is `to_out_lora` in the oldest form, without `.0`. Text encoders end in `.lora_linear_layer.down`.
ComfyUI reads the oldest form of SDXL and none of the attention of the later one.
Source: github huggingface/diffusers, loaders/ before version 0.22.
"""

from __future__ import annotations

from ..metadata import LoraFile
from .base import Dialect

_ENDINGS = (".down.weight", ".up.weight")


class DiffusersOld(Dialect):
    """diffusers' module names with the endings of its time before PEFT."""

    name = "diffusers-old"

    def recognises(self, file: LoraFile) -> bool:
        return any(name.endswith(_ENDINGS) for name in file.telling_keys)
