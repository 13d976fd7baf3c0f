"""Whether the numbers that came in can be computed with. Pure torch."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import NodeInputError


def check_finite(name: str, value: Any, remedy: str) -> None:
    """Raise NodeInputError where a tensor in `value` (lists and dicts searched) holds NaN or infinite values.

    name: what the error calls it; remedy: what to change. Anything but tensors, lists, tuples and dicts is passed over.
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
