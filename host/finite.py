"""Whether the numbers in an input can be computed with. Pure torch."""

from __future__ import annotations

from typing import Any

import torch

from ..errors import NodeInputError


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
