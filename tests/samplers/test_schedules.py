"""Schedules, against the host's schedulers, diffusers, and the papers' formulas in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from comfyui_eridiffusion.samplers import schedules

RESOLUTIONS = [(512, 512), (1344, 768), (1024, 1024), (2048, 1024), (1000, 520), (64, 64)]


@pytest.fixture(scope="module")
def host_samplers(comfy_host: Any) -> ModuleType:
    import comfy.samplers

    return comfy.samplers


@pytest.fixture(scope="module")
def host_sampling(comfy_host: Any) -> ModuleType:
    import comfy.model_sampling

    return comfy.model_sampling


def tokens(height: int, width: int) -> int:
    return math.ceil(height / 16) * math.ceil(width / 16)


def bfl_schedule(steps: int, image_tokens: int, low: float, high: float, shift: bool) -> np.ndarray:
    """sampling.py of black-forest-labs/flux, restated in float64 without its division by zero."""
    mu = low + (high - low) * (image_tokens - 256) / (4096 - 256)
    times = [1.0 - i / steps for i in range(steps + 1)]
    if not shift:
        return np.array(times)
    return np.array([math.exp(mu) / (math.exp(mu) + 1.0 / t - 1.0) if t > 0 else 0.0 for t in times])


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(512, 512, 0.63), (768, 1344, 1.13917), (1024, 1024, 1.15), (2048, 1024, 1.84333), (256, 256, 0.5)],
)
def test_flux_mu_is_the_published_line(height: int, width: int, expected: float) -> None:
    assert schedules.flux_mu(tokens(height, width)) == pytest.approx(expected, abs=5e-6)


def test_flux_mu_extrapolates_below_and_above_and_takes_other_bounds() -> None:
    assert schedules.flux_mu(1) == pytest.approx(0.5 - 0.65 * 255 / 3840, abs=1e-12)
    assert schedules.flux_mu(40960) == pytest.approx(0.5 + 0.65 * 40704 / 3840, abs=1e-12)
    assert schedules.flux_mu(30, 1.0, 3.0, base_tokens=10, max_tokens=20) == pytest.approx(5.0, abs=1e-12)


@pytest.mark.parametrize(("width", "height"), RESOLUTIONS)
@pytest.mark.parametrize("steps", [1, 4, 20, 50])
@pytest.mark.parametrize("shifted", [True, False])
def test_flux_sigmas_are_bfls(width: int, height: int, steps: int, shifted: bool) -> None:
    count = tokens(height, width)
    for low, high in ((0.5, 1.15), (0.3, 2.0)):
        sigmas = schedules.flux_sigmas(steps, count, low, high, shifted)
        assert sigmas.dtype == torch.float32
        assert sigmas.shape == (steps + 1,)
        np.testing.assert_allclose(sigmas.double(), bfl_schedule(steps, count, low, high, shifted), rtol=0, atol=1e-6)
        assert sigmas[0] == 1.0
        assert sigmas[-1] == 0.0
        assert bool((sigmas[1:] < sigmas[:-1]).all())


@pytest.mark.parametrize("steps", [1, 4, 28, 50])
@pytest.mark.parametrize("shift", [0.5, 1.0, 3.0, math.exp(1.15)])
def test_the_shifted_sigmoid_is_its_formula(steps: int, shift: float) -> None:
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    sigmas = schedules.shifted_sigmoid_sigmas(steps, shift)
    assert (sigmas.dtype, sigmas.shape) == (torch.float32, (steps + 1,))
    np.testing.assert_allclose(sigmas, torch.sigmoid(torch.logit(times) + math.log(shift)), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("width", "height"), RESOLUTIONS)
def test_the_shift_by_size_is_the_shifted_sigmoid_with_mu_the_logarithm(width: int, height: int) -> None:
    count = tokens(height, width)
    mu = schedules.flux_mu(count)
    assert torch.equal(schedules.flux_sigmas(28, count), schedules.shifted_sigmoid_sigmas(28, math.exp(mu)))


@pytest.mark.parametrize("shift", [0.0, -1.0, math.inf, math.nan])
def test_a_shift_that_is_none_is_refused(shift: float) -> None:
    with pytest.raises(ValueError, match="shift"):
        schedules.shifted_sigmoid_sigmas(4, shift)


@pytest.mark.parametrize(("width", "height"), RESOLUTIONS)
def test_flux_sigmas_are_those_of_diffusers(width: int, height: int) -> None:
    steps, count = 28, tokens(height, width)
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    mu = (1.15 - 0.5) / (4096 - 256) * count + 0.5 - 256 * (1.15 - 0.5) / (4096 - 256)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps).tolist(), mu=mu)
    torch.testing.assert_close(schedules.flux_sigmas(steps, count), scheduler.sigmas, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 4, 30])
def test_flux_sigmas_by_timesteps_are_those_of_diffusers_without_sigmas(steps: int) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    scheduler.set_timesteps(steps, mu=1.15)
    ours = schedules.flux_sigmas(steps, 4096, spacing="timesteps")
    torch.testing.assert_close(ours, scheduler.sigmas, rtol=0, atol=1e-6)


def test_flux_sigmas_are_near_the_hosts_simple_scheduler(host_samplers: ModuleType, host_sampling: ModuleType) -> None:
    sampling = host_sampling.ModelSamplingFlux()
    sampling.set_parameters(shift=0.63)
    theirs = host_samplers.simple_scheduler(sampling, 20)
    torch.testing.assert_close(schedules.flux_sigmas(20, 1024), theirs, rtol=0, atol=5e-4)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 20, 28, 50, 100, 1000])
@pytest.mark.parametrize("shift", [1.0, 3.0, 6.0, 0.5, 3.16])
def test_flow_sigmas_are_the_hosts_bit_for_bit(
    host_samplers: ModuleType, host_sampling: ModuleType, steps: int, shift: float
) -> None:
    sampling = host_sampling.ModelSamplingDiscreteFlow()
    sampling.set_parameters(shift=shift)
    schedulers: dict[str, Callable[[Any, int], Tensor]] = {
        "timesteps": host_samplers.normal_scheduler,
        "simple": host_samplers.simple_scheduler,
    }
    for spacing, scheduler in schedulers.items():
        ours, theirs = schedules.flow_sigmas(steps, shift, spacing), scheduler(sampling, steps)
        assert torch.equal(ours, theirs.clamp(max=1.0)), spacing


@pytest.mark.parametrize("steps", [1, 4, 28, 40, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_timesteps_are_those_of_diffusers(steps: int, shift: float) -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    torch.testing.assert_close(schedules.flow_sigmas(steps, shift), scheduler.sigmas, rtol=0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 5, 26, 50])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_beta_spacings_are_diffusers_beta_sigmas(steps: int, shift: float) -> None:
    """By steps alone (OneTrainer), and with sigmas given as ChromaPipeline and SimpleTuner give them."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift, use_beta_sigmas=True)
    scheduler.set_timesteps(steps)
    ours = schedules.flow_sigmas(steps, shift, "beta timesteps")
    torch.testing.assert_close(ours, scheduler.sigmas, rtol=0, atol=1e-6)
    scheduler.set_timesteps(steps, sigmas=np.linspace(1.0, 1 / steps, steps))
    torch.testing.assert_close(schedules.flow_sigmas(steps, shift, "beta"), scheduler.sigmas, rtol=0, atol=1e-6)


def test_flow_timesteps_end_where_sd35_ends() -> None:
    assert float(schedules.flow_sigmas(28)[-2]) == pytest.approx(0.0089286, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 20, 31])
@pytest.mark.parametrize("shift", [1.0, 3.0, 0.25])
def test_linear_and_cosine_spacings_are_their_formulas(steps: int, shift: float) -> None:
    def shifted(t: float) -> float:
        return shift * t / (1.0 + (shift - 1.0) * t)

    line = [1.0 - i / steps for i in range(steps + 1)]
    cosine = [1.0 if u == 1.0 else 1.0 - 1.0 / (math.tan(math.pi / 2.0 * u) + 1.0) for u in line]
    for spacing, times in (("linear", line), ("cosine", cosine)):
        sigmas = schedules.flow_sigmas(steps, shift, spacing)
        np.testing.assert_allclose(sigmas.double(), [shifted(t) for t in times], rtol=0, atol=1e-7)
        assert sigmas[0] == 1.0
        assert sigmas[-1] == 0.0


@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("trailing", 0), ("linspace", 0)])
def test_ddim_timesteps_are_those_of_diffusers_for_every_number_of_steps(spacing: str, offset: int) -> None:
    scheduler = DDIMScheduler(timestep_spacing=spacing, steps_offset=offset)
    for steps in range(1, 1001):
        scheduler.set_timesteps(steps)
        if int(scheduler.timesteps[0]) > 999:  # diffusers lets the offset run past the table
            with pytest.raises(ValueError, match="offset"):
                schedules.ddim_timesteps(steps, spacing, offset)
            continue
        ours = schedules.ddim_timesteps(steps, spacing, offset)
        assert ours.dtype == torch.int64
        assert torch.equal(ours, scheduler.timesteps[:steps]), steps


@pytest.mark.parametrize(("steps", "first"), [(20, 951), (30, 958), (50, 981)])
def test_sdxl_starts_at_the_known_timestep(steps: int, first: int) -> None:
    assert int(schedules.ddim_timesteps(steps)[0]) == first


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("schedule", ["scaled_linear", "linear"])
def test_alphas_are_those_of_diffusers(schedule: str, zero: bool) -> None:
    scheduler = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=schedule, rescale_betas_zero_snr=zero)
    ours = schedules.alphas_cumprod(schedule=schedule, zero_terminal_snr=zero)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours.float(), scheduler.alphas_cumprod, rtol=0, atol=2e-6)
    assert (float(ours[-1]) == 0.0) is zero


def test_alphas_give_the_hosts_sigmas(host_sampling: ModuleType) -> None:
    alphas = schedules.alphas_cumprod()
    sigmas = ((1 - alphas) / alphas).sqrt()
    host = host_sampling.ModelSamplingDiscrete()  # its default schedule, "linear", is linear in the square root
    torch.testing.assert_close(sigmas.float(), host.sigmas, rtol=2e-6, atol=0)
    assert float(sigmas[0]) == pytest.approx(0.02917, abs=5e-6)
    assert float(sigmas[-1]) == pytest.approx(14.6146, abs=5e-5)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: schedules.flux_sigmas(0, 4096), "steps"),
        (lambda: schedules.flux_sigmas(2.5, 4096), "steps"),  # type: ignore[arg-type]
        (lambda: schedules.flux_sigmas(True, 4096), "steps"),
        (lambda: schedules.flux_sigmas(4, 0), "image_tokens"),
        (lambda: schedules.flux_sigmas(4, 4096, base_shift=math.nan), "base_shift"),
        (lambda: schedules.flux_sigmas(4, 4096, spacing="cosine"), "spacing"),
        (lambda: schedules.flux_mu(4096, max_shift=math.inf), "max_shift"),
        (lambda: schedules.flux_mu(4096, base_tokens=256, max_tokens=256), "max_tokens"),
        (lambda: schedules.flow_sigmas(-1), "steps"),
        (lambda: schedules.flow_sigmas(4, 0.0), "shift"),
        (lambda: schedules.flow_sigmas(4, "3"), "shift"),  # type: ignore[arg-type]
        (lambda: schedules.flow_sigmas(4, 3.0, "karras"), "spacing"),
        (lambda: schedules.flow_sigmas(4, 3.0, None), "spacing"),  # type: ignore[arg-type]
        (lambda: schedules.ddim_timesteps(0), "steps"),
        (lambda: schedules.ddim_timesteps(1001), "steps"),
        (lambda: schedules.ddim_timesteps(1000, offset=1), "offset"),
        (lambda: schedules.ddim_timesteps(10, offset=-1), "offset"),
        (lambda: schedules.ddim_timesteps(10, "evenly"), "spacing"),
        (lambda: schedules.ddim_timesteps(10, train_timesteps=0), "train_timesteps"),
        (lambda: schedules.alphas_cumprod(beta_start=0.0), "beta_start"),
        (lambda: schedules.alphas_cumprod(beta_start=0.02), "beta_end"),
        (lambda: schedules.alphas_cumprod(beta_end=1.0), "beta_end"),
        (lambda: schedules.alphas_cumprod(schedule="cosine"), "schedule"),
        (lambda: schedules.alphas_cumprod(train_timesteps=1), "train_timesteps"),
    ],
)
def test_bad_arguments_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
