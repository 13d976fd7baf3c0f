"""A NOISE object that draws a trainer's initial noise, or holds what a trainer wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from ...errors import NodeInputError
from ...families import FAMILIES
from ...families.noise_profile import DTYPES, GENERATORS, LAYOUTS, NoiseProfile
from ...samplers.flux_latents import from_patches, unpatchify
from ...samplers.noise import initial_noise
from ..schema import MAX_SEED
from ..tensor_files import read_tensor

#: The plain profile texts of samplers.noise, ComfyUI's own (torch-cpu/nchw/float32) first; then that one rounded.
PROFILES: Final = [
    *(f"{g}/{layout}/{dtype}" for g in GENERATORS for layout in LAYOUTS for dtype in DTYPES),
    *(f"torch-cpu/nchw/float32/{dtype}" for dtype in DTYPES if dtype != "float32"),
]


def problem_with(profile: str | None) -> str:
    """What is wrong with the text of a noise profile, "" = nothing; None = it is linked."""
    try:
        if profile is not None:
            NoiseProfile.parse(profile)
    except ValueError as error:
        return str(error)
    return ""


#: How the seed goes on through a batch.
WALKS: Final = ("one draw", "seed + index", "same seed")


@dataclass(frozen=True)
class TrainerNoise:
    """NOISE: `.seed`, and `.generate_noise(latent)` giving float32 noise of the latent's shape on the CPU.

    A latent's batch_index picks from the batch that would hold all of its indices.

    Args:
        seed: the seed of the noise.
        profile: a profile text of samplers.noise.
        family: the family whose number of channels the latent must have, or "auto".
        walk: how a batch is drawn. "one draw": at once from one generator, as in ComfyUI. "seed + index", "same seed":
            each picture by itself, as in trainers.
        stored: noise to give in place of drawn noise, see `stored_noise`.
    """

    seed: int
    profile: str
    family: str = "auto"
    walk: str = "one draw"
    stored: Tensor | None = None

    def __post_init__(self) -> None:
        """Raise NodeInputError for an unknown profile or walk."""
        try:
            NoiseProfile.parse(self.profile)
        except ValueError as error:
            raise NodeInputError(f"profile is {self.profile!r}: {error}.") from error
        if self.walk not in WALKS:
            raise NodeInputError(f"walk is {self.walk!r}. Choose one of {', '.join(WALKS)}.")

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        """Noise for a latent dictionary. Raises NodeInputError for one of another family or without four axes."""
        samples = input_latent["samples"]
        if samples.ndim != 4:
            raise NodeInputError(f"EriTrainerNoise draws for image latents [B, C, H, W], got {list(samples.shape)}.")
        batch, channels, height, width = samples.shape
        if batch == 0:
            raise NodeInputError("EriTrainerNoise: the latent is an empty batch. Set batch_size to 1 or more.")
        wanted = FAMILIES[self.family].latent_channels if self.family in FAMILIES else channels
        if channels != wanted:
            raise NodeInputError(
                f"EriTrainerNoise is set to {self.family} ({wanted} latent channels), but the latent has {channels}. "
                "Set family to auto or connect a latent of that family."
            )
        indices: Sequence[int] = input_latent.get("batch_index") or range(batch)
        size = (channels, height, width)
        if self.stored is not None:
            return _chosen(_as_latents(self.stored, size), indices)
        if self.walk == "one draw":
            return initial_noise(self.profile, self.seed, max(indices) + 1, *size)[list(indices)].to(torch.float32)
        # a seed is a 64 bit number, and goes on from 0 after the largest
        seeds = [(self.seed + (index if self.walk == "seed + index" else 0)) % (MAX_SEED + 1) for index in indices]
        drawn = {seed: initial_noise(self.profile, seed, 1, *size) for seed in sorted(set(seeds))}
        return torch.cat([drawn[seed] for seed in seeds]).to(torch.float32)


def stored_noise(file: str, seed: int) -> Tensor:
    """Read noise that a trainer wrote: [B, C, H, W], Flux tokens packed [B, N, 4C] or in rows and columns
    [B, 4C, H/2, W/2], or any of these without the batch axis.

    Args:
        file: a path as `tensor_files.read_tensor` takes it.
        seed: the seed. Of several tensors, the one called seed_<seed>, noise_<seed>, <seed>, noise, latents or
            latent_tensor is taken.

    Raises NodeInputError for a file or a tensor that is something else.
    """
    named = (f"seed_{seed}", f"noise_{seed}", str(seed), "noise", "latents", "latent_tensor")
    tensor = read_tensor(file, named, seed)
    if tensor.ndim not in (2, 3, 4) or tensor.numel() == 0:
        raise NodeInputError(
            f"file: {file} holds a tensor {list(tensor.shape)}. Noise is [B, C, H, W], or Flux tokens [B, N, 4C] "
            "or [B, 4C, H/2, W/2]."
        )
    return tensor


def _as_latents(stored: Tensor, size: tuple[int, int, int]) -> Tensor:
    """The stored noise as [B, C, H, W] for latents of `size` (C, H, W)."""
    channels, height, width = size
    patches = (4 * channels, -(-height // 2), -(-width // 2))
    tokens = patches[1] * patches[2]
    if stored.shape[-3:] == size:
        return stored.reshape(-1, *size)
    if stored.ndim < 4 and stored.shape[-2:] == (tokens, 4 * channels):
        return unpatchify(stored.reshape(-1, tokens, 4 * channels), height, width)
    if stored.ndim > 2 and stored.shape[-3:] == patches:
        return unpatchify(from_patches(stored.reshape(-1, *patches)), height, width)
    raise NodeInputError(
        f"EriTrainerNoise: the file's noise is {list(stored.shape)}, the latent needs [B, {channels}, {height}, "
        f"{width}] (packed: [B, {tokens}, {4 * channels}], patches: [B, {patches[0]}, {patches[1]}, {patches[2]}]). "
        "Use a latent of the size the noise was written for."
    )


def _chosen(noise: Tensor, indices: Sequence[int]) -> Tensor:
    if max(indices) >= len(noise):
        raise NodeInputError(
            f"EriTrainerNoise: the file holds noise for {len(noise)} picture(s), the latent asks for number "
            f"{max(indices) + 1}. Lower batch_size or write more noise."
        )
    return noise[list(indices)]
