"""Lists that run in step: one row per entry, instead of the host's silent repetition of the last one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ._schema import NodeInputError


def rows(lists: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """The inputs of a node that takes lists, row by row.

    lists: input name -> its values; one value stands for every row. Raises NodeInputError, naming the inputs, when a
    list is empty or two lists of more than one entry differ in length.
    """
    for name, values in lists.items():
        if not values:
            raise NodeInputError(f"{name} is an empty list. Give it at least one entry, or unlink it.")
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
