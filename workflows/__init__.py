"""Sample specs in, ordinary ComfyUI graphs out: one builder per model family, all behind `build`."""

from .build import Workflow, build
from .choose import choose_models
from .graph import WorkflowError

__all__ = ["Workflow", "WorkflowError", "build", "choose_models"]
