"""Schedules that need sizes or the model's own noise table."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
from torch import Tensor

from ...errors import NodeInputError
from ...samplers.ddim_plan import alphas_from, ddim_sigmas
from ...samplers.schedules import flow_sigmas, flux_sigmas, rescale_zero_terminal_snr, shifted_sigmoid_sigmas


def flux_schedule(
    steps: int,
    width: int,
    height: int,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
    shifted: bool = True,
    denoise: float = 1.0,
    spacing: str = "linear",
    shift: float = 0.0,
) -> Tensor:
    """Return Flux's sigmas, float32 `[steps + 1]`.

    Args:
        steps: the number of steps that run.
        width: the image's width in pixels; tokens of 16 x 16 pixels are rounded up.
        height: the image's height in pixels.
        base_shift, max_shift, shifted, spacing: as in `samplers.schedules.flux_sigmas`.
        denoise: how much of the schedule runs, see `total_steps`.
        shift: above 0 takes the place of the shift by size, see `samplers.schedules.shifted_sigmoid_sigmas`.

    Raises NodeInputError for a shift with `shifted` off.
    """
    total = total_steps(steps, denoise)
    if shift > 0:
        if not shifted:
            raise NodeInputError(f"shift is {shift:g}, but shifted is off. Switch shifted on, or set shift to 0.")
        return shifted_sigmoid_sigmas(total, shift, spacing)[-(steps + 1) :]
    image_tokens = -(-height // 16) * -(-width // 16)
    return flux_sigmas(total, image_tokens, base_shift, max_shift, shifted, spacing)[-(steps + 1) :]


def flow_schedule(steps: int, shift: float, spacing: str, denoise: float = 1.0) -> Tensor:
    """Return sigmas of a constant shift, float32 `[steps + 1]`; see `samplers.schedules.flow_sigmas`, `total_steps`."""
    return flow_sigmas(total_steps(steps, denoise), shift, spacing)[-(steps + 1) :]


def ddim_schedule(
    model: Any, steps: int, spacing: str, offset: int, zero_snr: bool, final_alpha: str, denoise: float = 1.0
) -> Tensor:
    """Return the sigmas, float32 `[steps + 1]`, of diffusers' DDIM timesteps on a MODEL's noise table.

    Args:
        model: a MODEL with a table of discrete timesteps.
        steps, spacing, offset, final_alpha: as in `samplers.ddim_plan.ddim_sigmas`.
        zero_snr: rescales the table first. A table that already ends on pure noise stays as it is.
        denoise: how much of the schedule runs, see `total_steps`.

    Raises NodeInputError for flow models and others without such a table, and for steps and offsets that leave it.
    """
    sampling = model.get_model_object("model_sampling")
    if not isinstance(sampling, comfy.model_sampling.ModelSamplingDiscrete):
        raise NodeInputError(
            "model has no discrete noise table (it is a flow model such as Flux or SD 3.5?). "
            "Use EriFluxSchedule or EriFlowSchedule for it."
        )
    alphas = alphas_from(sampling.sigmas)
    if zero_snr and float(alphas[-1]) > 0:
        alphas = rescale_zero_terminal_snr(alphas)
    try:
        return ddim_sigmas(alphas, steps, spacing, offset, final_alpha, total_steps(steps, denoise))
    except NodeInputError:
        raise
    except ValueError as error:  # an offset that leads past the table; the text says which ones do not
        raise NodeInputError(str(error)) from error


def total_steps(steps: int, denoise: float) -> int:
    """Return the steps of the schedule whose last `steps` run at `denoise`, as ComfyUI's BasicScheduler counts them.

    Raises NodeInputError for a denoise outside (0, 1] and for less than one step.
    """
    if steps < 1:
        raise NodeInputError(f"steps is {steps}; nothing would be sampled. Set it to 1 or more.")
    if not 0 < denoise <= 1:
        raise NodeInputError(
            f"denoise is {denoise:g}; it must be above 0 (nothing would be sampled) and at most 1 (the whole schedule)."
        )
    return int(steps / denoise)
