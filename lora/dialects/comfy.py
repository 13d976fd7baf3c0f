"""ComfyUI's own generic names, `diffusion_model.<native>` and `text_encoders.<host name>`: OneTrainer's COMFY format.

ComfyUI reads these itself, alphas and biases included. What `to_host_keys` gives is of this form too, with parts of
fused layers as ComfyUI's `transformer.<diffusers>`.
Source: github comfyanonymous/ComfyUI, comfy/lora.py `model_lora_keys_unet`; github Nerogar/OneTrainer,
modules/modelSaver/mixin/LoRASaverMixin.py `_save_comfy`.
"""

from __future__ import annotations

from ..metadata import LoraFile
from ..names.text_encoders import HOST_PREFIX
from .base import Dialect
from .comfy_diffusers import PREFIX


class Comfy(Dialect):
    """`diffusion_model.` and the model's own module names; diffusers' behind `transformer.`"""

    name = "comfy"

    def recognises(self, file: LoraFile) -> bool:
        return any(module.startswith(PREFIX) for module in file.telling) or all(
            module.startswith(HOST_PREFIX) for module in file.modules
        )
