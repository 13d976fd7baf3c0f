"""ComfyUI's names for the weights of a model. They are looked up once per model and kept while the model lives."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import comfy.lora
from torch import Tensor

from ...lora.beside import Layer
from ...lora.suffixes import DIFF_BIAS
from .layers import layer_of

#: A weight's name, or (name, slice, function) for a part of a fused one, as ComfyUI's key maps have it.
Target = Any


class Names(NamedTuple):
    """What ComfyUI calls the weights of a model.

    Args:
        key_map: ComfyUI's own, from a name in a LoRA file to a weight.
        known: the names of that map whose weight the model has, and with `.diff_b` those whose bias it has.
        shapes: the shape of every weight.
        layers: the layers that have a form beside their weight, by path.
    """

    key_map: dict[str, Target]
    known: frozenset[str]
    shapes: dict[str, tuple[int, ...]]
    layers: dict[str, Layer]


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


def host_patches(keys: dict[str, Tensor], names: Names, ours: Collection[str]) -> Patches:
    """Let ComfyUI's own loader read LoRA keys (`lora.to_host_keys`) for the weights of one model.

    ours: the names of ComfyUI's key map whose keys it gets. It looks for every name of the map that is given to it, so
    it gets only those that the keys mention. Weights that the model does not have are left out. Nothing is logged,
    because the report says what did not match.
    """
    if not ours:
        return Patches({}, set())
    owners = {key: name for key in keys if (name := _owner(key, names.key_map)) is not None and name in ours}
    patches = comfy.lora.load_lora(keys, {name: names.key_map[name] for name in owners.values()}, log_missing=False)
    patches = {target: patch for target, patch in patches.items() if _weight(target) in names.shapes}
    return Patches(patches, {key for key, name in owners.items() if _target(key, names.key_map[name]) in patches})


def _names(module: Any, read: Any) -> Names:
    names = _KNOWN.get(module)
    if names is None:
        shapes = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
        kinds = ((path, layer_of(found)) for path, found in module.named_modules())
        layers = {path: layer for path, layer in kinds if layer is not None}
        for path, layer in layers.items():
            if f"{path}.weight" in shapes:  # a quantised one may be stored in another shape
                shapes[f"{path}.weight"] = (layer.rows, *layer.columns)
        norms = _norms_by_scale(shapes)
        shapes |= {f"{norm}.weight": shapes[scale] for norm, scale in norms.items()}
        key_map = norms | read(module, {})
        known = {name for name in key_map if _weight(key_map[name]) in shapes}
        biases = (f"{name}.{DIFF_BIAS}" for name in known)
        known |= {name for name in biases if _target(name, key_map[name.removesuffix(f".{DIFF_BIAS}")]) in shapes}
        names = _KNOWN[module] = Names(key_map, frozenset(known), shapes, layers)
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
