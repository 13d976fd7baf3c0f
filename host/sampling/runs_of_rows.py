"""Which rows of a list share a batch. Pure Python."""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def batches(keys: Sequence[Hashable | None], sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Return row numbers (from 0) batch by batch: ascending in each batch, and batches ordered by their first row.

    Args:
        keys: rows of equal keys may share a batch; a row with None may not.
        sizes: the number of images in each row, at least 1.
        limit: the most images in a batch, at least 1. A row that has more by itself is a batch of its own.
    """
    made: list[list[int]] = []
    room: dict[Hashable, int] = {}
    filling: dict[Hashable, list[int]] = {}
    for row, (key, size) in enumerate(zip(keys, sizes, strict=True)):
        if key is not None and size <= room.get(key, 0):
            filling[key].append(row)
            room[key] -= size
            continue
        made.append([row])
        if key is not None and limit - size > room.get(key, 0):
            filling[key], room[key] = made[-1], limit - size
    return made
