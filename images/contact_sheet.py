"""Many pictures on one labelled sheet: rows × columns, e.g. prompts × training steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from .errors import ImagesError

_INK: Final = "#1f2328"
_FAINT: Final = "#8b949e"
_EMPTY: Final = "#f2f3f5"
_BORDER: Final = "#d8dee4"
_MARGIN: Final = 20
_LABEL_GAP: Final = 14
_GAP: Final = 8
_MIN_CELL, _MAX_CELL = 160, 512
_MAX_PIXELS: Final = 400_000_000
_ELLIPSIS: Final = "…"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Label:
    lines: list[str]
    font: Font
    line_height: int

    @property
    def height(self) -> int:
        return len(self.lines) * self.line_height


def contact_sheet(
    images: Sequence[Image.Image | None],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
    cell: int = 0,
) -> Image.Image:
    """One RGB sheet with a label before every row and above every column.

    images: row by row, `len(rows) * len(columns)` of them; None leaves a marked empty cell; sizes may differ. Without
    rows (or columns) the number follows from the other, without both everything is one row. Labels are wrapped;
    only what does not fit beside its picture even in small type ends in "…". cell: longest side of a picture in
    pixels, 0 = that of the largest, within 160..512 (small pictures are enlarged so that labels stay readable).
    Raises ImagesError when the counts do not match, there is no picture at all, or the sheet would be absurdly large.
    """
    n_rows, n_columns = _grid(len(images), len(rows), len(columns))
    sizes = _sizes(images, cell)
    widths = [max(sizes[r * n_columns + c][0] for r in range(n_rows)) for c in range(n_columns)]
    heights = [max(sizes[r * n_columns + c][1] for c in range(n_columns)) for r in range(n_rows)]
    widths, heights = [w or max(widths) for w in widths], [h or max(heights) for h in heights]

    base = max(14, min(30, round(max(max(widths), max(heights)) / 13)))
    row_width, row_labels = _row_labels(rows, heights, base, max(widths))
    shown = columns if any(columns) else ()
    column_labels = [_fit(text, width, 6 * base, base) for text, width in zip(shown, widths, strict=False)]
    # The label panel, every column with the gap before it, and nothing after the last one.
    left = _MARGIN + (row_width + _LABEL_GAP if row_width else 0)
    full_width = left + sum(widths) + _GAP * (n_columns - 1) + _MARGIN
    heading = _fit(title, full_width - 2 * _MARGIN, 4 * base, round(base * 1.5)) if title else None
    top = _MARGIN + (heading.height + _GAP * 2 if heading else 0)
    header = max((label.height for label in column_labels), default=0)
    first_row = top + (header + _GAP if header else 0)
    full_height = first_row + sum(heights) + _GAP * (n_rows - 1) + _MARGIN
    if full_width * full_height > _MAX_PIXELS:
        size = f"{full_width} x {full_height}"
        raise ImagesError(f"The sheet would be {size} pixels. Use a smaller cell or fewer images.")

    sheet = Image.new("RGB", (full_width, full_height), "white")
    draw = ImageDraw.Draw(sheet)
    if heading:
        _draw(draw, heading, _MARGIN, _MARGIN, full_width - 2 * _MARGIN, "left")
    y = first_row
    for r, row_height in enumerate(heights):
        if r < len(row_labels):
            label = row_labels[r]
            _draw(draw, label, _MARGIN, y + (row_height - label.height) // 2, row_width, "right")
        x = left
        for c, width in enumerate(widths):
            if r == 0 and c < len(column_labels):
                _draw(draw, column_labels[c], x, top + header - column_labels[c].height, width, "center")
            place = r * n_columns + c
            _place(sheet, draw, _scaled(images[place], sizes[place]), (x, y, width, row_height), base)
            x += width + _GAP
        y += row_height + _GAP
    return sheet


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


def _sizes(images: Sequence[Image.Image | None], cell: int) -> list[tuple[int, int]]:
    """Width and height on the sheet, (0, 0) for a missing picture: all scaled by one factor."""
    longest = max((max(image.size) for image in images if image is not None), default=0)
    if longest == 0:
        raise ImagesError("Every image of the contact sheet is missing.")
    wanted = cell if cell > 0 else min(_MAX_CELL, max(_MIN_CELL, longest))
    if cell <= 0 and longest < _MIN_CELL:
        wanted = longest * -(-_MIN_CELL // longest)  # whole multiples keep small pictures crisp
    factor = wanted / longest
    return [
        (0, 0) if image is None else (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        for image in images
    ]


def _scaled(image: Image.Image | None, size: tuple[int, int]) -> Image.Image | None:
    if image is None:
        return None
    flat = _flatten(image)
    return flat if size == image.size else flat.resize(size, Image.Resampling.LANCZOS)


def _flatten(image: Image.Image) -> Image.Image:
    if image.mode not in ("RGBA", "LA", "PA", "P"):
        return image.convert("RGB")
    background = Image.new("RGBA", image.size, "white")
    background.alpha_composite(image.convert("RGBA"))
    return background.convert("RGB")


def _row_labels(rows: Sequence[str], heights: list[int], base: int, cell: int) -> tuple[int, list[_Label]]:
    """The narrowest label panel that shows every row label whole, and the labels set in it."""
    if not any(rows):
        return 0, []
    labels: list[_Label] = []
    width = 0
    for share in (0.75, 1.0, 1.4, 1.9):
        width = max(150, round(cell * share))
        labels = [_fit(text, width, height, base) for text, height in zip(rows, heights, strict=True)]
        if not any(_ELLIPSIS in label.lines[-1] for label, text in zip(labels, rows, strict=True) if label.lines):
            break
    used = max((label.font.getlength(line) for label in labels for line in label.lines), default=0)
    return min(width, int(used) + 2), labels


def _fit(text: str, width: int, height: int, size: int) -> _Label:
    """Wrap text into width × height, in smaller type where needed, and cut it with "…" where even that is too long."""
    smallest = max(11, round(size * 0.7))
    for current in range(size, smallest - 1, -1):
        font = ImageFont.load_default(current)
        line_height = round(current * 1.3)
        lines = _wrap(text, font, width)
        room = max(1, height // line_height)
        if len(lines) <= room:
            return _Label(lines, font, line_height)
    kept = lines[:room]
    while kept[-1] and font.getlength(kept[-1] + _ELLIPSIS) > width:
        kept[-1] = kept[-1][:-1]
    kept[-1] = kept[-1].rstrip() + _ELLIPSIS
    return _Label(kept, font, line_height)


def _wrap(text: str, font: Font, width: int) -> list[str]:
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
            while font.getlength(word) > width and len(word) > 1:
                cut = next((n for n in range(len(word) - 1, 1, -1) if font.getlength(word[:n]) <= width), 1)
                lines.append(word[:cut])
                word = word[cut:]
            line = word
        lines.append(line)
    return lines


def _draw(draw: ImageDraw.ImageDraw, label: _Label, x: int, y: int, width: int, align: str) -> None:
    for number, line in enumerate(label.lines):
        free = width - label.font.getlength(line)
        shift = {"left": 0.0, "center": free / 2, "right": free}[align]
        draw.text((x + max(0, round(shift)), y + number * label.line_height), line, fill=_INK, font=label.font)


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
    font = ImageFont.load_default(max(11, round(size * 0.8)))
    text = "no image"
    draw.text((x + (width - font.getlength(text)) / 2, y + height / 2 - size / 2), text, fill=_FAINT, font=font)
