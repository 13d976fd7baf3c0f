"""Which configs are EriDiffusion V1's."""

from __future__ import annotations

from ...configs.tree import Document
from ..process import is_ambiguous, process_shape


def is_eridiffusion(document: Document) -> bool:
    """True for `config.process[]` that nothing makes ai-toolkit's, and for V1's flat sections."""
    return process_shape(document) == "eridiffusion" or is_flat(document)


def doubt(document: Document) -> str | None:
    """Say so where nothing in a config tells EriDiffusion from ai-toolkit."""
    if not is_ambiguous(document):
        return None
    return "ai-toolkit would read this config too; it is taken as EriDiffusion's. Pass trainer= if not."


def is_flat(document: Document) -> bool:
    """True for EriDiffusion V1's flat sections: `validation:` or `sample:` beside a model, or a template."""
    root = document.root.value
    if not isinstance(root, dict) or document.kind in ("env", "toml", "command"):
        return False
    sections = [root[key] for key in ("validation", "sample") if key in root]
    return "model_kind" in root or any(isinstance(section.value, dict) for section in sections)
