"""Seeds for the samples whose seed a config leaves to chance."""

from __future__ import annotations

import secrets
from dataclasses import replace

from .model import SampleSpec


def draw_seeds(spec: SampleSpec) -> tuple[SampleSpec, list[str]]:
    """The spec with a seed in every item, so that it can be sampled again, and a note of those that were drawn.

    Seeds are drawn below 2**32: every trainer and every library takes those.
    """
    drawn = {item.index: secrets.randbelow(2**32) for item in spec.items if item.seed is None}
    if not drawn:
        return spec, []
    items = [replace(item, seed=drawn.get(item.index, item.seed)) for item in spec.items]
    listed = ", ".join(f"{index}: {seed}" for index, seed in drawn.items())
    return replace(spec, items=items), [f"The config leaves seeds to chance. Drawn (item: seed): {listed}."]
