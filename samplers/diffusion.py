"""Steps for variance-preserving diffusion with discrete timesteps: x_t = sqrt(a_t)·x0 + sqrt(1 - a_t)·noise.

float16 and bfloat16 are computed in float32 and rounded once; results have the dtype of the latent. A step's
coefficients are computed in the dtype of the table of cumulative alphas: exactly with the float64 table of
`schedules.alphas_cumprod`, and with the float32 table of a diffusers scheduler as diffusers rounds them (near the end
of the chain, or at eta = 1, that is worth 1e-4). At zero terminal SNR x holds no trace of x0, so an epsilon prediction
gives none.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from . import _checks
from .guidance import dynamic_threshold

Level: TypeAlias = "np.floating[Any]"
"""A cumulative alpha: a float64 of numpy, or a float32. A 0-d tensor would take ten times as long for each sum."""

PREDICTIONS = ("epsilon", "v_prediction", "sample")


def ddim_step(
    x: Tensor,
    model_output: Tensor,
    t: int | Tensor,
    t_prev: int | Tensor,
    alphas_cumprod: Tensor,
    eta: float = 0.0,
    noise: Tensor | None = None,
    prediction: str = "epsilon",
    final_alpha_cumprod: float | Tensor | None = None,
    clip_sample: bool = False,
    clip_range: float = 1.0,
    use_clipped_model_output: bool = False,
    threshold: tuple[float, float | None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Take one DDIM step (eta = 1: DDPM's variance) from timestep t to t_prev; return (x at t_prev, predicted x0).

    Args:
        x: the latent `[B, C, H, W]`.
        model_output: the model's output, shaped like `x`.
        t: the timestep of `x`, in [0, T).
        t_prev: the timestep to step to, below T. A negative one is the end of the chain.
        alphas_cumprod: the table `[T]`, see `schedules.alphas_cumprod`; coefficients are computed in its dtype.
        eta: the share of new noise, in [0, 1].
        noise: standard normal noise shaped like `x`; required when `eta` > 0.
        prediction: what `model_output` is: "epsilon", "v_prediction" or "sample".
        final_alpha_cumprod: the cumulative alpha at the end, in (0, 1]; None takes alphas_cumprod[0], as SDXL does.
        clip_sample, clip_range: whether the predicted x0 is clamped to ±`clip_range`, when there is no `threshold`.
        use_clipped_model_output: derives the noise again from the clamped or thresholded x0.
        threshold: (percentile, max or None) of `guidance.dynamic_threshold` for the predicted x0, or None.

    Raises ValueError naming the argument, also for epsilon at zero terminal SNR and for eta > 0 towards more noise.
    Source: Song et al. 2021, eq. 12 and 16; Salimans & Ho 2022, appendix D (v); diffusers `DDIMScheduler.step`.
    """
    kind = _checks.choice("prediction", prediction, PREDICTIONS)
    share = _checks.finite("eta", eta, 0.0, 1.0)
    bound = _checks.finite("clip_range", clip_range, 0.0, above=True)
    latent = _checks.tensor("x", x)
    output = _checks.like("model_output", model_output, latent, "x")
    here, there = _levels(t, t_prev, alphas_cumprod, final_alpha_cumprod)
    dtype = _checks.compute_dtype(latent)
    latent, output = latent.to(dtype), output.to(dtype)

    clean, predicted = _split(latent, output, here, kind)
    if threshold is not None:
        clean = dynamic_threshold(clean, *_threshold(threshold))
    elif clip_sample:
        clean = clean.clamp(-bound, bound)
    if use_clipped_model_output:
        predicted = (latent - _root(here) * clean) / _root(_rest(here))

    spread = _spread(share, here, there)
    # eq. 12: predicted x0 + direction to x_t + random noise
    result = predicted * _root(max(_rest(there) - spread * spread, type(there)(0.0)))
    result.add_(clean * _root(there))  # into the new tensor: allocating takes as long as the arithmetic
    if share > 0.0:
        result.add_(float(spread) * _checks.required_noise(noise, x, f"eta is {share:g}").to(dtype))
    elif noise is not None:
        _checks.like("noise", noise, x, "x")
    return result.to(x.dtype), clean.to(x.dtype)


def churn_share(level: float, steps: int, s_churn: float, s_tmin: float, s_tmax: float) -> float:
    """By which share of itself churn raises a noise level: min(s_churn / steps, sqrt 2 - 1), 0 outside the bounds.

    Raises ValueError naming the argument. Source: Karras et al. 2022, algorithm 2.
    """
    count, amount = _checks.integer("steps", steps, 1), _checks.finite("s_churn", s_churn, 0.0)
    lowest, highest = _checks.real("s_tmin", s_tmin, 0.0), _checks.real("s_tmax", s_tmax, 0.0)
    return min(amount / count, math.sqrt(2.0) - 1.0) if lowest <= level <= highest else 0.0


def churn(
    x: Tensor,
    sigma: float,
    steps: int,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    noise: Tensor | None = None,
) -> tuple[Tensor, float]:
    """Raise the noise level a little before a step, for latents x = x0 + sigma·noise.

    Args:
        x: the latent `[B, C, H, W]`.
        sigma: its noise level, at least 0.
        steps: the length of the whole schedule.
        s_churn: how much noise is added in all, spread over the steps; at least 0.
        s_tmin: the lowest sigma (not a share of the steps) at which noise is added.
        s_tmax: the highest sigma at which noise is added.
        s_noise: scales the noise, at least 0.
        noise: standard normal noise shaped like `x`; required when noise is added.

    Returns the latent and its new sigma: gamma = min(s_churn / steps, sqrt 2 - 1), sigma_hat = sigma (1 + gamma),
    x + s_noise·sqrt(sigma_hat² - sigma²)·noise. Outside the bounds, and when gamma is 0, both are unchanged.

    Raises ValueError naming the argument.
    Source: Karras et al. 2022, algorithm 2; comfy/k_diffusion/sampling.py `sample_euler`. Flow models: `flow.churn`.
    """
    level, scale = _checks.finite("sigma", sigma, 0.0), _checks.finite("s_noise", s_noise, 0.0)
    gamma = churn_share(level, steps, s_churn, s_tmin, s_tmax)
    if gamma == 0.0:
        return x, level
    fresh = _checks.required_noise(noise, x, f"s_churn is {s_churn:g}")
    raised = level * (1.0 + gamma)
    return x + fresh * (scale * math.sqrt(raised * raised - level * level)), raised


def add_noise(x0: Tensor, noise: Tensor, t: int | Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Return sqrt(a_t)·x0 + sqrt(1 - a_t)·noise, the noised latent at timestep t.

    Args:
        x0: the clean latent `[B, C, H, W]`.
        noise: standard normal noise shaped like `x0`.
        t: the timestep, in [0, T), an int or a 0-d tensor.
        alphas_cumprod: the table of cumulative alphas `[T]`.

    Raises ValueError naming the argument.
    Source: Ho et al. 2020, eq. 4; diffusers `DDIMScheduler.add_noise`.
    """
    clean = _checks.tensor("x0", x0)
    fresh = _checks.like("noise", noise, clean, "x0")
    alphas = _alphas(alphas_cumprod)
    alpha = _entry(alphas, _checks.integer("t", t, 0, len(alphas) - 1))
    dtype = _checks.compute_dtype(clean)
    return (_root(alpha) * clean.to(dtype) + _root(_rest(alpha)) * fresh.to(dtype)).to(x0.dtype)


def _split(x: Tensor, output: Tensor, alpha: Level, prediction: str) -> tuple[Tensor, Tensor]:
    """Return (x0, noise) as the model's output implies them at cumulative alpha."""
    signal, spread = _root(alpha), _root(_rest(alpha))
    if prediction == "epsilon":
        if not alpha:
            raise ValueError(
                "prediction: epsilon gives no x0 at zero terminal SNR (alphas_cumprod[t] is 0); "
                "use v_prediction or sample, or start at an earlier timestep"
            )
        return (-spread * output).add_(x).div_(signal), output
    if prediction == "v_prediction":
        return (signal * x).sub_(spread * output), (signal * output).add_(spread * x)
    return output.clone(), (x - signal * output) / spread


def _spread(eta: float, here: Level, there: Level) -> Level:
    """Return eq. 16's standard deviation of the noise to put in."""
    if eta == 0.0 or here == there:
        return type(here)(0.0)
    if there < here:
        raise ValueError(
            f"t_prev: eta > 0 needs a step towards less noise, got alpha {float(here):g} -> {float(there):g}"
        )
    variance = _rest(there) / _rest(here) * _rest(here / there)
    return type(here)(eta) * np.sqrt(variance)


def _levels(
    t: int | Tensor, t_prev: int | Tensor, alphas_cumprod: Tensor, final_alpha_cumprod: float | Tensor | None
) -> tuple[Level, Level]:
    """Return the cumulative alphas of both timesteps."""
    alphas = _alphas(alphas_cumprod)
    here = _entry(alphas, _checks.integer("t", t, 0, len(alphas) - 1))
    previous = _checks.integer("t_prev", t_prev, -(2**63), len(alphas) - 1)
    last = _entry(alphas, 0)
    if final_alpha_cumprod is not None:
        final = _checks.finite("final_alpha_cumprod", final_alpha_cumprod, 0.0, 1.0, above=True)
        last = type(last)(final)
    return here, _entry(alphas, previous) if previous >= 0 else last


def _entry(alphas: Tensor, index: int) -> Level:
    """Return one entry as a number whose arithmetic rounds as the table's dtype does."""
    return (np.float64 if alphas.dtype == torch.float64 else np.float32)(alphas[index].item())


def _rest(alpha: Level) -> Level:
    return type(alpha)(1.0) - alpha  # a Python number would make a double of it in numpy 1


def _root(value: Level) -> float:
    return float(np.sqrt(value))


def _alphas(alphas_cumprod: Tensor) -> Tensor:
    """Check the table of cumulative alphas. Only its two ends are checked, because values are looked up one by one."""
    alphas = _checks.tensor("alphas_cumprod", alphas_cumprod, rank=1)
    first, last = float(alphas[0]), float(alphas[-1])
    if not (0.0 <= last <= first < 1.0):
        raise ValueError(f"alphas_cumprod: must descend within [0, 1), got {first:g} … {last:g}")
    return alphas


def _threshold(value: tuple[float, float | None]) -> tuple[float, float | None]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(f"threshold: needs (percentile, max), got {value!r}")
    return value[0], value[1]
