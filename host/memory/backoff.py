"""What EriSample does when memory runs out: it frees caches, halves the batch, offloads, and slices attention."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any, Final

import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import torch
from torch import Tensor

from ..notice import announce
from ..patchers import MANAGED, manages_itself, stream_weights
from .attention import can_slice, slice_attention
from .residency import prepare_streamed, release_others

#: Query tokens per slice of attention, first and last try.
FIRST_SLICE: Final = 1024
LAST_SLICE: Final = 64

#: (first row, one past the last)
Span = tuple[int, int]


class Backoff:
    """A model function wrapper that repeats a call in smaller parts when it ran out of memory.

    The sampler does not notice: it sees one call on the whole batch. So its noise, step sizes and history are those of
    a run with enough memory, whatever sampler it is, and no step is done twice. `taken` lists the measures in order.
    """

    def __init__(self, guider: Any) -> None:
        self.taken: list[str] = []
        self.exhausted = False
        self._guider = self._running = weakref.ref(guider)  # the guider holds this object, too
        self._inner = guider.model_options.get("model_function_wrapper")
        self._divisible = not any("gligen" in cond for conds in guider.original_conds.values() for cond in conds)
        self._limit: int | None = None
        self._freed = False
        self._offloaded = False
        self._streams = False  # from the beginning of each loading on
        self._slice: int | None = None

    def follow(self, guider: Any) -> None:
        """`guider` makes a part of the run, on a patcher of its own, which is loaded again."""
        self._running = weakref.ref(guider)
        self._offloaded = self._streams

    def __call__(self, apply_model: Callable[..., Tensor], params: dict[str, Any]) -> Tensor:
        """The model's output [rows, C, H, W]; see ComfyUI's set_model_unet_function_wrapper for the arguments."""
        while True:
            try:
                return self._run(apply_model, params)
            except comfy.model_management.InterruptProcessingException:
                raise
            except comfy.model_management.OOM_EXCEPTION as error:
                failure = error.with_traceback(None)  # its frames hold the tensors of the failed call
            _empty_caches(thoroughly=not self._freed)
            if not self._step(len(params["input"])):
                self.exhausted = True
                raise failure

    def _run(self, apply_model: Callable[..., Tensor], params: dict[str, Any]) -> Tensor:
        if self._slice is not None:
            options = slice_attention(params["c"].get("transformer_options", {}), self._slice)
            params = {**params, "c": {**params["c"], "transformer_options": options}}
        rows, passes = len(params["input"]), len(params["cond_or_uncond"])
        if self._limit is None or self._limit >= rows:
            return self._call(apply_model, params)
        ranges = spans(passes, rows // passes, self._limit)
        return torch.cat([self._call(apply_model, part(params, span)) for span in ranges])

    def _call(self, apply_model: Callable[..., Tensor], params: dict[str, Any]) -> Tensor:
        if self._inner is not None:
            out: Tensor = self._inner(apply_model, params)
            return out
        return apply_model(params["input"], params["timestep"], **params["c"])

    def _step(self, rows: int) -> bool:
        """Prepare the next, smaller try; False when there is none left."""
        now = rows if self._limit is None else min(rows, self._limit)
        if not self._freed:
            self._freed = True
            self.took("caches freed")
        elif now > 1 and self._divisible:
            self._limit = (now + 1) // 2
            self.took(f"the model runs on {self._limit} of {rows} latents at a time")
        elif not self._offloaded:
            self.offload()
        elif can_slice() and (self._slice is None or self._slice > LAST_SLICE):
            self._slice = FIRST_SLICE if self._slice is None else self._slice // 2
            self.took(f"attention in tiles of {self._slice} queries")
        else:
            return False
        return True

    def offload(self) -> None:
        """Take other models off the device and stream this one's weights, in the middle of a run."""
        guider = self._running()
        self._offloaded = True
        if guider is None:
            return
        patcher = guider.model_patcher
        release_others([patcher, *guider.loaded_models], patcher.load_device)
        measure = "other models unloaded"
        if manages_itself(patcher):
            measure += f"; {MANAGED}"
        elif stream_weights(patcher):
            measure += ", this model's weights streamed layer by layer"
        self.took(measure)

    def restart(self) -> bool:
        """Prepare a new run after an error outside of the model's calls (loading, control nets). False gives up."""
        guider = self._guider()
        if self.exhausted or guider is None or (self._freed and self._offloaded):
            return False
        if self._freed and manages_itself(guider.model_patcher):  # it needs no room for its weights
            return False
        comfy.model_management.unload_all_models()
        if not self._freed:
            self._freed = True
            self.took("models unloaded and caches freed, sampling starts again")
            return True
        self._offloaded = self._streams = True
        guider.model_patcher = guider.model_patcher.clone()
        when = comfy.patcher_extension.WrappersMP.PREPARE_SAMPLING
        guider.model_patcher.add_wrapper_with_key(when, "eridiffusion", prepare_streamed)
        self.took("this model's weights streamed layer by layer, sampling starts again")
        return True

    def took(self, step: str) -> None:
        """Record a measure, in the log and under the node."""
        self.taken.append(step)
        announce("EriSample", f"Out of memory: {step}.", logging.WARNING)


def sample_with_backoff(guider: Any, start: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Return `guider.sample(start, *args, **kwargs)`, in smaller parts when the device runs out of memory.

    The result is that of a run with enough memory, within the rounding of matrix products of another size. The error is
    raised unchanged when every measure was taken. `guider.model_options` is replaced by a copy of its own. When the run
    starts again with streamed weights, a clone replaces `guider.model_patcher`.
    """
    guider.model_options = comfy.model_patcher.create_model_options_clone(guider.model_options)
    backoff = Backoff(guider)
    guider.model_options["model_function_wrapper"] = backoff
    state = _RandomState(guider.model_patcher.load_device)
    while True:
        try:
            samples: Tensor = guider.sample(start, *args, **kwargs)
            return samples
        except comfy.model_management.InterruptProcessingException:
            raise
        except comfy.model_management.OOM_EXCEPTION as error:
            failure = error.with_traceback(None)
        _empty_caches(thoroughly=True)
        if not backoff.restart():
            raise failure
        state.restore()


def _empty_caches(thoroughly: bool) -> None:
    if thoroughly:  # tensors in reference cycles, too; takes a moment
        gc.collect()
    comfy.model_management.soft_empty_cache()


class _RandomState:
    """The state of the global generators. Samplers that draw from them draw the same numbers after a restart."""

    def __init__(self, device: torch.device) -> None:
        self._cpu = torch.get_rng_state()
        self._device = device
        self._module = torch.get_device_module(device.type) if device.type in ("cuda", "xpu") else None
        self._state = self._module.get_rng_state(device) if self._module else None

    def restore(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._module is not None:
            self._module.set_rng_state(self._state, self._device)


def spans(passes: int, pictures: int, limit: int) -> list[Span]:
    """Return row ranges of at most `limit` rows that never mix a part of one pass with another pass.

    Args:
        passes: the number of passes (positive, negative, …), each a block of rows in the call.
        pictures: the number of latents in each block.
        limit: at least 1. A limit of several blocks keeps whole blocks together; a smaller one cuts within each block.
    """
    total = passes * pictures
    if limit >= pictures:
        step = limit // pictures * pictures
        return [(start, min(start + step, total)) for start in range(0, total, step)]
    return [
        (block + start, block + min(start + limit, pictures))
        for block in range(0, total, pictures)
        for start in range(0, pictures, limit)
    ]


def part(params: dict[str, Any], span: Span) -> dict[str, Any]:
    """Return the arguments of a model function wrapper for the rows of `span`. The given arguments are not changed.

    Everything in "c" that has as many rows as the call is cut, also lists and controls. Lists in "transformer_options"
    that have an entry per pass keep those of the span.

    Args:
        params: ComfyUI's "input" [rows, C, H, W], "timestep" [rows], "c" and "cond_or_uncond" (one entry per pass).
        span: one of `spans`.
    """
    start, stop = span
    passes = params["cond_or_uncond"]
    rows = len(params["input"])
    pictures = rows // len(passes)
    first, last = start // pictures, (stop - 1) // pictures + 1
    options = dict(params["c"].get("transformer_options", {}))
    for name in ("cond_or_uncond", "uuids"):
        if name in options:
            options[name] = options[name][first:last]
    sigmas = options.get("sigmas")  # one a picture, the same in every pass
    if isinstance(sigmas, Tensor) and len(sigmas) == pictures and stop - start < pictures:
        options["sigmas"] = sigmas[start % pictures :][: stop - start]
    conds = {key: _rows(value, rows, span) for key, value in params["c"].items() if key != "transformer_options"}
    return {
        **params,
        "input": params["input"][start:stop],
        "timestep": params["timestep"][start:stop],
        "c": {**conds, "transformer_options": options},
        "cond_or_uncond": passes[first:last],
    }


def _rows(value: Any, rows: int, span: Span) -> Any:
    if isinstance(value, Tensor):
        return value[span[0] : span[1]] if value.ndim > 0 and len(value) == rows else value
    if isinstance(value, dict):
        return {key: _rows(entry, rows, span) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_rows(entry, rows, span) for entry in value)
    return value
