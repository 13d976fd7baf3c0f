"""EriDiffusion V2: native block names without a prefix, lora_A/lora_B, alpha as a tensor or in the file's header.

In `--save-mode full` (the default) the optimizer's moments lie in the same file under `__opt__/` and alpha stands only
in the header's JSON; in `--save-mode weights` there is an `.alpha` scalar per module. Flux keeps the native block names
but splits the fused projections, Chroma has diffusers' names. The text encoder may be trained too; its names are
ComfyUI's own. `--algo` saves LyCORIS tensors under the same module names.
Source: github CodeAlexx/EriDiffusionV2, crates/eridiffusion-core (lora.rs, models/*.rs, training/checkpoint.rs).
"""

from __future__ import annotations

import re

from ..file_names import read_name
from ..metadata import ERIDIFFUSION_KEY, LoraFile
from .base import OPTIMIZER_PREFIX, Alpha, Dialect, stated_alpha
from .native import NATIVE

# split projection of one of Flux's native blocks -> the same projection in diffusers' words
_SPLIT = (
    (re.compile(r"double_blocks\.(\d+)\.img_attn\.to_([qkv])$"), "transformer_blocks.{}.attn.to_{}"),
    (re.compile(r"double_blocks\.(\d+)\.txt_attn\.to_([qkv])$"), "transformer_blocks.{}.attn.add_{}_proj"),
    (re.compile(r"single_blocks\.(\d+)\.attn\.to_([qkv])$"), "single_transformer_blocks.{}.attn.to_{}"),
    (re.compile(r"single_blocks\.(\d+)\.(proj_mlp|proj_out)$"), "single_transformer_blocks.{}.{}"),
)
_HYBRID = re.compile(r"(?:double_blocks\.\d+\.(?:img|txt)_attn\.to_|single_blocks\.\d+\.(?:attn\.to_|proj_))")


class EriDiffusionV2(Dialect):
    """The dialect of EriDiffusion V2's binaries (`train_flux`, `train_sd35`, `train_sdxl`, `train_chroma`)."""

    name = "eridiffusion-v2"

    def recognises(self, file: LoraFile) -> bool:
        if ERIDIFFUSION_KEY in file.metadata or any(n.startswith(OPTIMIZER_PREFIX) for n in file.header.shapes):
            return True
        if any(_HYBRID.match(module) for module in file.modules):
            return True
        reading = read_name(file.path.name)  # SDXL and SD 3.5 without header look like any other native file
        by_name = reading is not None and reading.trainer == self.name
        return by_name and any(NATIVE.match(module) for module in file.modules)

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return stated_alpha(file, file.eridiffusion.get("alpha"), "header")
