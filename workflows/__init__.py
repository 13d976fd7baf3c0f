"""Sample specs in, ordinary ComfyUI graphs out: one builder per model family, all behind `build`."""

from .build import Workflow, build
from .graph import WorkflowError

__all__ = ["Workflow", "WorkflowError", "build"]
