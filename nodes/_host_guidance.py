"""Guidance as patches of a cloned MODEL, through the host's own hooks."""

from __future__ import annotations

from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor

from ..samplers import guidance
from ._schema import NodeInputError


def guided_model(
    model: Any, rescale: float = 0.0, percentile: float = 0.0, maximum: float = 0.0, mode: str = "cfg"
) -> Any:
    """A clone of `model` with other guidance; at rescale 0, percentile 0 and mode "cfg" it samples the same bits.

    rescale: phi of Lin et al. 2023, 0..1, applied to the model's raw output. percentile: of dynamic thresholding,
    0..1, 0 = off; maximum: its upper bound, >= 1, 0 = none. mode: "cfg", "embedded" (the positive pass only) or
    "bypass" (no guidance embedding). Raises NodeInputError for a maximum between 0 and 1.
    """
    if 0 < maximum < 1:
        raise NodeInputError(f"threshold_max must be 0 (no limit) or at least 1, got {maximum:g}.")
    clone = model.clone()
    if mode == "embedded":
        clone.set_model_sampler_calc_cond_batch_function(_positive_only)
    elif mode == "bypass":
        clone.set_model_unet_function_wrapper(_without_guidance(model.model_options.get("model_function_wrapper")))
    if rescale > 0:
        clone.set_model_sampler_post_cfg_function(lambda args: rescaled(args, rescale))
    if percentile > 0:
        limit = maximum or None
        clone.set_model_sampler_post_cfg_function(
            lambda args: guidance.dynamic_threshold(args["denoised"], percentile, limit)
        )
    return clone


def rescaled(args: dict[str, Any], phi: float) -> Tensor:
    """The host's post-CFG arguments to a denoised latent whose raw output has the conditional one's spread."""
    x, denoised, cond = args["input"], args["denoised"], args["cond_denoised"]
    sigma = args["sigma"].reshape(-1, *[1] * (x.ndim - 1)).to(x)
    sampling = args["model"].model_sampling
    is_v = isinstance(sampling, comfy.model_sampling.V_PREDICTION)
    # epsilon and flow: output = (x - x0) / sigma; v: see comfy.model_sampling.V_PREDICTION
    scale = sigma / torch.sqrt(sigma**2 + 1) if is_v else sigma
    base = x / (sigma**2 + 1) if is_v else x
    raw = guidance.rescale((base - denoised) / scale, (base - cond) / scale, phi)
    return base - raw * scale


def _positive_only(args: dict[str, Any]) -> list[Tensor]:
    cond = args["conds"][0]
    out = comfy.samplers.calc_cond_batch(args["model"], [cond], args["input"], args["sigma"], args["model_options"])[0]
    return [out, out]


def _without_guidance(inner: Any) -> Any:
    def wrapper(apply_model: Any, params: dict[str, Any]) -> Tensor:
        conds = {key: value for key, value in params["c"].items() if key != "guidance"}
        if inner is not None:
            return inner(apply_model, {**params, "c": conds})
        return apply_model(params["input"], params["timestep"], **conds)

    return wrapper
