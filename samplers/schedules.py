"""Noise schedules: sigmas for the flow models, timesteps and cumulative alphas for the discrete diffusion models."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from . import _checks

SPACINGS = ("timesteps", "linear", "cosine", "simple", "beta", "beta timesteps")
FLUX_SPACINGS = ("linear", "timesteps")
DDIM_SPACINGS = ("leading", "trailing", "linspace")
LAST_FIRST = "last, then leading"
BETA_SCHEDULES = ("scaled_linear", "linear")
_FLOW_TRAIN_STEPS = 1000


def flux_mu(
    image_tokens: int,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
    base_tokens: int = 256,
    max_tokens: int = 4096,
) -> float:
    """Return Flux's shift exponent mu for an image of so many tokens.

    mu is the straight line through (base_tokens, base_shift) and (max_tokens, max_shift). It is extrapolated on both
    sides and never clamped: 0.63 at 512², 1.15 at 1024², 1.84333 at 2048×1024.

    Args:
        image_tokens: ceil(height / 16) * ceil(width / 16), in pixels.
        base_shift: mu at `base_tokens`.
        max_shift: mu at `max_tokens`.
        base_tokens: the first number of tokens.
        max_tokens: the second number of tokens, another than the first.

    Raises ValueError for `image_tokens` < 1, non-finite shifts, or equal token bounds.
    Source: black-forest-labs/flux, sampling.py, `get_lin_function`.
    """
    tokens = _checks.integer("image_tokens", image_tokens, 1)
    low = _checks.finite("base_shift", base_shift)
    high = _checks.finite("max_shift", max_shift)
    first = _checks.integer("base_tokens", base_tokens, 1)
    last = _checks.integer("max_tokens", max_tokens, 1)
    if first == last:
        raise ValueError(f"max_tokens: must differ from base_tokens, both are {first}")
    slope = (high - low) / (last - first)
    return slope * tokens + (low - slope * first)


def flux_sigmas(
    steps: int,
    image_tokens: int,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
    shifted: bool = True,
    spacing: str = "linear",
) -> Tensor:
    """Return Flux's sigmas, float32 `[steps + 1]`, which descend from exactly 1 to exactly 0.

    They are evenly spaced times, shifted by the image's size.

    Args:
        steps: the number of steps, at least 1.
        image_tokens: as in `flux_mu`.
        base_shift: as in `flux_mu`.
        max_shift: as in `flux_mu`.
        shifted: False gives schnell's plain line. The shifts then have no effect, but are still checked.
        spacing: "linear" is linspace(1, 0, steps + 1). "timesteps" is linspace(1, 0.001, steps) and 0, which a
            scheduler of diffusers takes when it gets only a number of steps, as in OneTrainer.

    Raises ValueError as `flux_mu` does, for `steps` < 1 and for an unknown spacing.
    Source: black-forest-labs/flux, sampling.py, `get_schedule`: sigma = e^mu / (e^mu + (1/t - 1)); diffusers
    `FlowMatchEulerDiscreteScheduler.set_timesteps`.
    """
    mu = flux_mu(image_tokens, base_shift, max_shift)
    # e^mu / (e^mu + 1/t - 1) is the shift s·t / (1 + (s - 1)·t) with s = e^mu, written so that t = 0 is no exception.
    return shifted_sigmoid_sigmas(steps, math.exp(mu) if shifted else 1.0, spacing)


def shifted_sigmoid_sigmas(steps: int, shift: float, spacing: str = "linear") -> Tensor:
    """Return Flux's sigmas with a fixed shift, float32 `[steps + 1]`, which descend from exactly 1 to exactly 0.

    sigma = sigmoid(logit(t) + ln shift) = shift·t / (1 + (shift - 1)·t). `flux_sigmas` is this with shift = e^mu, and
    `flow_sigmas(steps, shift, "linear")` is the same.

    Args:
        steps: the number of steps, at least 1.
        shift: above 0; 1 leaves the times as they are.
        spacing: as in `flux_sigmas`.

    Raises ValueError for `steps` < 1, `shift` <= 0 or not finite, and an unknown spacing.
    Source: EriDiffusion's documents, `get_flux_schedule(num_steps, shift)`, "shifted sigmoid".
    """
    factor = _checks.finite("shift", shift, 0.0, above=True)
    times = _descending_line(steps)
    if _checks.choice("spacing", spacing, FLUX_SPACINGS) == "timesteps":
        times = torch.cat((torch.linspace(1, 1 / _FLOW_TRAIN_STEPS, steps, dtype=times.dtype), times.new_zeros(1)))
    return _as_sigmas(_shift(times, factor))


def flow_sigmas(steps: int, shift: float = 3.0, spacing: str = "timesteps") -> Tensor:
    """Return a flow model's sigmas with a constant shift, float32 `[steps + 1]`, from 1 down to exactly 0.

    sigma = s·t / (1 + (s - 1)·t).

    Args:
        steps: the number of steps, at least 1.
        shift: s, above 0. SD 3.5 uses 3.
        spacing: what t is:

            - "timesteps": evenly spaced timesteps from 1000 down to the model's smallest one, which is already shifted,
              and shifted again. It is bit-equal to ComfyUI's `normal` scheduler, and what Stability and diffusers do.
            - "linear": linspace(1, 0, steps + 1).
            - "cosine": CosMap, 1 - 1 / (tan(pi u / 2) + 1) at u = linspace(1, 0, steps + 1) (Esser et al. 2024, sec.
              3.1).
            - "simple": every (1000 / steps)-th entry of the 1000-entry table. It is bit-equal to ComfyUI's `simple`.
            - "beta": between the largest and the smallest sigma of "linear" (without its 0), where the quantiles of the
              beta distribution with alpha = beta = 0.6 lie (Lee et al. 2024). "beta timesteps": the same for those of
              "timesteps". diffusers has it with `use_beta_sigmas`. It needs SciPy, which ComfyUI brings.

    Raises ValueError for `steps` < 1, `shift` <= 0 or not finite, or an unknown spacing.
    Source: comfy/samplers.py `normal_scheduler`, `simple_scheduler`; diffusers `FlowMatchEulerDiscreteScheduler`.
    """
    count = _checks.integer("steps", steps, 1)
    factor = _checks.finite("shift", shift, 0.0, above=True)
    kind = _checks.choice("spacing", spacing, SPACINGS)
    if kind in ("beta", "beta timesteps"):
        return _beta_between(flow_sigmas(count, factor, "linear" if kind == "beta" else "timesteps"))
    if kind == "linear":
        return _as_sigmas(_shift(_descending_line(count), factor))
    if kind == "cosine":
        angle = _descending_line(count) * (math.pi / 2)
        return _as_sigmas(_shift(torch.sin(angle) / (torch.sin(angle) + torch.cos(angle)), factor))
    # In float32 and in ComfyUI's order of operations, so that the two agree to the last bit.
    table = _shift(torch.arange(1, _FLOW_TRAIN_STEPS + 1) / _FLOW_TRAIN_STEPS, factor)
    if kind == "simple":
        stride = _FLOW_TRAIN_STEPS / count
        sigmas = table[[_FLOW_TRAIN_STEPS - 1 - int(i * stride) for i in range(count)]]
    else:
        first, last = float(table[-1] * _FLOW_TRAIN_STEPS), float(table[0] * _FLOW_TRAIN_STEPS)
        sigmas = _shift(torch.linspace(first, last, count) / _FLOW_TRAIN_STEPS, factor)
    # Some shifts round the first value to 1 + 1 ulp, which is no noise level.
    return torch.cat([sigmas.clamp(max=1.0), sigmas.new_zeros(1)])


def _beta_between(sigmas: Tensor) -> Tensor:
    """As many sigmas between the ends of these, the 0 left out, at the quantiles of a beta distribution."""
    from scipy.stats import beta

    count, low = len(sigmas) - 1, float(sigmas[-2])
    quantiles = torch.from_numpy(beta.ppf(1 - np.linspace(0, 1, count), 0.6, 0.6))
    return _as_sigmas(torch.cat([low + quantiles * (float(sigmas[0]) - low), quantiles.new_zeros(1)]))


def ddim_timesteps(steps: int, spacing: str = "leading", offset: int = 1, train_timesteps: int = 1000) -> Tensor:
    """Return the timesteps that a DDIM-like sampler visits, int64 `[steps]`, descending.

    Args:
        steps: the number of steps, in [1, train_timesteps].
        spacing: "leading" (multiples of train_timesteps // steps, plus `offset`), "trailing" (from train_timesteps - 1
            down), "linspace" (both ends included) or "last, then leading" (the last timestep before those of one step
            less; Nerogar/OneTrainer@23df383 modules/modelSampler/StableDiffusionXLSampler.py:94-101).
        offset: acts on leading ones only, as in diffusers. SDXL uses 1.
        train_timesteps: the number of trained timesteps; each result is in [0, train_timesteps).

    DDIM's previous timestep is `t - train_timesteps // steps` in every spacing, which need not be the next entry.

    Raises ValueError for `steps` outside its range, an unknown spacing, or an offset that leads past the last timestep.
    Source: Lin et al. 2023, table 2; diffusers `DDIMScheduler.set_timesteps`.
    """
    total = _checks.integer("train_timesteps", train_timesteps, 1)
    count = _checks.integer("steps", steps, 1, total)
    shift = _checks.integer("offset", offset, 0)
    kind = _checks.choice("spacing", spacing, (*DDIM_SPACINGS, LAST_FIRST))
    if kind == LAST_FIRST:
        last = torch.tensor([total - 1])
        return last if count == 1 else torch.cat([last, ddim_timesteps(count - 1, "leading", shift, total)])
    if kind == "leading":
        ascending = np.arange(count) * (total // count) + shift
        if ascending[-1] >= total:
            raise ValueError(
                f"offset: {shift} leads to timestep {ascending[-1]} for {count} steps, past the last one, {total - 1}; "
                f"use at most {total - 1 - (count - 1) * (total // count)}"
            )
        values = ascending[::-1]
    elif kind == "trailing":
        # numpy's own range, whose rounding decides the halves; it can be one too long
        values = (np.round(np.arange(total, 0, -total / count)) - 1)[:count].astype(np.int64)
    else:
        values = np.round(np.linspace(0, total - 1, count))[::-1].astype(np.int64)
    return torch.from_numpy(values.astype(np.int64))


def alphas_cumprod(
    beta_start: float = 0.00085,
    beta_end: float = 0.012,
    train_timesteps: int = 1000,
    schedule: str = "scaled_linear",
    zero_terminal_snr: bool = False,
) -> Tensor:
    """Return the cumulative alphas of a discrete diffusion schedule, float64 `[train_timesteps]`.

    They descend strictly within (0, 1). The k-diffusion sigma of a timestep is sqrt((1 - a) / a).

    Args:
        beta_start: the first beta, in (0, 1).
        beta_end: the last beta, in [beta_start, 1).
        train_timesteps: the number of timesteps, at least 2.
        schedule: "scaled_linear" (betas linear in their square root: SD 1.x, SDXL) or "linear".
        zero_terminal_snr: rescales the table so that the last alpha is exactly 0.

    Raises ValueError for betas outside their range, or an unknown schedule.
    Source: diffusers `DDIMScheduler.__init__`; zero terminal SNR: Lin et al. 2023, algorithm 1.
    """
    total = _checks.integer("train_timesteps", train_timesteps, 2)
    first = _checks.finite("beta_start", beta_start, 0.0, 1.0, above=True)
    last = _checks.finite("beta_end", beta_end, 0.0, 1.0, above=True)
    kind = _checks.choice("schedule", schedule, BETA_SCHEDULES)
    if last < first or last >= 1.0:
        raise ValueError(f"beta_end: must be in [beta_start, 1) = [{first:g}, 1), got {last:g}")
    if kind == "linear":
        betas = torch.linspace(first, last, total, dtype=torch.float64)
    else:
        betas = torch.linspace(math.sqrt(first), math.sqrt(last), total, dtype=torch.float64) ** 2
    result = torch.cumprod(1.0 - betas, dim=0)
    return rescale_zero_terminal_snr(result) if zero_terminal_snr else result


def rescale_zero_terminal_snr(alphas: Tensor) -> Tensor:
    """Return cumulative alphas `[T]` rescaled so that the last one is 0 and the first stays.

    Source: Lin et al. 2023, algorithm 1; diffusers `rescale_zero_terminal_snr`, which takes betas.
    """
    root = alphas.sqrt()
    return ((root - root[-1]) * (root[0] / (root[0] - root[-1]))) ** 2


def _descending_line(steps: int) -> Tensor:
    """Return linspace(1, 0, steps + 1) in float64; ValueError names `steps`."""
    return torch.linspace(1.0, 0.0, _checks.integer("steps", steps, 1) + 1, dtype=torch.float64)


def _shift(times: Tensor, factor: float) -> Tensor:
    """Return s·t / (1 + (s - 1)·t) (Esser et al. 2024, eq. 23), which maps 0 to 0 and 1 to 1."""
    if factor == 1.0:
        return times
    return factor * times / (1 + (factor - 1) * times)


def _as_sigmas(values: Tensor) -> Tensor:
    """Round to float32 and pin both ends, which the formulas reach only up to rounding."""
    sigmas = values.to(torch.float32)
    sigmas[0], sigmas[-1] = 1.0, 0.0
    return sigmas
