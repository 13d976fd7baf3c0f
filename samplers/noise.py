"""The initial noise of each trainer: which generator, in which order, in which dtype.

A profile is written "generator[@gpu]/layout/dtype[/cast]", for example:

- "torch-cpu/nchw/float32": the host's own noise;
- "torch-cpu/nchw/float32/bfloat16": drawn in float32, then rounded to bfloat16;
- "torch-cuda@rtx-3090/packed/bfloat16": drawn as Flux tokens by torch on that GPU.

Verified bit for bit: torch-cpu (it is torch), the Rust generators except Box–Muller (rand 0.8.5, rand_distr 0.4.3).
Verified to float32 rounding: rust-stdrng-box-muller (3 ulp), torch-cuda (published output; see `_cuda_rng`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..families import FAMILIES
from . import _checks, _cuda_rng, _rust_rng
from .flux_latents import unpatchify

GENERATORS = (
    "torch-cpu",
    "torch-cuda",
    "rust-stdrng-uniform",
    "rust-stdrng-gen-range",
    "rust-stdrng-box-muller",
    "rust-stdrng-ziggurat",
)
LAYOUTS = ("nchw", "packed")
DTYPES = ("float32", "bfloat16", "float16")
TRAINERS = ("eridiffusion", "eridiffusion-v2", "ai-toolkit", "kohya", "simpletuner", "onetrainer", "musubi", "native")
DEFAULT_GPU = "rtx-4090"

_RUST: dict[str, Callable[[int, int], NDArray[np.float32]]] = {
    "rust-stdrng-uniform": _rust_rng.uniform,
    "rust-stdrng-gen-range": _rust_rng.gen_range,
    "rust-stdrng-box-muller": _rust_rng.box_muller,
    "rust-stdrng-ziggurat": _rust_rng.ziggurat,
}


@dataclass(frozen=True)
class NoiseProfile:
    """How initial noise is drawn.

    `generator`, `layout` and `dtype` are names of `GENERATORS`, `LAYOUTS` and `DTYPES`; on the CPU torch draws other
    numbers in another dtype, all other generators draw float32 and round. `cast`: dtype the noise is rounded to after
    drawing, or None. `gpu`: whose launch grid "torch-cuda" has (a name of `_cuda_rng.GPUS` or
    "<multiprocessors>x<threads each>"); it matters only for noise of more values than the GPU has threads (196608 on
    an RTX 4090; Flux at 1024² has 262144). `note`: what a reader should know about it; no part of equality.

    Raises ValueError naming the field.
    """

    generator: str
    layout: str
    dtype: str
    cast: str | None = None
    gpu: str = DEFAULT_GPU
    note: str = ""

    def __post_init__(self) -> None:
        _checks.choice("generator", self.generator, GENERATORS)
        _checks.choice("layout", self.layout, LAYOUTS)
        _checks.choice("dtype", self.dtype, DTYPES)
        if self.cast is not None:
            _checks.choice("cast", self.cast, DTYPES)
        _cuda_rng.grid_limit(self.gpu)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NoiseProfile) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        gpu = f"@{self.gpu}" if self.generator == "torch-cuda" and self.gpu != DEFAULT_GPU else ""
        cast = f"/{self.cast}" if self.cast not in (None, self.dtype) else ""
        return f"{self.generator}{gpu}/{self.layout}/{self.dtype}{cast}"

    @classmethod
    def parse(cls, text: str) -> NoiseProfile:
        """Read "generator[@gpu]/layout/dtype[/cast]"; ValueError names the part that is wrong."""
        parts = text.split("/") if isinstance(text, str) else []
        if len(parts) not in (3, 4):
            raise ValueError(f"profile: needs 'generator/layout/dtype', such as 'torch-cpu/nchw/float32', got {text!r}")
        generator, at, gpu = parts[0].partition("@")
        if at and generator != "torch-cuda":
            raise ValueError(f"profile: only torch-cuda depends on a GPU, got {text!r}")
        cast = parts[3] if len(parts) == 4 else None
        return cls(generator, parts[1], parts[2], cast, gpu if at else DEFAULT_GPU)


def initial_noise(profile: NoiseProfile | str, seed: int, batch: int, channels: int, height: int, width: int) -> Tensor:
    """Return the noise a trainer starts from, drawn at once for the whole batch.

    `profile`: a `NoiseProfile` or its text; `seed` in [0, 2^64); `height`, `width` in latent cells. Returns
    `[batch, channels, height, width]` on the CPU in the profile's final dtype; packed noise is drawn as tokens
    `[batch, ceil(height / 2) * ceil(width / 2), 4 * channels]` and unpacked. The global generators are left alone.

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


def noise_profile(trainer: str, family: str, precision: str = "bfloat16") -> NoiseProfile:
    """Return how a trainer draws the noise of its sample images.

    `trainer`: a name of `TRAINERS`; `family`: "flux", "sd35" or "sdxl"; `precision`: the dtype the trainer computes
    in, which some draw or round the noise in. The profile's `note` says what to know about it.

    Raises ValueError for an unknown name, a family the trainer does not sample, or noise whose source is not known,
    for which only a noise file written by the trainer can match.
    Source: each trainer's own sampling code, named in the notes.
    """
    name = _checks.choice("trainer", trainer, TRAINERS)
    model = _checks.choice("family", family, tuple(FAMILIES))
    dtype = _checks.choice("precision", precision, DTYPES)
    if name == "musubi" and model != "flux":
        raise ValueError(f"family: musubi-tuner samples only Flux (Kontext) of these families, got {model!r}")
    if name == "eridiffusion-v2" and model == "sdxl":
        raise ValueError(
            "family: how EriDiffusion V2 draws its SDXL noise is not known (it never samples in the run and its "
            "sample_sdxl is not published); only a noise file written by it can match"
        )
    generator, layout, drawn, note = _PROFILES.get((name, model)) or _PROFILES[name, "*"]
    if drawn == "float32 then precision":
        return NoiseProfile(generator, layout, "float32", None if dtype == "float32" else dtype, note=note)
    return NoiseProfile(generator, layout, dtype if drawn == "precision" else drawn, note=note)


_GPU_NOTE = (
    " More values than the GPU has threads are drawn in an order that depends on the GPU: name the trainer's, as in "
    "torch-cuda@rtx-3090."
)
_V1_NOTE = (
    "EriDiffusion V1's samplers draw uniform numbers in [-1, 1), not Gaussian ones "
    "(src/inference/*_sampling.rs, prepare_latents); without a seed its noise cannot be reproduced."
)
_DIFFUSERS_NOTE = "diffusers with a CPU generator, in the dtype of the prompt embeddings."
_PROFILES: dict[tuple[str, str], tuple[str, str, str, str]] = {
    # (trainer, family or any): (generator, layout, dtype it is drawn in, note)
    ("native", "*"): ("torch-cpu", "nchw", "float32", "The host's own noise (comfy/sample.py, prepare_noise)."),
    ("eridiffusion", "*"): ("rust-stdrng-uniform", "nchw", "precision", _V1_NOTE),
    ("eridiffusion-v2", "flux"): (
        "rust-stdrng-ziggurat",
        "packed",
        "precision",
        "sample_flux seeds flame-core's host generator with seed + prompt index and draws tokens; read in flame-core "
        "as of April 2026 (src/rng/mod.rs, sample_normal), a later version may differ.",
    ),
    ("eridiffusion-v2", "sd35"): (
        "rust-stdrng-box-muller",
        "nchw",
        "precision",
        "sample_sd35 seeds StdRng with seed + prompt index.",
    ),
    ("ai-toolkit", "*"): ("torch-cpu", "nchw", "precision", _DIFFUSERS_NOTE),
    ("simpletuner", "*"): (
        "torch-cpu",
        "nchw",
        "precision",
        _DIFFUSERS_NOTE + " With validation_seed_source gpu it is torch-cuda.",
    ),
    ("kohya", "flux"): (
        "torch-cuda",
        "packed",
        "precision",
        "flux_train_utils.py, sample_image_inference." + _GPU_NOTE,
    ),
    ("kohya", "sd35"): ("torch-cpu", "nchw", "float32 then precision", "sd3_train_utils.py, do_sample."),
    ("kohya", "sdxl"): (
        "torch-cuda",
        "nchw",
        "precision",
        "The global CUDA generator right after manual_seed." + _GPU_NOTE,
    ),
    ("onetrainer", "*"): ("torch-cuda", "nchw", "float32", "modules/modelSampler." + _GPU_NOTE),
    ("onetrainer", "sdxl"): (
        "torch-cuda",
        "nchw",
        "precision",
        "modules/modelSampler, in the train dtype." + _GPU_NOTE,
    ),
    ("musubi", "flux"): ("torch-cuda", "packed", "precision", "flux_kontext_generate_image.py." + _GPU_NOTE),
}


def latent_size(family: str, width: int, height: int, trainer: str | None = None) -> tuple[int, int]:
    """Return the latent's (height, width) for a picture of width × height pixels, after the trainer's rounding.

    `family`: "flux", "sd35" or "sdxl"; `width`, `height` in pixels, at least 1; `trainer`: a name of `TRAINERS`, or
    None for the family's reference (Flux: 2·ceil(pixels / 16) as black-forest-labs; others: pixels // 8).

    Raises ValueError for an unknown name, for a size that leaves no latent, and for one the trainer refuses.
    Source: each trainer's own rounding of sample sizes.
    """
    model = _checks.choice("family", family, tuple(FAMILIES))
    name = "native" if trainer is None else _checks.choice("trainer", trainer, TRAINERS)
    if name == "musubi" and model != "flux":
        raise ValueError(f"family: musubi-tuner samples only Flux (Kontext) of these families, got {model!r}")
    return _cells("height", height, model, name), _cells("width", width, model, name)


def _cells(argument: str, value: int, family: str, trainer: str) -> int:
    """Round one side as the trainer does and return it in latent cells (8 pixels each)."""
    pixels = _checks.integer(argument, value, 1)
    multiple, how, minimum = _ROUNDING.get((trainer, family)) or _ROUNDING[trainer, "*"]
    if how == "exact":
        pixels = max(minimum, pixels - pixels % 8)
        if pixels % multiple:
            raise ValueError(f"{argument}: {trainer} refuses {value} for {family}; it needs a multiple of {multiple}")
    share = pixels / multiple
    whole = round(share) if how == "round" else math.ceil(share) if how == "ceil" else math.floor(share)
    pixels = max(minimum, whole * multiple)
    if pixels < 8:
        raise ValueError(f"{argument}: {value} pixels round to nothing for {family} with {trainer}")
    return pixels // 8


_ROUNDING: dict[tuple[str, str], tuple[int, str, int]] = {
    # (trainer, family or any): (multiple of pixels, how, minimum); Python's round is half to even, as the trainers'
    ("native", "flux"): (16, "ceil", 16),
    ("native", "*"): (8, "floor", 0),
    ("eridiffusion", "flux"): (16, "floor", 0),
    ("eridiffusion", "*"): (8, "floor", 0),
    ("eridiffusion-v2", "flux"): (16, "floor", 0),
    ("eridiffusion-v2", "*"): (8, "floor", 0),
    ("ai-toolkit", "flux"): (16, "floor", 64),
    ("ai-toolkit", "sd35"): (16, "exact", 64),
    ("ai-toolkit", "sdxl"): (8, "floor", 64),
    ("kohya", "flux"): (16, "floor", 64),
    ("kohya", "*"): (8, "floor", 64),
    ("simpletuner", "*"): (16, "round", 16),
    ("onetrainer", "sd35"): (16, "round", 0),
    ("onetrainer", "*"): (64, "round", 0),
    ("musubi", "flux"): (16, "floor", 0),
}
