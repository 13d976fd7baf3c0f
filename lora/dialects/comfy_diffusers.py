"""`diffusion_model.` in front of diffusers' names: SimpleTuner's `lora_format: comfyui` for Flux and SD 3.5.

The prefix is ComfyUI's, but the names are not, so ComfyUI alone matches nothing. Alphas are tensors.
Source: github bghira/SimpleTuner, `lora_format` conversion at saving.
"""

from __future__ import annotations

import re

from .base import Dialect

PREFIX = "diffusion_model."
_DIFFUSERS = re.compile(
    r"diffusion_model\.(?:(?:single_)?transformer_blocks|(?:down|up)_blocks|mid_block|time_text_embed|norm_out"
    r"|proj_out|x_embedder$|pos_embed)"
)


class ComfyDiffusers(Dialect):
    """`diffusion_model.` and diffusers' module names."""

    name = "comfy-diffusers"
    modules = _DIFFUSERS
