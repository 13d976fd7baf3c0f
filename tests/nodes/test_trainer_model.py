"""EriTrainerModel: the second self-attention of SD 3.5 Medium in swapped heads, beside attention by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.small_models import sd35_model

SWAPPED = "heads and head size swapped"
#: Image tokens of the latent below.
IMAGE = 24


@pytest.fixture(scope="module")
def medium(comfy_host: Any) -> Any:
    """A MODEL with attn2 in the first of its two blocks, 2 heads of 64, whose share is large."""
    model = sd35_model(seed=1, attn2=(0,))
    with torch.no_grad():
        for weight in model.model.diffusion_model.joint_blocks[0].x_block.attn2.parameters():
            weight *= 10
    return model


def sampled(comfy_host: Any, model: Any) -> Tensor:
    """Two steps of Euler."""
    guider = h.cfg_guider(comfy_host, "sd35", 1.0, model)
    sigmas = torch.tensor([1.0, 0.6, 0.2])
    return h.advanced(comfy_host, guider, h.flow_euler(comfy_host), sigmas, {"samples": torch.zeros(1, 16, 8, 12)})


def by_hand(function: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, heads: int, **options: Any) -> Tensor:
    """Attention among image tokens alone (attn2 has no text) over 64 heads of 2, as kohya's layout cuts them."""
    if q.shape[1] != IMAGE:
        return function(q, k, v, heads, **options)
    assert heads == 2
    q, k, v = (part.flatten(2).unflatten(2, (64, 2)) for part in (q, k, v))
    weights = (torch.einsum("bqhd,bkhd->bhqk", q, k) / 2**0.5).softmax(-1)
    return torch.einsum("bhqk,bkhd->bqhd", weights, v).flatten(2)


def test_swapped_heads_are_the_attention_by_hand(comfy_host: Any, medium: Any) -> None:
    before = sampled(comfy_host, medium)
    swapped = h.node(comfy_host, "EriTrainerModel", second_attention=SWAPPED, model=medium)
    expected = medium.clone()
    expected.model_options["transformer_options"]["optimized_attention_override"] = by_hand
    wanted = sampled(comfy_host, expected)
    assert float((wanted - before).abs().max()) > 1e-3
    assert torch.allclose(sampled(comfy_host, swapped), wanted, atol=1e-5)
    again = h.node(comfy_host, "EriTrainerModel", second_attention=SWAPPED, model=swapped)
    assert torch.allclose(sampled(comfy_host, again), wanted, atol=1e-5)
    policy = {"mode": "attention slicing", "slice_size": 16, "tile_size": 512, "model": swapped}
    assert torch.allclose(sampled(comfy_host, h.node(comfy_host, "EriMemoryPolicy", **policy)), wanted, atol=1e-5)
    assert torch.equal(sampled(comfy_host, medium), before), "the model itself has changed"


def test_a_model_without_second_attention_runs_as_it_is(comfy_host: Any) -> None:
    """As SD 3.5 Large; and the word that changes nothing hands on the model."""
    large = h.inputs_for("sd35")[0]
    assert h.node(comfy_host, "EriTrainerModel", second_attention=SWAPPED, model=large).object_patches == {}
    assert h.node(comfy_host, "EriTrainerModel", second_attention="as published", model=large) is large
