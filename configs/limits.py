"""Checks the numbers of one image, and notes what a trainer makes of them; for numbers that are Python's already."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ..errors import SpecError
from ..spec.model import MAX_PIXELS, MAX_SEED, MAX_STEPS, MIN_SEED
from .fields import Reading
from .tree import Node

_SMALLEST: Final = 16


@dataclass(frozen=True)
class Place:
    """The place in a config that asks for an image."""

    reading: Reading
    node: Node
    path: str

    def error(self, name: str, problem: str, remedy: str) -> SpecError:
        """The SpecError to raise at one of its settings."""
        return self.reading.error(problem, self.node, f"{self.path}.{name}".lstrip("."), remedy)

    def note(self, text: str) -> None:
        """Add a note on this image."""
        self.reading.note(f"{self._where}: {text}")

    def differs(self, topic: str, text: str) -> None:
        """Note that this image differs in one of the topics of `trainers.claims`."""
        self.reading.differs(topic, f"{self._where}: {text}")

    @property
    def _where(self) -> str:
        return self.path or f"line {self.node.line}"

    def pixels(self, name: str, value: int, rounded: int) -> int:
        """A side after rounding, with a note when that changed it; raises SpecError when it is out of range."""
        if value > MAX_PIXELS:
            raise self.error(name, f"{name} {value} is too large", f"Write at most {MAX_PIXELS}.")
        if rounded < _SMALLEST:
            raise self.error(name, f"{name} {value} leaves no picture", f"Write at least {_SMALLEST}.")
        if rounded != value:
            self.reading.note(f"{name} {value} is rounded to {rounded} as in the trainer.")
        return rounded

    def size(self, rounding: Callable[[int], int], width: int, height: int) -> tuple[int, int]:
        """Width and height after rounding; see `pixels`."""
        return self.pixels("width", width, rounding(width)), self.pixels("height", height, rounding(height))

    def seed(self, value: int | None) -> int | None:
        """A seed as torch's generators take it: a negative one counts modulo 2^64, and None stays random."""
        if value is None:
            return None
        if not MIN_SEED <= value <= MAX_SEED:
            raise self.error("seed", f"the seed {value} is out of range", f"Write 0 to {MAX_SEED}.")
        if value < 0:
            self.note(f"the seed {value} is {value % 2**64} to the generator.")
        return value % 2**64

    def steps(self, name: str, value: int) -> int:
        """Sampling steps; raises SpecError when they are not 1 to MAX_STEPS."""
        if not 1 <= value <= MAX_STEPS:
            raise self.error(name, f"{value} steps are out of range", f"Write 1 to {MAX_STEPS}.")
        return value

    def finite(self, name: str, value: float) -> float:
        """A number; raises SpecError when it is infinite or NaN."""
        if not math.isfinite(value):
            raise self.error(name, f"{value} is no finite number", "Write a number like 3.5.")
        return float(value)
