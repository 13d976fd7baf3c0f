"""Writing pictures: whole or not at all, never outside the folder they belong to, with what made them inside."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from .errors import ImagesError

#: suffix -> Pillow's name
FORMATS: Final = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
EXISTING: Final = ("overwrite", "number", "error")
_JPEG_EXIF_LIMIT: Final = 65_000
_EXIF_MODEL, _EXIF_MAKE = 0x0110, 0x010F


@dataclass(frozen=True)
class SavedImage:
    """What was written: the picture, its prompt file (None = none) and whether the metadata had to be left out."""

    path: Path
    text: Path | None = None
    metadata_left_out: bool = False


def save_image(
    image: Image.Image,
    root: Path,
    relative: PurePosixPath,
    *,
    text: str | None = None,
    metadata: Mapping[str, str] | None = None,
    existing: str = "overwrite",
    quality: int = 95,
) -> SavedImage:
    """Write one picture (and its prompt) below `root`, each file atomically.

    relative: path below root; its suffix chooses the format: png, jpg, jpeg, webp. text: content of a .txt of the same
    stem, UTF-8, None = no such file. metadata: text values by keyword ("prompt" and "workflow" are what the host
    restores a canvas from): PNG text chunks; EXIF in the host's own form for jpg and webp. existing: what happens to a
    file of that name: "overwrite", "number" (stem_2, stem_3, …), "error". quality: 1..100 for jpg and webp.
    Raises ImagesError when the path leaves root, the format is unknown, the file exists under "error", or the disk
    refuses; a file that was there stays whole in each of these cases.
    """
    target = _inside(root, relative)
    suffix = target.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ImagesError(f"{relative}: unknown image format {suffix!r}. Use one of: {', '.join(FORMATS)}.")
    if existing not in EXISTING:
        raise ImagesError(f"existing must be one of {', '.join(EXISTING)}, got {existing!r}.")
    data, left_out = _encode(image, FORMATS[suffix], metadata or {}, quality)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _inside(root, relative)  # once more: now that the folders exist, links in them are seen through
        target = _free_name(target, existing)
        # The prompt first: whoever sees the picture appear finds its text there.
        text_path = None if text is None else _write(target.with_suffix(".txt"), text.encode("utf-8", "replace"))
        return SavedImage(_write(target, data), text_path, left_out)
    except OSError as error:
        raise ImagesError(
            f"{target}: cannot be written ({error.strerror or error}). Check the free space and the folder's rights."
        ) from error


def _inside(root: Path, relative: PurePosixPath) -> Path:
    target = root / relative
    real_root, real_target = os.path.realpath(root), os.path.realpath(target)
    if relative.is_absolute() or os.path.commonpath([real_root, real_target]) != real_root:
        raise ImagesError(f"{relative} leads outside {root}. Use a relative path without '..'.")
    return target


def _free_name(target: Path, existing: str) -> Path:
    if existing == "overwrite" or not target.exists():
        return target
    if existing == "error":
        raise ImagesError(f'{target} exists already. Choose "overwrite" or "number", or another name.')
    number = 2
    while (candidate := target.with_name(f"{target.stem}_{number}{target.suffix}")).exists():
        number += 1
    return candidate


def _write(path: Path, data: bytes) -> Path:
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _encode(image: Image.Image, kind: str, metadata: Mapping[str, str], quality: int) -> tuple[bytes, bool]:
    buffer, left_out = io.BytesIO(), False
    if kind == "PNG":
        info = PngInfo()
        for key, value in metadata.items():
            info.add_text(key, value)
        image.save(buffer, kind, pnginfo=info, compress_level=4)
        return buffer.getvalue(), left_out
    exif = _exif(metadata)
    if kind == "JPEG":
        image = image.convert("RGB")
        if len(exif.tobytes()) > _JPEG_EXIF_LIMIT:
            exif, left_out = Image.Exif(), True
        image.save(buffer, kind, exif=exif, quality=quality, subsampling=0)
    else:
        image.save(buffer, kind, exif=exif, quality=quality)
    return buffer.getvalue(), left_out


def _exif(metadata: Mapping[str, str]) -> Image.Exif:
    exif = Image.Exif()
    others = [key for key in metadata if key != "prompt"]
    if "prompt" in metadata:
        exif[_EXIF_MODEL] = f"prompt:{metadata['prompt']}"
    for offset, key in enumerate(others):
        exif[_EXIF_MAKE - offset] = f"{key}:{metadata[key]}"
    return exif
