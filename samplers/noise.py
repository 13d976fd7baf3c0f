"""The initial noise of each trainer: which generator draws it, in which order, and in which dtype.

A profile is written "generator[@gpu]/layout/dtype[/cast]", for example:

- "torch-cpu/nchw/float32": ComfyUI's own noise;
- "torch-cpu/nchw/float32/bfloat16": drawn in float32, then rounded to bfloat16;
- "torch-cuda@rtx-3090/packed/bfloat16": drawn as Flux tokens by torch on that GPU;
- "torch-cpu/patches/float32": drawn as Flux tokens in rows and columns, `[B, 4C, h, w]`.

Verified bit for bit: torch-cpu (it is torch), the Rust generators except Box–Muller (rand 0.8.5, rand_distr 0.4.3).
In rust-stdrng-box-muller-1e-6 the first of two uniforms is at least 1e-6, otherwise 1e-10: about one pair in a million
is another one.
Verified to float32 rounding: rust-stdrng-box-muller (3 ulp), torch-cuda (published output; see `_cuda_rng`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..families import FAMILIES
from ..families.noise_profile import BOX_MULLER
from ..families.noise_profile import DEFAULT_GPU as DEFAULT_GPU
from ..families.noise_profile import DTYPES as DTYPES
from ..families.noise_profile import GENERATORS as GENERATORS
from ..families.noise_profile import LAYOUTS as LAYOUTS
from ..families.noise_profile import NoiseProfile as NoiseProfile
from ..trainers import LISTED, TRAINERS
from ..trainers.native import TRAINER as NATIVE
from ..trainers.trainer import Sizes, Way
from . import _checks, _cuda_rng, _rust_rng
from .flux_latents import from_patches, unpatchify

_RUST: dict[str, Callable[[int, int], NDArray[np.float32]]] = {
    "rust-stdrng-uniform": _rust_rng.uniform,
    "rust-stdrng-gen-range": _rust_rng.gen_range,
    "rust-stdrng-ziggurat": _rust_rng.ziggurat,
    **{name: partial(_rust_rng.box_muller, least=least) for name, least in BOX_MULLER.items()},
}


def initial_noise(profile: NoiseProfile | str, seed: int, batch: int, channels: int, height: int, width: int) -> Tensor:
    """Return the noise that a trainer starts from, drawn at once for the whole batch.

    Args:
        profile: a `NoiseProfile` or its text.
        seed: in [0, 2^64).
        batch: the number of latents.
        channels: the latent's channels.
        height: the latent's height in cells.
        width: the latent's width in cells.

    Returns `[batch, channels, height, width]` on the CPU in the profile's final dtype. Packed noise is drawn as tokens
    `[batch, ceil(height / 2) * ceil(width / 2), 4 * channels]` and unpacked; patches are the same with the tokens in
    rows and columns, `[batch, 4 * channels, ceil(height / 2), ceil(width / 2)]`. The global generators are left alone.

    Raises ValueError naming the argument.
    Source: per generator, see the module and `_rust_rng`, `_cuda_rng`; torch: `torch.randn` with a CPU generator.
    """
    how = NoiseProfile.parse(profile) if isinstance(profile, str) else profile
    if not isinstance(how, NoiseProfile):
        raise ValueError(f"profile: needs a NoiseProfile or its text, got {type(profile).__name__}")
    start = _checks.integer("seed", seed, 0, 2**64 - 1)
    count = _checks.integer("batch", batch, 1)
    depth = _checks.integer("channels", channels, 1)
    rows, columns = _checks.integer("height", height, 1), _checks.integer("width", width, 1)
    if how.layout == "packed":
        tokens = ((rows + 1) // 2) * ((columns + 1) // 2)
        noise = unpatchify(_draw(how, start, (count, tokens, 4 * depth)), rows, columns)
    elif how.layout == "patches":
        drawn = _draw(how, start, (count, 4 * depth, (rows + 1) // 2, (columns + 1) // 2))
        noise = unpatchify(from_patches(drawn), rows, columns)
    else:
        noise = _draw(how, start, (count, depth, rows, columns))
    return noise.to(getattr(torch, how.cast or how.dtype))


def _draw(profile: NoiseProfile, seed: int, shape: tuple[int, ...]) -> Tensor:
    dtype: torch.dtype = getattr(torch, profile.dtype)
    if profile.generator == "torch-cpu":
        generator = torch.Generator(device="cpu").manual_seed(seed)
        return torch.randn(shape, generator=generator, device="cpu", dtype=dtype)
    total = math.prod(shape)
    if profile.generator == "torch-cuda":
        values = _cuda_rng.normal(seed, total, profile.gpu)
    else:
        values = _RUST[profile.generator](seed, total)
    return torch.from_numpy(values).reshape(shape).to(dtype)


def drawn_again(profile: NoiseProfile, seed: int, count: int, turn: int) -> NDArray[np.float32]:
    """What a Box–Muller generator draws when it has drawn `count` values `turn` times before.

    Source: CodeAlexx/EriDiffusion@8f1309b crates/eridiffusion-cli/src/bin/sample_sdxl.rs, L303-318 and L416-421.
    """
    return _rust_rng.box_muller(seed, count, BOX_MULLER[profile.generator], turn)


def noise_profile(trainer: str, family: str, precision: str = "bfloat16") -> NoiseProfile:
    """Return how a trainer draws the noise of its samples. The profile's `note` says what to know about it.

    Args:
        trainer: a trainer's id.
        family: a family's id.
        precision: the dtype in which the trainer computes; some trainers draw or round their noise in it.

    Raises ValueError for an unknown name or a family that the trainer does not sample.
    Source: each trainer's own sampling code, named in the notes.
    """
    dtype = _checks.choice("precision", precision, DTYPES)
    noise = _way(trainer, family).noise
    return replace(NoiseProfile.parse(noise.text(dtype)), note=noise.note)


def _way(trainer: str, family: str) -> Way:
    """Return how a trainer samples a family. ValueError for an unknown name or a family that it does not sample."""
    known = TRAINERS[_checks.choice("trainer", trainer, LISTED)]
    way = known.way(_checks.choice("family", family, tuple(FAMILIES)))
    if way is None:
        raise ValueError(f"family: {known.title} samples only {', '.join(known.families)} here, got {family!r}")
    return way


def latent_size(family: str, width: int, height: int, trainer: str | None = None) -> tuple[int, int]:
    """Return the latent's (height, width) for a picture of width × height pixels, after the trainer's rounding.

    Args:
        family: a family's id.
        width: the picture's width in pixels, at least 1.
        height: the picture's height in pixels, at least 1.
        trainer: a trainer's id; None takes the family's reference (Flux: 2·ceil(pixels / 16) as black-forest-labs;
            others: pixels // 8).

    Raises ValueError for an unknown name, for a size that leaves no latent, and for one that the trainer refuses.
    Source: each trainer's own rounding of sample sizes.
    """
    sizes = _way(NATIVE.id if trainer is None else trainer, family).sizes
    return _cells("height", height, sizes), _cells("width", width, sizes)


def _cells(argument: str, value: int, sizes: Sizes) -> int:
    """Round one side as the trainer does and return it in latent cells (8 pixels each)."""
    side = _checks.integer(argument, value, 1)
    try:
        pixels = sizes.pixels(side)
    except ValueError as error:
        raise ValueError(f"{argument}: the trainer refuses {value}; it {error}") from error
    if pixels < 8:
        raise ValueError(f"{argument}: {value} pixels round to nothing")
    return pixels // 8
