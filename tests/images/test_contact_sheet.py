"""The contact sheet: every picture whole, in its place, with its labels beside it and nothing cut off."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFont

from comfyui_eridiffusion.errors import ImagesError
from comfyui_eridiffusion.images.fonts import typeface
from comfyui_eridiffusion.images.labels import fit_all
from comfyui_eridiffusion.images.sheet import contact_sheet

COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#ffff00", "#00ffff", "#ff00ff"]


def pictures(size: tuple[int, int] = (200, 200), count: int = 6) -> list[Image.Image]:
    return [Image.new("RGB", size, COLOURS[n % 6]) for n in range(count)]


def box(sheet: Image.Image, colour: str) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the pixels of one colour; they must fill that box."""
    wanted = np.array(Image.new("RGB", (1, 1), colour))[0, 0]
    mask = (np.asarray(sheet) == wanted).all(axis=2)
    ys, xs = np.nonzero(mask)
    found = int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1
    assert mask[found[1] : found[3], found[0] : found[2]].all()
    return found


def test_pictures_stand_in_rows_and_columns() -> None:
    sheet = contact_sheet(pictures(), ["first", "second"], ["a", "b", "c"], title="title")
    boxes = [box(sheet, colour) for colour in COLOURS]
    assert {(right - left, bottom - top) for left, top, right, bottom in boxes} == {(200, 200)}
    assert len({entry[1] for entry in boxes[:3]}) == 1
    assert boxes[0][0] < boxes[1][0] < boxes[2][0]
    assert [entry[0] for entry in boxes[:3]] == [entry[0] for entry in boxes[3:]]
    assert boxes[3][1] > boxes[0][3]


def test_labels_are_drawn_beside_and_above_and_margins_stay_white() -> None:
    plain = contact_sheet(pictures(), [], ["", "", ""])
    labelled = contact_sheet(pictures(), ["first", "second"], ["a", "b", "c"])
    assert labelled.width > plain.width
    assert labelled.height > plain.height
    left, top, _, bottom = box(labelled, COLOURS[0])
    pixels = np.asarray(labelled.convert("L"))
    assert pixels[top:bottom, : left - 2].min() < 80  # ink of "first"
    assert pixels[: top - 2, left : left + 200].min() < 80  # ink of "a"
    edge = np.concatenate([pixels[:10].ravel(), pixels[-10:].ravel(), pixels[:, :10].ravel(), pixels[:, -10:].ravel()])
    assert edge.min() == 255


def test_mixed_sizes_are_centred_in_their_cells() -> None:
    images = [Image.new("RGB", size, colour) for size, colour in zip([(200, 300), (300, 200)], COLOURS, strict=False)]
    sheet = contact_sheet(images, ["one row"], ["a", "b"])
    first, second = box(sheet, COLOURS[0]), box(sheet, COLOURS[1])
    assert (first[2] - first[0], first[3] - first[1]) == (200, 300)
    assert (first[1] + first[3]) / 2 == pytest.approx((second[1] + second[3]) / 2, abs=1)


def test_small_pictures_are_enlarged_and_large_ones_reduced() -> None:
    small = box(contact_sheet(pictures((64, 64), 1)), COLOURS[0])
    assert small[2] - small[0] == 192
    large = box(contact_sheet(pictures((2000, 1000), 1)), COLOURS[0])
    assert (large[2] - large[0], large[3] - large[1]) == (512, 256)
    chosen = box(contact_sheet(pictures((2000, 1000), 1), cell=100), COLOURS[0])
    assert (chosen[2] - chosen[0], chosen[3] - chosen[1]) == (100, 50)


def test_missing_pictures_leave_a_marked_cell() -> None:
    images: list[Image.Image | None] = [*pictures(count=3), None]
    sheet = contact_sheet(images, ["a", "b"], ["c", "d"])
    assert box(sheet, COLOURS[2])[1] > box(sheet, COLOURS[0])[3]
    with pytest.raises(ImagesError, match="missing"):
        contact_sheet([None, None])


def test_counts_must_fit() -> None:
    for rows, columns in ((["a"], ["b"]), (["a", "b"], ["c"]), (["a"] * 4, [])):
        with pytest.raises(ImagesError, match="6 images do not fill"):
            contact_sheet(pictures(), rows, columns)
    with pytest.raises(ImagesError, match="no image"):
        contact_sheet([])
    with pytest.raises(ImagesError, match="smaller cell"):
        contact_sheet(pictures((100, 100), 40), cell=8000)
    with pytest.raises(ImagesError, match="too many for one sheet"):
        contact_sheet(pictures((100, 100), 1) * 50_000)


def test_fifty_by_fifty_and_one_by_one() -> None:
    tile = Image.new("RGB", (150, 150), "#336699")
    labels = [f"step {number * 100}" for number in range(50)]
    sheet = contact_sheet([tile] * 2500, labels, labels, "all steps")
    assert sheet.width * sheet.height < 89_478_485  # beyond it Pillow takes a file for an attack
    assert min(sheet.size) > 50 * 100
    one = contact_sheet([tile], ["a"], ["b"], "c")
    assert one.width < 600


class OneAtATime(Sequence[Image.Image]):
    """Pictures that are made when asked for; remembers how often, and how many were there at once."""

    def __init__(self, count: int) -> None:
        self.asked: list[int] = []
        self.count = count
        self.held: WeakValueDictionary[int, Image.Image] = WeakValueDictionary()
        self.most = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: Any) -> Any:
        if number >= self.count:
            raise IndexError
        self.asked.append(number)
        image = Image.new("RGB", (64, 64), "red")
        self.held[number] = image
        self.most = max(self.most, len(self.held))
        return image


def test_a_lazy_sequence_is_asked_for_each_picture_once_and_few_are_held() -> None:
    images = OneAtATime(40)
    contact_sheet(images, columns=["a", "b", "c", "d"], sizes=[(64, 64)] * 40)
    assert images.asked == list(range(40))
    assert images.most <= 8


def test_a_shrunk_picture_is_nearly_what_pillow_makes_of_it_in_one_go() -> None:
    """Black and white rings, the hardest edges there are: 40 dB, where eyes see no difference any more."""
    x, y = np.meshgrid(np.arange(1024), np.arange(1024))
    rings = Image.fromarray((np.hypot(x - 500, y - 300) // 40 % 2 * 255).astype(np.uint8)).convert("RGB")
    shown = np.asarray(contact_sheet([rings], cell=349), np.float32)[20:369, 20:369]
    whole = np.asarray(rings.resize((349, 349), Image.Resampling.LANCZOS), np.float32)
    assert 10 * np.log10(255**2 / np.mean((shown - whole) ** 2)) > 40


@pytest.mark.parametrize("cell", [48, 160, 512, 1024, 2048])
def test_type_grows_with_the_pictures(cell: int) -> None:
    """Capital letters stand at least 7 pixels high, and 1 % of the picture."""
    sheet = contact_sheet(pictures((200, 200), 2), ["HHH", "HHH"], ["HH"], cell=cell)
    left, top, _, _ = box(sheet, COLOURS[0])
    ink = np.asarray(sheet.convert("L"))[:, : left - 2][top : top + cell] < 100
    height = np.flatnonzero(ink.any(axis=1))
    assert height[-1] - height[0] + 1 >= max(7, cell / 100)


def test_labels_of_one_axis_are_set_in_one_size() -> None:
    face = typeface(["a"])
    labels = fit_all(["short", "a much longer label that needs smaller type " * 3], [(200, 60)] * 2, face, 30)
    assert len({label.font.size for label in labels}) == 1
    assert all(label.whole for label in labels)


def test_transparency_lies_on_white() -> None:
    clear = Image.new("RGBA", (200, 200), (255, 0, 0, 0))
    assert contact_sheet([clear]).convert("L").getextrema()[0] > 200


WORDS = st.lists(st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=60), max_size=80).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(WORDS, st.integers(60, 400), st.integers(20, 300))
def test_wrapped_text_fits_its_box_and_loses_nothing_unless_it_says_so(text: str, width: int, height: int) -> None:
    face = typeface([text])
    (label,) = fit_all([text], [(width, height)], face, 18)
    assert label.height <= max(height, label.line_height)
    assert all(label.font.getlength(line) <= width or len(line) <= 1 for line in label.lines)
    joined, expected = "".join("".join(label.lines).split()), "".join(face.drawable(text).split())
    if label.whole:
        assert joined == expected
    else:
        assert joined.endswith("…")
        assert joined[:-1] == expected[: len(joined) - 1]


def test_the_built_in_font_is_scalable() -> None:
    assert isinstance(ImageFont.load_default(20), ImageFont.FreeTypeFont)
