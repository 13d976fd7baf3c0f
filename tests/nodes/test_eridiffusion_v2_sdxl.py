"""EriDiffusion V2's sample_sdxl beside the nodes of its graph, on one network, through ComfyUI.

`program` follows CodeAlexx/EriDiffusion@8f1309b (branch master) line by line: crates/eridiffusion-cli/src/bin/
sample_sdxl.rs L303-423 and crates/eridiffusion-core/src/sampler/sdxl_sampler.rs L56-194, with float32 for its bfloat16.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.samplers.noise import initial_noise
from comfyui_eridiffusion.samplers.step_noise import NoiseStream
from comfyui_eridiffusion.spec import read_text
from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.sampling_helpers import DDIMCase, Diffusers
from comfyui_eridiffusion.trainers.profiles import profile_for

#: A share of the largest value, up to which two final latents are the same one.
SAME = 1e-4
NOISE = "rust-stdrng-box-muller-1e-6/nchw/float32"


def alpha_bar() -> list[float]:
    """sdxl_sampler.rs L56-69: betas in float64, their product in float32."""
    cum, table = np.float32(1.0), []
    low, high = math.sqrt(0.00085), math.sqrt(0.012)
    for i in range(1001):
        beta = np.float32((low + min(i / 999.0, 1.0) * (high - low)) ** 2)
        cum = np.float32(cum * (np.float32(1.0) - beta))
        table.append(float(cum))
    return table


def step_back(scheduler: str, v: bool, x: Tensor, pred: Tensor, ab: float, before: float, noise: Tensor) -> Tensor:
    """sdxl_sampler.rs L96-122 (ddim_step) and L138-194 (euler_a_step)."""
    sigma = math.sqrt((1 - ab) / ab)
    unit = x if scheduler == "ddim" else x * math.sqrt(ab)
    eps = math.sqrt(ab) * pred + math.sqrt(1 - ab) * unit if v else pred
    x0 = math.sqrt(ab) * unit - math.sqrt(1 - ab) * pred if v else (unit - math.sqrt(1 - ab) * pred) / math.sqrt(ab)
    if scheduler == "ddim":
        return math.sqrt(before) * x0 + math.sqrt(1 - before) * eps
    after = 0.0 if before >= 1.0 else math.sqrt((1 - before) / before)
    up = after**2 * (sigma**2 - after**2) / sigma**2
    return x0 + math.sqrt(max(after**2 - up, 0.0)) * (x - x0) / sigma + math.sqrt(max(up, 0.0)) * noise


@torch.no_grad()
def program(model: Any, scheduler: str, v: bool, steps: int, cfg: float, phi: float, size: tuple[int, ...]) -> Tensor:
    """sample_sdxl.rs L303-423, for the prompt that is its first."""
    predict = Diffusers(model, DDIMCase("leading", 1, "1", False, 1)).network((size[2], size[3]))
    _, positive, negative, _ = h.inputs_for("sdxl")
    table, draws = alpha_bar(), NoiseStream(NOISE, 42, size)
    timesteps = [1001 - (i + 1) * (1000 // steps) for i in range(steps)]
    x = initial_noise(NOISE, 42, *size).double()
    if scheduler == "euler_a":
        x = x * math.sqrt((1 - table[timesteps[0]]) / table[timesteps[0]])
    for i, t in enumerate(timesteps):
        asked = x if scheduler == "ddim" else x * math.sqrt(table[t])
        when = torch.tensor(float(t))
        cond = predict(asked.float(), when, positive).double()
        pred = cond
        if cfg > 1.0:
            uncond = predict(asked.float(), when, negative).double()
            pred = uncond + cfg * (cond - uncond)
            ratio = cond.std(dim=(1, 2, 3), correction=0) / (pred.std(dim=(1, 2, 3), correction=0) + 1e-8)
            pred = phi * pred * ratio.reshape(-1, 1, 1, 1) + (1 - phi) * pred
        before = table[timesteps[i + 1]] if i + 1 < steps else 1.0
        noise = draws.draw().double() if scheduler == "euler_a" else x
        x = step_back(scheduler, v, x, pred, table[t], before, noise)
    return x


@pytest.mark.parametrize(("steps", "cfg", "phi"), [(7, 1.0, 0.0), (9, 3.0, 0.6)])
@pytest.mark.parametrize("flag", ["", "--v-prediction"])
@pytest.mark.parametrize("scheduler", ["euler_a", "ddim"])
def test_final_latent_is_the_programs(
    comfy_host: Any, scheduler: str, flag: str, steps: int, cfg: float, phi: float
) -> None:
    """The v model is the epsilon model behind ComfyUI's ModelSamplingDiscrete, as in the graph."""
    line = f"--scheduler {scheduler} --steps {steps} --cfg-scale {cfg} --cfg-rescale {phi} {flag}"
    spec = read_text(f"sample_sdxl --prompt 'a fox' --size 512 {line}")
    profile = profile_for(spec, spec.items[0].sampler)
    model, size = h.inputs_for("sdxl")[0], (1, 4, 4, 8)
    if flag:
        assert profile.prediction == "v_prediction"
        model = h.node(comfy_host, "ModelSamplingDiscrete", model=model, sampling=profile.prediction, zsnr=False)
    if profile.sampler:
        sampler, sigmas = outputs(
            comfy_host, "EriTrainerSampler", model=model, sampler=profile.sampler, steps=steps,
            spacing=profile.spacing, offset=profile.offset, karras=False, clip_sample=False, noise=NOISE,
            start=profile.start,
        )  # fmt: skip
    else:
        spaced = {"spacing": profile.spacing, "offset": profile.offset}
        sigmas = h.schedule(comfy_host, "sdxl", steps, model=model, final_alpha=profile.final_alpha, **spaced)
        sampler = h.ddim(comfy_host, **spaced)
    guidance = {"threshold_percentile": 0.0, "threshold_max": 0.0, "mode": "cfg"}
    guided = h.node(comfy_host, "EriGuidance", model=model, rescale=profile.rescale, **guidance)
    noise = h.FixedNoise(initial_noise(NOISE, 42, *size), 42)
    guider, latent = h.cfg_guider(comfy_host, "sdxl", cfg, guided), {"samples": torch.zeros(size)}
    found = model.model.process_latent_in(h.advanced(comfy_host, guider, sampler, sigmas, latent, noise))
    expected = program(model, scheduler, bool(flag), steps, cfg, phi, size)
    assert float((found - expected).abs().max() / expected.abs().max()) < SAME
