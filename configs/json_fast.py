"""JSON text to nodes through the standard library's C parser, several times faster than `json_tree`.

These nodes carry no place but their ordinal in the document (`line` 0, `column` 1, 2, …), which keeps their order;
`json_tree` gives the place of the same ordinal when an error needs it. What the C parser refuses, or takes although
it is no plain JSON (comments, duplicate keys, NaN, deep nesting), is left to `json_tree`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from .tree import MAX_DEPTH, Node


class _RefusedError(ValueError):
    """Something that needs the careful parser."""


class _Number(str):
    """A number as written."""

    __slots__ = ()


_WORDS: Final = {True: "true", False: "false", None: "null"}


def parse_json_fast(text: str) -> Node | None:
    """The value in a plain JSON text, None where the careful parser has to decide."""
    if "\\ud" in text or "\\uD" in text:  # maybe half of a surrogate pair
        return None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse,
        )
        return _Builder().node(value, 0)
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _RefusedError
    return members


def _refuse(word: str) -> Any:
    raise _RefusedError(word)


class _Builder:
    """Python values to nodes, numbered in the order in which the document opens them."""

    def __init__(self) -> None:
        self.count = 0

    def node(self, value: Any, depth: int) -> Node:
        self.count += 1
        kind = type(value)
        if kind is str:
            return Node(value, 0, self.count)
        if kind is _Number:
            return Node(value, 0, self.count, True)
        if kind is dict or kind is list:
            if depth >= MAX_DEPTH:
                raise _RefusedError
            parent = Node(value, 0, self.count)
            build, deeper = self.node, depth + 1
            if kind is dict:
                parent.value = {key: build(child, deeper) for key, child in value.items()}
            else:
                parent.value = [build(child, deeper) for child in value]
            return parent
        return Node(_WORDS[value], 0, self.count, True)


def in_order(node: Node) -> Iterator[Node]:
    """A node and all below it, each before its children, in document order."""
    yield node
    if isinstance(node.value, dict):
        for child in node.value.values():
            yield from in_order(child)
    elif isinstance(node.value, list):
        for child in node.value:
            yield from in_order(child)
