"""Which configs are SimpleTuner's."""

from __future__ import annotations

from ...configs.tree import Document
from ..recognise import find, has_any


def is_simpletuner(document: Document) -> bool:
    """True for SimpleTuner's options in any notation, and for what its web interface exports."""
    if has_any(document, "model_family", "--model_family", "MODEL_FAMILY", "VALIDATION_PROMPT"):
        return True
    return has_any(document, "_metadata") and any(
        find(document.root, f"config.{key}") is not None for key in ("model_family", "--model_family")
    )
