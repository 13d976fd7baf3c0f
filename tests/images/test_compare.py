"""Pictures compared as far as the saved one shows it; what was saved is known here, because it is saved here."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfyui_eridiffusion.errors import ImagesError
from comfyui_eridiffusion.images.compare import (
    Comparison,
    compare_pictures,
    is_copy,
    read_picture,
    structural_similarity,
)


def scene(width: int = 96, height: int = 64) -> np.ndarray[Any, Any]:
    """Ramps, an edge and a texture."""
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([2 * x, 3 * y + 20, 255 - x - y], axis=-1).clip(0, 255)
    ramp[(x - 48) ** 2 + (y - 30) ** 2 < 300] = (210, 40, 30)
    ramp[40:, 60:] += ((x + y) % 5 * 9)[40:, 60:, None]
    return ramp.clip(0, 255)


def picture(array: np.ndarray[Any, Any]) -> Image.Image:
    return Image.fromarray(array.clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, form: str, **settings: Any) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, form, **settings)
    opened = Image.open(buffer)
    opened.load()
    return opened


def levels_off(array: np.ndarray[Any, Any], seed: int) -> Image.Image:
    """One level up or down in a thousandth of the values, as two computers' floats round."""
    random = np.random.default_rng(seed)
    return picture(array + random.choice([-1, 1], array.shape) * (random.random(array.shape) < 1e-3))


def compared(theirs: Image.Image, ours: Image.Image) -> tuple[str, int]:
    found = compare_pictures(theirs, ours)
    return found.outcome, found.largest


def test_without_loss_one_level_is_the_same() -> None:
    theirs = scene()
    assert compared(saved(picture(theirs), "PNG"), picture(theirs)) == ("same picture", 0)
    assert compared(saved(picture(theirs), "PNG"), levels_off(theirs, 0)) == ("same picture", 1)
    other = theirs.copy()
    other[5, 5, 0] += 2
    assert compared(saved(picture(theirs), "PNG"), picture(other)) == ("close", 2)
    found = compare_pictures(saved(picture(theirs), "PNG"), picture(other))
    assert (found.text, found.mean) == ("close (2 of 255)", pytest.approx(2 / theirs.size))
    assert np.argwhere(np.asarray(found.difference)).tolist() == [[5, 5, 0]]
    assert compared(saved(picture(theirs), "PNG"), picture(theirs[::-1]))[0] == "different"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "JPEG"),
        ({"quality": 95, "subsampling": 0}, "JPEG"),
        ({"quality": 90, "subsampling": 1}, "JPEG"),
    ],
)
def test_a_jpeg_is_compared_as_such(seed: int, settings: dict[str, Any], told: str) -> None:
    """The same but for last levels is the same, whatever they become; four levels in one corner are seen."""
    theirs = saved(picture(scene()), "JPEG", **settings)
    found = compare_pictures(theirs, levels_off(scene(), seed))
    assert (found.outcome, found.shown_as) == ("same picture", told)
    corner = scene()
    corner[:16, :24] += 5
    assert compared(theirs, picture(corner))[0] == "close"
    assert compared(theirs, picture(scene()[::-1]))[0] == "different"


@pytest.mark.parametrize(
    ("resampling", "name"),
    [(Image.Resampling.LANCZOS, "Lanczos"), (Image.Resampling.BOX, "box"), (Image.Resampling.BICUBIC, "bicubic")],
)
def test_a_resized_copy_is_compared_as_such(resampling: Image.Resampling, name: str) -> None:
    small = picture(scene()).resize((48, 32), resampling)
    for theirs, form in ((saved(small, "PNG"), "PNG"), (saved(small, "JPEG", quality=90), "JPEG")):
        found = compare_pictures(theirs, levels_off(scene(), 1))
        assert (found.outcome, found.shown_as) == ("same picture", f"{form}, resized ({name}) from 96 x 64")
        assert found.ours.size == found.difference.size == (48, 32)


def test_webp() -> None:
    for settings, told in (({"lossless": True}, "WebP without loss"), ({"quality": 90}, "WebP of quality 90")):
        found = compare_pictures(saved(picture(scene()), "WEBP", **settings), picture(scene()))
        assert (found.outcome, found.largest, found.shown_as) == ("same picture", 0, told)


@pytest.mark.parametrize(
    ("size", "of", "expected"),
    [
        ((512, 512), (1024, 1024), True),
        ((683, 512), (1024, 768), True),
        ((1024, 1024), (1024, 1024), True),
        ((1008, 1024), (1024, 1024), False),
        ((64, 64), (64, 96), False),
    ],
)
def test_copies(size: tuple[int, int], of: tuple[int, int], expected: bool) -> None:
    assert is_copy(size, of) is expected
    if not expected:
        with pytest.raises(ImagesError, match=f"{size[0]} x {size[1]}"):
            compare_pictures(Image.new("RGB", size), Image.new("RGB", of))


def test_similarity_is_the_published_measure() -> None:
    """Values of scikit-image 0.26's structural_similarity with the settings of Wang et al. 2004."""
    darker, noisy = scene() * 0.8, scene() + np.random.default_rng(0).integers(-20, 21, scene().shape)
    expected = {"same": 1.0, "darker": 0.9639508194503151, "noisy": 0.5099203733236849}
    pairs = {"same": scene(), "darker": darker, "noisy": noisy}
    found = {name: structural_similarity(picture(scene()), picture(other)) for name, other in pairs.items()}
    assert found == pytest.approx(expected, abs=1e-6)
    small = Image.new("RGB", (8, 6), "red")
    assert structural_similarity(small, small) == pytest.approx(1, abs=1e-4)


def test_what_is_no_picture(tmp_path: Any) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"text")
    with pytest.raises(ImagesError) as caught:
        read_picture(path)
    assert (caught.value.place, str(tmp_path) in caught.value.problem) == (str(path), False)
    picture(scene()).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImagesError, match="no whole picture"):
        read_picture(path)


def test_a_comparison_says_what_it_is() -> None:
    one = Image.new("RGB", (8, 8))
    assert Comparison("different", 9, 1.0, 0.5, "PNG", one, one, one).text == "different"
