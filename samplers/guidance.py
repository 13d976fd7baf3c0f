"""Guidance: how a conditional and an unconditional prediction are combined, and how the result is kept in bounds."""

from __future__ import annotations

import torch
from torch import Tensor

from . import _checks


def classifier_free(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Return uncond + scale·(cond - uncond); at scale 1 that is `cond` itself.

    Args:
        cond: the conditional prediction, batch first, in any parameterisation (noise, velocity, denoised).
        uncond: the unconditional prediction, shaped like `cond`.
        scale: any finite number.

    float16 and bfloat16 are computed in float32. The result has cond's dtype. On float32 it is bit-equal to ComfyUI.

    Raises ValueError naming the argument.
    Source: Ho & Salimans 2022, eq. 6; comfy/samplers.py `cfg_function`.
    """
    factor = _checks.finite("scale", scale)
    wanted = _checks.tensor("cond", cond, rank=None)
    other = _checks.like("uncond", uncond, wanted, "cond")
    if factor == 1.0:
        return cond.clone()
    dtype = _checks.compute_dtype(wanted)
    wanted, other = wanted.to(dtype), other.to(dtype)
    return (other + (wanted - other) * factor).to(cond.dtype)


def zero_star(cond: Tensor, uncond: Tensor, scale: float) -> Tensor:
    """Return classifier-free guidance against the unconditional output scaled to fit the conditional one best.

    Args:
        cond, uncond: the network's raw outputs, `[B, ...]`.
        scale: of guidance.

    Raises ValueError naming the argument.
    Source: Fan et al. 2025 (CFG-Zero*); SimpleTuner `helpers/models/sd3/pipeline.py::optimized_scale`.
    """
    ahead = _checks.tensor("cond", cond, rank=None)
    behind = _checks.like("uncond", uncond, ahead, "cond")
    flat, base = ahead.flatten(1).float(), behind.flatten(1).float()
    fit = (flat * base).sum(1) / (base.square().sum(1) + 1e-8)
    return classifier_free(cond, behind * fit.reshape(-1, *[1] * (cond.ndim - 1)).to(behind), scale)


def rescale(guided: Tensor, cond: Tensor, phi: float) -> Tensor:
    """Bring the guided prediction's contrast back to that of the conditional one, by the share phi.

    Args:
        guided: the guided prediction, batch first, in the model's own parameterisation (velocity for flow models).
        cond: the conditional prediction, shaped like `guided`.
        phi: the share, in [0, 1]; 0 changes nothing.

    Standard deviations are taken over all axes but the batch. A sample without any variance is left as it is. The
    result has guided's dtype.

    Raises ValueError naming the argument.
    Source: Lin et al. 2023, eq. 15 and 16; diffusers `rescale_noise_cfg`.
    """
    share = _checks.finite("phi", phi, 0.0, 1.0)
    strong = _checks.tensor("guided", guided, rank=None)
    plain = _checks.like("cond", cond, strong, "guided")
    if share == 0.0:
        return guided.clone()
    dtype = _checks.compute_dtype(strong)
    strong, plain = strong.to(dtype), plain.to(dtype)
    axes = list(range(1, strong.ndim))
    if strong[0].numel() < 2:
        raise ValueError(f"guided: needs at least two values per sample, got shape {tuple(guided.shape)}")
    spread = strong.std(dim=axes, keepdim=True)
    factor = torch.where(spread > 0, plain.std(dim=axes, keepdim=True) / spread, torch.ones_like(spread))
    return (share * (strong * factor) + (1.0 - share) * strong).to(guided.dtype)


def dynamic_threshold(x0: Tensor, percentile: float, max_value: float | None = None) -> Tensor:
    """Squeeze a predicted x0 into [-1, 1] by each sample's own percentile of absolute values.

    Per sample, s = clamp(quantile(|x0|, percentile), 1, max_value), and the result is clamp(x0, -s, s) / s.

    Args:
        x0: the predicted x0, batch first.
        percentile: in [0, 1].
        max_value: the upper bound of s, at least 1; None sets no bound.

    The result has x0's dtype.

    Raises ValueError naming the argument.
    Source: Saharia et al. 2022 (Imagen), section 2.3; diffusers `DDPMScheduler._threshold_sample`.
    """
    share = _checks.finite("percentile", percentile, 0.0, 1.0)
    limit = None if max_value is None else _checks.finite("max_value", max_value, 1.0)
    latent = _checks.tensor("x0", x0, rank=None)
    flat = latent.to(_checks.compute_dtype(latent)).flatten(1)
    bound = _quantile(flat.abs(), share).clamp(min=1.0, max=limit).unsqueeze(1)
    return (torch.clamp(flat, -bound, bound) / bound).reshape(latent.shape).to(x0.dtype)


def _quantile(values: Tensor, share: float) -> Tensor:
    """Return each row's linearly interpolated quantile. Unlike torch.quantile it has no limit on a row's length."""
    count = values.shape[1]
    position = share * (count - 1)
    low = int(position)
    top = count - low  # of which the smallest two are needed; for usual shares they are few
    if top * 8 < count:
        largest = values.topk(top, dim=1).values
        return torch.lerp(largest[:, -1], largest[:, max(top - 2, 0)], position - low)
    lower = values.kthvalue(low + 1, dim=1).values
    upper = values.kthvalue(min(low + 2, count), dim=1).values
    return torch.lerp(lower, upper, position - low)
