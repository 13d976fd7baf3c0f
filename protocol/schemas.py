"""Reading a host's descriptions of its nodes (`/object_info`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def combo_choices(node: Mapping[str, Any], name: str) -> list[str] | None:
    """What a node's combo input offers; None where it is no combo or not there."""
    groups = node.get("input", {})
    entries = ((groups.get(group) or {}).get(name) for group in ("required", "optional"))
    return next((found for entry in entries if (found := choices_of(entry)) is not None), None)


def choices_of(entry: object) -> list[str] | None:
    """The choices in an input's description, in either spelling of ComfyUI's; None where it is of no combo."""
    match entry:
        case [list(choices), *_] | ["COMBO", {"options": list(choices)}, *_]:
            return [str(choice) for choice in choices]
        case ["COMBO", dict(), *_]:
            return []
    return None
