"""ComfyUI's two kinds of patcher. Nothing else in the pack asks which kind it has.

A classic patcher loads a model, or a part of it, and patches its weights there, with a backup. A dynamic one (ComfyUI
from 2026 on an NVIDIA card, `comfy.model_patcher.ModelPatcherDynamic`) leaves weights where they are: each layer's come
to the device when the layer runs, are patched on the way, and go when memory is wanted. Nobody can ask it to load less.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from torch import Tensor

#: What a node says when it leaves a model's memory to ComfyUI.
MANAGED: Final = "ComfyUI manages this model's memory itself (dynamic VRAM)"


def manages_itself(patcher: Any) -> bool:
    """Whether ComfyUI moves this model's weights by itself, so that nothing can be asked of it. Before 2026 no patcher
    did."""
    dynamic = getattr(patcher, "is_dynamic", None)
    return dynamic is not None and bool(dynamic())


def own_weights(patcher: Any, names: Iterable[str]) -> dict[str, Tensor]:
    """The model's weights of these names on the CPU without any patch, whatever it is loaded with; those it has not are
    left out."""
    weights = {**patcher.model.state_dict(), **{name: saved.weight for name, saved in patcher.backup.items()}}
    return {name: weights[name].cpu() for name in names if name in weights}


def stream_weights(patcher: Any) -> bool:
    """Move a loaded model's weights off the device; ComfyUI then brings each layer's over while the layer runs.

    LoRA patches are then applied to each layer's weights as they come. Returns False where there is nothing to do:
    the model is not loaded, ComfyUI moves its weights by itself, or hooks that change weights over time are in force,
    which streaming would drop.
    """
    if manages_itself(patcher) or patcher.current_hooks is not None:
        return False
    loaded = patcher.loaded_size()
    if loaded <= 0:
        return False
    patcher.partially_unload(patcher.offload_device, loaded)
    return True
