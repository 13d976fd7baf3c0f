"""Numbers that come over a link: the host checks typed ones against an input's range, but not these."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

from comfy_api.latest import io

from ._schema import NodeInputError

Execute = Callable[..., io.NodeOutput]


def in_range(*, but: Collection[str] = ()) -> Callable[[Execute], Execute]:
    """Decorator for a node's execute, under @classmethod: refuses numbers outside the ranges of the node's schema.

    but: inputs that the node checks by itself. See `check_ranges`.
    """

    def decorate(execute: Execute) -> Execute:
        @functools.wraps(execute)
        def checked(cls: type[io.ComfyNode], **inputs: Any) -> io.NodeOutput:
            check_ranges(cls.define_schema(), {key: value for key, value in inputs.items() if key not in but})
            return execute(cls, **inputs)

        return checked

    return decorate


def check_ranges(schema: io.Schema, inputs: Mapping[str, Any]) -> None:
    """Raise NodeInputError, naming the input, for a number below its minimum, above its maximum, or NaN.

    inputs: by name, single values or lists of them.
    """
    for entry in schema.inputs:
        if not isinstance(entry, io.Int.Input | io.Float.Input) or entry.id not in inputs:
            continue
        given = inputs[entry.id]
        low = -math.inf if entry.min is None else entry.min
        high = math.inf if entry.max is None else entry.max
        for value in given if isinstance(given, list) else [given]:
            if value is not None and not low <= value <= high:
                raise NodeInputError(f"{entry.id} is {value:g}. {_remedy(value, low, high)}.")


def _remedy(value: float, low: float, high: float) -> str:
    if value < low:
        return f"Set it to {low:.12g} or more"
    return f"Set it to {high:.12g} or less" if value > high else f"Set it to a number from {low:.12g} to {high:.12g}"
