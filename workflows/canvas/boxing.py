"""Which nodes of a graph stand in boxes on the canvas: as few as leave it so small that a person sees all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .stages import ALONE
from .ui_nodes import CanvasNodes

#: What the canvas has at most, its two notes among the nodes.
MOST_NODES: Final = 9
MOST_LINKS: Final = 15
_NOTES: Final = 2
#: A further LoRA of the base model: before every chain, and part of none.
_FURTHER: Final = "LoraLoader"


class Boxing(NamedTuple):
    """How a graph is put into boxes.

    Attributes:
        alone: the classes of a chain's nodes that stand beside its box, with their stages there.
        members: by chain, the numbers of the nodes in its box; under None those of all chains, in one box.
    """

    alone: Mapping[str, str]
    members: Mapping[int | None, Sequence[int]]


def boxing(canvas: CanvasNodes) -> Boxing:
    """The first of `_ways` that leaves few enough nodes and links; the last where none does."""
    for way in _ways(canvas):
        found = way
        if _is_small(canvas, way.members):
            break
    return found


def _ways(canvas: CanvasNodes) -> Iterator[Boxing]:
    """From boxes with what few people change, over boxes that hold a whole chain, to one for all chains."""
    bands: dict[int, list[tuple[int, str]]] = {}
    further = []
    for written, node in zip(canvas.written, canvas.graph.nodes.values(), strict=True):
        if node.id in canvas.graph.bands:
            bands.setdefault(canvas.graph.bands[node.id], []).append((written["id"], node.class_type))
        elif node.class_type == _FURTHER:
            further.append(written["id"])
    for alone in ALONE:
        members: dict[int | None, list[int]] = {
            band: [number for number, kind in chain if kind not in alone] for band, chain in bands.items()
        }
        yield Boxing(alone, members)
        if further and len(bands) == 1:
            yield Boxing(alone, {band: [*further, *chain] for band, chain in members.items()})
    yield Boxing({}, {None: sorted([*further, *(number for chain in bands.values() for number, _ in chain)])})


def _is_small(canvas: CanvasNodes, members: Mapping[int | None, Sequence[int]]) -> bool:
    """Whether few enough nodes and links are left on the canvas; what goes into a box from one output is one link."""
    homes = {number: -1 - place for place, chain in enumerate(members.values()) for number in chain}
    links = {
        (source, slot, homes.get(target, target), 0 if target in homes else end)
        for _, source, slot, target, end, _ in canvas.links
        if source not in homes or homes[source] != homes.get(target)
    }
    return len(canvas.written) - len(homes) + len(members) + _NOTES <= MOST_NODES and len(links) <= MOST_LINKS
