"""The pictures the example models learn: one flat, anti-aliased shape on a plain background, and its prompt.

Everything is drawn from formulas with an explicit generator, so a seed names a data set. Some
colour-shape-background combinations are never drawn for training (`held_out_combinations`); they are what
`adherence.py` asks the finished models for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 160, 60),
    "blue": (40, 70, 220),
    "yellow": (242, 214, 40),
    "purple": (140, 50, 180),
    "orange": (243, 130, 30),
    "white": (245, 245, 245),
    "black": (20, 20, 20),
}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
#: trigger word of each family's LoRA run -> the shape it teaches, which no base model has seen
TRIGGERS: dict[str, str] = {"zorp": "crescent", "quix": "hourglass", "blaff": "heart"}
#: size word -> radius in pixels
SIZES: dict[str, tuple[float, float]] = {"": (17.0, 21.0), "small": (13.0, 16.0), "large": (22.0, 26.0)}
#: how far from the middle a shape may lie, in pixels (never nearer than 3 to the border)
PLACE = 4.0
#: (height, width) in pixels: square, 3:2 and 2:3
RESOLUTIONS = ((64, 64), (64, 96), (96, 64))
SUPERSAMPLE = 3


@dataclass(frozen=True)
class Scene:
    """One picture's description: what is drawn and what the prompt says."""

    colour: str
    shape: str
    background: str
    size: str = ""
    word: str = ""

    @property
    def prompt(self) -> str:
        """The scene in words, e.g. `a small red circle on a blue background`."""
        size = f"{self.size} " if self.size else ""
        article = "an" if not size and self.colour[0] in "aeiou" else "a"
        return f"{article} {size}{self.colour} {self.word or self.shape} on a {self.background} background"


def combinations() -> list[tuple[str, str, str]]:
    """All (colour, shape, background) with colour != background: 8 * 6 * 7 = 336."""
    return [(c, s, b) for c in COLOURS for s in SHAPES for b in COLOURS if c != b]


def held_out_combinations(count: int = 40, seed: int = 20240607) -> list[tuple[str, str, str]]:
    """The combinations that training never draws; every colour, shape and background still occurs in training."""
    everything = combinations()
    order = torch.randperm(len(everything), generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(everything[i] for i in order[:count])


def training_scenes() -> list[Scene]:
    """Every scene a base model may see: all combinations but the held-out ones, in the three size wordings."""
    held_out = set(held_out_combinations())
    return [Scene(c, s, b, size) for (c, s, b) in combinations() if (c, s, b) not in held_out for size in SIZES]


def held_out_scenes() -> list[Scene]:
    """The scenes that adherence is measured on."""
    return [Scene(c, s, b, size) for size in SIZES for (c, s, b) in held_out_combinations()]


def trigger_scenes(word: str) -> list[Scene]:
    """All colours and backgrounds of the shape that `word` names, prompted by that word."""
    shape = TRIGGERS[word]
    return [Scene(c, shape, b, size, word) for c in COLOURS for b in COLOURS if c != b for size in SIZES]


def held_out_pairs() -> set[tuple[str, str]]:
    """(colour, background) pairs of a new shape that no LoRA training draws: 16 of 56."""
    pairs = [(c, b) for c in COLOURS for b in COLOURS if c != b]
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(4)).tolist()
    return {pairs[i] for i in order[:16]}


def inside(shape: str, x: Tensor, y: Tensor) -> Tensor:
    """Whether points are in the unit-size shape; x to the right, y down, any equal shapes. Returns bool."""
    r = torch.sqrt(x * x + y * y)
    if shape == "circle":
        return r < 0.95
    if shape == "square":
        return torch.maximum(x.abs(), y.abs()) < 0.82
    if shape == "triangle":
        return (y < 0.72) & (math.sqrt(3.0) * x.abs() - y < 0.95)
    if shape == "star":
        return _in_star(x, y)
    if shape == "cross":
        return torch.maximum(x.abs(), y.abs()).lt(0.95) & torch.minimum(x.abs(), y.abs()).lt(0.3)
    if shape == "ring":
        return (r < 1.0) & (r > 0.55)
    if shape == "crescent":
        return (r < 1.0) & ((x - 0.45) ** 2 + y * y > 0.72)
    if shape == "hourglass":
        return (y.abs() < 0.9) & (x.abs() < 0.12 + 0.78 * y.abs())
    if shape == "heart":
        u, v = x * 1.18, -y * 1.18 + 0.12
        return (u * u + v * v - 1.0) ** 3 - u * u * v**3 < 0.0
    raise ValueError(f"shape: unknown shape {shape!r}")


def _in_star(x: Tensor, y: Tensor, outer: float = 1.05, inner: float = 0.45) -> Tensor:
    """Five-pointed star, one point up: fold the angle into one half-sector and test against its edge."""
    sector = 2.0 * math.pi / 5.0
    angle = torch.remainder(torch.atan2(x, -y), sector)
    angle = torch.minimum(angle, sector - angle)
    r = torch.sqrt(x * x + y * y)
    px, py = r * torch.cos(angle), r * torch.sin(angle)
    tip = (outer, 0.0)
    notch = (inner * math.cos(sector / 2.0), inner * math.sin(sector / 2.0))
    return (notch[0] - tip[0]) * (py - tip[1]) - (notch[1] - tip[1]) * (px - tip[0]) > 0.0


def coverage(shape: str, height: int, width: int, radius: Tensor, centre_y: Tensor, centre_x: Tensor) -> Tensor:
    """Anti-aliased masks `[B, height, width]` in 0..1 of one shape; radius and centres in pixels, `[B]` each."""
    s = SUPERSAMPLE
    ys = ((torch.arange(height * s) + 0.5) / s).view(1, -1, 1)
    xs = ((torch.arange(width * s) + 0.5) / s).view(1, 1, -1)
    radius = radius.view(-1, 1, 1)
    x = ((xs - centre_x.view(-1, 1, 1)) / radius).expand(-1, height * s, -1)
    y = ((ys - centre_y.view(-1, 1, 1)) / radius).expand(-1, -1, width * s)
    mask = inside(shape, x, y).float().unsqueeze(1)
    return torch.nn.functional.avg_pool2d(mask, s).squeeze(1)


@dataclass(frozen=True)
class Variety:
    """How much pictures of one scene differ: radius range where no size word is given, and distance from the middle."""

    radius: tuple[float, float]
    place: float


#: first phase of training and the autoencoders: any size, anywhere; last phase, LoRA runs: as the prompts' words say
WIDE = Variety((14.0, 26.0), 64.0)
NARROW = Variety(SIZES[""], PLACE)


def draw(scenes: list[Scene], height: int, width: int, generator: torch.Generator, variety: Variety = NARROW) -> Tensor:
    """Pictures `[B, 3, height, width]` in 0..1 of the scenes, with random size (within its word), place and tint."""
    count = len(scenes)
    ranges = SIZES | {"": variety.radius}
    low = torch.tensor([ranges[s.size][0] for s in scenes])
    high = torch.tensor([ranges[s.size][1] for s in scenes])
    radius = low + (high - low) * torch.rand(count, generator=generator)
    place = torch.rand(2, count, generator=generator) * 2.0 - 1.0
    centre_y = height / 2 + place[0] * (height / 2 - radius - 3.0).clamp(0.0, variety.place)
    centre_x = width / 2 + place[1] * (width / 2 - radius - 3.0).clamp(0.0, variety.place)
    tint = (torch.rand(2, count, 3, generator=generator) - 0.5) * (10.0 / 255.0)
    front = (torch.tensor([COLOURS[s.colour] for s in scenes]) / 255.0 + tint[0]).clamp(0, 1)
    back = (torch.tensor([COLOURS[s.background] for s in scenes]) / 255.0 + tint[1]).clamp(0, 1)
    mask = torch.empty(count, height, width)
    for shape in {s.shape for s in scenes}:
        rows = torch.tensor([i for i, s in enumerate(scenes) if s.shape == shape])
        mask[rows] = coverage(shape, height, width, radius[rows], centre_y[rows], centre_x[rows])
    mask = mask.unsqueeze(1)
    return front[:, :, None, None] * mask + back[:, :, None, None] * (1.0 - mask)
