"""Saving: whole files, inside their folder, with metadata that Pillow itself reads back."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from comfyui_eridiffusion.images import ImagesError, save_image, to_array, to_image
from comfyui_eridiffusion.images import files as files_module

PICTURE = Image.new("RGB", (16, 8), "#336699")


def test_png_with_prompt_and_metadata(tmp_path: Path) -> None:
    metadata = {"prompt": '{"a": 1}', "workflow": "größer"}
    saved = save_image(PICTURE, tmp_path, PurePosixPath("run/x.png"), text="größer 大", metadata=metadata)
    assert saved.path == tmp_path / "run" / "x.png"
    with Image.open(saved.path) as picture:
        assert picture.tobytes() == PICTURE.tobytes()
        assert {key: picture.info[key] for key in metadata} == metadata
    assert saved.text is not None
    assert saved.text.read_bytes() == "größer 大".encode()
    assert sorted(path.name for path in saved.path.parent.iterdir()) == ["x.png", "x.txt"]


def test_a_jpeg_leaves_out_what_it_cannot_hold(tmp_path: Path) -> None:
    small = save_image(PICTURE, tmp_path, PurePosixPath("a.jpg"), metadata={"prompt": "p"})
    assert not small.metadata_left_out
    large = save_image(PICTURE, tmp_path, PurePosixPath("b.jpg"), metadata={"prompt": "p" * 70_000})
    assert large.metadata_left_out
    with Image.open(large.path) as picture:
        assert picture.size == (16, 8)
        assert 0x0110 not in picture.getexif()
    webp = save_image(PICTURE, tmp_path, PurePosixPath("b.webp"), metadata={"prompt": "p" * 70_000})
    with Image.open(webp.path) as picture:
        assert picture.getexif()[0x0110] == "prompt:" + "p" * 70_000


def test_existing_files(tmp_path: Path) -> None:
    name = PurePosixPath("x.png")
    for _ in range(2):
        save_image(PICTURE, tmp_path, name, text="one")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.png", "x.txt"]
    numbered = [save_image(PICTURE, tmp_path, name, text="two", existing="number").path.name for _ in range(2)]
    assert numbered == ["x_2.png", "x_3.png"]
    assert (tmp_path / "x_3.txt").read_text(encoding="utf-8") == "two"
    assert (tmp_path / "x.txt").read_text(encoding="utf-8") == "one"
    with pytest.raises(ImagesError, match="exists already"):
        save_image(PICTURE, tmp_path, name, existing="error")


@pytest.mark.parametrize("name", ["../x.png", "a/../../x.png", "/tmp/x.png", "link/x.png"])
def test_never_outside(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(ImagesError, match="outside"):
        save_image(PICTURE, root, PurePosixPath(name))
    assert not (tmp_path / "x.png").exists()


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = save_image(PICTURE, tmp_path, PurePosixPath("x.png"))
    before = saved.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ImagesError, match="No space left"):
        save_image(PICTURE.rotate(90), tmp_path, PurePosixPath("x.png"))
    assert saved.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="unknown image format"):
        save_image(PICTURE, tmp_path, PurePosixPath("x.exe"))
    with pytest.raises(ImagesError, match="existing must be one of"):
        save_image(PICTURE, tmp_path, PurePosixPath("x.png"), existing="whatever")
    assert set(files_module.FORMATS) == {"png", "jpg", "jpeg", "webp"}


def test_rounding_is_the_hosts_or_diffusers() -> None:
    values = np.linspace(-0.1, 1.1, 3 * 41 * 5, dtype=np.float32).reshape(5, 41, 3)
    truncated = np.clip(255.0 * values, 0, 255).astype(np.uint8)  # what the host's SaveImage does
    assert np.array_equal(np.asarray(to_image(values)), truncated)
    rounded = (np.clip(values, 0, 1) * 255).round().astype("uint8")  # diffusers' VaeImageProcessor.numpy_to_pil
    assert np.array_equal(np.asarray(to_image(values, "round")), rounded)


def test_arrays_and_pictures() -> None:
    assert to_image(np.zeros((4, 6, 1), np.float32)).mode == "L"
    assert to_image(np.zeros((4, 6, 4), np.float32)).mode == "RGBA"
    clear = Image.new("RGBA", (3, 2), (255, 0, 0, 0))
    assert np.array_equal(to_array(clear), np.ones((2, 3, 3), np.float32))
    for bad, message in (
        (np.zeros((4, 6), np.float32), "height, width"),
        (np.zeros((4, 6, 2), np.float32), "height, width"),
        (np.full((4, 6, 3), np.inf, np.float32), "NaN or infinite"),
    ):
        with pytest.raises(ImagesError, match=message):
            to_image(bad)
    with pytest.raises(ImagesError, match="rounding"):
        to_image(np.zeros((4, 6, 3), np.float32), "up")
