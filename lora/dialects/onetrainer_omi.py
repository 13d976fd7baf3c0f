"""OneTrainer's OMI names: native, split projections by number, `clip_l.`, `clip_g.`, `t5.`; alphas are tensors.

Every backup until July 2026 and its 'OMI' output format: `transformer.double_blocks.0.img_attn.qkv.0`,
`unet.input_blocks.4.1.…`. Halves that diffusers exchanges are in the native order.
Source: Nerogar/OneTrainer@de1437cb~1, modules/util/convert/lora/.
"""

from __future__ import annotations

import re

from ..metadata import LoraFile
from .base import Dialect

_ENDINGS = (".lora_down.weight", ".lora_up.weight")
_NAMES = re.compile(
    r"(?:transformer|unet)\.(?:(?:double|single|joint|input|output)_blocks\.\d|middle_block\.\d|img_in\.proj|txt_in"
    r"|final_layer|time_embed\.|label_emb)|(?:clip_[lg]|t5)\."
)


class OneTrainerOmi(Dialect):
    """OneTrainer's OMI names."""

    name = "onetrainer-omi"

    def recognises(self, file: LoraFile) -> bool:
        return any(_NAMES.match(name) and name.endswith(_ENDINGS) for name in file.telling_keys)
