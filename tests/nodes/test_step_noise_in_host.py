"""Samplers that draw noise on the way, beside ComfyUI's own and k-diffusion's rule for the model's timesteps."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.host_calls import outputs

SIGMAS = torch.tensor([1.0, 0.97, 0.83, 0.6, 0.31, 0.0])


class Draws:
    """A torch generator on the CPU that drew the initial noise and goes on, as trainers do it."""

    def __init__(self, noise: Tensor) -> None:
        self._shape, self._generator = noise.shape, torch.Generator().manual_seed(h.SEED)
        assert torch.equal(self(), noise)

    def __call__(self, *_: Any) -> Tensor:
        return torch.randn(self._shape, generator=self._generator)


@pytest.mark.parametrize(("family", "eta", "s_noise"), [("flux", 1.0, 1.0), ("sd35", 0.4, 0.9)])
def test_eta_is_the_hosts_ancestral_euler_bit_for_bit(
    comfy_host: Any, family: str, eta: float, s_noise: float
) -> None:
    import comfy.samplers
    from comfy.k_diffusion.sampling import sample_euler_ancestral_RF

    latent = {"samples": h.inputs_for(family)[3]}
    options = {"eta": eta, "s_noise": s_noise, "noise_sampler": Draws(h.start_noise(latent["samples"]))}
    theirs = comfy.samplers.KSAMPLER(sample_euler_ancestral_RF, options)
    guider = h.cfg_guider(comfy_host, family, 2.0)
    ours = h.flow_euler(comfy_host, eta=eta, s_noise=s_noise)
    expected = h.advanced(comfy_host, guider, theirs, SIGMAS, latent)
    assert torch.equal(h.advanced(comfy_host, guider, ours, SIGMAS, latent), expected)
    plain = h.advanced(comfy_host, guider, h.flow_euler(comfy_host), SIGMAS, latent)
    assert not torch.allclose(plain, expected)


def test_the_noise_of_flow_steps_is_that_of_the_named_generator(comfy_host: Any) -> None:
    guider, latent = h.cfg_guider(comfy_host, "flux", 1.0), {"samples": h.inputs_for("flux")[3]}
    cpu, cuda = (
        h.advanced(comfy_host, guider, h.flow_euler(comfy_host, eta=1.0, noise=noise), SIGMAS, latent)
        for noise in ("torch-cpu/nchw/float32", "torch-cuda/nchw/float32")
    )
    assert not torch.equal(cpu, cuda)


@pytest.mark.parametrize(("s_churn", "s_tmin", "s_tmax"), [(2.0, 0.0, 1000.0), (40.0, 0.5, 9.0)])
def test_churn_on_sdxl_is_k_diffusions(comfy_host: Any, s_churn: float, s_tmin: float, s_tmax: float) -> None:
    """Around the bare network, asked at timesteps linear in the logarithm of sigma (k-diffusion's sigma_to_t)."""
    model, positive = h.inputs_for("sdxl")[:2]
    noise = h.start_noise(torch.zeros(1, 4, 4, 8))
    churn = {"s_churn": s_churn, "s_tmin": s_tmin, "s_tmax": s_tmax, "s_noise": 1.1}
    named = {"sampler": "euler", "steps": 7, "spacing": "leading", "offset": 0, "karras": False, "clip_sample": False}
    sampler, sigmas = outputs(
        comfy_host, "EriTrainerSampler", model=model, noise="torch-cpu/nchw/float32", **named, **churn
    )
    latent = {"samples": torch.zeros_like(noise)}
    guider = h.cfg_guider(comfy_host, "sdxl", 1.0, model)
    found = model.model.process_latent_in(h.advanced(comfy_host, guider, sampler, sigmas, latent, h.FixedNoise(noise)))
    expected = by_hand(model, positive, noise, sigmas.double(), churn)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-4


@torch.no_grad()
def by_hand(model: Any, positive: Any, noise: Tensor, sigmas: Tensor, churn: dict[str, float]) -> Tensor:
    """Karras et al. 2022, algorithm 2 without its second order, in float64 around the network."""
    table = torch.from_numpy(h.alphas_cumprod(False))
    logs = ((1 - table) / table).sqrt().log()
    predict = h.Diffusers(model, h.DDIMCase("leading", 0, "1", False, 7)).network((noise.shape[2], noise.shape[3]))
    draws, x = Draws(noise), noise.double() * (sigmas[0] ** 2 + 1).sqrt()
    for sigma, after in pairwise(sigmas):
        if churn["s_tmin"] <= sigma <= churn["s_tmax"]:
            raised = sigma * (1 + min(churn["s_churn"] / 7, 2**0.5 - 1))
            x = x + draws() * churn["s_noise"] * (raised**2 - sigma**2).sqrt()
        else:
            raised = sigma
        below = int((logs <= raised.log() + 1e-9).sum().clamp(1, 999)) - 1
        share = ((raised.log() - logs[below]) / (logs[below + 1] - logs[below])).clamp(0, 1)
        asked = (x / (raised**2 + 1).sqrt()).float()
        slope = predict(asked, (below + share).float(), positive).double()
        x = x + slope * (after - raised)
    return x
