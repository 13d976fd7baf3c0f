"""Saving: whole files, inside their folder, with metadata that Pillow itself reads back."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from comfyui_eridiffusion.errors import ImagesError
from comfyui_eridiffusion.images import files as files_module
from comfyui_eridiffusion.images.files import save_image
from comfyui_eridiffusion.images.pixels import to_array, to_image

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
    texts = {"prompt": "p" * 40_000, "workflow": "w" * 70_000, "eridiffusion": "e"}
    large = save_image(PICTURE, tmp_path, PurePosixPath("b.jpg"), metadata=texts)
    assert large.metadata_left_out == ("workflow",)
    with Image.open(large.path) as picture:
        assert picture.size == (16, 8)
        exif = picture.getexif()
        assert exif[0x0110] == "prompt:" + "p" * 40_000
        assert exif[0x010F] == "eridiffusion:e"
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


@pytest.mark.parametrize(
    "name",
    [
        "C:/x.png",
        "C:x.png",
        "a\\..\\..\\x.png",
        "NUL.png",
        "com1 .x/x.png",
        "LPT¹.png",
        "a./x.png",
        "a /x.png",
        "x?.png",
    ],
)
def test_names_that_windows_reads_otherwise_are_refused_everywhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImagesError, match="every system accepts"):
        save_image(PICTURE, tmp_path, PurePosixPath(name))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(tmp_path: Path) -> None:
    root, victim = tmp_path / "root", tmp_path / "root" / "victim.txt"
    root.mkdir()
    victim.write_text("mine")
    (root / "x.png").symlink_to(victim)
    (root / "x.txt").symlink_to(victim)
    save_image(PICTURE, root, PurePosixPath("x.png"), text="prompt")
    assert victim.read_text() == "mine"
    assert not (root / "x.txt").is_symlink()


def test_a_name_is_free_only_if_picture_and_prompt_are(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("of another picture")
    (tmp_path / "x_2.png").symlink_to(tmp_path / "gone")  # leads nowhere, but the name is taken
    name = PurePosixPath("x.png")
    with pytest.raises(ImagesError, match=r"x\.txt exists already"):
        save_image(PICTURE, tmp_path, name, text="new", existing="error")
    saved = save_image(PICTURE, tmp_path, name, text="new", existing="number")
    assert saved.path.name == "x_3.png"
    assert (tmp_path / "x.txt").read_text() == "of another picture"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.txt", "x_2.png", "x_3.png", "x_3.txt"]
    assert save_image(PICTURE, tmp_path, name, existing="error").path.name == "x.png"


def test_skip_keeps_what_is_there(tmp_path: Path) -> None:
    first = save_image(PICTURE, tmp_path, PurePosixPath("x.png"), text="one", existing="skip")
    assert first.written
    before = first.path.read_bytes()
    second = save_image(PICTURE.rotate(90), tmp_path, PurePosixPath("x.png"), text="two", existing="skip")
    assert (second.path, second.written) == (first.path, False)
    assert first.path.read_bytes() == before
    assert (tmp_path / "x.txt").read_text() == "one"


def test_numbers_are_given_once_even_to_writers_at_the_same_time(tmp_path: Path) -> None:
    def write(number: int) -> str:
        picture = Image.new("RGB", (4, 4), (number, 0, 0))
        return save_image(picture, tmp_path, PurePosixPath("x.png"), text=str(number), existing="number").path.name

    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(write, range(24)))
    assert len(set(names)) == 24
    for number, name in enumerate(names):
        with Image.open(tmp_path / name) as picture:
            assert picture.getpixel((0, 0)) == (number, 0, 0)
        assert (tmp_path / name).with_suffix(".txt").read_text() == str(number)
    assert len(list(tmp_path.iterdir())) == 48


def test_a_file_system_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")  # what Linux says on FAT

    monkeypatch.setattr(os, "link", refuse)
    names = [save_image(PICTURE, tmp_path, PurePosixPath("x.png"), existing="number").path.name for _ in range(3)]
    assert names == ["x.png", "x_2.png", "x_3.png"]


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
    for quality in (0, 101):
        with pytest.raises(ImagesError, match="from 1 to 100"):
            save_image(PICTURE, tmp_path, PurePosixPath("x.jpg"), quality=quality)
    assert set(files_module.FORMATS) == {"png", "jpg", "jpeg", "webp"}


def test_quality_reaches_the_encoder(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in ("jpg", "webp"):
        sizes = [
            save_image(noise, tmp_path, PurePosixPath(f"{quality}.{suffix}"), quality=quality).path.stat().st_size
            for quality in (20, 60, 95)
        ]
        assert sizes == sorted(set(sizes))
    with Image.open(tmp_path / "95.jpg") as picture:
        tables = picture.quantization  # type: ignore[attr-defined]
    # libjpeg's own scaling of the standard luminance table: (16 * (200 - 2 * 95) + 50) / 100 = 2
    assert tables[0][0] == 2


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
