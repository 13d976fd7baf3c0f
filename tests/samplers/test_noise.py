"""Initial noise: layouts, dtypes, profiles and sizes, against torch, the host and the trainers' own rounding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.samplers import flux_latents, noise
from comfyui_eridiffusion.samplers.noise import NoiseProfile, initial_noise, latent_size, noise_profile
from comfyui_eridiffusion.tests.counting import at_most
from comfyui_eridiffusion.tests.samplers.helpers import untouched

# --- initial_noise --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", noise.DTYPES)
@pytest.mark.parametrize("shape", [(1, 16, 64, 48), (2, 4, 13, 7), (1, 4, 1, 1)])
def test_torch_noise_is_torchs(dtype: str, shape: tuple[int, int, int, int]) -> None:
    generator = torch.Generator("cpu").manual_seed(2**63 + 5)
    expected = torch.randn(shape, generator=generator, dtype=getattr(torch, dtype))
    assert torch.equal(initial_noise(f"torch-cpu/nchw/{dtype}", 2**63 + 5, *shape), expected)


def test_float32_noise_on_the_cpu_is_the_hosts(comfy_host: Any) -> None:
    import comfy.sample

    expected = comfy.sample.prepare_noise(torch.zeros(2, 16, 13, 7), 42)
    assert torch.equal(initial_noise(noise_profile("native", "flux"), 42, 2, 16, 13, 7), expected)


@pytest.mark.parametrize("generator", noise.GENERATORS)
@pytest.mark.parametrize("dtype", noise.DTYPES)
@pytest.mark.parametrize(("batch", "height", "width"), [(1, 8, 6), (2, 13, 7)])
def test_packed_noise_is_drawn_as_tokens(generator: str, dtype: str, batch: int, height: int, width: int) -> None:
    latent = initial_noise(f"{generator}/packed/{dtype}", 11, batch, 16, height, width)
    count = ((height + 1) // 2) * ((width + 1) // 2)
    flat = initial_noise(f"{generator}/nchw/{dtype}", 11, 1, 1, 1, batch * count * 64)
    tokens = flat.reshape(batch, count, 64)
    assert latent.shape == (batch, 16, height, width)
    assert latent.dtype == getattr(torch, dtype)
    assert torch.equal(latent, flux_latents.unpatchify(tokens, height, width))


@pytest.mark.parametrize("generator", noise.GENERATORS)
def test_only_torch_on_the_cpu_draws_other_numbers_in_another_dtype(generator: str) -> None:
    full = initial_noise(f"{generator}/nchw/float32", 3, 1, 4, 9, 5)
    half = initial_noise(f"{generator}/nchw/bfloat16", 3, 1, 4, 9, 5)
    assert torch.equal(half, full.bfloat16()) is (generator != "torch-cpu")
    cast = initial_noise(f"{generator}/nchw/float32/bfloat16", 3, 1, 4, 9, 5)
    assert torch.equal(cast, full.bfloat16())


@pytest.mark.parametrize("generator", noise.GENERATORS)
def test_noise_of_a_1024_picture_leaves_the_global_state(generator: str) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    with untouched(), at_most(20_000):  # by whole arrays, not number by number
        latent = initial_noise(f"{generator}/packed/bfloat16", 1, 1, 16, 128, 128)
    assert torch.equal(torch.get_rng_state(), state)
    assert (np.random.get_state()[1] == numpy_state).all()  # type: ignore[index]
    deviation = 1 / math.sqrt(3) if "uniform" in generator or "range" in generator else 1.0
    assert float(latent.float().std()) == pytest.approx(deviation, rel=0.01)
    assert float(latent.float().mean()) == pytest.approx(0.0, abs=0.01)


def drawn(generator: str, seed: int, count: int) -> torch.Tensor:
    return initial_noise(f"{generator}/nchw/float32", seed, 1, 1, 1, count).reshape(-1)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(noise.GENERATORS), st.integers(0, 2**64 - 1), st.integers(1, 700))
def test_a_shorter_draw_is_the_beginning_of_a_longer_one(generator: str, seed: int, count: int) -> None:
    if generator == "torch-cpu":  # torch fills blocks of 16 from both halves of the block
        count = 16 * max(1, count // 16)
    longer = drawn(generator, seed, count + 64)
    assert torch.equal(drawn(generator, seed, count), longer[:count])


# --- profiles -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trainer", "family", "precision", "expected"),
    [
        ("eridiffusion", "flux", "bfloat16", "rust-stdrng-uniform/nchw/bfloat16"),
        ("eridiffusion", "sd35", "float32", "rust-stdrng-uniform/nchw/float32"),
        ("eridiffusion", "sdxl", "float16", "rust-stdrng-uniform/nchw/float16"),
        ("eridiffusion-v2", "flux", "bfloat16", "rust-stdrng-ziggurat/packed/bfloat16"),
        ("eridiffusion-v2", "sd35", "bfloat16", "rust-stdrng-box-muller/nchw/bfloat16"),
        ("eridiffusion-v2", "sdxl", "bfloat16", "rust-stdrng-box-muller-1e-6/nchw/bfloat16"),
        ("ai-toolkit", "flux", "bfloat16", "torch-cpu/nchw/bfloat16"),
        ("ai-toolkit", "sd35", "float16", "torch-cpu/nchw/float16"),
        ("ai-toolkit", "sdxl", "bfloat16", "torch-cpu/nchw/bfloat16"),
        ("kohya", "flux", "bfloat16", "torch-cuda/packed/bfloat16"),
        ("kohya", "sd35", "bfloat16", "torch-cpu/nchw/float32/bfloat16"),
        ("kohya", "sd35", "float32", "torch-cpu/nchw/float32"),
        ("kohya", "sdxl", "float16", "torch-cuda/nchw/float16"),
        ("simpletuner", "flux", "bfloat16", "torch-cpu/nchw/bfloat16"),
        ("simpletuner", "sdxl", "float16", "torch-cpu/nchw/float16"),
        ("onetrainer", "flux", "bfloat16", "torch-cuda/nchw/float32"),
        ("onetrainer", "sd35", "bfloat16", "torch-cuda/nchw/float32"),
        ("onetrainer", "sdxl", "bfloat16", "torch-cuda/nchw/bfloat16"),
        ("musubi", "flux", "bfloat16", "torch-cuda/packed/bfloat16"),
        ("native", "sdxl", "bfloat16", "torch-cpu/nchw/float32"),
    ],
)
def test_each_trainer_has_its_profile(trainer: str, family: str, precision: str, expected: str) -> None:
    profile = noise_profile(trainer, family, precision)
    assert str(profile) == expected
    assert profile.note
    assert NoiseProfile.parse(expected) == profile


def test_precision_defaults_to_bfloat16() -> None:
    profile = noise_profile("ai-toolkit", "flux")
    assert (profile.generator, profile.layout, profile.dtype) == ("torch-cpu", "nchw", "bfloat16")


@pytest.mark.parametrize("generator", noise.GENERATORS)
@pytest.mark.parametrize("layout", noise.LAYOUTS)
@pytest.mark.parametrize("dtype", noise.DTYPES)
@pytest.mark.parametrize("cast", [None, "float16"])
def test_a_profile_survives_being_written_and_read(generator: str, layout: str, dtype: str, cast: str | None) -> None:
    for gpu in ("rtx-4090", "rtx-3090") if generator == "torch-cuda" else ("rtx-4090",):
        profile = NoiseProfile(generator, layout, dtype, None if cast == dtype else cast, gpu)
        again = NoiseProfile.parse(str(profile))
        assert again == profile
        assert (again.generator, again.layout, again.dtype, again.cast, again.gpu) == (
            profile.generator, profile.layout, profile.dtype, profile.cast, profile.gpu,
        )  # fmt: skip
        assert hash(again) == hash(profile)


# --- sizes ----------------------------------------------------------------------------------------------------------

# The trainers' own expressions, in pixels.
TRAINER_PIXELS: dict[tuple[str, str], Callable[[int], int]] = {
    ("ai-toolkit", "flux"): lambda v: 16 * (max(64, v - v % 8) // 16),
    ("ai-toolkit", "sdxl"): lambda v: max(64, v - v % 8),
    ("kohya", "flux"): lambda v: max(64, v - v % 16),
    ("kohya", "sd35"): lambda v: max(64, v - v % 8),
    ("kohya", "sdxl"): lambda v: max(64, v - v % 8),
    ("simpletuner", "flux"): lambda v: max(16, round(v / 16) * 16),
    ("simpletuner", "sd35"): lambda v: max(16, round(v / 16) * 16),
    ("simpletuner", "sdxl"): lambda v: max(16, round(v / 16) * 16),
    ("onetrainer", "flux"): lambda v: round(v / 64) * 64,
    ("onetrainer", "sd35"): lambda v: round(v / 16) * 16,
    ("onetrainer", "sdxl"): lambda v: round(v / 64) * 64,
    ("musubi", "flux"): lambda v: (v // 8 * 8) // 16 * 16,
    ("eridiffusion", "flux"): lambda v: v // 16 * 16,
    ("eridiffusion", "sd35"): lambda v: v // 16 * 16,  # latents in patches of 2 x 2, as its reader says
    ("eridiffusion", "sdxl"): lambda v: v // 8 * 8,
    ("eridiffusion-v2", "flux"): lambda v: v // 16 * 16,
    ("native", "flux"): lambda v: 16 * math.ceil(v / 16),
    ("native", "sdxl"): lambda v: v // 8 * 8,
}


@pytest.mark.parametrize(("trainer", "family"), TRAINER_PIXELS)
def test_sizes_are_rounded_as_the_trainer_does(trainer: str, family: str) -> None:
    pixels = TRAINER_PIXELS[trainer, family]
    for width, height in ((1024, 768), (1000, 520), (992, 1056), (513, 1023), (72, 100)):
        expected = (pixels(height) // 8, pixels(width) // 8)
        assert latent_size(family, width, height, trainer) == expected


def test_known_sizes() -> None:
    assert latent_size("flux", 1000, 520) == (66, 126)  # black-forest-labs: 2·ceil(v / 16)
    assert latent_size("sd35", 1000, 520) == (65, 125)
    assert latent_size("sdxl", 992, 1056, "onetrainer") == (128, 128)  # both halves go to the even multiple of 64
    assert latent_size("sd35", 1024, 512, "ai-toolkit") == (64, 128)
    assert latent_size("flux", 10, 10, "kohya") == (8, 8)


# --- errors ---------------------------------------------------------------------------------------------------------

BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: initial_noise("torch-cpu", 0, 1, 4, 8, 8), "profile"),
    (lambda: initial_noise("torch-cpu/nchw/float32/float16/x", 0, 1, 4, 8, 8), "profile"),
    (lambda: initial_noise(None, 0, 1, 4, 8, 8), "profile"),  # type: ignore[arg-type]
    (lambda: initial_noise("torch-mps/nchw/float32", 0, 1, 4, 8, 8), "generator"),
    (lambda: initial_noise("torch-cpu/nhwc/float32", 0, 1, 4, 8, 8), "layout"),
    (lambda: initial_noise("torch-cpu/nchw/float64", 0, 1, 4, 8, 8), "dtype"),
    (lambda: initial_noise("torch-cpu/nchw/float32/int8", 0, 1, 4, 8, 8), "cast"),
    (lambda: initial_noise("torch-cpu@rtx-3090/nchw/float32", 0, 1, 4, 8, 8), "profile"),
    (lambda: initial_noise("torch-cuda@voodoo/nchw/float32", 0, 1, 4, 8, 8), "profile"),
    (lambda: initial_noise("torch-cuda@0x1536/nchw/float32", 0, 1, 4, 8, 8), "profile"),
    (lambda: initial_noise("torch-cuda@82x128/nchw/float32", 0, 1, 4, 8, 8), "profile"),
    (lambda: initial_noise("torch-cuda@/nchw/float32", 0, 1, 4, 8, 8), "profile"),
    (lambda: initial_noise("torch-cpu/nchw/float32", -1, 1, 4, 8, 8), "seed"),
    (lambda: initial_noise("torch-cpu/nchw/float32", 2**64, 1, 4, 8, 8), "seed"),
    (lambda: initial_noise("torch-cpu/nchw/float32", None, 1, 4, 8, 8), "seed"),  # type: ignore[arg-type]
    (lambda: initial_noise("torch-cpu/nchw/float32", 0, 0, 4, 8, 8), "batch"),
    (lambda: initial_noise("torch-cpu/nchw/float32", 0, 1, 0, 8, 8), "channels"),
    (lambda: initial_noise("torch-cpu/nchw/float32", 0, 1, 4, 0, 8), "height"),
    (lambda: initial_noise("torch-cpu/nchw/float32", 0, 1, 4, 8, 8.0), "width"),  # type: ignore[arg-type]
    (lambda: noise_profile("diffusers", "flux"), "trainer"),
    (lambda: noise_profile("kohya", "sd15"), "family"),
    (lambda: noise_profile("kohya", "flux", "int8"), "precision"),
    (lambda: noise_profile("musubi", "sdxl"), "family"),
    (lambda: latent_size("wan", 512, 512), "family"),
    (lambda: latent_size("flux", 512, 512, "diffusers"), "trainer"),
    (lambda: latent_size("sd35", 512, 512, "musubi"), "family"),
    (lambda: latent_size("flux", 0, 512), "width"),
    (lambda: latent_size("sdxl", 512, 7), "height"),
    (lambda: latent_size("flux", 20, 512, "onetrainer"), "width"),
    (lambda: latent_size("sd35", 1000, 512, "ai-toolkit"), "width"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_arguments_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
