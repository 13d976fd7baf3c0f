"""Argument checks that the samplers share. Each raises ValueError with the argument, its value and what is allowed."""

from __future__ import annotations

import math
import operator
from typing import TypeAlias

import torch
from torch import Tensor

Scalar: TypeAlias = float | Tensor
"""A Python number or a 0-d tensor."""


def integer(name: str, value: object, minimum: int, maximum: int | None = None) -> int:
    """Return `value` as an int within [minimum, maximum]. Bools, fractions and tensors with a shape are refused."""
    if isinstance(value, Tensor):
        if value.ndim != 0 or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
            raise ValueError(f"{name}: needs an integer or a 0-d integer tensor, got {_describe(value)}")
        value = value.item()
    if isinstance(value, bool):
        raise ValueError(f"{name}: needs an integer, got {value!r}")
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # its TypeError is the check
    except TypeError:
        raise ValueError(f"{name}: needs an integer, got {value!r}") from None
    if number < minimum or (maximum is not None and number > maximum):
        upper = "" if maximum is None else f" and at most {maximum}"
        raise ValueError(f"{name}: must be at least {minimum}{upper}, got {number}")
    return number


def real(name: str, value: object, low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> float:
    """Return `value` as a float within [low, high], or with `above` within (low, high]. NaN is always refused.

    Infinity passes only when `high` (or `low`) is infinite and the caller's formula allows it.
    """
    if isinstance(value, Tensor):
        if value.ndim != 0 or value.is_complex():
            raise ValueError(f"{name}: needs a number or a 0-d tensor, got {_describe(value)}")
        value = value.item()
    if isinstance(value, (bool, str, bytes)):
        raise ValueError(f"{name}: needs a number, got {value!r}")
    try:
        number = float(value)  # type: ignore[arg-type]  # its TypeError is the check
    except (TypeError, ValueError):
        raise ValueError(f"{name}: needs a number or a 0-d tensor, got {value!r}") from None
    inside = (low < number if above else low <= number) and number <= high
    if not inside:
        raise ValueError(f"{name}: must be in {'(' if above else '['}{low:g}, {high:g}], got {number!r}")
    return number


def finite(name: str, value: object, low: float = -math.inf, high: float = math.inf, *, above: bool = False) -> float:
    """Return `value` like `real`, and refuse infinities."""
    number = real(name, value, low, high, above=above)
    if math.isinf(number):
        raise ValueError(f"{name}: must be finite, got {number!r}")
    return number


def choice(name: str, value: object, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of the strings `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name}: must be one of {', '.join(allowed)}; got {value!r}")
    return value


def tensor(name: str, value: object, rank: int | None = 4) -> Tensor:
    """Return `value` if it is a non-empty floating-point tensor of that rank (None: any rank of at least 2)."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: needs a tensor, got {type(value).__name__}")
    shape = {4: " [B, C, H, W]", 3: " [B, N, C]", 1: " [T]"}.get(rank or 0, "")
    if rank is None and value.ndim < 2:
        raise ValueError(f"{name}: needs a tensor with a batch axis and at least one more, got {_describe(value)}")
    if rank is not None and value.ndim != rank:
        raise ValueError(f"{name}: needs a tensor of rank {rank}{shape}, got {_describe(value)}")
    if not value.is_floating_point():
        raise ValueError(f"{name}: needs a floating-point tensor, got {_describe(value)}")
    if value.numel() == 0:
        raise ValueError(f"{name}: is empty, got {_describe(value)}")
    return value


def like(name: str, value: object, reference: Tensor, reference_name: str) -> Tensor:
    """Return `value` if it is a floating-point tensor with the shape of `reference`."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name}: needs a tensor shaped like {reference_name}, got {type(value).__name__}")
    if value.shape != reference.shape:
        raise ValueError(
            f"{name}: must have the shape of {reference_name} {tuple(reference.shape)}, got {tuple(value.shape)}"
        )
    if not value.is_floating_point():
        raise ValueError(f"{name}: needs a floating-point tensor, got {_describe(value)}")
    return value


def required_noise(value: Tensor | None, reference: Tensor, why: str) -> Tensor:
    """Return `value` if it is noise shaped like `x`; steps never draw noise themselves."""
    if value is None:
        raise ValueError(f"noise: is needed because {why}; draw it and pass it in, steps never draw noise themselves")
    return like("noise", value, reference, "x")


def compute_dtype(reference: Tensor) -> torch.dtype:
    """Return the dtype in which a step computes: float64 for float64, else float32, rounded once at the end."""
    return torch.float64 if reference.dtype == torch.float64 else torch.float32


def _describe(value: Tensor) -> str:
    return f"a {str(value.dtype).removeprefix('torch.')} tensor of shape {tuple(value.shape)}"
