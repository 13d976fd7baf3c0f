"""OneTrainer's own form in its backups: `transformer.`/`unet.` and diffusers' names, but down/up and alpha tensors.

Source: github Nerogar/OneTrainer, modules/modelSaver/mixin/LoRASaverMixin.py `_save_internal`.
"""

from __future__ import annotations

from ..metadata import LoraFile
from .base import Dialect

_ENDINGS = (".lora_down.weight", ".lora_up.weight")
_COMPONENTS = (
    *("transformer.", "unet.", "text_encoder.", "text_encoder_2.", "text_encoder_3."),
    *("lora_transformer.", "lora_unet."),  # the names of its modules, as some of its relatives save them
)


class OneTrainerInternal(Dialect):
    """The canonical names of OneTrainer's modules."""

    name = "onetrainer-internal"

    def recognises(self, file: LoraFile) -> bool:
        return any(name.startswith(_COMPONENTS) and name.endswith(_ENDINGS) for name in file.telling_keys)
