"""Numbers that come over a link. ComfyUI checks typed numbers against an input's range, but not linked ones."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from comfy_api.latest import io

from ..errors import NodeInputError

Execute = Callable[..., io.NodeOutput]


class Range(NamedTuple):
    """The lowest and the highest value of an input."""

    name: str
    low: float
    high: float


def in_range(*, but: Collection[str] = ()) -> Callable[[Execute], Execute]:
    """Decorator for a node's execute, under @classmethod: refuses numbers outside the ranges of the node's schema.

    The inputs in `but` are left out, because the node checks them itself. See `check_ranges`.
    """

    def decorate(execute: Execute) -> Execute:
        known: list[Range] = []  # looked up once: a schema is costly to make, its lists are read from disk

        @functools.wraps(execute)
        def checked(cls: type[io.ComfyNode], **inputs: Any) -> io.NodeOutput:
            if not known:
                known.extend(entry for entry in ranges(cls.define_schema()) if entry.name not in but)
            check_ranges(known, inputs)
            return execute(cls, **inputs)

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
