"""Guidance, against the host, diffusers and the formulas in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from comfyui_eridiffusion.samplers import guidance
from comfyui_eridiffusion.tests.samplers.helpers import DTYPES, SHAPES, assert_rounded, latent, untouched

C, U = latent((2, 4, 5, 3), 1), latent((2, 4, 5, 3), 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("scale", [4.5, 0.0, -1.0, 7.0])
def test_cfg_is_the_hosts_bit_for_bit(comfy_host: Any, shape: tuple[int, ...], scale: float) -> None:
    import comfy.samplers

    cond, uncond = latent(shape, 3, contiguous=False), latent(shape, 4)
    theirs = comfy.samplers.cfg_function(None, cond, uncond, scale, cond, torch.tensor([1.0]))
    with untouched(cond, uncond):
        assert torch.equal(guidance.classifier_free(cond, uncond, scale), theirs)


def test_cfg_at_scale_one_is_the_conditional_prediction_itself() -> None:
    result = guidance.classifier_free(C, U, 1.0)
    assert torch.equal(result, C)
    result.zero_()
    assert not torch.equal(result, C)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cfg_rounds_once(dtype: torch.dtype) -> None:
    cond, uncond = latent((2, 4, 5, 3), 5, dtype), latent((2, 4, 5, 3), 6, dtype)
    exact = uncond.double() + 4.5 * (cond.double() - uncond.double())
    assert_rounded(guidance.classifier_free(cond, uncond, 4.5), exact, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (3, 64, 5)])
def test_zero_star_projects_the_conditional_output_on_the_other(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    """CFG-Zero* (Fan et al. 2025): the scale s that leaves least of cond - s * uncond, sample by sample."""
    cond, uncond = latent(shape, 7, dtype), latent(shape, 8, dtype)
    with untouched(cond, uncond):
        found = guidance.zero_star(cond, uncond, 4.0)
    for ours, wanted, other in zip(found.double(), cond.double(), uncond.double(), strict=True):
        fit = np.linalg.lstsq(other.reshape(-1, 1).numpy(), wanted.reshape(-1).numpy(), rcond=None)[0].item()
        expected = fit * other + 4.0 * (wanted - fit * other)
        assert float((ours - expected).abs().max()) < 8 * torch.finfo(dtype).eps * float(expected.abs().max())


def rescaled(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    """Lin et al. 2023, eq. 15 and 16, sample by sample in float64."""
    rows = []
    for strong, plain in zip(guided.double(), cond.double(), strict=True):
        matched = strong * (np.std(plain.numpy(), ddof=1) / np.std(strong.numpy(), ddof=1))
        rows.append(phi * matched + (1 - phi) * strong)
    return torch.stack(rows)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2, 4, 8, 8), (2, 16, 13, 7), (3, 64, 5), (2, 10)])
@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_rescale_is_its_formula(dtype: torch.dtype, shape: tuple[int, ...], phi: float) -> None:
    guided = latent(shape, 7, dtype, contiguous=False) * torch.tensor(3.0, dtype=dtype)
    cond = latent(shape, 8, dtype)
    with untouched(guided, cond):
        assert_rounded(guidance.rescale(guided, cond, phi), rescaled(guided, cond, phi), dtype)


def test_rescale_is_that_of_diffusers() -> None:
    from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import rescale_noise_cfg

    theirs = rescale_noise_cfg(3.0 * C + U, C, 0.6)
    torch.testing.assert_close(guidance.rescale(3.0 * C + U, C, 0.6), theirs, rtol=1e-6, atol=1e-6)


def test_rescale_leaves_a_sample_without_variance() -> None:
    guided = torch.cat([torch.full((1, 4, 5, 3), 2.0), C[:1]])
    result = guidance.rescale(guided, C, 1.0)
    assert torch.equal(result[0], guided[0])
    torch.testing.assert_close(result[1], C[0] * (C[1].std() / C[0].std()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 4, 8, 8), (2, 16, 13, 7), (3, 4, 1, 5)])
@pytest.mark.parametrize(("percentile", "most"), [(0.995, 1.0), (0.9, 2.5), (0.5, 10.0), (1.0, 100.0), (0.0, 3.0)])
def test_thresholding_is_that_of_diffusers_and_its_formula(
    dtype: torch.dtype, shape: tuple[int, ...], percentile: float, most: float
) -> None:
    x0 = latent(shape, 9, dtype, contiguous=False) * torch.tensor(2.0, dtype=dtype)
    scheduler = DDIMScheduler(thresholding=True, dynamic_thresholding_ratio=percentile, sample_max_value=most)
    with untouched(x0):
        ours = guidance.dynamic_threshold(x0, percentile, most)
    bound = np.quantile(np.abs(x0.double().numpy().reshape(shape[0], -1)), percentile, axis=1).clip(1.0, most)
    s = torch.from_numpy(bound).reshape(-1, 1, 1, 1)
    assert_rounded(ours, x0.double().clamp(-s, s) / s, dtype)
    torch.testing.assert_close(ours, scheduler._threshold_sample(x0), rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_thresholding_without_a_maximum_takes_the_percentile_as_it_is() -> None:
    x0 = latent((2, 4, 5, 3), 10) * 50.0
    ours = guidance.dynamic_threshold(x0, 1.0)
    for sample, result in zip(x0, ours, strict=True):
        torch.testing.assert_close(result, sample / sample.abs().max())


def test_thresholding_leaves_small_values() -> None:
    x0 = latent((2, 4, 5, 3), 11).clamp(-0.9, 0.9)
    assert torch.equal(guidance.dynamic_threshold(x0, 0.99), x0)


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: guidance.classifier_free(C, U[:1], 2.0), "uncond"),
    (lambda: guidance.classifier_free(C.int(), U, 2.0), "cond"),
    (lambda: guidance.classifier_free(C[0, 0, 0], U[0, 0, 0], 2.0), "cond"),
    (lambda: guidance.classifier_free(C, U, math.nan), "scale"),
    (lambda: guidance.classifier_free(C, U, math.inf), "scale"),
    (lambda: guidance.zero_star(C, U[:1], 2.0), "uncond"),
    (lambda: guidance.zero_star(C, U, math.nan), "scale"),
    (lambda: guidance.rescale(C, U[:1], 0.5), "cond"),
    (lambda: guidance.rescale(C, U, 1.5), "phi"),
    (lambda: guidance.rescale(C, U, -0.5), "phi"),
    (lambda: guidance.rescale(C[:, :1, :1, :1], U[:, :1, :1, :1], 0.5), "guided"),
    (lambda: guidance.dynamic_threshold(C, 1.5), "percentile"),
    (lambda: guidance.dynamic_threshold(C, 99.5), "percentile"),
    (lambda: guidance.dynamic_threshold(C, 0.9, 0.5), "max_value"),
    (lambda: guidance.dynamic_threshold(C.long(), 0.9), "x0"),
    (lambda: guidance.dynamic_threshold(C[:0], 0.9), "x0"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_arguments_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
