"""Geometry of a UI graph as the front end draws it: where nodes and groups are."""

from __future__ import annotations

from typing import Any

TITLE = 30  # LiteGraph.NODE_TITLE_HEIGHT

Rect = tuple[float, float, float, float]  # left, top, right, bottom


def node_rect(node: dict[str, Any]) -> Rect:
    """A node with its title bar."""
    (x, y), (width, height) = node["pos"], node["size"]
    if node["flags"].get("collapsed"):
        width = height = 0  # its title bar alone, as wide as its words
    return x, y - TITLE, x + width, y + height


def group_rect(group: dict[str, Any]) -> Rect:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def overlap(one: Rect, other: Rect) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(inner: Rect, outer: Rect) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]
