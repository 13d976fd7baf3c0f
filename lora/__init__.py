"""LoRA checkpoints: find them in a run folder, read every trainer's key names, hand them to the host. Pure torch.

Importing this package imports neither torch nor the host; the functions do when they are first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .adapter import Adapter
    from .checkpoints import Checkpoint, find_checkpoints, select_checkpoint, step_of
    from .convert import to_host_keys
    from .delta import merged_delta
    from .errors import LoraError
    from .reader import Lora, read_lora
    from .report import LoadReport, change_norms, load_report
    from .step_lists import select_steps

_PLACES = {
    "Adapter": "adapter",
    "Checkpoint": "checkpoints",
    "find_checkpoints": "checkpoints",
    "select_checkpoint": "checkpoints",
    "select_steps": "step_lists",
    "step_of": "checkpoints",
    "to_host_keys": "convert",
    "merged_delta": "delta",
    "LoraError": "errors",
    "Lora": "reader",
    "read_lora": "reader",
    "LoadReport": "report",
    "change_norms": "report",
    "load_report": "report",
}

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


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_PLACES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
