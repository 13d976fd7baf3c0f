"""EriDiffusion V1's generic adapter managers: any model's names, `.lora_a.weight`/`.lora_b.weight` or `.lora_down`.

Alpha is `network_alpha` in `metadata.json` beside the file.
Source: github CodeAlexx/EriDiffusion, its checkpoint managers.
"""

from __future__ import annotations

from ..metadata import LoraFile, read_json
from .base import Alpha, Dialect, stated_alpha

_ENDINGS = (".lora_a.weight", ".lora_b.weight", ".lora_down", ".lora_up")
_STATE = "metadata.json"


class EriDiffusionV1Generic(Dialect):
    """Native or diffusers' names with the managers' endings."""

    name = "eridiffusion-v1-generic"

    def recognises(self, file: LoraFile) -> bool:
        return any(name.endswith(_ENDINGS) for name in file.telling_keys)

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        return stated_alpha(file, read_json(file.path.with_name(_STATE), file.path).get("network_alpha"), _STATE)
