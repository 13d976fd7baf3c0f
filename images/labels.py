"""Text wrapped into boxes: the largest type in which every label of an axis fits."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import ImageDraw

from .fonts import TextFont, Typeface

INK: Final = "#1f2328"
ELLIPSIS: Final = "…"
SMALLEST: Final = 11  # pixels; smaller type is no longer read


@dataclass(frozen=True)
class Label:
    """Wrapped text. `whole` says whether all of it is there; if not, the last line ends in "…"."""

    lines: list[str]
    font: TextFont
    whole: bool = True

    @property
    def line_height(self) -> int:
        """Pixels from one line to the next."""
        return round(self.font.size * 1.3)

    @property
    def height(self) -> int:
        """Pixels of all lines."""
        return len(self.lines) * self.line_height

    @property
    def width(self) -> float:
        """Pixels of the longest line."""
        return max((self.font.getlength(line) for line in self.lines), default=0.0)

    def draw(self, draw: ImageDraw.ImageDraw, x: int, y: int, width: int, align: str) -> None:
        """Draw it into a box.

        Args:
            draw: the picture's drawing.
            x, y: the box's top left corner.
            width: the box's width.
            align: "left", "center" or "right" within the width.
        """
        for number, line in enumerate(self.lines):
            free = width - self.font.getlength(line)
            shift = {"left": 0.0, "center": free / 2, "right": free}[align]
            self.font.draw(draw, (x + max(0, round(shift)), y + number * self.line_height), line, INK)


def fit_all(
    texts: Sequence[str], boxes: Sequence[tuple[int, int]], face: Typeface, largest: int, smallest: int = SMALLEST
) -> list[Label]:
    """Set all texts in the same type: the largest in which each fits its box, else the smallest, cut when needed.

    Args:
        texts: the texts.
        boxes: width and height in pixels, one per text.
        face: the fonts.
        largest, smallest: the sizes of type to try.
    """
    drawable = [face.drawable(text) for text in texts]

    def too_large(size: int) -> bool:
        return not all(_fits(text, box, face.at(size)) for text, box in zip(drawable, boxes, strict=True))

    size = min(smallest, largest)
    size += bisect_left(range(size + 1, largest + 1), True, key=too_large)
    return [_label(text, box, face.at(size)) for text, box in zip(drawable, boxes, strict=True)]


def _room(box: tuple[int, int], font: TextFont) -> int:
    return max(1, box[1] // round(font.size * 1.3))


def _fits(text: str, box: tuple[int, int], font: TextFont) -> bool:
    """Whether the text fits without breaking a word that would be whole in smaller type."""
    if len(wrap(text, font, box[0])) > _room(box, font):
        return False
    return font.size <= SMALLEST or all(font.getlength(word) <= box[0] for word in text.split() if len(word) <= 24)


def _label(text: str, box: tuple[int, int], font: TextFont) -> Label:
    lines, room = wrap(text, font, box[0]), _room(box, font)
    if len(lines) <= room:
        return Label(lines, font)
    kept = lines[:room]
    while kept[-1] and font.getlength(kept[-1] + ELLIPSIS) > box[0]:
        kept[-1] = kept[-1][:-1]
    kept[-1] = kept[-1].rstrip() + ELLIPSIS
    return Label(kept, font, whole=False)


def wrap(text: str, font: TextFont, width: int) -> list[str]:
    """Return lines no wider than `width` pixels, broken at blanks, and within a word when it alone is wider."""
    lines: list[str] = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            candidate = f"{line} {word}" if line else word
            if font.getlength(candidate) <= width:
                line = candidate
                continue
            if line:
                lines.append(line)
            while len(word) > 1 and font.getlength(word) > width:
                cut = _longest(word, font, width)
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    return lines


def _longest(word: str, font: TextFont, width: int) -> int:
    """How many characters of the word fit, at least one."""
    return max(1, bisect_right(range(1, len(word)), width, key=lambda end: math.ceil(font.getlength(word[:end]))))
