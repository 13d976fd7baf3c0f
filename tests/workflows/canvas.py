"""Geometry of a UI graph as the front end draws it: where nodes, slots and links are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

TITLE = 30  # LiteGraph.NODE_TITLE_HEIGHT
SLOT = 20  # LiteGraph.NODE_SLOT_HEIGHT

Point = tuple[float, float]
Rect = tuple[float, float, float, float]  # left, top, right, bottom


def node_rect(node: dict[str, Any]) -> Rect:
    """A node with its title bar."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE, x + width, y + height


def group_rect(group: dict[str, Any]) -> Rect:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def overlap(one: Rect, other: Rect) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(inner: Rect, outer: Rect) -> bool:
    return outer[0] <= inner[0] and outer[1] <= inner[1] and inner[2] <= outer[2] and inner[3] <= outer[3]


def link_paths(ui: dict[str, Any]) -> Iterator[tuple[list[Any], list[Point]]]:
    """Every link with the points that its drawn line runs through: slots, reroute points, splines in between."""
    nodes = {node["id"]: node for node in ui["nodes"]}
    reroutes = {point["id"]: point for point in ui["extra"].get("reroutes", ())}
    last = {entry["id"]: entry["parentId"] for entry in ui["extra"].get("linkExtensions", ())}
    for link in ui["links"]:
        number, source, slot, target, input_slot, _ = link
        stops = []
        at = last.get(number)
        while at is not None:
            stops.append(tuple(reroutes[at]["pos"]))
            assert number in reroutes[at]["linkIds"]
            at = reroutes[at].get("parentId")
        start, end = _output(nodes[source], slot), _input(nodes[target], input_slot)
        yield link, _line([start, *reversed(stops), end])


def _output(node: dict[str, Any], slot: int) -> Point:
    return node["pos"][0] + node["size"][0], node["pos"][1] + (slot + 0.7) * SLOT


def _input(node: dict[str, Any], slot: int) -> Point:
    """A socket's place; a linked widget's is somewhere below the sockets, its middle is taken."""
    sockets = [entry for entry in node["inputs"] if "widget" not in entry]
    if slot < len(sockets):
        return node["pos"][0], node["pos"][1] + (slot + 0.7) * SLOT
    top = max(len(sockets), len(node["outputs"])) * SLOT
    share = (slot - len(sockets) + 0.5) / (len(node["inputs"]) - len(sockets))
    return node["pos"][0], node["pos"][1] + top + (node["size"][1] - top) * share


def _line(stops: list[Point]) -> list[Point]:
    """Splines as LiteGraph draws them: a quarter of the distance out of a slot, horizontally; at a reroute point along
    the mean of the directions before and after it, at most 80 pixels.
    """
    points: list[Point] = []
    for number, (one, other) in enumerate(pairwise(stops)):
        reach = 0.25 * math.dist(one, other)
        leave = _direction(stops, number, reach)
        arrive = _direction(stops, number + 1, reach)
        points += _spline(
            one, (one[0] + leave[0], one[1] + leave[1]), (other[0] - arrive[0], other[1] - arrive[1]), other
        )
    return points


def _direction(stops: list[Point], number: int, reach: float) -> Point:
    if number in (0, len(stops) - 1):
        return reach, 0.0
    before, here, after = stops[number - 1 : number + 2]
    angles = [math.atan2(to[1] - at[1], to[0] - at[0]) for at, to in ((before, here), (here, after))]
    mean, length = sum(angles) / 2, min(80.0, reach)
    return length * math.cos(mean), length * math.sin(mean)


def _spline(one: Point, leave: Point, arrive: Point, other: Point) -> list[Point]:
    points = []
    for number in range(25):
        t = number / 24
        a, b, c, d = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
        x = a * one[0] + b * leave[0] + c * arrive[0] + d * other[0]
        y = a * one[1] + b * leave[1] + c * arrive[1] + d * other[1]
        points.append((x, y))
    return points


def crossings(ui: dict[str, Any]) -> int:
    """How many pairs of outputs have links whose lines cross."""
    paths = [((link[1], link[2]), list(pairwise(points))) for link, points in link_paths(ui)]
    found = set()
    for index, (source, one) in enumerate(paths):
        for other_index in range(index):
            other_source, other = paths[other_index]
            if source == other_source:
                continue
            if any(_cross(a, b, c, d) for a, b in one for c, d in other):
                found.add(frozenset((source, other_source)))
    return len(found)


def _cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    if max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0]):
        return False
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False

    def side(p: Point, q: Point, r: Point) -> float:
        return (q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
