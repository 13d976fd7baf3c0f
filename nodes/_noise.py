"""A NOISE object that draws a trainer's initial noise."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from ..samplers.noise import DTYPES, GENERATORS, LAYOUTS, initial_noise
from ._schema import NodeInputError

#: The plain profile texts of samplers.noise, the host's own (torch-cpu/nchw/float32) first.
PROFILES: Final = [f"{g}/{layout}/{dtype}" for g in GENERATORS for layout in LAYOUTS for dtype in DTYPES]

_CHANNELS: Final = {"flux": 16, "sd35": 16, "sdxl": 4}


class TrainerNoise:
    """NOISE: `.seed`, and `.generate_noise(latent)` giving float32 noise of the latent's shape on the CPU.

    profile: a profile text of samplers.noise. family: "auto", or the family whose channel count the latent
    must have. A batch is drawn in one go from one generator; a latent's batch_index picks from the batch that would
    hold all of its indices, as in the host.
    """

    def __init__(self, seed: int, profile: str, family: str = "auto") -> None:
        self.seed = seed
        self._profile = profile
        self._family = family

    def generate_noise(self, input_latent: dict[str, Any]) -> Tensor:
        """Noise for a latent dictionary; raises NodeInputError for one of another family or without four axes."""
        samples = input_latent["samples"]
        if samples.ndim != 4:
            raise NodeInputError(f"EriTrainerNoise draws for image latents [B, C, H, W], got {list(samples.shape)}.")
        batch, channels, height, width = samples.shape
        wanted = _CHANNELS.get(self._family, channels)
        if channels != wanted:
            raise NodeInputError(
                f"EriTrainerNoise is set to {self._family} ({wanted} latent channels), but the latent has {channels}. "
                "Set family to auto or connect a latent of that family."
            )
        indices = input_latent.get("batch_index")
        if indices is None:
            return initial_noise(self._profile, self.seed, batch, channels, height, width).to(torch.float32)
        drawn = initial_noise(self._profile, self.seed, max(indices) + 1, channels, height, width)
        return drawn[list(indices)].to(torch.float32)
