"""Each family's small model in its own parameterisation: what goes in, what it predicts, and its training loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import comfy.latent_formats
import torch
from comfy.ldm.modules.diffusionmodules.mmdit import get_2d_sincos_pos_embed_torch
from loaders import architecture
from torch import Tensor, nn

from .runtime import initialise

#: parameters that start at zero, so that every block starts as the identity
ZERO = {
    "flux": ("mod.lin.", "modulation.lin.", "final_layer."),
    "sd35": ("adaLN_modulation.", "final_layer."),
    "sdxl": ("out_layers.3.", "proj_out.", "out.2."),
}
LATENT_CHANNELS = {"flux": 16, "sd35": 16, "sdxl": 4}
LATENT_FORMATS = {
    "flux": comfy.latent_formats.Flux,
    "sd35": comfy.latent_formats.SD3,
    "sdxl": comfy.latent_formats.SDXL,
}
#: tokens of the CLIP part and of the T5 part of a context
CLIP_TOKENS = {"flux": 0, "sd35": 77, "sdxl": 77}


@dataclass
class Conditions:
    """Text of one batch: context `[B, T, C]`, pooled `[B, P]`, and Flux's guidance `[B]` (None elsewhere)."""

    context: Tensor
    pooled: Tensor
    guidance: Tensor | None = None


def new_model(family: str, seed: int = 11) -> nn.Module:
    """The host's diffusion model of the family, small, every parameter drawn from `seed`."""
    model: nn.Module = architecture.model_config(family).get_model({}, "", device=torch.device("cpu")).diffusion_model
    initialise(model, seed, ZERO[family])
    if family == "sd35":
        side = architecture.SD35["pos_embed_max_size"]
        grid = get_2d_sincos_pos_embed_torch(64 * architecture.SD35["depth"], side, side)
        model.pos_embed.copy_(grid.reshape(model.pos_embed.shape))
    return model.requires_grad_(True)


def shorten(family: str, context: Tensor, tokens: int) -> Tensor:
    """Keep the first `tokens` of the CLIP part and of the T5 part: prompts here have at most 12, then comes padding."""
    clip = CLIP_TOKENS[family]
    if clip == 0:
        return context[:, :tokens]
    return torch.cat((context[:, :tokens], context[:, clip : clip + tokens]), dim=1)


def alphas_cumprod() -> Tensor:
    """SDXL's 1000 cumulative alphas, float32."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1.0 - betas).cumprod(0).float()


def size_ids(height: int, width: int, batch: int) -> Tensor:
    """SDXL's embedded size ids `[B, 1536]` of uncropped pictures, in the host's order."""
    from comfy.ldm.modules.diffusionmodules.openaimodel import Timestep

    embed = Timestep(256)
    values = [height, width, 0, 0, height, width]
    return torch.cat([embed(torch.tensor([float(v)])) for v in values]).flatten().expand(batch, -1)


def predict(family: str, model: Any, x: Tensor, time: Tensor, conditions: Conditions) -> Tensor:
    """The model's raw output for noisy latents `x`; `time` is sigma in 0..1 (flow) or the step index (SDXL)."""
    if family == "flux":
        return model(x, time, conditions.context, conditions.pooled, conditions.guidance, transformer_options={})
    if family == "sd35":
        return model(x, time * 1000.0, context=conditions.context, y=conditions.pooled, transformer_options={})
    sizes = size_ids(x.shape[2] * 8, x.shape[3] * 8, len(x))
    y = torch.cat((conditions.pooled, sizes), dim=1)
    return model(x, time, context=conditions.context, y=y, transformer_options={})


def sample_time(family: str, batch: int, generator: torch.Generator) -> Tensor:
    """Training times `[B]`: logit-normal for flow (leaning to the noisy side), uniform step indices for SDXL."""
    if family == "sdxl":
        return torch.randint(1000, (batch,), generator=generator)
    return torch.sigmoid(torch.randn(batch, generator=generator) * 1.1 + 0.3)


def noisy(family: str, x0: Tensor, noise: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
    """Noisy latents and the regression target (velocity `noise - x0`, or the noise itself for SDXL)."""
    if family == "sdxl":
        alpha = alphas_cumprod()[time].view(-1, 1, 1, 1)
        return alpha.sqrt() * x0 + (1.0 - alpha).sqrt() * noise, noise
    t = time.view(-1, 1, 1, 1)
    return (1.0 - t) * x0 + t * noise, noise - x0


@torch.no_grad()
def sample(
    family: str, model: Any, noise: Tensor, positive: Conditions, negative: Conditions | None, cfg: float, steps: int
) -> Tensor:
    """A plain sampler to watch training with (the figures that count come from the host): Euler, or DDIM for SDXL."""

    def guided(x: Tensor, time: Tensor) -> Tensor:
        out = predict(family, model, x, time, positive)
        if negative is None:
            return out
        base = predict(family, model, x, time, negative)
        return base + cfg * (out - base)

    x, batch = noise, len(noise)
    if family == "sdxl":
        alphas = alphas_cumprod()
        times = torch.arange(steps - 1, -1, -1) * (1000 // steps) + 1
        for t in times.tolist():
            eps = guided(x, torch.full((batch,), t))
            a, b = alphas[t], alphas[max(t - 1000 // steps, 0)]
            x = b.sqrt() * (x - (1 - a).sqrt() * eps) / a.sqrt() + (1 - b).sqrt() * eps
        return x
    shift = 3.0 if family == "sd35" else 1.6
    u = torch.linspace(1, 0, steps + 1)
    sigmas = shift * u / (1 + (shift - 1) * u)
    for a, b in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        x = x + (b - a) * guided(x, torch.full((batch,), a))
    return x
