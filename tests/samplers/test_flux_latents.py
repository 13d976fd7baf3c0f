"""Flux packing, against the host's Flux model and einops."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from einops import rearrange
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.samplers import flux_latents
from comfyui_eridiffusion.tests.samplers.helpers import DTYPES, latent, untouched

SHAPES = [(1, 16, 64, 64), (2, 16, 96, 48), (3, 16, 13, 7), (2, 16, 1, 1), (1, 4, 8, 5)]


@pytest.fixture(scope="module")
def process_img(comfy_host: Any) -> Callable[..., Any]:
    """The host's own packing, on an object that has what it reads from the model."""
    from comfy.ldm.flux.model import Flux

    model = SimpleNamespace(patch_size=2, params=SimpleNamespace(axes_dim=[16, 56, 56]))
    return lambda x, index=0: Flux.process_img(model, x, index=index)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_tokens_and_ids_are_the_hosts(
    process_img: Callable[..., Any], shape: tuple[int, ...], dtype: torch.dtype, contiguous: bool, index: int
) -> None:
    x = latent(shape, 1, dtype, contiguous)
    tokens, ids = process_img(x, index)
    with untouched(x):
        packed = flux_latents.patchify(x)
    assert torch.equal(packed.tokens, tokens)
    assert packed.tokens.dtype == dtype
    assert (packed.height, packed.width) == shape[2:]
    ours = flux_latents.image_ids(packed.height, packed.width, shape[0], index)
    assert ours.dtype == ids.dtype
    assert torch.equal(ours, ids)


@pytest.mark.parametrize("shape", [(1, 16, 64, 64), (2, 16, 6, 10)])
def test_packing_is_bfls_rearrangement_both_ways(shape: tuple[int, ...]) -> None:
    x = latent(shape, 2, contiguous=False)
    expected = rearrange(x, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=2, pw=2)
    assert torch.equal(flux_latents.patchify(x).tokens, expected)
    rows = shape[2] // 2
    back = rearrange(expected, "b (h w) (c ph pw) -> b c (h ph) (w pw)", h=rows, ph=2, pw=2)
    assert torch.equal(flux_latents.unpatchify(expected, *shape[2:]), back)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 19), st.integers(1, 19)),
    st.sampled_from(DTYPES),
    st.booleans(),
)
def test_the_round_trip_is_exact(shape: tuple[int, ...], dtype: torch.dtype, contiguous: bool) -> None:
    x = latent(shape, 3, dtype, contiguous)
    packed = flux_latents.patchify(x)
    assert packed.tokens.shape == (shape[0], -(-shape[2] // 2) * -(-shape[3] // 2), 4 * shape[1])
    assert torch.equal(flux_latents.unpatchify(packed.tokens, packed.height, packed.width), x)
    assert torch.equal(flux_latents.unpatchify(packed, packed.height, packed.width), x)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_results_share_no_memory_with_arguments(size: int) -> None:
    x = latent((1, 4, size, size), 4)
    packed = flux_latents.patchify(x)
    with untouched(x):
        packed.tokens.add_(1.0)
    with untouched(packed.tokens):
        flux_latents.unpatchify(packed.tokens, size, size).zero_()


def test_the_batch_index_is_in_no_id() -> None:
    ids = flux_latents.image_ids(6, 4, batch=3)
    assert ids.shape == (3, 6, 3)
    assert bool((ids[..., 0] == 0).all())
    assert torch.equal(ids[0], ids[2])


def test_text_ids_are_zero() -> None:
    ids = flux_latents.text_ids(512, 2)
    assert ids.shape == (2, 512, 3)
    assert ids.dtype == torch.float32
    assert not ids.any()
    assert flux_latents.text_ids(0).shape == (1, 0, 3)


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: flux_latents.patchify(torch.zeros(16, 8, 8)), "latent"),
    (lambda: flux_latents.patchify(torch.zeros(1, 16, 1, 8, 8)), "latent"),
    (lambda: flux_latents.patchify(torch.zeros(1, 16, 8, 8, dtype=torch.int64)), "latent"),
    (lambda: flux_latents.patchify(torch.zeros(0, 16, 8, 8)), "latent"),
    (lambda: flux_latents.unpatchify(torch.zeros(1, 16, 8, 8), 8, 8), "tokens"),
    (lambda: flux_latents.unpatchify(torch.zeros(1, 16, 64), 8, 9), "tokens"),
    (lambda: flux_latents.unpatchify(torch.zeros(1, 16, 63), 8, 8), "tokens"),
    (lambda: flux_latents.unpatchify(torch.zeros(1, 16, 64), 0, 8), "height"),
    (lambda: flux_latents.unpatchify(torch.zeros(1, 16, 64), 8, 8.5), "width"),  # type: ignore[arg-type]
    (lambda: flux_latents.image_ids(0, 8), "height"),
    (lambda: flux_latents.image_ids(8, -8), "width"),
    (lambda: flux_latents.image_ids(8, 8, 0), "batch"),
    (lambda: flux_latents.image_ids(8, 8, 1, -1), "index"),
    (lambda: flux_latents.text_ids(-1), "length"),
    (lambda: flux_latents.text_ids(8, 0), "batch"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_arguments_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
