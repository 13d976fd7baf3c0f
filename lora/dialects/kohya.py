"""kohya's sd-scripts: `lora_unet_` and `lora_te1_`… prefixes, underscores for dots, down/up and an alpha tensor.

Flux and SD 3.5 keep the native fused projections. Underscores are ambiguous in reverse, so a name is matched against
the family's list of modules and never split at them. EriDiffusion V2's `_comfyui` companions and OneTrainer's KOHYA
format are written this way too, and EriDiffusion V1's first SDXL files, whose alpha stands in the header alone.
Source: github kohya-ss/sd-scripts, networks/lora.py, lora_flux.py, lora_sd3.py.
"""

from __future__ import annotations

import re

from ..metadata import LoraFile
from ..suffixes import DOWN
from .base import Alpha, Dialect, stated_alpha

_V1 = "networks.lora"  # what EriDiffusion V1's SDXL header calls itself; converted files without alpha have scale 1


class Kohya(Dialect):
    """The dialect of sd-scripts, which many other trainers can also write."""

    name = "kohya"
    modules = re.compile("lora_unet_|lora_te")

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        """EriDiffusion V1's stands in the header alone; the scale there is alpha / ss_network_dim."""
        stated = file.metadata.get("ss_network_alpha", "None")
        if file.metadata.get("ss_network_module") != _V1 or stated == "None":
            return None
        alpha, trained = stated_alpha(file, stated, "header"), _trained_rank(file)
        return alpha._replace(effective=alpha.value * rank / trained) if alpha is not None and trained else alpha

    def warnings(self, file: LoraFile) -> tuple[str, ...]:
        if _trained_split(file):
            return (
                "trained with split_qkv: the trainer's own samples applied qkv 3× (linear1 4×) as strongly as this or "
                "any other reload does",
            )
        return ()


def _trained_rank(file: LoraFile) -> int:
    """The rank that the header states; 0 without one, as for what is longer than a rank can be."""
    rank = file.metadata.get("ss_network_dim", "")
    return int(rank) if rank.isdecimal() and len(rank) < 10 else 0


def _trained_split(file: LoraFile) -> bool:
    """Whether qkv was trained as separate pairs and saved merged: the header says so, or the ranks are multiples."""
    arguments = file.header.json_value("ss_network_args")
    if isinstance(arguments, dict) and "split_qkv" in arguments:
        return str(arguments["split_qkv"]).lower() == "true"
    trained = _trained_rank(file)
    if not trained:
        return False
    merged = {"_qkv": 3 * trained, "_linear1": 4 * trained}
    return any(
        part.kind == DOWN and part.module.endswith(ending) and file.header.shapes[name][:1] == (rank,)
        for name, part in file.parts.items()
        for ending, rank in merged.items()
    )
