"""What the trainers' recognisers ask of a config's content."""

from __future__ import annotations

import re

from ..configs.tree import Document, Node


def has_any(document: Document, *keys: str) -> bool:
    """True when the document's top level has one of these keys."""
    root = document.root.value
    return isinstance(root, dict) and any(key in root for key in keys)


def argument_names(document: Document) -> set[str]:
    """Names at the top level and one level below it."""
    root = document.root.value
    if not isinstance(root, dict) or document.kind not in ("toml", "yaml", "json"):
        return set()
    names = set(root)
    for node in root.values():
        if isinstance(node.value, dict) and document.kind == "toml":
            names |= set(node.value)
    return names


def entries_with(document: Document, key: str, names: set[str]) -> bool:
    """True when the list below a key ("" = the document itself) holds a section with one of these fields."""
    listed = find(document.root, key) if key else document.root
    if listed is None or not isinstance(listed.value, list):
        return False
    return any(isinstance(node.value, dict) and not names.isdisjoint(node.value) for node in listed.value)


def find(node: Node, path: str) -> Node | None:
    """The node at a dotted path below this one, None where there is none."""
    for key in path.split("."):
        child = node.value.get(key) if isinstance(node.value, dict) else None
        if child is None:
            return None
        node = child
    return node


def matches(node: Node | None, pattern: str | None) -> bool:
    """True when the node, or one of its list, is a text that the whole pattern matches; None: when it is there."""
    if node is None or pattern is None:
        return node is not None
    texts = node.value if isinstance(node.value, list) else [node]
    return any(isinstance(text.value, str) and re.fullmatch(pattern, text.value) is not None for text in texts)
