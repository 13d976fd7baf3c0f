"""Which configs are musubi-tuner's."""

from __future__ import annotations

from ...configs.command_line import PROGRAM
from ...configs.tree import Document
from ..recognise import argument_names, find, matches


def is_musubi(document: Document) -> bool:
    """True for musubi-tuner's training arguments: they name a `dit` where sd-scripts' name a checkpoint."""
    if document.kind == "command":
        return matches(find(document.root, PROGRAM), "flux_kontext_train.*")
    names = argument_names(document)
    return "dit" in names and "pretrained_model_name_or_path" not in names
