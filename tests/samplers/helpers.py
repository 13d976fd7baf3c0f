"""What several of these tests need: latents of awkward shapes, and a check that arguments and generators are left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

SHAPES = [(1, 4, 8, 8), (2, 16, 13, 7), (3, 4, 1, 5)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def latent(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float32, contiguous: bool = True) -> Tensor:
    """Return standard normal values of that shape; with contiguous=False in memory order N, W, H, C."""
    generator = torch.Generator().manual_seed(seed)
    if contiguous:
        return torch.randn(shape, generator=generator).to(dtype)
    turned = torch.randn([shape[0], *shape[:0:-1]], generator=generator).to(dtype)
    return turned.permute(0, *range(len(shape) - 1, 0, -1))


def velocity(x: Tensor, sigma: float) -> Tensor:
    """Return what a nonlinear velocity model might predict; the same whatever the batch."""
    return torch.sin(3.0 * x) * (1.5 - sigma) + 0.25 * x


@contextmanager
def untouched(*arguments: Any) -> Iterator[None]:
    """Fail if the tensors among the arguments or torch's global generator change meanwhile."""
    tensors = [a for a in arguments if isinstance(a, Tensor)]
    before = [t.clone() for t in tensors]
    state = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), state), "the global generator was used"
    for tensor, copy in zip(tensors, before, strict=True):
        assert torch.equal(tensor, copy), "an argument was changed"


def assert_rounded(actual: Tensor, exact: Tensor, dtype: torch.dtype, ulps: float = 1.0) -> None:
    """Check that `actual` is `exact` (float64) computed in float32 and rounded to dtype once."""
    assert actual.dtype == dtype
    epsilon = torch.finfo(dtype).eps
    slack = ulps * epsilon * exact.abs() + 4e-6 * exact.abs().max().clamp(min=1.0)
    assert bool(((actual.double() - exact).abs() <= slack).all()), (actual.double() - exact).abs().max()
