"""The noise of a trainer's sampling steps: its generator drew the initial noise and goes on from there."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..families.noise_profile import BOX_MULLER, DTYPES, NoiseProfile
from . import _checks, _cuda_rng
from .noise import drawn_again


class NoiseStream:
    """What a generator draws after the initial noise of `shape` from `seed`.

    Args:
        profile: a NoiseProfile or its text; the generator is torch's or a Box–Muller one, the layout "nchw".
        seed: in [0, 2^64).
        shape: of every draw, `[B, C, H, W]`.

    The global generators are left alone. Verified bit for bit for torch-cpu (it is torch), to float32 rounding for
    Box–Muller (rand 0.8.5); torch-cuda is reproduced without a GPU, see `_cuda_rng`.

    Raises:
        ValueError: naming the argument; also for a profile of which it is not known how it goes on.
    """

    def __init__(self, profile: NoiseProfile | str, seed: int, shape: tuple[int, ...]) -> None:
        self._how = NoiseProfile.parse(profile) if isinstance(profile, str) else profile
        self._box_muller = self._how.generator in BOX_MULLER
        if not self._how.goes_on:
            raise ValueError(
                "profile: steps draw noise with torch-cpu, torch-cuda or rust-stdrng-box-muller in nchw, got "
                f"{self._how}; of another generator it is not known how it goes on after the initial noise"
            )
        self._seed, self._shape = _checks.integer("seed", seed, 0, 2**64 - 1), shape
        self._moved = 0
        self._generator = torch.Generator(device="cpu").manual_seed(self._seed)
        self.draw()  # the initial noise

    def draw(self, dtype: str | None = None) -> Tensor:
        """The next standard normal tensor on the CPU, drawn in `dtype` (None = the profile's), in float32 or rounded
        as the profile says."""
        drawn = getattr(torch, self._how.dtype if dtype is None else _checks.choice("dtype", dtype, DTYPES))
        if self._how.generator == "torch-cpu":
            noise = torch.randn(self._shape, generator=self._generator, device="cpu", dtype=drawn)
        elif self._box_muller:
            noise = torch.from_numpy(drawn_again(self._how, self._seed, math.prod(self._shape), self._moved))
            noise, self._moved = noise.reshape(self._shape).to(drawn), self._moved + 1
        else:
            count = math.prod(self._shape)
            values = _cuda_rng.normal(self._seed, count, self._how.gpu, self._moved)
            self._moved += _cuda_rng.turns(count, self._how.gpu)
            noise = torch.from_numpy(values).reshape(self._shape).to(drawn)
        return noise.to(getattr(torch, self._how.cast)) if self._how.cast and dtype is None else noise
