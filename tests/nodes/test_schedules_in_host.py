"""The schedule nodes beside BFL's formula and the host's own schedulers, image to image included."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.host_calls import outputs


@pytest.mark.parametrize(("width", "height"), [(512, 512), (768, 1344), (1000, 520)])
@pytest.mark.parametrize(("steps", "denoise"), [(12, 1.0), (9, 0.6)])
def test_flux_schedule_is_bfls(comfy_host: Any, width: int, height: int, steps: int, denoise: float) -> None:
    tokens = math.ceil(height / 16) * math.ceil(width / 16)
    mu = 0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256)
    times = torch.linspace(1, 0, int(steps / denoise) + 1, dtype=torch.float64)[-(steps + 1) : -1]
    expected = torch.cat([math.exp(mu) / (math.exp(mu) + (1 / times - 1)), torch.zeros(1)])
    size = {"width": width, "height": height}
    ours = h.schedule(comfy_host, "flux", steps, denoise=denoise, **size)
    assert float((ours - expected).abs().max()) < 1e-6
    flat = h.schedule(comfy_host, "flux", steps, denoise=denoise, shifted=False, **size)
    assert torch.allclose(flat, torch.cat([times, torch.zeros(1)]).float())


def test_flux_schedule_has_a_fixed_shift_for_every_size(comfy_host: Any) -> None:
    times = torch.linspace(1, 0, 21, dtype=torch.float64)[-13:]
    expected = torch.sigmoid(torch.logit(times) + math.log(3.0)).float()
    for size in ({"width": 512, "height": 512}, {"width": 1344, "height": 768}):
        found = h.schedule(comfy_host, "flux", 12, denoise=0.6, shift=3.0, **size)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("spacing", "scheduler"), [("timesteps", "normal"), ("simple", "simple")])
@pytest.mark.parametrize(("steps", "denoise"), [(28, 1.0), (12, 0.6), (7, 0.33), (20, 0.05), (1, 0.5)])
def test_flow_schedule_is_the_basic_scheduler_bit_for_bit(
    comfy_host: Any, spacing: str, scheduler: str, steps: int, denoise: float
) -> None:
    model = h.inputs_for("sd35")[0]
    expected = h.node(comfy_host, "BasicScheduler", model=model, scheduler=scheduler, steps=steps, denoise=denoise)
    assert torch.equal(h.schedule(comfy_host, "sd35", steps, spacing=spacing, denoise=denoise), expected)


@pytest.mark.parametrize("family", h.FAMILIES)
def test_denoise_and_split_sigmas_denoise_cut_the_same_schedule(comfy_host: Any, family: str) -> None:
    """10 steps at denoise 0.4 are the last 10 of 25; SplitSigmasDenoise takes them from the 25."""
    whole = h.schedule(comfy_host, family, 25)
    _, low = outputs(comfy_host, "SplitSigmasDenoise", sigmas=whole, denoise=0.4)
    assert torch.equal(h.schedule(comfy_host, family, 10, denoise=0.4), low)


@pytest.mark.parametrize("family", h.FAMILIES)
@pytest.mark.parametrize("denoise", [0.0, -0.5, 1.5, math.nan])
def test_denoise_outside_its_range_is_refused(comfy_host: Any, family: str, denoise: float) -> None:
    with pytest.raises(ValueError, match=r"denoise.*above 0"):
        h.schedule(comfy_host, family, 5, denoise=denoise)


@pytest.mark.parametrize("family", h.FAMILIES)
def test_no_steps_are_refused(comfy_host: Any, family: str) -> None:
    with pytest.raises(ValueError, match=r"steps is 0.*1 or more"):
        h.schedule(comfy_host, family, 0)
