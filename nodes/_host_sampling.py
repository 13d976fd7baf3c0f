"""One sampling run through the host's guider, after checks that say what to change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import comfy.model_base
import comfy.model_management
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ._finite import check_finite
from ._host_backoff import sample_with_backoff
from ._host_samplers import check_flow_start, shown
from ._rows import rows
from ._schema import NodeInputError

log = logging.getLogger(__name__)

#: latent channels -> where such a latent comes from
_SOURCES = {
    4: "SDXL: Empty Latent Image, or its VAE",
    16: "SD 3.5 and Flux: EmptySD3LatentImage, or their VAE",
}

_OVERFLOWED = (
    "The text encoders overflowed in half precision, or the node before this one failed: start the host with "
    "--fp32-text-enc, or load other weights of the encoders."
)


def sample_inputs(inputs: Mapping[str, Any]) -> Any:
    """EriSample's inputs to LATENT: a list of them for lists, one for single values.

    inputs: `sample`'s arguments by name; the host gives lists, one entry per row or one for all. Raises NodeInputError
    for lists that do not fit each other, and as `check_inputs` for every row before the first is sampled.
    """
    if not isinstance(inputs["cfg"], list):
        return sample(**inputs)
    table = rows(inputs)
    for number, row in enumerate(table, start=1):
        try:
            check_inputs(**{name: value for name, value in row.items() if name not in ("noise", "sampler")})
        except NodeInputError as error:
            raise (error if len(table) == 1 else NodeInputError(f"entry {number} of {len(table)}: {error}")) from None
    results = []
    for row in table:
        comfy.model_management.throw_exception_if_processing_interrupted()
        results.append(sample(**row))
    return results


def sample(
    model: Any,
    positive: list[Any],
    negative: list[Any],
    noise: Any,
    sampler: Any,
    sigmas: Tensor,
    latent: dict[str, Any],
    cfg: float,
) -> dict[str, Any]:
    """Denoise one latent batch as SamplerCustomAdvanced with CFGGuider does; CFG 1 makes no unconditional pass.

    The host loads and unloads the model, decides on devices, shows previews and heeds interrupts. Where the device runs
    out of memory the model's calls are made smaller (see _host_backoff); the samples stay the same. Returns a new
    latent dictionary (noise_mask, batch_index and the rest kept); every argument is left as it is. Raises
    NodeInputError for empty conditioning, conditioning or a latent of another model family, NaN in any of them or in
    the noise, and sigmas that rise or do not fit the model.
    """
    check_inputs(model, positive, negative, sigmas, latent, cfg)
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    result = {**latent, "samples": samples}
    start = noise.generate_noise(result)
    if start.shape != samples.shape:
        raise NodeInputError(
            f"noise has the shape {list(start.shape)}, the latent {list(samples.shape)}. Use a noise node that draws "
            "for the latent it is given."
        )
    check_finite("noise", start, "Use another noise node, or write the file it reads anew.")
    sampling = model.get_model_object("model_sampling")
    check_flow_start(sampling, float(sigmas[0]), lambda: not samples.count_nonzero() and bool(start.count_nonzero()))
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    callback = latent_preview.prepare_callback(model, len(sigmas) - 1)
    samples = sample_with_backoff(
        guider,
        start,
        samples,
        sampler,
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=callback,
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=noise.seed,
    )
    if not bool(torch.isfinite(samples).all()):
        log.warning("EriSample: the result holds NaN or infinite values; the picture will be black or broken.")
    result["samples"] = samples.to(comfy.model_management.intermediate_device())
    return result


def check_inputs(
    model: Any, positive: list[Any], negative: list[Any], sigmas: Tensor, latent: dict[str, Any], cfg: float
) -> None:
    """Raise NodeInputError for what can be told of `sample`'s arguments without noise; see the checks below."""
    check_conditioning(positive, negative, cfg)
    check_latent(model, latent)
    check_sigmas(model, sigmas)
    for name, conditioning in (("positive", positive), ("negative", negative)):
        check_widths(model, name, conditioning)
        if name == "positive" or cfg != 1.0:  # the other one is not looked at
            check_finite(f"{name} (conditioning)", conditioning, _OVERFLOWED)


def check_conditioning(positive: list[Any], negative: list[Any], cfg: float) -> None:
    """Raise NodeInputError where the positive, or at a CFG other than 1 the negative, conditioning is empty."""
    if not positive:
        raise NodeInputError("positive is empty. Connect an encoded prompt.")
    if not negative and cfg != 1.0:
        raise NodeInputError(
            f"negative is empty, but cfg is {cfg}. Connect an encoded negative prompt or set cfg to 1."
        )


def check_widths(model: Any, name: str, conditioning: list[Any]) -> None:
    """Raise NodeInputError for conditioning [B, T, width] of another family's encoders, where the model tells its own.

    Flux and SD 3.5 share the width of T5; there the pooled vector tells them apart.
    """
    config = model.model.model_config.unet_config
    kind = type(model.model)
    if kind is comfy.model_base.SDXL:
        width, pooled = config.get("context_dim"), None
    elif kind is comfy.model_base.Flux:
        width, pooled = config.get("context_in_dim"), config.get("vec_in_dim")
    elif kind is comfy.model_base.SD3:
        embedder = config.get("context_embedder_config") or {}
        width, pooled = embedder.get("params", {}).get("in_features"), config.get("adm_in_channels")
    else:
        return
    for tensor, options in conditioning:
        vector = options.get("pooled_output")
        for what, given, wanted in (("tokens", tensor, width), ("a pooled vector", vector, pooled)):
            if given is not None and wanted is not None and given.shape[-1] != wanted:
                raise NodeInputError(
                    f"{name} has {what} of width {given.shape[-1]}, the {kind.__name__} model wants {wanted}. Encode "
                    "the prompt with the text encoders of the model's own family."
                )


def check_latent(model: Any, latent: dict[str, Any]) -> None:
    """Raise NodeInputError for a latent that is not this model's: wrong axes or channels (unless all zero), or NaN."""
    samples = latent["samples"]
    if samples.is_nested:
        raise NodeInputError("latent holds audio and video together. This node samples images; use the stock sampler.")
    if samples.shape[0] == 0:
        raise NodeInputError("latent is an empty batch. Set batch_size to 1 or more.")
    check_finite(
        "latent",
        samples,
        "The node before it failed, often a VAE in half precision: start the host with --fp32-vae.",
    )
    check_finite("latent's noise_mask", latent.get("noise_mask"), "Connect another mask to Set Latent Noise Mask.")
    latent_format = model.get_model_object("latent_format")
    if samples.ndim != 2 + latent_format.latent_dimensions:
        shape = list(samples.shape)
        raise NodeInputError(
            f"latent is {shape}, tokens or ids of Flux Patchify. Put EriFluxUnpatchify before this node."
            if samples.ndim == 3
            else f"latent is {shape}, not this model's kind of latent. Image models take [B, C, H, W]: connect an "
            "empty image latent, or VAE Encode with the model's own VAE."
        )
    channels = latent_format.latent_channels
    source = _SOURCES.get(channels, "its own VAE")
    if samples.shape[1] != channels and bool(torch.count_nonzero(samples)):
        raise NodeInputError(
            f"latent has {samples.shape[1]} channels, the model wants {channels} ({source}). Connect a latent of "
            "the model's own family."
        )


def check_sigmas(model: Any, sigmas: Tensor) -> None:
    """Raise NodeInputError unless sigmas are two or more finite values, not rising, 0 at the end only, flow's <= 1."""
    values = [float(value) for value in sigmas.flatten()]
    if sigmas.ndim != 1 or len(values) < 2:
        raise NodeInputError(f"sigmas must hold at least two values, got {len(values)}. Set steps to 1 or more.")
    if not bool(torch.isfinite(sigmas).all()) or min(values) < 0:
        raise NodeInputError(f"sigmas must be finite and not negative, got {shown(values)}. Use a scheduler node.")
    if any(b > a for a, b in pairwise(values)):
        raise NodeInputError(
            f"sigmas must not rise from step to step, got {shown(values)}. For noising (rising sigmas) use the stock "
            "SamplerCustomAdvanced."
        )
    if min(values[:-1]) == 0:
        raise NodeInputError(
            f"sigmas: only the last may be 0, got {shown(values)}: nothing is left to do after it. Use a scheduler "
            "node, or cut them off there with SplitSigmas."
        )
    is_flow = isinstance(model.get_model_object("model_sampling"), comfy.model_sampling.CONST)
    if is_flow and values[0] > 1.0 + 1e-4:
        raise NodeInputError(
            f"sigmas start at {values[0]:.4g}, but this is a flow model, whose sigmas lie in 0..1. Use "
            "EriFluxSchedule or EriFlowSchedule instead of an SDXL schedule."
        )
