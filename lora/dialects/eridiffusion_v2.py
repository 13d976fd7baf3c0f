"""EriDiffusion V2: native block names without a prefix, lora_A/lora_B, alpha as a tensor or in the file's header.

In `--save-mode full` (the default) the optimizer's moments lie in the same file under `__opt__/` and alpha stands only
in the header's JSON; in `--save-mode weights` there is an `.alpha` scalar per module. Flux keeps the native block names
but splits the fused projections. The text encoder may be trained too; its names are the host's own.
Source: github CodeAlexx/EriDiffusionV2, crates/eridiffusion-core (lora.rs, models/*.rs, training/checkpoint.rs).
"""

from __future__ import annotations

import re
from typing import ClassVar

from ..errors import LoraError
from ..metadata import ERIDIFFUSION_KEY, LoraFile
from ..names import TABLES, Target
from ..names.text_encoders import host_name
from .base import Alpha

OPTIMIZER_PREFIX = "__opt__/"
_NATIVE = re.compile(r"(?:(?:double|single|joint|input|output)_blocks\.\d|middle_block\.\d|text_encoders\.)")
# Flux, split projection of a native block -> the same projection in diffusers' words
_FLUX_SPLIT = (
    (re.compile(r"double_blocks\.(\d+)\.img_attn\.to_([qkv])$"), "transformer_blocks.{}.attn.to_{}"),
    (re.compile(r"double_blocks\.(\d+)\.txt_attn\.to_([qkv])$"), "transformer_blocks.{}.attn.add_{}_proj"),
    (re.compile(r"single_blocks\.(\d+)\.attn\.to_([qkv])$"), "single_transformer_blocks.{}.attn.to_{}"),
    (re.compile(r"single_blocks\.(\d+)\.(proj_mlp|proj_out)$"), "single_transformer_blocks.{}.{}"),
)


class EriDiffusionV2:
    """The dialect of EriDiffusion V2's binaries (`train_flux`, `train_sd35`, `train_sdxl`)."""

    name: ClassVar[str] = "eridiffusion-v2"

    def recognises(self, file: LoraFile) -> bool:
        if ERIDIFFUSION_KEY in file.metadata or any(n.startswith(OPTIMIZER_PREFIX) for n in file.header.shapes):
            return True
        return any(_NATIVE.match(module) for module in file.modules)

    def ignored(self, name: str) -> str | None:
        return "optimizer state" if name.startswith(OPTIMIZER_PREFIX) else None

    def target(self, module: str, family: str | None) -> Target | None:
        text_encoder = host_name(module)
        if text_encoder is not None or family is None:
            return text_encoder
        if family == "flux":
            for pattern, diffusers in _FLUX_SPLIT:
                match = pattern.match(module)
                if match is not None:
                    return TABLES["flux"].diffusers(diffusers.format(*match.groups()))
        return TABLES[family].native(module)

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        value = file.eridiffusion.get("alpha")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LoraError(
                f"alpha in its header is {value!r}, not a number", path=file.path, remedy="Give alpha explicitly"
            )
        return Alpha(float(value), float(value), "header")
