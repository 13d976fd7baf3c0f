"""The exact DDIM plan beside diffusers' DDIMScheduler, without ComfyUI."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from comfyui_eridiffusion.errors import NodeInputError
from comfyui_eridiffusion.samplers.ddim_plan import ddim_sigmas, plan, sigmas_from
from comfyui_eridiffusion.samplers.diffusion import ddim_step
from comfyui_eridiffusion.samplers.schedules import alphas_cumprod

ALPHAS = alphas_cumprod()
TABLE = sigmas_from(ALPHAS)  # in float64, so that the zero-SNR table made from it is exact, too
SPACINGS = ("leading", "trailing", "linspace")
LAST_FIRST = "last, then leading"


def theirs(spacing: str, offset: int, final: str, steps: int, zero_snr: bool = False) -> Any:
    from diffusers import DDIMScheduler

    made = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing=spacing,
        steps_offset=offset, set_alpha_to_one=final == "1", rescale_betas_zero_snr=zero_snr, clip_sample=False,
        prediction_type="v_prediction",
    )  # fmt: skip
    made.alphas_cumprod = alphas_cumprod(zero_terminal_snr=zero_snr)  # its own table is float32
    made.final_alpha_cumprod = torch.tensor(1.0).double() if final == "1" else made.alphas_cumprod[0]
    made.set_timesteps(steps)
    return made


def outputs(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(1, 4, 3, 5, generator=generator, dtype=torch.float64) for _ in range(count + 1)]


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("final", ["alpha[0]", "1"])
@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)])
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 30, 51, 333, 600])
def test_the_steps_are_diffusers(spacing: str, offset: int, final: str, steps: int, zero_snr: bool) -> None:
    """The same outputs of a model, put through the plan's steps and through diffusers'; 600 have a stride of 1."""
    alphas = alphas_cumprod(zero_terminal_snr=zero_snr)
    scheduler = theirs(spacing, offset, final, steps, zero_snr)
    sigmas = ddim_sigmas(alphas, steps, spacing, offset, final)
    found = plan(sigmas, TABLE, spacing, offset)
    assert found.exact
    assert found.ends
    x, *answers = outputs(steps)
    expected = x
    for t, step, answer in zip(scheduler.timesteps, found.steps, answers, strict=True):
        assert step.model_sigma == float(TABLE[t])
        at = torch.tensor([step.alpha], dtype=torch.float64)
        x, _ = ddim_step(x, answer, 0, -1, at, prediction="v_prediction", final_alpha_cumprod=step.alpha_next)
        expected = scheduler.step(answer, t, expected).prev_sample
    assert float((x - expected).abs().max()) < 1e-6 * float(expected.abs().max())


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 28, 30, 333, 500])
def test_the_last_timestep_before_leading_ones(steps: int, offset: int) -> None:
    """OneTrainer's forced last timestep (modules/modelSampler/StableDiffusionXLSampler.py:94-101), step for step."""
    scheduler = theirs("leading", offset, "alpha[0]", steps)
    listed = scheduler.timesteps
    scheduler.set_timesteps(steps + 1)
    timesteps = torch.cat([torch.tensor([999]), listed])
    found = plan(ddim_sigmas(ALPHAS, steps + 1, LAST_FIRST, offset, "alpha[0]"), TABLE, LAST_FIRST, offset)
    assert found.exact
    assert found.ends
    x, *answers = outputs(steps + 1)
    expected = x
    for t, step, answer in zip(timesteps, found.steps, answers, strict=True):
        assert step.model_sigma == float(TABLE[t])
        at = torch.tensor([step.alpha], dtype=torch.float64)
        x, _ = ddim_step(x, answer, 0, -1, at, prediction="v_prediction", final_alpha_cumprod=step.alpha_next)
        expected = scheduler.step(answer, t, expected).prev_sample
    assert float((x - expected).abs().max()) < 1e-6 * float(expected.abs().max())


@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)])
def test_the_sigmas_are_those_of_the_timesteps(spacing: str, offset: int) -> None:
    for steps in (1, 7, 30):
        scheduler = theirs(spacing, offset, "1", steps)
        alphas = scheduler.alphas_cumprod[scheduler.timesteps]
        expected = ((1 - alphas) / alphas).sqrt().float()
        torch.testing.assert_close(ddim_sigmas(ALPHAS, steps, spacing, offset, "1")[:-1], expected, rtol=1.2e-7, atol=0)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(SPACINGS), st.integers(1, 120), st.integers(0, 119), st.integers(1, 120))
@example("linspace", 2, 0, 1)  # timesteps 999 and 0: the level behind the piece is the table's first
def test_any_piece_of_any_schedule_steps_as_the_whole(spacing: str, steps: int, at: int, n: int) -> None:
    """The alphas of a piece are those of the whole; where several schedules hold the same numbers, nearly those."""
    offset = 1 if spacing == "leading" else 0
    sigmas = ddim_sigmas(ALPHAS, steps, spacing, offset, "alpha[0]")
    at %= steps
    end = min(at + n, steps)
    whole, part = plan(sigmas, TABLE, spacing, offset), plan(sigmas[at : end + 1], TABLE, spacing, offset)
    assert whole.exact
    assert whole.ends
    assert part.exact
    assert part.ends == (end == steps)
    found, expected = part.steps, whole.steps[at:end]
    assert [step.alpha for step in found] == pytest.approx([step.alpha for step in expected], rel=1e-6)
    ahead = [step.alpha_next for step in expected]
    if spacing == "leading":
        assert [step.alpha_next for step in found] == pytest.approx(ahead, rel=1e-6)
    else:  # a few timesteps may belong to schedules of several lengths, whose strides lie close together
        apart = [abs(timestep(a.alpha_next) - timestep(b)) for a, b in zip(found, ahead, strict=True)]
        assert max(apart) <= (1 if end - at > 1 else 1000 / max(steps - 1, 1) - 1000 // steps + 1)


def timestep(alpha: float) -> int:
    return int((ALPHAS - alpha).abs().argmin())


@pytest.mark.parametrize("final", ["alpha[0]", "1"])
@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)])
@pytest.mark.parametrize("steps", [2, 4, 7, 20, 30, 51, 100])
def test_without_a_spacing_the_timesteps_tell_it(spacing: str, offset: int, final: str, steps: int) -> None:
    """But for linspace down to sigma 0, which is also what ComfyUI's `normal` scheduler gives: each to the next."""
    sigmas = ddim_sigmas(ALPHAS, steps, spacing, offset, final)
    found, told = plan(sigmas, TABLE), plan(sigmas, TABLE, spacing, offset)
    if spacing == "linspace" and final == "1":
        assert not found.exact
        levels = [1 / (1 + float(sigma) ** 2) for sigma in sigmas]
        assert [(step.alpha, step.alpha_next) for step in found.steps] == list(pairwise(levels))
    else:
        assert found == told


@pytest.mark.parametrize(("made", "told"), [("trailing", "leading"), ("linspace", "trailing"), ("leading", "linspace")])
def test_another_spacing_than_the_sigmas_is_refused(made: str, told: str) -> None:
    sigmas = ddim_sigmas(ALPHAS, 12, made, 1, "alpha[0]")
    with pytest.raises(NodeInputError, match=f"{told}.*as in EriDDIMSchedule"):
        plan(sigmas, TABLE, told, 1)


def test_another_offset_than_the_sigmas_is_refused() -> None:
    for spacing in ("leading", LAST_FIRST):
        with pytest.raises(NodeInputError, match="offset 0"):
            plan(ddim_sigmas(ALPHAS, 12, spacing, 1, "alpha[0]"), TABLE, spacing, 0)
