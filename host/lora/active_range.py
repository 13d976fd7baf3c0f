"""A LoRA for a part of the denoising: the sampler's sigmas are split, and the parts are sampled one after the other.

The parts are whole calls of ComfyUI's guider, the first with the noise and the others without, as in a chain of
SamplerCustomAdvanced nodes with DisableNoise over SplitSigmas. Hooks are not used: they need marked conditioning, and
weights that change inside one sampler call are not reliable on a ComfyUI that loads weights on demand.
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

import comfy.patcher_extension
import comfy.sampler_helpers
import torch
from torch import Tensor

from ...errors import NodeInputError
from ..memory.backoff import Backoff
from .placing import Placed

_WHEN: Final = comfy.patcher_extension.WrappersMP.OUTER_SAMPLE
#: Model options that the guider makes anew from the model and its conditioning whenever it samples.
_MADE_ANEW: Final = ("transformer_options", "to_load_options", "registered_hooks")
_NEAR: Final = 1.0 + 1e-5  # a sigma this near to a limit lies on it: schedules are float32 numbers


@dataclass(frozen=True)
class RangedLora:
    """A LoRA that acts from `start` up to but not including `end` of the denoising, each 0..1 as ComfyUI counts."""

    placed: Placed
    start: float
    end: float
    key: str = field(default_factory=lambda: f"eridiffusion_lora_range_{uuid.uuid4()}")

    def on(self, model: Any) -> Any:
        """A clone of MODEL that samples with the LoRA only in its part. One model may have several."""
        clone = model.clone()
        clone.add_wrapper_with_key(_WHEN, self.key, self._sample)
        return clone

    def _sample(
        self, executor: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor,
        mask: Tensor | None = None, callback: Any = None, disable_pbar: bool = False, seed: int | None = None,
        latent_shapes: Any = (), **_: Any,
    ) -> Tensor:  # fmt: skip
        """Replaces the guider's outer sampling; see `_Call`."""
        if len(latent_shapes) > 1:
            raise NodeInputError("latent holds several kinds of latents: use start 0 and end 1 with such a model.")
        without = executor.class_obj.model_patcher.clone()
        without.remove_wrappers_with_key(_WHEN, self.key)
        patched = without.clone()
        self.placed.put_on(patched)
        parts = [(patched if active else without, part) for active, part in self._parts(without, sigmas)]
        call = _Call(executor.class_obj, sampler, callback, disable_pbar)
        return call.one_after_the_other(parts, noise, latent, mask, seed)

    def _parts(self, model: Any, sigmas: Tensor) -> list[tuple[bool, Tensor]]:
        """The sigmas in runs of steps with or without the LoRA; neighbours share the sigma between them."""
        sampling = model.get_model_object("model_sampling")
        first, last = float(sampling.percent_to_sigma(self.start)), float(sampling.percent_to_sigma(self.end))
        active = [last * _NEAR < float(sigma) <= first * _NEAR for sigma in sigmas[:-1]]
        parts, begin = [], 0
        for value, run in groupby(active):
            end = begin + len(list(run))
            parts.append((value, sigmas[begin : end + 1]))
            begin = end
        return parts


@dataclass(frozen=True)
class _Call:
    """One call of a guider that is made in parts."""

    guider: Any
    sampler: Any
    callback: Callable[..., Any] | None
    disable_pbar: bool

    def one_after_the_other(
        self, parts: list[tuple[Any, Tensor]], noise: Tensor, latent: Tensor, mask: Tensor | None, seed: int | None
    ) -> Tensor:
        """Sample each part on its patcher: the first from `noise` and `latent`, each next one from the last result.

        Only the first part gets the seed; the others get 0, DisableNoise's.
        """
        total = sum(len(sigmas) - 1 for _, sigmas in parts)
        result, done = latent, 0
        for patcher, sigmas in parts:
            start = (noise, latent) if done == 0 else _go_on(noise, latent, result, mask)
            part = self._part(patcher)
            part_seed = seed if done == 0 else 0
            callback = self._counting_on(done, total)
            result = part.sample(*start, self.sampler, sigmas, mask, callback, self.disable_pbar, part_seed)
            done += len(sigmas) - 1
        return result

    def _part(self, patcher: Any) -> Any:
        """The guider on another patcher, with the settings that it has beside its model's options."""
        part = copy.copy(self.guider)
        told = {name: value for name, value in self.guider.model_options.items() if name not in _MADE_ANEW}
        part.model_patcher, part.model_options = patcher, {**patcher.model_options, **told}
        backoff = told.get("model_function_wrapper")
        if isinstance(backoff, Backoff):
            backoff.follow(part)
        return part

    def _counting_on(self, done: int, total: int) -> Callable[..., Any] | None:
        callback = self.callback
        if callback is None:
            return None
        return lambda step, x0, x, _total: callback(done + step, x0, x, total)


def _go_on(noise: Tensor, latent: Tensor, result: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Noise and latent of a further part: no noise and the result. Outside an inpainting mask they stay the first ones.

    With a hard mask the sampler then finds exactly its own state at the sigma at which it continues. Raises
    NodeInputError for a soft mask, with which it would not.
    """
    if mask is None:
        return torch.zeros_like(noise), result
    inside = comfy.sampler_helpers.prepare_mask(mask, noise.shape, result.device)
    if bool(((inside > 0) & (inside < 1)).any()):
        raise NodeInputError(
            "noise_mask is soft, and a LoRA limited to a part of the denoising needs a hard one: its sampling goes on "
            "from a noisy latent. Use ThresholdMask on a mask of the latent's size, or set start and end to 0 and 1."
        )
    return noise * (1 - inside).to(noise), torch.where(inside > 0, result, latent.to(result))
