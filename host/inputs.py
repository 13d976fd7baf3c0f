"""What ComfyUI does not check of a node's inputs: linked numbers against their range, uneven lists, NaN."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from comfy_api.latest import io

from ..errors import EriError, NodeInputError
from .paths import without_folders

Execute = Callable[..., io.NodeOutput]


class Range(NamedTuple):
    """The lowest and the highest value of an input."""

    name: str
    low: float
    high: float


def guarded(*, but: Collection[str] = ()) -> Callable[[Execute], Execute]:
    """Decorator for a node's execute, under @classmethod.

    Numbers outside the ranges of the node's schema are refused (see `check_ranges`); the inputs in `but` are left out,
    because the node checks them itself. Errors name no folder of this machine: ComfyUI tells them whoever has its port.
    """

    def decorate(execute: Execute) -> Execute:
        known: list[Range] = []  # looked up once: a schema is costly to make, its lists are read from disk

        @functools.wraps(execute)
        def checked(cls: type[io.ComfyNode], **inputs: Any) -> io.NodeOutput:
            if not known:
                known.extend(entry for entry in ranges(cls.define_schema()) if entry.name not in but)
            try:
                check_ranges(known, inputs)
                return execute(cls, **inputs)
            except EriError as error:
                error.reworded(without_folders)
                raise

        return checked

    return decorate


def ranges(schema: io.Schema) -> list[Range]:
    """The ranges of a node's numbers."""
    return [
        Range(entry.id, -math.inf if entry.min is None else entry.min, math.inf if entry.max is None else entry.max)
        for entry in schema.inputs
        if isinstance(entry, io.Int.Input | io.Float.Input)
    ]


def check_ranges(known: Iterable[Range], inputs: Mapping[str, Any]) -> None:
    """Raise NodeInputError, naming the input, for a number below its minimum, above its maximum, or NaN.

    Args:
        known: the ranges.
        inputs: single values or lists of them by name. Inputs that are missing here pass.
    """
    for name, low, high in known:
        given = inputs.get(name)
        for value in given if isinstance(given, list) else [given]:
            if value is not None and not low <= value <= high:
                raise NodeInputError(f"{name} is {value:g}. {_remedy(value, low, high)}.")


def _remedy(value: float, low: float, high: float) -> str:
    if value < low:
        return f"Set it to {low:.12g} or more"
    return f"Set it to {high:.12g} or less" if value > high else f"Set it to a number from {low:.12g} to {high:.12g}"


def check_finite(name: str, value: Any, remedy: str) -> None:
    """Raise NodeInputError when a tensor in `value` holds NaN or infinite values.

    Args:
        name: what the error calls the value.
        value: a tensor, or lists, tuples and dicts that are searched for tensors. Anything else passes.
        remedy: a sentence that says what to change.
    """
    if not finite(value):
        raise NodeInputError(f"{name} holds NaN or infinite values. {remedy}")


def finite(value: Any) -> bool:
    """Whether every number in the tensors of `value` is finite."""
    if torch.is_tensor(value):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, dict):
        return all(finite(entry) for entry in value.values())
    return not isinstance(value, list | tuple) or all(finite(entry) for entry in value)


def rows(lists: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the inputs of a node that takes lists, row by row.

    `lists` holds the values of each input by its name; a single value counts for every row. ComfyUI would silently
    repeat the last entry of a shorter list. Raises NodeInputError, naming the inputs, when a list is empty or two lists
    of more than one entry differ in length.
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
