"""ComfyUI's names for the weights of a model. They are looked up once per model and kept while the model lives."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import comfy.lora
from torch import Tensor

from ...lora.suffixes import DIFF_BIAS
from .layers import layer_of

#: A weight's name, or (name, slice, function) for a part of a fused one, as ComfyUI's key maps have it.
Target = Any


class Names(NamedTuple):
    """ComfyUI's own key map, from a name in a LoRA file to a weight, and the shape of every weight."""

    key_map: dict[str, Target]
    shapes: dict[str, tuple[int, ...]]


class Patches(NamedTuple):
    """What ComfyUI's loader made of LoRA keys: patches by weight, and the LoRA keys that they use."""

    patches: dict[Target, Any]
    loaded: set[str]


# Strings and numbers only: nothing here keeps a model, a patcher or a tensor alive.
_KNOWN: WeakKeyDictionary[Any, Names] = WeakKeyDictionary()


def model_names(model: Any) -> Names:
    """Names of a MODEL's diffusion model."""
    return _names(model.model, comfy.lora.model_lora_keys_unet)


def clip_names(clip: Any) -> Names:
    """Names of a CLIP's text encoders."""
    return _names(clip.cond_stage_model, comfy.lora.model_lora_keys_clip)


def host_patches(keys: dict[str, Tensor], names: Names) -> Patches:
    """Let ComfyUI's own loader read LoRA keys (`lora.to_host_keys`) for the weights of one model.

    The loader looks for every name of the map that it gets, so it gets only those that the keys mention. Weights that
    the model does not have are left out. Nothing is logged, because the report says what did not match.
    """
    if not names.key_map:
        return Patches({}, set())
    owners = {key: name for key in keys if (name := _owner(key, names.key_map)) is not None}
    patches = comfy.lora.load_lora(keys, {name: names.key_map[name] for name in owners.values()}, log_missing=False)
    patches = {target: patch for target, patch in patches.items() if _weight(target) in names.shapes}
    return Patches(patches, {key for key, name in owners.items() if _target(key, names.key_map[name]) in patches})


def _names(module: Any, read: Any) -> Names:
    names = _KNOWN.get(module)
    if names is None:
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        for path, layer in ((path, layer_of(found)) for path, found in module.named_modules()):
            if layer is not None and f"{path}.weight" in shapes:  # a quantised one may be stored in another shape
                shapes[f"{path}.weight"] = (layer.rows, *layer.columns)
        norms = _norms_by_scale(shapes)
        shapes |= {f"{norm}.weight": shapes[scale] for norm, scale in norms.items()}
        names = _KNOWN[module] = Names(norms | read(module, {}), shapes)
    return names


def _norms_by_scale(shapes: dict[str, tuple[int, ...]]) -> dict[str, Target]:
    """Norms whose weight is `.scale` in ComfyUI 0.3.75, by their names: its own map has them under `.scale` only."""
    scales = {name.removesuffix(".scale"): name for name in shapes if name.endswith(".scale")}
    return {norm: name for norm, name in scales.items() if f"{norm}.weight" not in shapes}


def _owner(key: str, key_map: dict[str, Target]) -> str | None:
    name = key
    while "." in name:
        name = name.rpartition(".")[0]
        if name in key_map:
            return name
    return None


def _target(key: str, target: Target) -> Target:
    """Where a key's tensor goes: to the bias beside the weight, or into the weight itself."""
    return f"{_weight(target).removesuffix('.weight')}.bias" if key.endswith(f".{DIFF_BIAS}") else target


def _weight(target: Target) -> str:
    return str(target if isinstance(target, str) else target[0])
