"""Native names without a prefix: OneTrainer's ORIGINAL format, and whatever saves the model's own module names.

EriDiffusion V2's files are a relative with its own header and split projections (eridiffusion_v2.py).
Source: github Nerogar/OneTrainer, modules/modelSaver/mixin/LoRASaverMixin.py `_save_original`.
"""

from __future__ import annotations

import re

from .base import Dialect

NATIVE = re.compile(
    r"(?:(?:double|single|joint|input|output)_blocks\.\d|middle_block\.\d|text_encoders\.|(?:img|txt|time|vector"
    r"|guidance)_in(?:\.|$)|final_layer\.|time_embed\.|label_emb\.|(?:x|t|y)_embedder\.)"
)


class Native(Dialect):
    """Bare native module names, any endings."""

    name = "native"
    modules = NATIVE
