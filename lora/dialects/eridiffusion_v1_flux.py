"""EriDiffusion V1, Flux from `crates/training`: `lora.block00.attn.q.lora.A`, the image stream of double blocks only.

Alpha is not stored (the trainer's default is alpha = rank = 8; its config may say otherwise). V1's older Flux writer
left the block numbers out; such files are refused (refusals.py).
Source: github CodeAlexx/EriDiffusion, crates/training.
"""

from __future__ import annotations

import re

from ..names import NameTable, Target
from .base import Dialect

_MODULE = re.compile(r"lora\.block(\d+)\.(attn\.[qkvo]|mlp\.fc[12])$")
_DIFFUSERS = {
    "attn.q": "attn.to_q",
    "attn.k": "attn.to_k",
    "attn.v": "attn.to_v",
    "attn.o": "attn.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}


class EriDiffusionV1Flux(Dialect):
    """The dialect of EriDiffusion V1's Flux trainer."""

    name = "eridiffusion-v1-flux"
    modules = _MODULE

    def target(self, module: str, names: NameTable) -> Target | None:
        match = _MODULE.match(module)
        if match is None:
            return None
        return names.diffusers(f"transformer_blocks.{int(match[1])}.{_DIFFUSERS[match[2]]}")
