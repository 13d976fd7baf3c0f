"""Which configs are EriDiffusion V2's."""

from __future__ import annotations

from typing import Final

from ...configs.command_line import PROGRAM
from ...configs.tree import Document
from ..recognise import entries_with, find, has_any, matches
from .notations import PROGRAMS

_ONETRAINER_ONLY: Final = ("samples", "sample_definition_file_name", "sample_after_unit", "concepts", "tensorboard")
_V2_ONLY: Final = (
    *("validation_prompts_file", "validation_every_steps", "validation_dataset_dir", "multi_backend_weights"),
    *("tread_keep_ratio", "tread_route_pattern", "ema_validation_swap", "gamma_input_perturbation", "lr_min_factor"),
)


def is_eridiffusion_v2(document: Document) -> bool:
    """True for V2's command lines, its JSON configs (OneTrainer's, with fields of its own) and prompt libraries."""
    if document.kind == "command":
        return matches(find(document.root, PROGRAM), PROGRAMS.pattern)
    if document.kind != "json":
        return False
    if entries_with(document, "prompts", {"negative", "seeds", "size"}):
        return True
    if has_any(document, *_ONETRAINER_ONLY):
        return False
    kind = find(document.root, "model_type")
    return has_any(document, *_V2_ONLY) or (kind is not None and matches(kind, r"FluxDev1|StableDiffusion\w*"))
