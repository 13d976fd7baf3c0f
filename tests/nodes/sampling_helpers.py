"""What the sampling tests share: small models made once, nodes as functions, and diffusers' own loop as the reference.

Import inside tests only, after the fixture `comfy_host`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import outputs

FAMILIES = ("flux", "sd35", "sdxl")
SEED = 11


@cache
def inputs_for(family: str) -> tuple[Any, list[Any], list[Any], Tensor]:
    """MODEL, positive, negative, empty latent [2, C, 8, 12] of "flux", "sd35", "sdxl" or "sdxl-v"."""
    model, positive, negative, latent = small_models.inputs_for(family.partition("-")[0])
    if family.startswith("sdxl"):
        model = small_models.sdxl_model(v_prediction=family == "sdxl-v", levels=1)
    return model, positive, negative, latent.new_zeros(2, latent.shape[1], 8, 12)


def node(comfy_host: Any, name: str, **inputs: Any) -> Any:
    """The first output of a node."""
    return outputs(comfy_host, name, **inputs)[0]


def start_noise(latent: Tensor, seed: int = SEED) -> Tensor:
    """The noise that the host, and diffusers with a CPU generator, draw for a seed."""
    return torch.randn(latent.shape, generator=torch.Generator().manual_seed(seed))


class FixedNoise:
    """A NOISE that gives one tensor."""

    def __init__(self, noise: Tensor, seed: int = SEED) -> None:
        self.noise, self.seed = noise, seed

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        return self.noise.clone()


def flow_euler(comfy_host: Any, **options: float) -> Any:
    values = {"s_churn": 0.0, "s_tmin": 0.0, "s_tmax": 1.0, "s_noise": 1.0, **options}
    return node(comfy_host, "EriFlowEulerSampler", **values)


def ddim(comfy_host: Any, **options: Any) -> Any:
    defaults = {"eta": 0.0, "clip_sample": False, "clip_range": 1.0, "use_clipped_model_output": False}
    return node(comfy_host, "EriDDIMSampler", **{**defaults, **options})


def schedule(comfy_host: Any, family: str, steps: int, **options: Any) -> Tensor:
    """SIGMAS of the family's own schedule node."""
    if family == "flux":
        size = {"width": 96, "height": 64, "base_shift": 0.5, "max_shift": 1.15, "shifted": True}
        return node(comfy_host, "EriFluxSchedule", steps=steps, **{**size, **options})
    if family == "sd35":
        return node(comfy_host, "EriFlowSchedule", steps=steps, **{"shift": 3.0, "spacing": "timesteps", **options})
    table = {"spacing": "leading", "offset": 1, "zero_terminal_snr": False, "final_alpha": "alpha[0]"}
    model = inputs_for(family)[0]
    return node(comfy_host, "EriDDIMSchedule", **{"model": model, **table, **options}, steps=steps)


def advanced(
    comfy_host: Any, guider: Any, sampler: Any, sigmas: Tensor, latent: dict[str, Any], noise: Any = None
) -> Tensor:
    """Stock SamplerCustomAdvanced."""
    noise = noise or FixedNoise(start_noise(latent["samples"]))
    return node(
        comfy_host,
        "SamplerCustomAdvanced",
        noise=noise,
        guider=guider,
        sampler=sampler,
        sigmas=sigmas,
        latent_image=latent,
    )["samples"]


def cfg_guider(comfy_host: Any, family: str, cfg: float, model: Any = None) -> Any:
    base, positive, negative, _ = inputs_for(family)
    return node(comfy_host, "CFGGuider", model=model or base, positive=positive, negative=negative, cfg=cfg)


LAST_FIRST = "last, then "


@dataclass(frozen=True)
class DDIMCase:
    """One DDIM run of diffusers. start: noised picture to begin with instead of noise, with only the last `last` steps;
    mask [1, 1, H, W]: 1 where to paint, as diffusers' inpainting pipelines use it."""

    spacing: str
    offset: int
    final: str
    zero_snr: bool
    steps: int
    last: int | None = None

    def spaced(self) -> dict[str, Any]:
        """What EriDDIMSampler is told of the schedule."""
        return {"spacing": self.spacing, "offset": self.offset}

    def sigmas(self, comfy_host: Any, model: Any) -> Tensor:
        count = self.last or self.steps
        return schedule(
            comfy_host,
            "sdxl",
            count,
            model=model,
            spacing=self.spacing,
            offset=self.offset,
            zero_terminal_snr=self.zero_snr,
            final_alpha=self.final,
            denoise=count / self.steps,
        )


def alphas_cumprod(zero_snr: bool) -> np.ndarray:
    """SDXL's table in float64; zero_snr: Lin et al. 2023, algorithm 1."""
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    root = np.sqrt(np.cumprod(1.0 - betas))
    if zero_snr:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root**2


@dataclass
class Diffusers:
    """diffusers' own loop around the host's bare network, called directly at diffusers' timesteps."""

    model: Any
    case: DDIMCase
    prediction: str = "epsilon"
    cfg: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)

    def scheduler(self) -> Any:
        from diffusers import DDIMScheduler

        case = self.case
        made = DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            timestep_spacing=case.spacing.removeprefix(LAST_FIRST),
            steps_offset=case.offset,
            set_alpha_to_one=case.final == "1",
            rescale_betas_zero_snr=case.zero_snr,
            prediction_type=self.prediction,
            **{"clip_sample": False, **self.options},
        )
        # Its float32 table costs up to 1e-3 where 1 - alpha/alpha nearly cancels; the formulas are the point here.
        made.alphas_cumprod = torch.from_numpy(alphas_cumprod(case.zero_snr))
        made.final_alpha_cumprod = torch.tensor(1.0).double() if case.final == "1" else made.alphas_cumprod[0]
        if case.spacing.startswith(LAST_FIRST):  # Nerogar/OneTrainer modules/modelSampler/StableDiffusionXLSampler.py
            made.set_timesteps(case.steps - 1)
            listed = made.timesteps
            made.set_timesteps(case.steps)
            made.timesteps = torch.cat([torch.tensor([999]), listed])
            return made
        made.set_timesteps(case.steps)
        return made

    def network(self, size: tuple[int, int]) -> Callable[[Tensor, Tensor, Any], Tensor]:
        pixels = {"width": size[1] * 8, "height": size[0] * 8, "device": "cpu"}

        def predict(x: Tensor, t: Tensor, cond: Any) -> Tensor:
            y = self.model.model.encode_adm(pooled_output=cond[0][1]["pooled_output"], **pixels)
            batch = x.shape[0]
            out: Tensor = self.model.model.diffusion_model(
                x, t.repeat(batch), context=cond[0][0].repeat(batch, 1, 1), y=y.repeat(batch, 1)
            )
            return out

        return predict

    @torch.no_grad()
    def run(
        self,
        noise: Tensor,
        start: Tensor | None = None,
        mask: Tensor | None = None,
        eta: float = 0.0,
        clipped_output: bool = False,
    ) -> Tensor:
        """The final latent in the model's own scale. start, mask: see DDIMCase."""
        scheduler, predict = self.scheduler(), self.network((noise.shape[2], noise.shape[3]))
        _, positive, negative, _ = inputs_for("sdxl")
        generator = torch.Generator().manual_seed(SEED)
        torch.randn(noise.shape, generator=generator)  # the initial noise came from the same generator
        timesteps = scheduler.timesteps[-(self.case.last or self.case.steps) :]
        x = noise.clone() if start is None else scheduler.add_noise(start, noise, timesteps[:1])
        for i, t in enumerate(timesteps):
            output = predict(x, t.float(), positive)
            if self.cfg != 1.0:
                uncond = predict(x, t.float(), negative)
                output = uncond + self.cfg * (output - uncond)
            x = scheduler.step(
                output, t, x, eta=eta, use_clipped_model_output=clipped_output, generator=generator
            ).prev_sample
            if mask is not None and start is not None:
                kept = start if i + 1 == len(timesteps) else scheduler.add_noise(start, noise, timesteps[i + 1 : i + 2])
                x = (1 - mask) * kept + mask * x
        return x
