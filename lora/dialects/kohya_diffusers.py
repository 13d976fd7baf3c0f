"""kohya's spelling of diffusers' names: ai-toolkit's and SimpleTuner's SDXL files, OneTrainer's LEGACY format.

SDXL has the prefix `lora_unet_`, Flux and SD 3.5 `lora_transformer_` with split projections (`lora_unet_` in some
converted files); alphas are tensors.
Source: github Nerogar/OneTrainer, modules/util/convert_lora_util.py `convert_to_mixture`; github ostris/ai-toolkit,
toolkit/lora_special.py; github comfyanonymous/ComfyUI, comfy/lora.py.
"""

from __future__ import annotations

import re

from .base import Dialect

_DIFFUSERS = re.compile(
    r"lora_transformer_|lora_unet_(?:(?:down|up|transformer|single_transformer)_blocks|mid_block|time_embedding"
    r"|add_embedding)_"
)


class KohyaDiffusers(Dialect):
    """`lora_transformer_` or `lora_unet_` and diffusers' module names, dots as underscores."""

    name = "kohya-diffusers"
    modules = _DIFFUSERS
