"""Lists that run side by side, one row per entry. ComfyUI would silently repeat the last entry of a shorter list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import NodeInputError


def rows(lists: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the inputs of a node that takes lists, row by row.

    `lists` holds the values of each input by its name; a single value counts for every row. Raises NodeInputError,
    naming the inputs, when a list is empty or two lists of more than one entry differ in length.
    """
    check_filled(lists)
    longest = max(lists, key=lambda name: len(lists[name]))
    count = len(lists[longest])
    for name, values in lists.items():
        if len(values) not in (1, count):
            raise NodeInputError(
                f"{name} has {len(values)} entries, {longest} has {count}. Give both lists the same length, or one of "
                "them a single entry."
            )
    return [
        {name: values[number if len(values) > 1 else 0] for name, values in lists.items()} for number in range(count)
    ]


def single(lists: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """Return the values of inputs that a node takes once although it takes lists. All entries of a list must be equal.

    Raises NodeInputError, naming the input, for an empty list and for different values.
    """
    check_filled(lists)
    for name, values in lists.items():
        if any(value != values[0] for value in values[1:]):
            raise NodeInputError(f"{name} has different values for one run of the node. Connect a single value.")
    return {name: values[0] for name, values in lists.items()}


def check_filled(lists: Mapping[str, Sequence[Any]]) -> None:
    """Raise NodeInputError, naming the input, for an empty list."""
    for name, values in lists.items():
        if not values:
            raise NodeInputError(f"{name} is an empty list. Give it at least one entry, or unlink it.")
