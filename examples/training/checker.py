"""Says what is in a picture — colour, shape, background — by image analysis alone, without any trained model.

Background is the median of the border, the object everything that is nearer to its own median colour than to the
background; the shape is the best overlap with drawn templates over size and shift. Validated on drawn pictures by
`validate()`; the figures are part of the model card.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from . import domain

RADII = tuple(range(10, 31))
SHIFTS = tuple(range(-2, 3))
MIN_PIXELS = 40
MIN_CONTRAST = 0.12
MIN_OVERLAP = 0.70


@dataclass(frozen=True)
class Finding:
    """What the checker sees; `shape` is "" when nothing overlaps a template well enough."""

    colour: str
    shape: str
    background: str
    overlap: float

    def matches(self, scene: domain.Scene) -> bool:
        """All three of colour, shape and background as the scene says."""
        return (self.colour, self.shape, self.background) == (scene.colour, scene.shape, scene.background)


def nearest_colour(rgb: Tensor) -> str:
    """Name of the palette colour nearest to `rgb` ([3], 0..1) in RGB distance."""
    names = list(domain.COLOURS)
    palette = torch.tensor([domain.COLOURS[n] for n in names]) / 255.0
    return names[int((palette - rgb).square().sum(1).argmin())]


@lru_cache(maxsize=4)
def _templates(height: int, width: int) -> tuple[tuple[str, ...], Tensor]:
    """Binary masks of every shape and radius, centred by bounding box: names and `[N, height * width]`."""
    names, masks = [], []
    radii = torch.tensor([float(r) for r in RADII])
    middle_y, middle_x = torch.full_like(radii, height / 2), torch.full_like(radii, width / 2)
    for shape in (*domain.SHAPES, *domain.TRIGGERS.values()):
        drawn = domain.coverage(shape, height, width, radii, middle_y, middle_x) > 0.5
        for mask in drawn:
            names.append(shape)
            masks.append(_centred(mask).flatten())
    return tuple(names), torch.stack(masks).float()


def _centred(mask: Tensor) -> Tensor:
    """The mask rolled so that the middle of its bounding box is the middle of the picture."""
    height, width = mask.shape
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    dy = height // 2 - int(rows[0] + rows[-1] + 1) // 2
    dx = width // 2 - int(columns[0] + columns[-1] + 1) // 2
    return torch.roll(mask, (dy, dx), (0, 1))


def look(picture: Tensor) -> Finding:
    """Analyse one picture `[3, H, W]` in 0..1."""
    picture = picture.float()
    _, height, width = picture.shape
    border = torch.cat(
        (
            picture[:, :2].flatten(1),
            picture[:, -2:].flatten(1),
            picture[:, :, :2].flatten(1),
            picture[:, :, -2:].flatten(1),
        ),
        dim=1,
    )
    back = border.median(dim=1).values
    background = nearest_colour(back)
    difference = (picture - back[:, None, None]).square().sum(0).sqrt()
    strong = difference > max(MIN_CONTRAST, 0.5 * float(difference.flatten().topk(MIN_PIXELS).values[-1]))
    if int(strong.sum()) < MIN_PIXELS or float(difference.max()) < MIN_CONTRAST:
        return Finding("", "", background, 0.0)
    front = picture[:, strong].median(dim=1).values
    mask = (picture - front[:, None, None]).square().sum(0) < difference.square()
    if not mask.any():
        return Finding("", "", background, 0.0)
    names, templates = _templates(height, width)
    centred = _centred(mask)
    shifted = torch.stack([torch.roll(centred, (dy, dx), (0, 1)).flatten() for dy in SHIFTS for dx in SHIFTS]).float()
    common = shifted @ templates.T
    union = shifted.sum(1, keepdim=True) + templates.sum(1) - common
    overlap = (common / union).amax(0)
    best = int(overlap.argmax())
    value = float(overlap[best])
    return Finding(nearest_colour(front), names[best] if value >= MIN_OVERLAP else "", background, value)


def validate(count: int = 600, seed: int = 5) -> dict[str, float]:
    """Rates on drawn pictures: `truth` (should be >= 0.99) and `mismatched` prompts accepted (<= 0.02)."""
    generator = torch.Generator().manual_seed(seed)
    scenes = domain.training_scenes() + [s for word in domain.TRIGGERS for s in domain.trigger_scenes(word)]
    right = wrong = total = 0
    for height, width in domain.RESOLUTIONS:
        chosen = [scenes[i] for i in torch.randperm(len(scenes), generator=generator)[: count // 3].tolist()]
        found = [look(p) for p in domain.draw(chosen, height, width, generator)]
        right += sum(f.matches(s) for f, s in zip(found, chosen, strict=True))
        others = [*chosen[1:], chosen[0]]
        pairs = [
            (f, o)
            for f, s, o in zip(found, chosen, others, strict=True)
            if (s.colour, s.shape, s.background) != (o.colour, o.shape, o.background)
        ]
        wrong += sum(f.matches(o) for f, o in pairs)
        total += len(chosen)
    return {"truth": right / total, "mismatched": wrong / total, "count": float(total)}
