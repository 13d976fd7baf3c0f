"""Many pictures on one labelled sheet: rows × columns, e.g. prompts × training steps."""

from __future__ import annotations

import logging
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from PIL import Image, ImageDraw

from ..errors import ImagesError
from .fonts import Typeface, typeface
from .labels import SMALLEST, Label, fit_all
from .pixels import on_white

log = logging.getLogger(__name__)

_FAINT: Final = "#8b949e"
_EMPTY: Final = "#f2f3f5"
_BORDER: Final = "#d8dee4"
_MARGIN: Final = 20
_GAP: Final = 8
_MIN_CELL, _MAX_CELL, _LEAST_CELL = 160, 512, 32
#: Pixels of a sheet: chosen cells stay below the first, nothing goes beyond the second. Pillow, and with it every
#: program that opens the file with Pillow, warns at 89 million and refuses 179 million.
_CHOSEN_PIXELS: Final = 64_000_000
_MAX_PIXELS: Final = 128_000_000
_NO_IMAGE: Final = "no image"
_CORES: Final = min(4, os.cpu_count() or 1)
#: Pictures are shrunk by the mean of whole pixels first, while more than this factor is left for Lanczos: it takes half
#: of the time or less; a pixel differs by a level or two (51 to 58 dB), by up to 9 along letters.
_REDUCING_GAP: Final = 1.4

Size = tuple[int, int]


def contact_sheet(
    images: Sequence[Image.Image | None],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    cell: int = 0,
    sizes: Sequence[Size | None] | None = None,
) -> Image.Image:
    """One RGB sheet with a label before every row and above every column.

    Labels are wrapped, in type that grows with the sheet; only what does not fit beside its picture even in small type
    ends in "…". Characters that no font has appear as their number and are named in the log.

    Args:
        images: Row by row, `len(rows) * len(columns)` of them. None leaves a marked empty cell; sizes may differ.
        rows: Labels; without them the number of rows follows from the columns.
        columns: Labels; without them the number of columns follows from the rows, without both all is one row.
        cell: Longest side of a picture in pixels. 0 takes that of the largest, within 160..512 so that labels stay
            readable, and less where there are so many that the sheet would get too large.
        sizes: Width and height of each image. With them each image is asked for once, shortly before it is drawn, so
            that of a lazy sequence only a few are held.

    Raises ImagesError when the counts do not match, there is no picture at all, or the sheet would be absurdly large.
    """
    if sizes is None:
        sizes = [None if image is None else image.size for image in images]
    plan = _Plan(sizes, rows, columns, title, cell)
    sheet = Image.new("RGB", plan.size, "white")
    draw = ImageDraw.Draw(sheet)
    plan.draw_labels(draw)
    for place, picture in enumerate(_all_scaled(images, plan.pictures)):
        row, column = divmod(place, len(plan.widths))
        box = (plan.lefts[column], plan.tops[row], plan.widths[column], plan.heights[row])
        _place(sheet, draw, picture, box, plan.small_type)
    return sheet


class _Plan:
    """The place of everything on the sheet, in pixels."""

    def __init__(
        self, sizes: Sequence[Size | None], rows: Sequence[str], columns: Sequence[str], title: str, cell: int
    ) -> None:
        n_rows, n_columns = _grid(len(sizes), len(rows), len(columns))
        self.pictures = pictures = _scaled_sizes(sizes, cell)
        widths = [max(pictures[r * n_columns + c][0] for r in range(n_rows)) for c in range(n_columns)]
        heights = [max(pictures[r * n_columns + c][1] for c in range(n_columns)) for r in range(n_rows)]
        self.widths = widths = [w or max(widths) for w in widths]
        self.heights = heights = [h or max(heights) for h in heights]

        face = _face([*rows, *columns, title])
        base, largest = _type_sizes(widths, heights)
        floor = max(SMALLEST, round(base * 0.7))
        self.small_type = max(SMALLEST, round(base * 0.8))
        self.row_width, self.row_labels = _row_labels(rows, heights, face, max(widths), (floor, largest))
        shown = columns if any(columns) else ()
        boxes = [(width, 6 * base) for width in widths[: len(shown)]]
        self.column_labels = fit_all(shown, boxes, face, largest, floor)
        # The label panel, every column with the gap before it, and nothing after the last one.
        left = _MARGIN + (self.row_width + base if self.row_width else 0)
        self.lefts = [left + sum(widths[:c]) + _GAP * c for c in range(n_columns)]
        full_width = self.lefts[-1] + widths[-1] + _MARGIN
        heading_type = round(largest * 1.5)
        box = (full_width - 2 * _MARGIN, 3 * heading_type)
        self.heading = fit_all([title], [box], face, heading_type, floor)[0] if title.strip() else None
        top = _MARGIN + (self.heading.height + _GAP * 2 if self.heading else 0)
        top += max((label.height + _GAP for label in self.column_labels), default=0)
        self.tops = [top + sum(heights[:r]) + _GAP * r for r in range(n_rows)]
        self.size = (full_width, self.tops[-1] + heights[-1] + _MARGIN)
        if math.prod(self.size) > _MAX_PIXELS:
            size = " x ".join(map(str, self.size))
            raise ImagesError(f"The sheet would be {size} pixels. Use a smaller cell or fewer images.")

    def draw_labels(self, draw: ImageDraw.ImageDraw) -> None:
        """Draw the title and the labels of rows and columns."""
        if self.heading:
            self.heading.draw(draw, _MARGIN, _MARGIN, self.size[0] - 2 * _MARGIN, "left")
        for label, y, height in zip(self.row_labels, self.tops, self.heights, strict=False):
            label.draw(draw, _MARGIN, y + (height - label.height) // 2, self.row_width, "right")
        for label, x, width in zip(self.column_labels, self.lefts, self.widths, strict=False):
            label.draw(draw, x, self.tops[0] - _GAP - label.height, width, "center")


def _grid(count: int, n_rows: int, n_columns: int) -> tuple[int, int]:
    if count == 0:
        raise ImagesError("There is no image for the contact sheet. Connect at least one.")
    if n_rows == 0 and n_columns == 0:
        n_rows, n_columns = 1, count
    elif n_rows == 0:
        n_rows = -(-count // n_columns)
    elif n_columns == 0:
        n_columns = -(-count // n_rows)
    if n_rows * n_columns != count:
        raise ImagesError(
            f"{count} images do not fill {n_rows} rows x {n_columns} columns ({n_rows * n_columns} cells). "
            "Give one label per row and per column, images row by row."
        )
    return n_rows, n_columns


def _scaled_sizes(sizes: Sequence[Size | None], cell: int) -> list[Size]:
    """Width and height on the sheet, all scaled by one factor; (0, 0) for a missing picture."""
    longest = max((max(size) for size in sizes if size is not None), default=0)
    if longest == 0:
        raise ImagesError("Every image of the contact sheet is missing.")
    wanted = cell if cell > 0 else min(_MAX_CELL, max(_MIN_CELL, longest))
    if cell <= 0:
        if longest < _MIN_CELL:
            wanted = longest * -(-_MIN_CELL // longest)  # whole multiples keep small pictures crisp
        most = math.isqrt(_CHOSEN_PIXELS // len(sizes)) - _GAP
        if most < _LEAST_CELL:
            raise ImagesError(f"{len(sizes)} images are too many for one sheet. Make several sheets, or set cell.")
        wanted = min(wanted, most)
    factor = wanted / longest
    return [
        (0, 0) if size is None else (max(1, round(size[0] * factor)), max(1, round(size[1] * factor))) for size in sizes
    ]


def _all_scaled(images: Iterable[Image.Image | None], sizes: Sequence[Size]) -> Iterator[Image.Image | None]:
    """The images in their size on the sheet, in order; several cores scale some at a time."""
    with ThreadPoolExecutor(_CORES) as pool:
        ahead: deque[Future[Image.Image | None]] = deque()
        for image, size in zip(images, sizes, strict=True):
            ahead.append(pool.submit(_scaled, image, size))
            if len(ahead) > _CORES:
                yield ahead.popleft().result()
        for scaled in ahead:
            yield scaled.result()


def _scaled(image: Image.Image | None, size: Size) -> Image.Image | None:
    if image is None:
        return None
    flat = on_white(image)
    return flat if size == image.size else flat.resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)


def _face(texts: Sequence[str]) -> Typeface:
    face = typeface(texts)
    if face.missing:
        named = ", ".join(f"{character} (U+{ord(character):04X})" for character in face.missing[:20])
        more = f" and {len(face.missing) - 20} more" if len(face.missing) > 20 else ""
        log.warning(
            "No font of this machine draws %s%s; the sheet shows their numbers. Install a font that has them, for "
            "example Noto Sans CJK.",
            named,
            more,
        )
    return face


def _type_sizes(widths: Sequence[int], heights: Sequence[int]) -> tuple[int, int]:
    """The usual and the largest size of type. It grows with the pictures and with the sheet that they make."""
    cell = max(max(widths), max(heights))
    base = max(14, round(cell / 17))
    whole = max(sum(widths), sum(heights))
    return base, max(base, min(round(cell / 5), round(whole / 240)))


def _row_labels(
    rows: Sequence[str], heights: list[int], face: Typeface, cell: int, sizes: tuple[int, int]
) -> tuple[int, list[Label]]:
    """The narrowest label panel that shows every row label whole, and the labels set in it."""
    if not any(rows):
        return 0, []
    labels: list[Label] = []
    width = 0
    for share in (0.75, 1.0, 1.4, 1.9):
        width = max(150, round(cell * share))
        labels = fit_all(rows, [(width, height) for height in heights], face, sizes[1], sizes[0])
        if all(label.whole for label in labels):
            break
    return min(width, int(max(label.width for label in labels)) + 2), labels


def _place(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, image: Image.Image | None, box: tuple[int, int, int, int], size: int
) -> None:
    x, y, width, height = box
    if image is not None:
        left, top = x + (width - image.width) // 2, y + (height - image.height) // 2
        sheet.paste(image, (left, top))
        # A hair line around it, so that a white picture does not melt into the sheet.
        draw.rectangle((left - 1, top - 1, left + image.width, top + image.height), outline=_BORDER)
        return
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=_EMPTY)
    font = Typeface().at(size)
    free = width - font.getlength(_NO_IMAGE)
    if free >= 0:
        font.draw(draw, (x + free / 2, y + (height - size * 1.3) / 2), _NO_IMAGE, _FAINT)
