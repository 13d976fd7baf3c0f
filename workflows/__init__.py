"""Sample specs in, ordinary ComfyUI graphs out, all behind `build`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from ..errors import WorkflowError
    from .builder import Workflow, build
    from .choose import choose_models

__all__ = [
    "Workflow",
    "WorkflowError",
    "build",
    "choose_models",
]

__getattr__ = attach(
    __name__,
    {
        "..errors": ("WorkflowError",),
        ".builder": ("Workflow", "build"),
        ".choose": ("choose_models",),
    },
)
