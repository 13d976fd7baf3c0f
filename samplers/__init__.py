"""The numerics of sampling as pure functions of tensors: no ComfyUI, no state, no hidden randomness.

| module | holds |
|---|---|
| `schedules` | sigmas and timesteps of Flux, SD 3.5 and SDXL |
| `flow` | steps for flow matching: Euler, DDIM, ancestral, churn |
| `diffusion` | DDIM/DDPM steps for discrete variance-preserving models |
| `ddim_plan` | the exact DDIM steps that a tensor of sigmas means: previous timesteps, final alpha |
| `guidance` | classifier-free guidance, rescale, dynamic thresholding |
| `flux_latents` | Flux token packing and position ids |
| `noise` | the initial noise of each trainer, bit by bit where that can be known |
| `step_noise` | the noise of the steps, which goes on from the initial noise |
| `trainer_levels` | sigmas and timesteps of the diffusers schedulers that trainers sample SDXL with |
| `multistep` | LMS, DPM-Solver++ singlestep, UniPC and PNDM as diffusers has them |

Import the modules, not this package's names: `from comfyui_eridiffusion.samplers import flow`. Importing the package
alone loads nothing, torch included.
"""

from __future__ import annotations

__all__ = [
    "ddim_plan",
    "diffusion",
    "flow",
    "flux_latents",
    "guidance",
    "multistep",
    "noise",
    "schedules",
    "step_noise",
    "trainer_levels",
]
