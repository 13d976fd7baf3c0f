"""Rows of EriSample's lists that can be denoised as one batch: how to recognise them, and their inputs joined.

Every image of a batch must be the same as when it is denoised alone. Only the order of summation may differ, in matrix
products of another size. So this file lists what is known to keep the images of a batch apart; anything else is sampled
alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from typing import Any, Final, NamedTuple

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from comfy.extra_samplers import uni_pc
from comfy.k_diffusion import sampling
from torch import Tensor

from ..family import family_of
from .samplers import sample_ddim, sample_flow_euler
from .trainer_sampler import sample_trainer

#: ComfyUI's samplers that draw nothing (unless an option below is on) and whose steps never look at other images.
QUIET_SAMPLERS: Final = (
    "euler", "euler_cfg_pp", "heun", "dpm_2", "lms", "dpmpp_2m", "dpmpp_2m_cfg_pp", "ipndm", "ipndm_v", "deis",
    "gradient_estimation", "gradient_estimation_cfg_pp",
)  # fmt: skip
#: Options that make a sampler draw noise when they are not 0 or empty.
_DRAWING: Final = ("s_churn", "eta", "noise")
#: What of a conditioning's options is a tensor with one row an image.
_POOLED: Final = "pooled_output"


class Batch(NamedTuple):
    """Some pictures of a list.

    Args:
        part: which they are, from 1, and how many there are in all: "1,3 of 4"; "" = all.
        begun: how many steps of the list come before theirs.
    """

    part: str = ""
    begun: int = 0

    @property
    def numbers(self) -> list[int]:
        """Which they are, from 0; none for all."""
        return [int(number) - 1 for number in self.part.partition(" of ")[0].split(",") if number]


class Alone(Exception):  # noqa: N818 - an answer, not an error
    """This row shares no batch; the text says why."""


def batch_key(row: Mapping[str, Any]) -> Hashable:
    """Return what rows that share a batch have in common.

    `row` holds `sample`'s arguments by name, already checked. Raises Alone for a row that must not share a batch.
    """
    model, latent, sigmas = row["model"], row["latent"], row["sigmas"]
    family = family_of(model)
    if family is None or not family.batches:
        raise Alone("the model is not known to keep the images of a batch apart")
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"])
    mask = latent.get("noise_mask")
    return (
        id(model),
        row["cfg"],
        (sigmas.dtype, tuple(sigmas.tolist())),
        _sampler_key(row["sampler"], mask is not None),
        _conditioning_key(row["positive"]),
        _conditioning_key(row.get("negative", row["positive"])),
        type(row["noise"]),  # another class may draw in another precision
        _form(samples),
        bool(torch.count_nonzero(samples)),  # ComfyUI and DDIM start from an empty batch in another way
        None if mask is None else (mask.shape[-2:], mask.dtype, mask.device),
    )


def _sampler_key(sampler: Any, masked: bool) -> Hashable:
    if type(sampler) is not comfy.samplers.KSAMPLER or sampler.sampler_function not in _quiet():
        raise Alone("the sampler draws noise, or is not known not to")
    options, inpainting = sampler.extra_options, sampler.inpaint_options
    if any(options.get(name) for name in _DRAWING) or (masked and inpainting.get("random")):
        raise Alone("the sampler draws noise")
    return sampler.sampler_function, _plain(options, "sampler"), _plain(inpainting, "sampler")


@cache
def _quiet() -> tuple[Any, ...]:
    named = [getattr(sampling, f"sample_{name}", None) for name in QUIET_SAMPLERS]
    known = [*named, uni_pc.sample_unipc, uni_pc.sample_unipc_bh2, sample_flow_euler, sample_ddim, sample_trainer]
    return tuple(function for function in known if function is not None)


def _conditioning_key(conditioning: list[Any]) -> Hashable:
    return tuple(
        (
            _form(tokens),
            _form(options.get(_POOLED)),
            _plain({name: value for name, value in options.items() if name != _POOLED}, "conditioning"),
        )
        for tokens, options in conditioning
    )


def _form(value: Any) -> Hashable:
    """What must be equal in tensors to join them along their first axis."""
    if value is None:
        return None
    if not torch.is_tensor(value) or value.ndim < 2:
        raise Alone("the conditioning is of a form that cannot be joined")
    return value.shape[1:], value.dtype, value.device


def _plain(value: Any, owner: str, name: str = "") -> Hashable:
    """Numbers and texts, also in lists and dicts, in a form that can be compared. Raises Alone for anything else."""
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list | tuple):
        return tuple(_plain(entry, owner, name) for entry in value)
    if isinstance(value, dict):
        return tuple((key, _plain(value[key], owner, name or key)) for key in sorted(value))
    raise Alone(f"the {owner} has {name}, which cannot be shared")


def joined_conditioning(conditionings: Sequence[list[Any]], counts: Sequence[int]) -> list[Any]:
    """The CONDITIONING of a batch from that of its rows, which have the same key. counts: images in each row."""
    if len(conditionings) == 1:
        return conditionings[0]
    joined = []
    for entries in zip(*conditionings, strict=True):
        options = dict(entries[0][1])
        if options.get(_POOLED) is not None:
            options[_POOLED] = joined_tensor([entry[1][_POOLED] for entry in entries], counts)
        tokens = None if entries[0][0] is None else joined_tensor([entry[0] for entry in entries], counts)
        joined.append([tokens, options])
    return joined


def joined_mask(masks: Sequence[Tensor | None], counts: Sequence[int]) -> Tensor | None:
    """The noise mask of a batch [B, 1, H, W] from its rows' masks ([H, W] or more axes), which all or none have."""
    if len(masks) == 1:
        return masks[0]
    found = [mask.reshape(-1, 1, *mask.shape[-2:]) for mask in masks if mask is not None]
    return joined_tensor(found, counts) if found else None


def joined_tensor(tensors: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Tensors one after the other, each with as many rows as its row has images, repeated or cut as in ComfyUI."""
    repeated = [comfy.utils.repeat_to_batch_size(tensor, count) for tensor, count in zip(tensors, counts, strict=True)]
    return torch.cat(repeated)


def batches(keys: Sequence[Hashable | None], sizes: Sequence[int], limit: int) -> list[list[int]]:
    """Return row numbers (from 0) batch by batch: ascending in each batch, and batches ordered by their first row.

    Args:
        keys: rows of equal keys may share a batch; a row with None may not.
        sizes: the number of images in each row, at least 1.
        limit: the most images in a batch, at least 1. A row that has more by itself is a batch of its own.
    """
    made: list[list[int]] = []
    room: dict[Hashable, int] = {}
    filling: dict[Hashable, list[int]] = {}
    for row, (key, size) in enumerate(zip(keys, sizes, strict=True)):
        if key is not None and size <= room.get(key, 0):
            filling[key].append(row)
            room[key] -= size
            continue
        made.append([row])
        if key is not None and limit - size > room.get(key, 0):
            filling[key], room[key] = made[-1], limit - size
    return made
