"""PEFT and diffusers: diffusers' module names behind a component prefix, lora_A/lora_B, alpha in a configuration.

LoHa and LoKr have LyCORIS' endings there and no alpha tensors.

Alpha, rank patterns and rsLoRA stand in `adapter_config.json` beside the file (PEFT's `save_pretrained`) or in the
header's `lora_adapter_metadata` (diffusers' `save_lora_weights`, keys prefixed by component). ComfyUI reads neither.
Source: github huggingface/peft, tuners/lora/layer.py (scaling) and utils/other.py `get_pattern_key`; github
huggingface/diffusers, loaders/lora_base.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from ...errors import LoraError
from ..metadata import LoraFile
from .base import Alpha, Dialect

_WRAPPER = "base_model.model."
# kinds of adapter -> where alpha stands; the scale is alpha / r for all
_ALPHAS = {"LORA": "lora_alpha", "LOHA": "alpha", "LOKR": "alpha"}
_COMPONENTS = ("transformer", "unet", "text_encoder_3", "text_encoder_2", "text_encoder")
_BARE = re.compile(
    r"(?:(?:single_)?transformer_blocks|(?:down|up)_blocks|mid_block|time_text_embed|time_embedding|add_embedding"
    r"|norm_out|proj_out|x_embedder$|pos_embed|conv_in|conv_out)(?:\.|$)"
)


class Place(NamedTuple):
    """A module name taken apart: component ("" when the file names none) and the name inside it."""

    component: str
    module: str


def place(module: str) -> Place:
    """Take the prefixes off: `base_model.model.`, a component, or one inside the other, in either order."""
    module = module.removeprefix(_WRAPPER)
    for component in _COMPONENTS:
        if module.startswith(component + "."):
            return Place(component, module.removeprefix(component + ".").removeprefix(_WRAPPER))
    return Place("", module)


class Peft(Dialect):
    """The dialect of PEFT's and diffusers' own savers."""

    name = "peft"

    def recognises(self, file: LoraFile) -> bool:
        return any(
            module.startswith(_WRAPPER) or (at := place(module)).component or _BARE.match(at.module)
            for module in file.telling
        )

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        component, name = place(module)
        config, source = _component_config(file.adapter_metadata, component), "header"
        if not config and file.adapter_config:
            config, source = file.adapter_config, "adapter_config.json"
        field = _ALPHAS[_peft_type(file, config)]
        if config.get(field) is None:
            return None
        alpha = _number(file, by_pattern(config.get("alpha_pattern"), name, config[field]))
        return Alpha(alpha, alpha * math.sqrt(rank) if config.get("use_rslora") else alpha, source)


def _component_config(metadata: Mapping[str, Any], component: str) -> dict[str, Any]:
    """The part of `lora_adapter_metadata` for one component; for a file without prefixes, the only one there is."""
    components = {key.split(".", 1)[0] for key in metadata if "." in key}
    chosen = component or (components.pop() if len(components) == 1 else "")
    prefix = f"{chosen}."
    return {key.removeprefix(prefix): value for key, value in metadata.items() if chosen and key.startswith(prefix)}


def by_pattern(patterns: Any, module: str, default: Any) -> Any:
    """PEFT's rule: the first pattern that matches the module's full name, or its end after a dot, wins."""
    if isinstance(patterns, dict):
        for pattern, value in patterns.items():
            try:
                if re.match(rf"(.*\.)?({pattern})$", module):
                    return value
            except re.error as error:
                raise LoraError(f"alpha_pattern has '{pattern}', no regular expression: {error}") from error
    return default


def _number(file: LoraFile, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise LoraError(f"lora_alpha is {value!r}, not a number", path=file.path, remedy="Give alpha explicitly")
    return float(value)


def _peft_type(file: LoraFile, config: Mapping[str, Any]) -> str:
    """The kind of adapter; LoraError for one whose change is not known here."""
    kind = str(config.get("peft_type", "LORA"))
    if kind not in _ALPHAS:
        raise LoraError(
            f"its adapter configuration says peft_type {kind}; known are {', '.join(_ALPHAS)}",
            path=file.path,
            remedy="Train or export a LoRA adapter",
        )
    return kind
