"""DiffSynth-Studio's own module names: `blocks.0.attn.a_to_qkv`, `single_blocks.0.to_qkv_mlp`; no alpha, scale 1.

With `--align_to_opensource_format` it writes kohya's names instead.
Source: github modelscope/DiffSynth-Studio, diffsynth/utils/lora/flux.py.
"""

from __future__ import annotations

import re

from ..metadata import LoraFile
from .base import Dialect

_OWN = re.compile(
    r"(?:^|\.)blocks\.\d+\.(?:attn2?\.[ab]_to_|ff_[ab]\.|norm1_[ab]\.)|single_blocks\.\d+\.(?:to_qkv_mlp|norm\.)"
)


class DiffSynth(Dialect):
    """DiffSynth-Studio's names for Flux and SD 3."""

    name = "diffsynth"

    def recognises(self, file: LoraFile) -> bool:
        return any(_OWN.search(module) for module in file.telling)
