"""What is opened as a picture, whatever its name says."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import EpsImagePlugin, Image

from comfyui_eridiffusion.errors import ImagesError
from comfyui_eridiffusion.gallery.moving import moving_picture
from comfyui_eridiffusion.images import opened
from comfyui_eridiffusion.images.compare import read_picture
from comfyui_eridiffusion.images.inner_texts import read_texts
from comfyui_eridiffusion.images.opened import FORMS, open_picture
from comfyui_eridiffusion.images.thumbnails import thumbnail


def test_a_program_in_a_pictures_place_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow starts Ghostscript for an EPS file, by what it holds."""
    path = tmp_path / "sample.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n")
    with Image.open(path) as picture:
        assert picture.format == "EPS"
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was started"))
    assert read_texts(path) == {}
    for read in (thumbnail, read_picture, lambda path: moving_picture([path], [1], "gif")):
        with pytest.raises(ImagesError, match="whole picture"):
            read(path)


@pytest.mark.parametrize("form", FORMS)
def test_what_people_save_is_opened(tmp_path: Path, form: str) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "a.any", form)
    with open_picture(tmp_path / "a.any") as picture:
        assert (picture.format, picture.size) == (form, (8, 8))


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_a_bomb_of_pixels_is_no_picture(tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a file is small, and its pixels need gigabytes."""
    monkeypatch.setattr(opened, "MAX_PIXELS", 64 * 64)
    for side in (64, 65):
        Image.new("RGB", (side, 64)).save(tmp_path / f"{side}.png", form)
    thumbnail(tmp_path / "64.png")
    for read in (thumbnail, read_picture, lambda path: moving_picture([path], [1], "gif")):
        with pytest.raises(ImagesError, match="65 × 64 pixels"):
            read(tmp_path / "65.png")
    assert read_texts(tmp_path / "65.png") == {}
