"""Which configs are sd-scripts'."""

from __future__ import annotations

from typing import Final

from ...configs.tree import Document
from ..recognise import argument_names
from .gui import is_gui_form
from .prompts import is_prompt_file, looks_like_entries

_ARGUMENTS: Final = frozenset(("sample_prompts", "pretrained_model_name_or_path", "network_module"))


def is_kohya(document: Document) -> bool:
    """True for sd-scripts' training arguments, its GUI's forms, and prompt files, whose trainer nothing tells."""
    if is_prompt_file(document):
        return document.kind != "json" or looks_like_entries(document.root)
    if document.kind == "command" or is_gui_form(document):
        return True
    return not argument_names(document).isdisjoint(_ARGUMENTS)
