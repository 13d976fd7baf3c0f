"""kohya's sd-scripts: `lora_unet_` and `lora_te1_`… prefixes, underscores for dots, down/up and an alpha tensor.

Flux and SD 3.5 keep the native fused projections. Underscores are ambiguous in reverse, so a name is matched against
the family's list of modules and never split at them. EriDiffusion V2's `_comfyui` companions are written this way too.
Source: github kohya-ss/sd-scripts, networks/lora.py, lora_flux.py, lora_sd3.py.
"""

from __future__ import annotations

from typing import ClassVar

from ..metadata import LoraFile
from ..names import TABLES, Target
from ..names.text_encoders import trainer_name
from .base import Alpha

_MODEL = "lora_unet_"
_PREFIXES = (_MODEL, "lora_te1_", "lora_te2_", "lora_te3_", "lora_te_")
_SEPARATOR = "_"


class Kohya:
    """The dialect of sd-scripts, which many other trainers can also write."""

    name: ClassVar[str] = "kohya"

    def recognises(self, file: LoraFile) -> bool:
        return any(module.startswith(_PREFIXES) for module in file.modules)

    def ignored(self, name: str) -> str | None:
        return "embedding" if name.startswith("bundle_emb.") else None

    def target(self, module: str, family: str | None) -> Target | None:
        if not module.startswith(_MODEL):
            return trainer_name(module)
        if family is None:
            return None
        name, table = module.removeprefix(_MODEL), TABLES[family]
        found = table.native(name, _SEPARATOR)
        # SDXL is written with diffusers' block names by some trainers; in Flux and SD 3.5 this prefix is native only.
        return table.diffusers(name, _SEPARATOR) if found is None and family == "sdxl" else found

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return None  # always a tensor; a file without one means alpha = rank
