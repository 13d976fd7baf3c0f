"""EriDiffusion V1's generic adapter managers: any model's names, `.lora_a.weight`/`.lora_b.weight` or `.lora_down`.

Alpha is `network_alpha` in `metadata.json` beside the file.
Source: github CodeAlexx/EriDiffusion, its checkpoint managers.
"""

from __future__ import annotations

from ..metadata import LoraFile, read_json
from ..names import NameTable, Target
from .base import Alpha, Dialect, stated_alpha
from .peft import place

_ENDINGS = (".lora_a.weight", ".lora_b.weight", ".lora_down", ".lora_up")
_STATE = "metadata.json"
_PREFIXES = ("model.", "diffusion_model.")


class EriDiffusionV1Generic(Dialect):
    """Native or diffusers' names with the managers' endings."""

    name = "eridiffusion-v1-generic"

    def recognises(self, file: LoraFile) -> bool:
        return any(name.endswith(_ENDINGS) for name in file.header.shapes)

    def target(self, module: str, names: NameTable) -> Target | None:
        name = place(module).module
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        name = name.removesuffix(".weight")
        return names.native(name) or names.diffusers(name)

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return stated_alpha(file, read_json(file.path.with_name(_STATE)).get("network_alpha"), _STATE)
