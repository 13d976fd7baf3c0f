"""How many images the device has room for, by ComfyUI's own figures."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, Final

import comfy.model_management as management

from ...workflows.batch import MAX_BATCH

#: What was found, by model and shape: all parts of a list must go by one number.
_found: Final[weakref.WeakKeyDictionary[Any, dict[tuple[int, ...], int]]] = weakref.WeakKeyDictionary()


def fitting_images(model: Any, shape: Sequence[int]) -> int:
    """The most images of a latent's shape [B, C, H, W], 1..MAX_BATCH, that fit beside the model's weights.

    Memory that other models hold on the device counts as free, because ComfyUI unloads them. What does not fit after
    all is halved when the device says so (see `backoff`).
    """
    known = _found.setdefault(model, {})
    place = tuple(shape[1:])
    if place not in known:
        others = [
            entry.model_loaded_memory()
            for entry in management.current_loaded_models
            if entry.model is not None and entry.model.model is not model.model and entry.device == model.load_device
        ]
        free = management.get_free_memory(model.load_device) + sum(others) - management.minimum_inference_memory()
        free -= model.model_size() - model.loaded_size()
        # ComfyUI reckons with both passes of guidance in one batch
        fits = (n for n in range(MAX_BATCH, 1, -1) if model.memory_required([2 * n, *place]) <= free)
        known[place] = next(fits, 1)
    return known[place]
