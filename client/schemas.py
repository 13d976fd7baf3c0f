"""Reading a host's descriptions of its nodes (`/object_info`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def combo_choices(node: Mapping[str, Any], name: str) -> list[str] | None:
    """What a node's combo input offers, in either spelling of ComfyUI's; None where it is no combo or not there."""
    schema = node.get("input", {})
    for group in ("required", "optional"):
        entry = (schema.get(group) or {}).get(name)
        if entry and isinstance(entry[0], list):
            return [str(choice) for choice in entry[0]]
        if entry and entry[0] == "COMBO" and len(entry) > 1:
            return [str(choice) for choice in entry[1].get("options") or ()]
    return None
