"""LoRAs beside the weights of a loaded model: put in and taken out by ComfyUI's patcher injections.

Each layer's forward is wrapped while the patcher is loaded, by ComfyUI's own bypass hook where it has one (since
January 2026), else by the like of it. Weights, their patches and `patches_uuid` are left alone, so for ComfyUI it is
the same model: it does not load it again for another LoRA, and offloads, quantises and restores as ever. ComfyUI's own
manager and `LoraLoaderBypass` are not used: they know one LoRA at a time, no slices of fused weights, and cast and move
its tensors for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import comfy.model_management
import comfy.weight_adapter
from comfy.patcher_extension import CallbacksMP, PatcherInjection
from torch import Tensor, nn

from ...lora.beside import Beside, Layer, Term

KEY: Final = "eridiffusion_lora_beside"


class _ForwardHook:
    """Stands in for `comfy.weight_adapter.bypass.BypassForwardHook`: wraps a module's forward, and gives it back."""

    def __init__(self, module: Any, adapter: Any) -> None:
        self.module, self.adapter = module, adapter
        self.original_forward: Any = None

    def inject(self) -> None:
        """Wrap."""
        self.original_forward = self.module.forward
        self.module.forward = self._bypass_forward

    def _bypass_forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return self.adapter.bypass_forward(self.original_forward, x, *args, **kwargs)


_Hook: Final = getattr(comfy.weight_adapter, "BypassForwardHook", _ForwardHook)


class _Adapter:
    """What ComfyUI's hook calls for one layer while the LoRAs are in."""

    def __init__(self, module: nn.Module, beside: Beside) -> None:
        self.module, self.beside, self.active = module, beside, True

    def bypass_forward(self, org_forward: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The layer's output with the LoRAs; without them where another's wrapper has kept this one too long."""
        if not self.active:
            return org_forward(x, *args, **kwargs)
        forward = (lambda z: org_forward(z, *args, **kwargs)) if args or kwargs else org_forward
        return self.beside.output(forward, x, self._bias)

    def _bias(self, like: Tensor) -> Tensor | None:
        bias = self.module.bias
        return None if bias is None else comfy.model_management.cast_to(bias, like.dtype, like.device)


class Injection(PatcherInjection):
    """The LoRAs of one patcher: by layer, in the order in which they were added."""

    def __init__(self, terms: Mapping[str, Iterable[Term]], layers: Mapping[str, Layer]) -> None:
        super().__init__(self._inject, self._eject)
        self.terms = {path: list(found) for path, found in terms.items()}
        self.layers = dict(layers)
        self._beside = {path: Beside(found, self.layers[path]) for path, found in self.terms.items()}
        # By the id of the model, which a clone may have another of, and kept while injected. Not by weak references:
        # Python clears those of a patcher that goes with a cycle before the patcher's end ejects.
        self._hooks: dict[int, tuple[Any, list[Any]]] = {}

    def _inject(self, patcher: Any) -> None:
        if id(patcher.model) in self._hooks:
            return
        hooks: list[Any] = []
        self._hooks[id(patcher.model)] = (patcher.model, hooks)
        modules = {"": patcher.model}
        for path, beside in self._beside.items():
            module = _module(path, modules)
            _unwrap(module)
            hook = _Hook(module, _Adapter(module, beside))
            hook.inject()
            hooks.append(hook)

    def _eject(self, patcher: Any) -> None:
        _, hooks = self._hooks.pop(id(patcher.model), (None, []))
        for hook in hooks:
            hook.adapter.active = False
            _unwrap(hook.module)

    def forget(self) -> None:
        """Give back the copies on the device."""
        for beside in self._beside.values():
            beside.forget()


def _module(path: str, known: dict[str, Any]) -> Any:
    """The module at a path. known: modules by path, "" at least; those on the way are added."""
    if path not in known:
        parent, _, name = path.rpartition(".")
        known[path] = getattr(_module(parent, known), name)
    return known[path]


def _unwrap(module: Any) -> None:
    """Take inactive wrappers of ours off a module's forward. One that another wrapper has around itself is left, and
    found here later: wrappers are ejected in the order in which they were injected, not in the opposite one."""
    while (adapter := _outermost(module)) is not None and not adapter.active:
        original = module.forward.__self__.original_forward
        if getattr(original, "__func__", None) is type(module).forward:
            del module.forward  # the class's own
        else:
            module.forward = original


def _outermost(module: Any) -> _Adapter | None:
    adapter = getattr(getattr(module.forward, "__self__", None), "adapter", None)
    return adapter if isinstance(adapter, _Adapter) else None


def put_beside(patcher: Any, terms: Mapping[str, list[Term]], layers: Mapping[str, Layer]) -> None:
    """Add a LoRA to `patcher`, a clone of our own; the LoRAs that it has from here stay before it."""
    before = next(iter(patcher.get_injections(KEY) or ()), None)
    all_terms = {} if before is None else {path: list(found) for path, found in before.terms.items()}
    for path, found in terms.items():
        all_terms.setdefault(path, []).extend(found)
    known = {} if before is None else before.layers
    patcher.is_injected = False  # a clone says it is where the original is; only what is loaded can be
    patcher.set_injections(KEY, [Injection(all_terms, {**known, **layers})])
    if before is None:
        patcher.add_callback_with_key(CallbacksMP.ON_CLONE, KEY, _cloned)
        patcher.add_callback_with_key(CallbacksMP.ON_DETACH, KEY, _detached)


def _cloned(_: Any, clone: Any) -> None:
    """Otherwise patching a clone would inject it into a model that is loaded with another, or its end eject that."""
    clone.is_injected = False


def _detached(patcher: Any, _unpatch_all: bool) -> None:
    for injection in patcher.get_injections(KEY) or ():
        injection.forget()
