"""x-flux (XLabs): attention processors of Flux's own blocks, fused qkv, no alpha; often for some of the blocks only.

`qkv_lora1`/`proj_lora1` are the image stream of a double block, `…2` the text stream; in a single block `qkv` is the
first three widths of linear1 and `proj` is linear2. ComfyUI reads such a file only when it holds all blocks.
Source: github XLabs-AI/x-flux, src/flux/modules/layers.py.
"""

from __future__ import annotations

import re

from ..metadata import LoraFile
from ..names import NameTable, Target
from .base import Dialect

_DOUBLE = re.compile(r"double_blocks\.(\d+)\.processor\.(qkv|proj)_lora([12])$")
_SINGLE = re.compile(r"single_blocks\.(\d+)\.processor\.(qkv|proj)$")  # `_lora` belongs to the ending there
_STREAM = {"1": "img", "2": "txt"}


class XFlux(Dialect):
    """The dialect of XLabs' x-flux."""

    name = "x-flux"

    def recognises(self, file: LoraFile) -> bool:
        return any(_DOUBLE.match(module) or _SINGLE.match(module) for module in file.modules)

    def target(self, module: str, names: NameTable) -> Target | None:
        double, single = _DOUBLE.match(module), _SINGLE.match(module)
        if double is not None:
            block, layer, stream = double.groups()
            return names.native(f"double_blocks.{block}.{_STREAM[stream]}_attn.{layer}")
        if single is not None:
            block, layer = single.groups()
            diffusers = {"qkv": "attn.to_qkv", "proj": "proj_out"}[layer]
            return names.diffusers(f"single_transformer_blocks.{block}.{diffusers}")
        return None
