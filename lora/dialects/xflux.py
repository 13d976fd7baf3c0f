"""x-flux (XLabs): attention processors of Flux's own blocks, fused qkv, no alpha; often for some of the blocks only.

`qkv_lora1`/`proj_lora1` are the image stream of a double block, `…2` the text stream; in a single block `qkv` is the
first three widths of linear1 and `proj` is linear2. ComfyUI reads such a file only when it holds all blocks.
Source: github XLabs-AI/x-flux, src/flux/modules/layers.py.
"""

from __future__ import annotations

import re

from ..metadata import LoraFile
from .base import Dialect

_PROCESSOR = re.compile(r"(?:double|single)_blocks\.\d+\.processor\.(?:qkv|proj)")


class XFlux(Dialect):
    """The dialect of XLabs' x-flux."""

    name = "x-flux"

    def recognises(self, file: LoraFile) -> bool:
        return any(_PROCESSOR.search(module) for module in file.telling)
