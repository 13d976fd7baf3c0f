"""LoRA checkpoints: found in a run's folder, read under every trainer's key names, named as in ComfyUI. Pure torch.

Importing this package imports neither torch nor ComfyUI. The functions do so when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from ..errors import LoraError
    from .adapter import Adapter
    from .checkpoints import Checkpoint, find_checkpoints, select_checkpoint, step_of
    from .convert import to_host_keys
    from .delta import merged_delta
    from .reader import Lora, read_lora
    from .report import LoadReport, change_norms, load_report
    from .step_lists import select_steps

__all__ = [
    "Adapter",
    "Checkpoint",
    "LoadReport",
    "Lora",
    "LoraError",
    "change_norms",
    "find_checkpoints",
    "load_report",
    "merged_delta",
    "read_lora",
    "select_checkpoint",
    "select_steps",
    "step_of",
    "to_host_keys",
]

__getattr__ = attach(
    __name__,
    {
        "..errors": ("LoraError",),
        ".adapter": ("Adapter",),
        ".checkpoints": ("Checkpoint", "find_checkpoints", "select_checkpoint", "step_of"),
        ".convert": ("to_host_keys",),
        ".delta": ("merged_delta",),
        ".reader": ("Lora", "read_lora"),
        ".report": ("LoadReport", "change_norms", "load_report"),
        ".step_lists": ("select_steps",),
    },
)
