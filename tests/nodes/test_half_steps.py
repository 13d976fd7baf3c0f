"""Flow Euler in half precision beside the loop of Flux's own code, which kohya and musubi-tuner have taken over, and
beside diffusers' scheduler, with which ai-toolkit, SimpleTuner and OneTrainer step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h

LEVELS = [1.0, 0.93, 0.71, 0.333, 0.0]
#: Their differences are numbers of both types. On a CPU torch rounds what diffusers multiplies the velocity with to the
#: velocity's type, on a GPU, where trainers sample, it does not (ATen/native/cuda, `opmath_gpu_kernel_with_scalars`).
BINARY = [1.0, 0.9375, 0.75, 0.375, 0.0]


def fluxs_own(predict: Any, noise: Tensor, dtype: torch.dtype) -> tuple[Tensor, list[float]]:
    """black-forest-labs/flux `sampling.py::denoise` and `layers.py::timestep_embedding`; what the embedding gets."""
    img, times = noise.to(dtype), []
    for t_curr, t_prev in pairwise(LEVELS):
        t_vec = torch.full((1,), t_curr, dtype=img.dtype)
        times.append(float((1000.0 * t_vec).float()))
        img = img + (t_prev - t_curr) * predict(img)
    return img.float(), times


def of_diffusers(predict: Any, noise: Tensor, dtype: torch.dtype) -> Tensor:
    """The loop of diffusers' pipelines: a latent in the dtype of the noise, what its scheduler's steps make of it."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler()
    scheduler.set_timesteps(sigmas=BINARY[:-1])
    latents = noise
    for timestep in scheduler.timesteps:
        latents = scheduler.step(predict(latents.to(dtype)), timestep, latents, return_dict=False)[0]
    return latents.float()


def ours(
    comfy_host: Any, family: str, dtype: str, noise: Tensor, levels: list[float], monkeypatch: pytest.MonkeyPatch
) -> tuple[Tensor, Any, list[float]]:
    """Our final latent, with a model whose output depends on the latent alone, in the dtype: only the steps are
    compared. That model, and the timesteps it was given."""
    model, positive, _, _ = h.inputs_for(family)
    half, seen = getattr(torch, dtype), []

    def predict(img: Tensor) -> Tensor:
        return (img.float().sin() * 1.7 + 0.3).to(half)

    def forward(x: Tensor, timestep: Tensor, *_: Any, **__: Any) -> Tensor:
        seen.append(float(timestep[0] * 1000.0))
        return predict(x.to(half)).to(x)

    monkeypatch.setattr(model.model.diffusion_model, "forward", forward)
    guider = h.node(comfy_host, "BasicGuider", model=model, conditioning=positive)
    sampler = h.flow_euler(comfy_host, latent_dtype=dtype)
    found = h.advanced(
        comfy_host, guider, sampler, torch.tensor(levels), {"samples": torch.zeros_like(noise)}, h.FixedNoise(noise)
    )
    return model.model.process_latent_in(found), predict, seen


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_steps_are_those_of_fluxs_own_code(comfy_host: Any, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise is drawn in the dtype, as kohya and musubi-tuner draw it."""
    noise = h.start_noise(torch.zeros(1, 16, 8, 12)).to(getattr(torch, dtype)).float()
    found, predict, seen = ours(comfy_host, "flux", dtype, noise, LEVELS, monkeypatch)
    theirs, times = fluxs_own(predict, noise, getattr(torch, dtype))
    assert seen == pytest.approx(times, rel=1e-6)
    assert float((found - theirs).abs().max()) <= 2e-5


@pytest.mark.parametrize("family", ["flux", "sd35"])
@pytest.mark.parametrize("drawn", ["precision", "float32"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_steps_are_those_of_diffusers_scheduler(
    comfy_host: Any, dtype: str, drawn: str, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ai-toolkit and SimpleTuner draw the noise in the dtype, OneTrainer in float32."""
    half = getattr(torch, dtype)
    noise = h.start_noise(torch.zeros(1, 16, 8, 12)).to(half if drawn == "precision" else torch.float32)
    found, predict, _ = ours(comfy_host, family, dtype, noise.float(), BINARY, monkeypatch)
    assert float((found - of_diffusers(predict, noise, half)).abs().max()) <= 2e-5


def test_other_models_keep_their_timesteps(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stable Diffusion 3's pipelines hand their models timesteps in float32."""
    model, positive, _, _ = h.inputs_for("sd35")
    seen = []

    def forward(x: Tensor, timestep: Tensor, *_: Any, **__: Any) -> Tensor:
        seen.append(float(timestep[0]))
        return x

    monkeypatch.setattr(model.model.diffusion_model, "forward", forward)
    guider = h.node(comfy_host, "BasicGuider", model=model, conditioning=positive)
    h.advanced(
        comfy_host, guider, h.flow_euler(comfy_host, latent_dtype="bfloat16"), torch.tensor(LEVELS),
        {"samples": torch.zeros(1, 16, 8, 12)},
    )  # fmt: skip
    assert seen == pytest.approx([1000.0 * level for level in LEVELS[:-1]], rel=1e-6)
