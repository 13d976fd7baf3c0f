"""Which weights stay on the device, through ComfyUI's model management."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import comfy.model_management

from ..patchers import stream_weights

#: More than any device has: "free whatever you can".
EVERYTHING = 1e30


def release_others(patchers: Iterable[Any], device: Any) -> None:
    """Move every model but those of `patchers` off `device`."""
    used = [patcher.model for patcher in patchers if hasattr(patcher, "model")]
    keep = [
        loaded
        for loaded in comfy.model_management.current_loaded_models
        if loaded.model is not None and any(loaded.model.model is model for model in used)
    ]
    comfy.model_management.free_memory(EVERYTHING, device, keep_loaded=keep)


def prepare_streamed(executor: Any, model: Any, noise_shape: list[int], *args: Any, **kwargs: Any) -> Any:
    """A wrapper for ComfyUI's prepare_sampling: load the model so that almost no weights stay on the device.

    It asks for as much memory as the device has, which leaves none for weights. If ComfyUI loads some nevertheless (it
    does on the CPU, which has no budget), they are moved off afterwards.
    """
    batch, *size = noise_shape
    device = model.load_device
    wanted = comfy.model_management.get_total_memory(device) / max(1, model.memory_required([1, *size]))
    prepared = executor(model, [max(batch, math.ceil(wanted)), *size], *args, **kwargs)
    stream_weights(model)
    return prepared


def outer_sample_alone(executor: Any, *args: Any, **kwargs: Any) -> Any:
    """A wrapper for ComfyUI's outer_sample: every other model leaves the device before this one samples."""
    patcher = executor.class_obj.model_patcher
    release_others([patcher], patcher.load_device)
    return executor(*args, **kwargs)
