"""Sampling runs through ComfyUI's guider, after checks that say what to change."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import comfy.model_management
import comfy.model_sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from torch import Tensor

from ...errors import NodeInputError
from ..family import class_of, family_of
from ..inputs import check_finite, rows, single
from ..memory.backoff import sample_with_backoff
from ..memory.fitting import fitting_images
from ..memory.room import room_for_both
from ..notice import announce, show
from .batches import Alone, Batch, batch_key, batches, joined_conditioning, joined_mask
from .samplers import check_flow_range, check_flow_start, shown

log = logging.getLogger(__name__)

_OVERFLOWED = (
    "The text encoders overflowed in half precision, or the node before this one failed: start ComfyUI with "
    "--fp32-text-enc, or load other weights of the encoders."
)


def sample_inputs(inputs: Mapping[str, Any]) -> Any:
    """Return LATENT for EriSample's inputs: a list for lists, one for single values.

    Rows are sampled one after the other. With another batch_size than 1, rows that can share a batch are sampled
    together, at most so many images at once (see `batches`); 0 is as many as the device has room for.

    Args:
        inputs: `sample`'s arguments and batch_size by name. ComfyUI gives lists, with one entry per row or one for all;
            batch_size has one. Without negative nothing is connected there.

    Raises NodeInputError for lists that do not fit each other, and as `check_inputs` for every row before the first row
    is sampled.
    """
    given = dict(inputs)
    if not isinstance(given["cfg"], list):
        given.pop("batch_size", None)
        return sample(**given)
    table, limit = _table(given)
    _check_rows(table, range(len(table)))
    results: dict[int, dict[str, Any]] = {}
    plan = _plan(table, limit, say=True)
    for number, numbers in enumerate(plan):
        results.update(_sample_batch(table, numbers, _progress(table, plan[:number])))
    return [results[number] for number in range(len(table))]


def batches_of(inputs: Mapping[str, Any], count: int, vae: Any = None) -> list[Batch]:
    """What to sample one after the other: the batches of a list, or the list as a whole.

    It is one whole where it has one row, where a row is not one picture, and where decoding would push the model off.

    Args:
        inputs: as for `sample_inputs`, lists.
        count: how many pictures there have to be, else the list is one whole; 0 = any number.
        vae: what decodes them.

    Raises NodeInputError as `sample_inputs`.
    """
    table, limit = _table(inputs)
    _check_rows(table, range(len(table)))
    if len(table) == 1 or count not in (0, len(table)) or not _apart(table, vae):
        return [Batch()]
    plan = _plan(table, limit, say=True)
    parts = [f"{_listed(numbers, ',')} of {len(table)}" for numbers in plan]
    return [Batch(part, _progress(table, plan[:number]).before) for number, part in enumerate(parts)]


def sample_batch(inputs: Mapping[str, Any], batch: Batch) -> tuple[list[dict[str, Any]], Sequence[int]]:
    """Sample a batch of a list: its latents, and the numbers of their rows, from 0. Raises as `sample_inputs`."""
    table, _ = _table(inputs)
    numbers = batch.numbers
    if not numbers:
        return sample_inputs(inputs), range(len(table))
    progress = _progress(table, [])._replace(before=batch.begun)
    if batch.begun:  # ComfyUI begins at 0 here
        comfy.utils.ProgressBar(progress.whole).update_absolute(progress.before)
    made = _sample_batch(table, numbers, progress)
    return list(made.values()), list(made)


def _apart(table: Sequence[Mapping[str, Any]], vae: Any) -> bool:
    """Whether every row is one picture, and decoding it leaves the model where it is."""
    latents = [row["latent"]["samples"] for row in table]
    if any(len(samples) != 1 for samples in latents):
        return False
    return vae is None or room_for_both(table[0]["model"], vae, max(latents, key=torch.numel))


def _table(inputs: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The inputs row by row, and the most images in a batch; batch_size 0 means as many as the device has room for."""
    lists = dict(inputs)
    limit = single({"batch_size": lists.pop("batch_size", [1])})["batch_size"]
    table = rows(lists)
    if limit == 0 and table:
        largest = max((row["latent"]["samples"] for row in table), key=lambda samples: samples[0].numel())
        limit = fitting_images(table[0]["model"], largest.shape)
    return table, limit


def _check_rows(table: Sequence[Mapping[str, Any]], numbers: Iterable[int]) -> None:
    for number in numbers:
        with _named([number], len(table)):
            row = table[number]
            check_inputs(**{name: value for name, value in row.items() if name not in ("noise", "sampler")})


def _plan(table: Sequence[Mapping[str, Any]], limit: int, *, say: bool) -> list[list[int]]:
    """The rows of each batch."""
    return batches(_keys(table, limit, say), [len(row["latent"]["samples"]) for row in table], limit)


def _sample_batch(
    table: Sequence[Mapping[str, Any]], numbers: Sequence[int], progress: Progress
) -> dict[int, dict[str, Any]]:
    """The latents of a batch of these rows, by row."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    if len(table) > 1:
        show(f"picture{'s' if numbers[1:] else ''} {_listed(numbers)} of {len(table)}")
    starts = []
    for row_number in numbers:
        with _named([row_number], len(table)):
            row = table[row_number]
            starts.append(start_of(row["model"], row["noise"], row["sigmas"], row["latent"]))
    with _named(numbers, len(table)):
        made = denoised([table[row] for row in numbers], starts, progress)
    return dict(zip(numbers, made, strict=True))


def _progress(table: Sequence[Mapping[str, Any]], done: Sequence[Sequence[int]]) -> Progress:
    """How far a list is after these batches of it."""
    before = sum(len(table[row]["sigmas"]) - 1 for batch in done for row in batch)
    return Progress(before, sum(len(row["sigmas"]) - 1 for row in table))


@contextlib.contextmanager
def _named(numbers: Sequence[int], count: int) -> Iterator[None]:
    """Put the numbers of the faulty rows (from 0) before a NodeInputError, when there are several rows."""
    try:
        yield
    except NodeInputError as error:
        if count == 1:
            raise
        raise NodeInputError(f"{_entries(numbers)} of {count}: {error}") from None


def _entries(numbers: Sequence[int]) -> str:
    return f"{'entry' if len(numbers) == 1 else 'entries'} {_listed(numbers)}"


def _listed(numbers: Sequence[int], between: str = ", ") -> str:
    return between.join(str(number + 1) for number in numbers)


def _keys(table: Sequence[Mapping[str, Any]], limit: int, say: bool = True) -> list[Hashable | None]:
    """Each row's key for `batches`. Where asked to, says which rows are sampled alone against batch_size, and why."""
    if limit == 1 or len(table) == 1:
        return [None] * len(table)
    keys: list[Hashable | None] = []
    alone: dict[str, list[int]] = {}
    for number, row in enumerate(table):
        try:
            keys.append(batch_key(row))
        except Alone as reason:
            keys.append(None)
            alone.setdefault(str(reason), []).append(number)
    for why, numbers in alone.items() if say else ():
        text = f"batch_size {limit}: {_entries(numbers)} of {len(table)} are sampled alone: {why}."
        announce("EriSample", text, logging.WARNING)
    return keys


def sample(
    model: Any,
    positive: list[Any],
    noise: Any,
    sampler: Any,
    sigmas: Tensor,
    latent: dict[str, Any],
    cfg: float,
    negative: list[Any] | None = None,
) -> dict[str, Any]:
    """Denoise one latent batch as SamplerCustomAdvanced with CFGGuider does. CFG 1 makes no unconditional pass.

    ComfyUI loads and unloads the model, decides on devices, shows previews and obeys interrupts. When the device runs
    out of memory, the model's calls are made smaller (see `memory.backoff`), and the samples stay the same. Returns a
    new latent dictionary, which keeps noise_mask, batch_index and the rest. No argument is changed.

    Without negative, cfg must be 1. Raises NodeInputError for empty conditioning, for conditioning or a latent of
    another model family, for NaN in any of them or in the noise, and for sigmas that rise or do not fit the model.
    """
    check_inputs(model, positive, sigmas, latent, cfg, negative)
    row = {"model": model, "positive": positive, "noise": noise, "sampler": sampler, "sigmas": sigmas}
    row |= {"latent": latent, "cfg": cfg} | ({} if negative is None else {"negative": negative})
    return denoised([row], [start_of(model, noise, sigmas, latent)])[0]


class Start(NamedTuple):
    """What a row starts from: its latents and the noise for them, both [B, C, H, W]."""

    samples: Tensor
    noise: Tensor


def start_of(model: Any, noise: Any, sigmas: Tensor, latent: dict[str, Any]) -> Start:
    """Return a row's latents as the model wants them, and its noise, drawn for them alone.

    Raises NodeInputError for noise of another shape or with NaN in it, and for a flow schedule on another model's empty
    latent.
    """
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    drawn = noise.generate_noise({**latent, "samples": samples})
    if drawn.shape != samples.shape:
        raise NodeInputError(
            f"noise has the shape {list(drawn.shape)}, the latent {list(samples.shape)}. Use a noise node that draws "
            "for the latent it is given."
        )
    check_finite("noise", drawn, "Use another noise node, or write the file that it reads again.")
    sampling = model.get_model_object("model_sampling")
    check_flow_start(sampling, float(sigmas[0]), lambda: not samples.count_nonzero() and bool(drawn.count_nonzero()))
    return Start(samples, drawn)


class Progress(NamedTuple):
    """How many steps of a list are behind its batch at hand, and how many the list has; a row's step counts as one."""

    before: int
    whole: int


def denoised(
    table: Sequence[Mapping[str, Any]], starts: Sequence[Start], progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Return the latent dictionaries of rows that are denoised as one batch: one row, or several of one `batch_key`."""
    first, counts = table[0], [len(start.samples) for start in starts]
    guider = comfy.samplers.CFGGuider(first["model"])
    sides = ("positive", "negative" if "negative" in first else "positive")  # at CFG 1 the second is not looked at
    guider.set_conds(*(joined_conditioning([row[side] for row in table], counts) for side in sides))
    guider.set_cfg(first["cfg"])
    steps = (len(first["sigmas"]) - 1) * len(table)
    samples = sample_with_backoff(
        guider,
        torch.cat([start.noise for start in starts]),
        torch.cat([start.samples for start in starts]),
        first["sampler"],
        first["sigmas"].clone(),  # ComfyUI's uni_pc writes 0.001 over a last 0, which other nodes would get
        denoise_mask=joined_mask([row["latent"].get("noise_mask") for row in table], counts),
        callback=_callback(first["model"], len(table), progress or Progress(0, steps)),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=first["noise"].seed,
    )
    if not bool(torch.isfinite(samples).all()):
        log.warning("EriSample: the result holds NaN or infinite values; the picture will be black or broken.")
    parts = samples.to(comfy.model_management.intermediate_device()).split(counts)
    if len(parts) > 1:  # each with memory of its own
        parts = tuple(part.clone() for part in parts)
    return [{**row["latent"], "samples": part} for row, part in zip(table, parts, strict=True)]


def _callback(model: Any, count: int, progress: Progress) -> Callable[..., None]:
    """ComfyUI's preview and progress over a whole list; a step of a batch of `count` rows counts as many steps."""
    before, whole = progress
    report: Callable[..., None] = latent_preview.prepare_callback(model, whole)
    return lambda step, x0, x, total: report(before + (step + 1) * count - 1, x0, x, whole)


def check_inputs(
    model: Any,
    positive: list[Any],
    sigmas: Tensor,
    latent: dict[str, Any],
    cfg: float,
    negative: list[Any] | None = None,
) -> None:
    """Raise NodeInputError for faults of `sample`'s arguments that show without noise; see the checks below."""
    check_conditioning(positive, negative, cfg)
    check_latent(model, latent)
    check_sigmas(model, sigmas)
    for name, conditioning in (("positive", positive), ("negative", negative or [])):
        check_widths(model, name, conditioning)
        if name == "positive" or cfg != 1.0:  # the other one is not looked at
            check_finite(f"{name} (conditioning)", conditioning, _OVERFLOWED)


def check_conditioning(positive: list[Any], negative: list[Any] | None, cfg: float) -> None:
    """Raise NodeInputError when the positive conditioning is empty, or the negative one at a CFG other than 1."""
    if not positive:
        raise NodeInputError("positive is empty. Connect an encoded prompt.")
    if negative is None and cfg != 1.0:
        raise NodeInputError(
            f"cfg is {cfg}, but nothing is connected to negative. Connect an encoded negative prompt or set cfg to 1."
        )
    if not negative and cfg != 1.0:
        raise NodeInputError(
            f"negative is empty, but cfg is {cfg}. Connect an encoded negative prompt or set cfg to 1."
        )


def check_widths(model: Any, name: str, conditioning: list[Any]) -> None:
    """Raise NodeInputError for conditioning [B, T, width] of another family's encoders, if the family is known."""
    family = family_of(model)
    if family is None:
        return
    width, pooled = family.conditioning_widths(model.model.model_config.unet_config)
    for tensor, options in conditioning:
        vector = options.get("pooled_output")
        for what, given, wanted in (("tokens", tensor, width), ("a pooled vector", vector, pooled)):
            if given is not None and wanted is not None and given.shape[-1] != wanted:
                raise NodeInputError(
                    f"{name} has {what} of width {given.shape[-1]}, the {class_of(model)} model wants {wanted}. Encode "
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
        "latent", samples, "The node before it failed, often a VAE in half precision: start ComfyUI with --fp32-vae."
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
    family = family_of(model)
    source = f"{family.title}: {family.empty_latent}, or its VAE" if family else "its own VAE"
    if samples.shape[1] != channels and bool(torch.count_nonzero(samples)):
        raise NodeInputError(
            f"latent has {samples.shape[1]} channels, the model wants {channels} ({source}). Connect a latent of "
            "the model's own family."
        )


def check_sigmas(model: Any, sigmas: Tensor) -> None:
    """Raise NodeInputError unless sigmas are two or more finite values that do not rise, are 0 only at the end, and in
    0..1 on a flow model.
    """
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
    check_flow_range(model.get_model_object("model_sampling"), values)
