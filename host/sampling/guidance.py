"""Guidance as patches of a cloned MODEL, through ComfyUI's own hooks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_sampling
import comfy.samplers
import torch
from torch import Tensor

from ...errors import NodeInputError
from ...samplers import guidance


def guided_model(
    model: Any,
    rescale: float = 0.0,
    percentile: float = 0.0,
    maximum: float = 0.0,
    mode: str = "cfg",
    zero_steps: int = 0,
    cfg_from_step: int = 0,
    zero_star: bool = False,
) -> Any:
    """Return a clone of `model` with other guidance. With the defaults it samples the same bits.

    Patches that the model already has stay.

    Args:
        model: a MODEL.
        rescale: phi of Lin et al. 2023, 0..1, applied to the model's raw output.
        percentile: that of dynamic thresholding, 0..1; 0 switches it off.
        maximum: the upper bound of the threshold, at least 1; 0 sets none.
        mode: "cfg", "embedded" (only the positive pass) or "bypass" (no guidance embedding).
        zero_steps: how many first steps with guidance have an output of zero.
        cfg_from_step: the first step, from 0, with a negative pass.
        zero_star: whether the negative's output is scaled as CFG-Zero* does.

    Raises NodeInputError for a maximum between 0 and 1, for a mode that needs a guidance embedding on a model without
    one, and for rescale on a model of another kind.
    """
    _check(model, mode, maximum, rescale > 0 or zero_star or zero_steps > 0)
    clone = model.clone()
    if mode == "embedded" or cfg_from_step > 0:
        before = model.model_options.get("sampler_calc_cond_batch_function", _both_passes)
        clone.set_model_sampler_calc_cond_batch_function(
            lambda args: (
                _positive_only(args, before) if mode == "embedded" or step_of(args) < cfg_from_step else before(args)
            )
        )
    if mode == "bypass":
        clone.set_model_unet_function_wrapper(_without_guidance(model.model_options.get("model_function_wrapper")))
    if zero_star:
        clone.set_model_sampler_post_cfg_function(_zero_star)
    if rescale > 0:
        clone.set_model_sampler_post_cfg_function(lambda args: rescaled(args, rescale))
    if percentile > 0:
        limit = maximum or None
        clone.set_model_sampler_post_cfg_function(
            lambda args: guidance.dynamic_threshold(args["denoised"], percentile, limit)
        )
    if zero_steps > 0:
        clone.set_model_sampler_post_cfg_function(lambda args: _without_output(args, zero_steps))
    return clone


def _check(model: Any, mode: str, maximum: float, on_output: bool) -> None:
    """Raise NodeInputError for what `guided_model` cannot do. on_output: something changes the model's raw output."""
    if mode != "cfg" and not has_guidance_embedding(model):
        raise NodeInputError(
            f"mode is {mode}, but this model has no guidance embedding (Flux dev has one; schnell, SD 3.5 and SDXL "
            "have none). Set mode to cfg."
        )
    if 0 < maximum < 1:
        raise NodeInputError(f"threshold_max must be 0 (no limit) or at least 1, got {maximum:g}.")
    kinds = comfy.model_sampling
    sampling = model.get_model_object("model_sampling")
    if on_output and not isinstance(sampling, kinds.EPS | kinds.CONST):
        raise NodeInputError(
            "rescale, zero_star and zero_steps work on flow, epsilon and v models, not on this one. Switch them off."
        )


def step_of(args: dict[str, Any]) -> int:
    """The number of the step, from 0, that ComfyUI asks the model for: how many of the run's sigmas are larger.

    args: what ComfyUI gives its guidance hooks.
    """
    sigmas = args["model_options"]["transformer_options"]["sample_sigmas"]
    return int((sigmas.to(args["sigma"]) > args["sigma"].max() * (1.0 + 1e-6)).sum())


def _zero_star(args: dict[str, Any]) -> Tensor:
    """ComfyUI's post-CFG arguments to what CFG-Zero* makes of them; other patches' share in `denoised` stays."""
    denoised: Tensor = args["denoised"]
    if args["cond_scale"] == 1.0:
        return denoised
    base, scale = _base_and_scale(args)
    cond, uncond = ((base - args[f"{side}_denoised"]) / scale for side in ("cond", "uncond"))
    strength = args["cond_scale"]
    change = guidance.zero_star(cond, uncond, strength) - guidance.classifier_free(cond, uncond, strength)
    return denoised - change * scale


def _base_and_scale(args: dict[str, Any]) -> tuple[Tensor, Tensor]:
    x = args["input"]
    return _raw_output(args["model"].model_sampling, x, args["sigma"].reshape(-1, *[1] * (x.ndim - 1)).to(x))


def _without_output(args: dict[str, Any], steps: int) -> Tensor:
    """The denoised latent of a network that answers 0, in the first `steps` steps of a run with guidance."""
    denoised: Tensor = args["denoised"]
    if args["cond_scale"] == 1.0 or step_of(args) >= steps:
        return denoised
    return _base_and_scale(args)[0]


def has_guidance_embedding(model: Any) -> bool:
    """Whether a MODEL takes a guidance value as an input, as Flux dev does."""
    return bool(getattr(getattr(model.model.diffusion_model, "params", None), "guidance_embed", False))


def rescaled(args: dict[str, Any], phi: float) -> Tensor:
    """Return the denoised latent whose raw output has the spread of the conditional one.

    `args` are ComfyUI's post-CFG arguments.

    The raw output is what the network gave, an affine function of x0: x0 = base - scale * output.
    """
    denoised, cond = args["denoised"], args["cond_denoised"]
    base, scale = _base_and_scale(args)
    raw = guidance.rescale((base - denoised) / scale, (base - cond) / scale, phi)
    return base - raw * scale


def _raw_output(sampling: Any, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """base and scale of `rescaled` for each of ComfyUI's parameterisations (comfy.model_sampling)."""
    kinds = comfy.model_sampling
    if isinstance(sampling, kinds.X0):
        return torch.zeros_like(x), -torch.ones_like(sigma)
    if isinstance(sampling, kinds.V_PREDICTION):  # EDM's output has the opposite sign, which spreads the same
        data = sampling.sigma_data
        return x * data**2 / (sigma**2 + data**2), sigma * data / torch.sqrt(sigma**2 + data**2)
    return x, sigma  # epsilon and flow


def _both_passes(args: dict[str, Any]) -> list[Tensor]:
    return comfy.samplers.calc_cond_batch(
        args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
    )


def _positive_only(args: dict[str, Any], inner: Callable[[dict[str, Any]], list[Tensor]]) -> list[Tensor]:
    out = inner({**args, "conds": [args["conds"][0], None]})[0]
    return [out, out]


def _without_guidance(inner: Any) -> Any:
    def wrapper(apply_model: Any, params: dict[str, Any]) -> Tensor:
        conds = {key: value for key, value in params["c"].items() if key != "guidance"}
        if inner is not None:
            return inner(apply_model, {**params, "c": conds})
        return apply_model(params["input"], params["timestep"], **conds)

    return wrapper
