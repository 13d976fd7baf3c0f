"""Steps for flow matching: x = (1 - sigma)·x0 + sigma·noise, and the model predicts the velocity v = noise - x0.

All functions keep these rules. Latents are `[B, C, H, W]`. A sigma is a number or a 0-d tensor. float16 and bfloat16
are computed in float32 and rounded once at the end. The result has x's dtype. Arguments are never changed, and no noise
is drawn.
"""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor

from . import _checks
from ._checks import Scalar
from .diffusion import churn_share

SigmaT = TypeVar("SigmaT", float, Tensor)


def euler_step(x: Tensor, velocity: Tensor, sigma: Scalar, sigma_next: Scalar) -> Tensor:
    """Take one Euler step from sigma to sigma_next: x + (sigma_next - sigma)·velocity.

    Args:
        x: the latent `[B, C, H, W]`.
        velocity: the model's output, shaped like `x`.
        sigma: the noise level of `x`, in (0, 1].
        sigma_next: the noise level to step to, in [0, 1].

    On float32 input the result is bit-equal to one step of ComfyUI's `euler` on a flow model. As there, the velocity
    makes a round trip through the denoised latent, x0 = x - sigma·v and (x - x0) / sigma, which rounds.

    Raises ValueError naming the argument for a sigma out of range, a wrong rank or different shapes.
    Source: Karras et al. 2022, algorithm 1; comfy/k_diffusion/sampling.py `sample_euler`.
    """
    start, end = _step_sigmas(sigma, sigma_next)
    latent, flow = _pair(x, velocity)
    s, s_next = _scalar(start, latent), _scalar(end, latent)
    # x0, and from here on the same tensor: a new one takes longer than the arithmetic
    return _towards((flow * -s).add_(latent).sub_(latent), latent, s, s_next).to(x.dtype)


def euler_from_denoised(x: Tensor, denoised: Tensor, sigma: Scalar, sigma_next: Scalar) -> Tensor:
    """Take `euler_step` with the denoised latent x0, which ComfyUI's models give, in place of the velocity.

    The order of operations is that of ComfyUI's `euler`, bit for bit. Arguments are not checked.
    """
    return _towards(denoised - x, x, sigma, sigma_next)


def _towards(difference: Tensor, x: Tensor, sigma: Scalar, sigma_next: Scalar) -> Tensor:
    """The rest of the step from x0 - x, which is overwritten. Both signs are turned, so it rounds as ComfyUI's does."""
    return difference.div_(sigma).mul_(sigma - sigma_next).add_(x)


#: The sigmas at which `dpmpp_2m_from_denoised` stops counting: 1e-6 and 1 - 1e-6 in float32.
_LOWEST, _HIGHEST = 1e-6, 1.0 - 17 * 2.0**-24


def dpmpp_2m_from_denoised(
    x: Tensor, denoised: Tensor, sigma: Scalar, sigma_next: Scalar, before: tuple[Tensor, Scalar] | None = None
) -> Tensor:
    """Take one step of DPM-Solver++(2M), of second order, with the denoised latent x0 in place of the velocity.

    Args:
        x, denoised, sigma, sigma_next: as in `euler_from_denoised`.
        before: x0 and sigma of the step before, None = there is none: then, and where the sigmas do not fall, the step
            is of first order, which is Euler's.

    ComfyUI's `dpmpp_2m` counts in log sigma, whatever the model; this counts in log((1 - sigma) / sigma), half of a
    flow model's log SNR, and keeps its order in the last step. Arguments are not checked.

    Source: Lu et al. 2022, algorithm 2; CodeAlexx/EriDiffusion@8f1309b crates/eridiffusion-core/src/sampler/
    flux_sampler.rs L110-231.
    """
    start, end = float(sigma), float(sigma_next)
    step = _log_ratio(end) - _log_ratio(start)
    share = (1.0 - end) * -math.expm1(-step)
    past = 0.0 if before is None else _log_ratio(start) - _log_ratio(float(before[1]))
    if before is None or past <= 0.0 or step <= 0.0:
        return (end / start) * x + share * denoised
    ahead = 0.5 * step / past
    return (end / start) * x + share * (1.0 + ahead) * denoised - share * ahead * before[0]


def _log_ratio(sigma: float) -> float:
    level = min(max(sigma, _LOWEST), _HIGHEST)
    return math.log((1.0 - level) / level)


def half_step(x: Tensor, velocity: Tensor, sigma: Scalar, sigma_next: Scalar, dtype: torch.dtype) -> Tensor:
    """`euler_step` of a velocity in `dtype` to a latent in it: as black-forest-labs/flux `denoise` rounds, and
    diffusers' FlowMatchEulerDiscreteScheduler, which may begin from a latent that is not."""
    step = (float(sigma_next) - float(sigma)) * velocity.to(dtype)
    return (x.float() + step.float()).to(dtype).to(x)


def ddim_step(
    x: Tensor, velocity: Tensor, sigma: Scalar, sigma_next: Scalar, eta: float = 0.0, noise: Tensor | None = None
) -> Tensor:
    """Take one DDIM step, which replaces the share `eta` of the replaceable noise by new noise.

    Args:
        x: the latent `[B, C, H, W]`.
        velocity: the model's output, shaped like `x`.
        sigma: the noise level of `x`, in (0, 1].
        sigma_next: the noise level to step to, in [0, 1]; at most `sigma` when `eta` > 0.
        eta: in [0, 1]. 0 is `euler_step`, bit for bit; 1 is the ancestral (DDPM) step.
        noise: standard normal noise shaped like `x`; required when `eta` > 0.

    Raises ValueError naming the argument.
    Source: Song et al. 2021, eq. 12 and 16, with alpha = 1 - sigma: r = s'(1-s) / (s(1-s')),
    s_up = eta·s'·sqrt(1 - r²), x' = (1-s')·x0 + sqrt(s'² - s_up²)·noise_predicted + s_up·noise.
    """
    share = _checks.finite("eta", eta, 0.0, 1.0)
    if share == 0.0:
        if noise is not None:
            _checks.like("noise", noise, _checks.tensor("x", x), "x")
        return euler_step(x, velocity, sigma, sigma_next)
    start, end = _step_sigmas(sigma, sigma_next)
    _not_rising(start, end)
    latent, flow = _pair(x, velocity)
    fresh = _checks.required_noise(noise, x, f"eta is {share:g}").to(latent.dtype)
    if start == end:
        return x.clone()
    ratio = end * (1.0 - start) / (start * (1.0 - end))
    up = share * end * math.sqrt(max(0.0, 1.0 - ratio * ratio))
    clean, predicted = latent - start * flow, latent + (1.0 - start) * flow
    kept = math.sqrt(max(0.0, end * end - up * up))
    return ((1.0 - end) * clean + kept * predicted + up * fresh).to(x.dtype)


def ancestral_step(
    x: Tensor,
    velocity: Tensor,
    sigma: Scalar,
    sigma_next: Scalar,
    eta: float = 1.0,
    s_noise: float = 1.0,
    noise: Tensor | None = None,
) -> Tensor:
    """Take one ancestral Euler step: step below sigma_next, then add noise up to it.

    Args:
        x: the latent `[B, C, H, W]`.
        velocity: the model's output, shaped like `x`.
        sigma: the noise level of `x`, in (0, 1].
        sigma_next: the noise level to step to, in [0, sigma]. At 0 the result is the denoised latent.
        eta: how far the step goes below, at least 0. 0 is plain Euler up to rounding.
        s_noise: scales the noise, at least 0.
        noise: standard normal noise shaped like `x`; required when `eta` and `sigma_next` are above 0.

    On float32 input the result is bit-equal to one step of ComfyUI's `euler_ancestral` on a flow model with that noise.

    Raises ValueError naming the argument, also for an `eta` so large that no noise level is left to add.
    Source: comfy/k_diffusion/sampling.py `sample_euler_ancestral_RF`.
    """
    share = _checks.finite("eta", eta, 0.0)
    scale = _checks.finite("s_noise", s_noise, 0.0)
    start, end = _step_sigmas(sigma, sigma_next)
    _not_rising(start, end)
    latent, flow = _pair(x, velocity)
    if noise is not None:
        _checks.like("noise", noise, x, "x")
    s, s_next = _scalar(start, latent), _scalar(end, latent)
    denoised = latent - flow * s
    if end == 0.0:
        return denoised.to(x.dtype)
    if share > 0.0:
        noise = _checks.required_noise(noise, x, f"eta is {share:g}")
    if start == end:
        return x.clone()
    fresh = noise.to(latent.dtype) if share > 0.0 and noise is not None else None
    return ancestral_from_denoised(latent, denoised, s, s_next, share, scale, fresh).to(x.dtype)


def ancestral_from_denoised(
    x: Tensor, denoised: Tensor, sigma: Tensor, sigma_next: Tensor, eta: float, s_noise: float, noise: Tensor | None
) -> Tensor:
    """Take `ancestral_step` to a sigma above 0 with the denoised latent x0 in place of the velocity.

    The order of operations is that of ComfyUI's `euler_ancestral` on a flow model, bit for bit. Only eta is checked.
    """
    down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
    alpha_next, alpha_down = 1 - sigma_next, 1 - down
    missing = sigma_next**2 - down**2 * alpha_next**2 / alpha_down**2
    if float(missing) < -1e-6:
        raise ValueError(f"eta: {eta:g} is too large for the step from sigma {float(sigma):g} to {float(sigma_next):g}")
    result = (down / sigma) * x + (1 - down / sigma) * denoised
    if noise is not None:
        result = (alpha_next / alpha_down) * result + noise * s_noise * missing.clamp(min=0.0) ** 0.5
    return result


def churn(
    x: Tensor,
    sigma: SigmaT,
    steps: int,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = math.inf,
    s_noise: float = 1.0,
    noise: Tensor | None = None,
) -> tuple[Tensor, SigmaT]:
    """Raise the noise level a little before a step, with the variance that is right for a flow model.

    Args:
        x: the latent `[B, C, H, W]`.
        sigma: its noise level, in [0, 1].
        steps: the length of the whole schedule.
        s_churn: how much noise is added in all, spread over the steps; at least 0.
        s_tmin: the lowest sigma (not a share of the steps) at which noise is added.
        s_tmax: the highest sigma at which noise is added.
        s_noise: scales the noise, at least 0.
        noise: standard normal noise shaped like `x`; required when noise is added.

    Returns the latent and its new sigma, a float or a tensor as `sigma` was: gamma = min(s_churn / steps, sqrt 2 - 1),
    sigma_hat = min(sigma (1 + gamma), 1). Outside the bounds, and when gamma is 0 or sigma is 0 or 1, both are
    unchanged.

    The formula of Karras et al., x + sqrt(sigma_hat² - sigma²)·noise, belongs to x = x0 + sigma·noise. Here the signal
    shrinks too: a = (1 - sigma_hat) / (1 - sigma), x_hat = a·x + s_noise·sqrt(sigma_hat² - a² sigma²)·noise.

    Raises ValueError naming the argument.
    Source: Karras et al. 2022, algorithm 2, restated for x = (1 - sigma)·x0 + sigma·noise.
    """
    level = _checks.finite("sigma", sigma, 0.0, 1.0)
    gamma = churn_share(level, steps, s_churn, s_tmin, s_tmax)
    scale = _checks.finite("s_noise", s_noise, 0.0)
    _checks.tensor("x", x)
    if noise is not None:
        _checks.like("noise", noise, x, "x")
    if gamma == 0.0 or level in (0.0, 1.0):
        return x.clone(), sigma
    fresh = _checks.required_noise(noise, x, f"s_churn is {s_churn:g}")
    raised = min(level * (1.0 + gamma), 1.0)
    keep = (1.0 - raised) / (1.0 - level)
    added = scale * math.sqrt(max(0.0, raised * raised - keep * keep * level * level))
    dtype = _checks.compute_dtype(x)
    result = (keep * x.to(dtype) + added * fresh.to(dtype)).to(x.dtype)
    if isinstance(sigma, Tensor):
        return result, torch.tensor(raised, dtype=_checks.compute_dtype(sigma), device=sigma.device)
    return result, raised


def add_noise(x0: Tensor, noise: Tensor, sigma: Scalar) -> Tensor:
    """Return (1 - sigma)·x0 + sigma·noise, the noised latent at that level.

    Args:
        x0: the clean latent `[B, C, H, W]`.
        noise: standard normal noise shaped like `x0`.
        sigma: the noise level, in [0, 1].

    On float32 input the result is bit-equal to ComfyUI's noise scaling of flow models.

    Raises ValueError naming the argument.
    Source: Lipman et al. 2023 (optimal-transport path); comfy/model_sampling.py `CONST.noise_scaling`.
    """
    level = _checks.finite("sigma", sigma, 0.0, 1.0)
    clean = _checks.tensor("x0", x0)
    fresh = _checks.like("noise", noise, clean, "x0")
    dtype = _checks.compute_dtype(clean)
    s = _scalar(level, clean.to(dtype))
    return (s * fresh.to(dtype) + (1.0 - s) * clean.to(dtype)).to(x0.dtype)


def _pair(x: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    """Check x and velocity and return both in the dtype to compute in."""
    latent = _checks.tensor("x", x)
    flow = _checks.like("velocity", velocity, latent, "x")
    dtype = _checks.compute_dtype(latent)
    return latent.to(dtype), flow.to(dtype)


def _step_sigmas(sigma: Scalar, sigma_next: Scalar) -> tuple[float, float]:
    """Check a step's two sigmas; sigma 0 is excluded because there is no noise left to remove."""
    return _checks.finite("sigma", sigma, 0.0, 1.0, above=True), _checks.finite("sigma_next", sigma_next, 0.0, 1.0)


def _not_rising(start: float, end: float) -> None:
    if end > start:
        raise ValueError(f"sigma_next: must not exceed sigma ({start:g}) in a step that adds noise, got {end:g}")


def _scalar(value: float, like: Tensor) -> Tensor:
    """Return a 0-d tensor, so that scalar arithmetic rounds as ComfyUI's does, which keeps sigmas in float32."""
    return torch.tensor(value, dtype=like.dtype, device=like.device)
