"""kohya's spelling of diffusers' names: ai-toolkit's and SimpleTuner's SDXL files, OneTrainer's LEGACY format.

SDXL has the prefix `lora_unet_`, Flux and SD 3.5 `lora_transformer_` with split projections; alphas are tensors.
Source: github Nerogar/OneTrainer, modules/util/convert_lora_util.py `convert_to_mixture`; github ostris/ai-toolkit,
toolkit/lora_special.py; github comfyanonymous/ComfyUI, comfy/lora.py.
"""

from __future__ import annotations

import re

from ..names import NameTable, Target
from .base import Dialect

_PREFIX = re.compile(r"lora_(?:transformer|unet)_")
_DIFFUSERS = re.compile(r"lora_transformer_|lora_unet_(?:(?:down|up)_blocks|mid_block|time_embedding|add_embedding)_")
_SEPARATOR = "_"


class KohyaDiffusers(Dialect):
    """`lora_transformer_` or `lora_unet_` and diffusers' module names, dots as underscores."""

    name = "kohya-diffusers"
    modules = _DIFFUSERS

    def target(self, module: str, names: NameTable) -> Target | None:
        match = _PREFIX.match(module)
        return None if match is None else names.diffusers(module[match.end() :], _SEPARATOR)
