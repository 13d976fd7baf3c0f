"""Which configs are OneTrainer's."""

from __future__ import annotations

from ...configs.tree import Document
from ..recognise import entries_with, has_any


def is_onetrainer(document: Document) -> bool:
    """True for OneTrainer's configs and its samples files."""
    if document.kind != "json":
        return False
    return has_any(document, "training_method", "sample_definition_file_name") or entries_with(
        document, "", {"diffusion_steps", "cfg_scale", "noise_scheduler", "random_seed"}
    )
