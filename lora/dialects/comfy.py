"""ComfyUI's own generic names, `diffusion_model.<native>` and `text_encoders.<host name>`: OneTrainer's COMFY format.

ComfyUI reads these itself, alphas and biases included. What `to_host_keys` gives is of this form too, with parts of
fused layers as ComfyUI's `transformer.<diffusers>`.
Source: github comfyanonymous/ComfyUI, comfy/lora.py `model_lora_keys_unet`; github Nerogar/OneTrainer,
modules/modelSaver/mixin/LoRASaverMixin.py `_save_comfy`.
"""

from __future__ import annotations

from ..metadata import LoraFile
from ..names import NameTable, Target
from ..names.text_encoders import HOST_PREFIX
from .base import Dialect
from .comfy_diffusers import PREFIX

_LINEAR1_QKV = ".linear1_qkv"
_PARTS = "transformer."


class Comfy(Dialect):
    """`diffusion_model.` and the model's own module names; diffusers' behind `transformer.`"""

    name = "comfy"

    def recognises(self, file: LoraFile) -> bool:
        return any(module.startswith(PREFIX) for module in file.modules) or all(
            module.startswith(HOST_PREFIX) for module in file.modules
        )

    def target(self, module: str, names: NameTable) -> Target | None:
        if module.startswith(_PARTS):
            return names.diffusers(module.removeprefix(_PARTS))
        if not module.startswith(PREFIX):
            return None
        name = module.removeprefix(PREFIX)
        if name.endswith(_LINEAR1_QKV):  # ComfyUI's name for q ‖ k ‖ v of a single block
            block = name.removesuffix(_LINEAR1_QKV).replace("single_blocks", "single_transformer_blocks")
            return names.diffusers(f"{block}.attn.to_qkv")
        return names.native(name)
