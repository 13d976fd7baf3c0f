"""diffusers before PEFT: `unet.….attn1.processor.to_q_lora.down.weight`, later `unet.….attn1.to_q.lora.down.weight`.

The out projection is `to_out_lora` in the oldest form, without `.0`. Text encoders end in `.lora_linear_layer.down`.
ComfyUI reads the oldest form of SDXL and none of the attention of the later one.
Source: github huggingface/diffusers, loaders/ before version 0.22.
"""

from __future__ import annotations

import re

from ..metadata import LoraFile
from ..names import NameTable, Target
from .base import Dialect
from .peft import place

_ENDINGS = (".down.weight", ".up.weight")
_OUT = re.compile(r"\.to_out$")


class DiffusersOld(Dialect):
    """diffusers' module names with the endings of its time before PEFT."""

    name = "diffusers-old"

    def recognises(self, file: LoraFile) -> bool:
        return any(name.endswith(_ENDINGS) for name in file.header.shapes)

    def target(self, module: str, names: NameTable) -> Target | None:
        name = place(module).module.replace(".processor.", ".")
        return names.diffusers(_OUT.sub(".to_out.0", name))
