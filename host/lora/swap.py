"""From one training step's patches to another's on a model that is loaded, without unloading it.

When the patches of a loaded model change, ComfyUI takes every weight off the device, restores the patched ones, and
loads and patches the model anew. Here only the weights that either step patches are touched: restored from ComfyUI's
own backup, and patched by ComfyUI's own functions as its `patch_weight_to_device` does. What ComfyUI keeps about a
loaded model (backup, id of the patches) is left as its own loading leaves it, so it goes on from there. Where a model
is loaded in another way than completely, nothing is done and ComfyUI does it all.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NamedTuple
from weakref import ReferenceType, ref

import comfy.float
import comfy.lora
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.utils
import torch
from torch import Tensor

KEY: Final = "eridiffusion_lora"
_WHEN: Final = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING
_CLONED: Final = comfy.patcher_extension.CallbacksMP.ON_CLONE


#: The types for which ComfyUI's rounding looks at its seed.
_ROUNDED_BY_CHANCE: Final = (torch.float8_e4m3fn, torch.float8_e5m2)


class _Backup(NamedTuple):
    """A base weight as ComfyUI's patcher keeps it; ComfyUI makes a class of its own for every weight."""

    weight: Tensor
    inplace_update: bool


def swap_when_sampling(patcher: Any) -> None:
    """Let `patcher` (a clone of our own) and its clones take over a loaded model whenever a sampler prepares it."""
    if not patcher.get_wrappers(_WHEN, KEY):
        patcher.add_wrapper_with_key(_WHEN, KEY, _before_loading)


def _before_loading(executor: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
    swap(model)
    return executor(model, *args, **kwargs)


@dataclass(frozen=True)
class _AtLoading:
    """Stands among the patches of a patcher. ComfyUI asks each of them, at the very start of a loading, which further
    models it needs; this one needs none and swaps then. It does not keep the patcher alive."""

    patcher: ReferenceType[Any]

    def models(self) -> list[Any]:
        patcher = self.patcher()
        if patcher is not None:
            swap(patcher)
        return []


def swap_when_loading(patcher: Any) -> None:
    """The same for a CLIP's patcher (a clone of our own) and its clones, which ComfyUI loads without a sampler."""
    if not patcher.get_callbacks(_CLONED, KEY):
        patcher.add_callback_with_key(_CLONED, KEY, lambda _, clone: _watch_loading(clone))
    _watch_loading(patcher)


def _watch_loading(patcher: Any) -> None:
    options = patcher.model_options["transformer_options"]
    options["patches"] = {**options.get("patches", {}), KEY: [_AtLoading(ref(patcher))]}


def swap(patcher: Any) -> bool:
    """Put `patcher`'s patches on its model if that is loaded with others; says whether it did.

    Base weights come back bit for bit from ComfyUI's backup. If patching fails halfway the model is marked as holding
    unknown patches, so that ComfyUI restores all of them before it is used again.
    """
    model = patcher.model
    if not _can_swap(patcher):
        return False
    model.current_weight_patches_uuid = uuid.uuid4()
    for key in list(patcher.backup):
        if key not in patcher.patches:
            _restore(patcher, key)
            del patcher.backup[key]
    scratch = _Scratch(patcher.load_device)
    for key in patcher.patches:
        _patch(patcher, key, scratch)
    model.current_weight_patches_uuid = patcher.patches_uuid
    return True


def _can_swap(patcher: Any) -> bool:
    """Whether the model is loaded completely, by a plain patcher that shares this one's backup, with other patches."""
    if type(patcher) is not comfy.model_patcher.ModelPatcher:  # quantised or dynamic: they load in their own ways
        return False
    model = patcher.model
    loaded = [one for one in comfy.model_management.loaded_models() if one is not None and one.model is model]
    return (
        any(one.backup is patcher.backup for one in loaded)
        and model.model_loaded_weight_memory > 0
        and not model.model_lowvram
        and model.device == patcher.load_device
        and model.current_weight_patches_uuid not in (None, patcher.patches_uuid)
        and not any(one.hook_backup or one.weight_wrapper_patches or one.is_injected for one in (patcher, *loaded))
    )


def _restore(patcher: Any, key: str) -> None:
    """Put a weight back from the backup."""
    saved = patcher.backup[key]
    weight = saved.weight.to(patcher.load_device)
    if saved.inplace_update:
        comfy.utils.copy_to_param(patcher.model, key, weight)
    else:
        comfy.utils.set_attr_param(patcher.model, key, weight)


class _Scratch:
    """Memory for one weight in float32, used for all of a model's in turn: allocating it for each costs as much again
    as the arithmetic."""

    def __init__(self, device: torch.device) -> None:
        self._numbers = torch.empty(0, dtype=torch.float32, device=device)

    def copy_of(self, weight: Tensor) -> Tensor:
        """`weight` in float32 on the device; valid until the next call."""
        count = weight.numel()
        if count > self._numbers.numel():
            self._numbers = torch.empty(count, dtype=torch.float32, device=self._numbers.device)
        return self._numbers[:count].view(weight.shape).copy_(weight)


def _patch(patcher: Any, key: str, scratch: _Scratch) -> None:
    """Patch a weight from its backup, which is made the first time; for layers that store weights in a form of their
    own, and where ComfyUI writes into the weight in place, by ComfyUI's method."""
    saved = patcher.backup.get(key)
    path, _, name = key.rpartition(".")
    layer = comfy.utils.get_attr(patcher.model, path) if path else patcher.model
    in_place = patcher.weight_inplace_update if saved is None else saved.inplace_update
    if in_place or hasattr(layer, f"set_{name}") or hasattr(layer, f"convert_{name}"):
        if saved is not None:
            _restore(patcher, key)
        patcher.patch_weight_to_device(key, device_to=patcher.load_device)
        return
    now = getattr(layer, name)
    if saved is None:
        saved = patcher.backup[key] = _Backup(now.to(device=patcher.offload_device), False)
    base = saved.weight
    weight = comfy.lora.calculate_weight(patcher.patches[key], scratch.copy_of(base), key)
    if base.dtype in _ROUNDED_BY_CHANCE:
        weight = comfy.float.stochastic_rounding(weight, base.dtype, seed=_seed(key))
    if _may_be_overwritten(now, base, weight):
        now.data.copy_(weight)
    else:
        setattr(layer, name, torch.nn.Parameter(weight.to(dtype=base.dtype, copy=True), requires_grad=False))


def _may_be_overwritten(now: Tensor, base: Tensor, weight: Tensor) -> bool:
    """Whether the weight in the model is not the base's own but one that patching made, of the form of `weight`."""
    return (
        now.data_ptr() != base.data_ptr()
        and (now.shape, now.dtype, now.device) == (weight.shape, base.dtype, weight.device)
        and now.is_inference() == torch.is_inference_mode_enabled()  # torch forbids writing where they differ
    )


@lru_cache(maxsize=1 << 14)
def _seed(key: str) -> int:
    """ComfyUI's seed for rounding a weight to 8 bits; a loop over every bit of the name, so it is remembered."""
    return int(comfy.model_patcher.string_to_seed(key))
