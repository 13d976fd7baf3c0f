"""Writes pictures whole or not at all, never outside the folder to which they belong, with what made them inside."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ..errors import ImagesError
from ..whole_files import write_whole
from .template import problem_with

#: suffix -> Pillow's name
FORMATS: Final = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}
EXISTING: Final = ("overwrite", "number", "error", "skip")
_JPEG_EXIF_LIMIT: Final = 65_000
_EXIF_MODEL, _EXIF_MAKE = 0x0110, 0x010F


@dataclass(frozen=True)
class SavedImage:
    """What was written: the picture and its prompt file (None when there is none).

    `metadata_left_out` names the keywords for which the file type has no room. `written` is False when an existing file
    was kept.
    """

    path: Path
    text: Path | None = None
    metadata_left_out: tuple[str, ...] = ()
    written: bool = True


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
    """Write one picture (and its prompt) below `root`, each file whole or not at all.

    Args:
        relative: The path below root; its suffix chooses the format: png, jpg, jpeg, webp.
        text: Content of a .txt file of the same stem, in UTF-8; None writes no such file.
        metadata: Texts by keyword. They become PNG text chunks, in jpg and webp EXIF in ComfyUI's own form; ComfyUI
            restores a canvas from "prompt" and "workflow".
        existing: What happens to files of that name: "overwrite", "number" (stem_2, stem_3, …), "error", "skip" (they
            stay as they are).
        quality: 1..100 for jpg and webp.

    Raises ImagesError when the path leaves root or is none that every system accepts, the format is unknown, the file
    exists under "error", or the disk refuses; a file that was there stays whole in each of these cases.
    """
    target = _inside(root, relative)
    suffix = target.suffix.lower().lstrip(".")
    if suffix not in FORMATS:
        raise ImagesError(f"{relative}: unknown image format {suffix!r}. Use one of: {', '.join(FORMATS)}.")
    if existing not in EXISTING:
        raise ImagesError(f"existing must be one of {', '.join(EXISTING)}, got {existing!r}.")
    if not 1 <= quality <= 100:
        raise ImagesError(f"quality is counted from 1 to 100, got {quality}.")
    if existing == "skip" and os.path.lexists(target):
        return SavedImage(target, written=False)
    data, left_out = _encode(image, FORMATS[suffix], metadata or {}, quality)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _inside(root, relative)  # once more: now that the folders exist, links in them are seen through
        path, text_path = _publish(target, data, None if text is None else text.encode("utf-8", "replace"), existing)
    except OSError as error:
        raise ImagesError(
            f"{target}: cannot be written ({error.strerror or error}). Check the free space and the folder's rights."
        ) from error
    return SavedImage(path, text_path, left_out)


def taken(root: Path, relative: PurePosixPath, with_text: bool = False) -> Path | None:
    """Return the file below `root` that exists where `save_image` would write, or None. ImagesError as there."""
    target = _inside(root, relative)
    places = [target, target.with_suffix(".txt")] if with_text else [target]
    return next((place for place in places if os.path.lexists(place)), None)


def _inside(root: Path, relative: PurePosixPath) -> Path:
    if relative.is_absolute() or ".." in relative.parts:
        raise ImagesError(f"{relative} leads outside {root}. Use a relative path without '..'.")
    for part in relative.parts:
        problem = problem_with(part)
        if problem:
            raise ImagesError(f"{str(relative)!r}: {part!r} {problem}. Use names that every system accepts.")
    target = root / relative
    real_root, real_target = os.path.realpath(root), os.path.realpath(target)
    try:
        below = os.path.commonpath([real_root, real_target]) == real_root and real_target != real_root
    except ValueError:  # another drive
        below = False
    if not below:
        raise ImagesError(f"{relative} leads outside {root}. Use a path without links that lead elsewhere.")
    return target


def _publish(target: Path, data: bytes, text: bytes | None, existing: str) -> tuple[Path, Path | None]:
    """Write both files under one stem, the prompt first, so that whoever sees the picture appear finds its text."""
    if existing == "overwrite":
        text_path = None if text is None else write_whole(target.with_suffix(".txt"), text)
        return write_whole(target, data), text_path
    for number in itertools.count(1):
        candidate = target if number == 1 else target.with_name(f"{target.stem}_{number}{target.suffix}")
        try:
            text_path = None if text is None else write_whole(candidate.with_suffix(".txt"), text, exclusive=True)
        except FileExistsError:
            taken_path = candidate.with_suffix(".txt")
        else:
            try:
                return write_whole(candidate, data, exclusive=True), text_path
            except FileExistsError:
                taken_path = candidate
                if text_path is not None:
                    text_path.unlink()
        if existing != "number":
            raise ImagesError(f'{taken_path} exists already. Choose "overwrite" or "number", or another name.')
    raise AssertionError("unreachable")


def _encode(image: Image.Image, kind: str, metadata: Mapping[str, str], quality: int) -> tuple[bytes, tuple[str, ...]]:
    buffer = io.BytesIO()
    if kind == "PNG":
        info = PngInfo()
        for key, value in metadata.items():
            info.add_text(key, value)
        image.save(buffer, kind, pnginfo=info, compress_level=4)
        return buffer.getvalue(), ()
    if kind == "JPEG":
        fitting = _fitting(metadata)
        image.convert("RGB").save(buffer, kind, exif=_exif(fitting), quality=quality, subsampling=0)
        return buffer.getvalue(), tuple(key for key in metadata if key not in fitting)
    image.save(buffer, kind, exif=_exif(metadata), quality=quality)
    return _findable_exif(buffer.getvalue()), ()


def _findable_exif(webp: bytes) -> bytes:
    """The same WebP with its EXIF chunk before any chunk of odd length (transparency often is one).

    Chunks are padded to even lengths. ComfyUI's front end forgets that and would look for the EXIF one byte too early.
    The format allows metadata anywhere after the VP8X header.
    """
    chunks, place = [], 12
    while place < len(webp):
        length = int.from_bytes(webp[place + 4 : place + 8], "little")
        chunks.append(webp[place : place + 8 + length + length % 2])
        place += 8 + length + length % 2
    exif = [chunk for chunk in chunks if chunk[:4] == b"EXIF"]
    if not exif or all(chunk[4] % 2 == 0 for chunk in chunks[: chunks.index(exif[0])]):
        return webp
    others = [chunk for chunk in chunks if chunk[:4] != b"EXIF"]
    return webp[:12] + b"".join([others[0], *exif, *others[1:]])


def _fitting(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata for which a JPEG has room. The largest texts are left out first."""
    kept = dict(metadata)
    while kept and len(_exif(kept).tobytes()) > _JPEG_EXIF_LIMIT:
        del kept[max(kept, key=lambda key: len(kept[key]))]
    return kept


def _exif(metadata: Mapping[str, str]) -> Image.Exif:
    """ComfyUI's own form (SaveAnimatedWEBP): "keyword:text", the prompt in Model, the others from Make downwards."""
    exif = Image.Exif()
    others = [key for key in metadata if key != "prompt"]
    if "prompt" in metadata:
        exif[_EXIF_MODEL] = f"prompt:{metadata['prompt']}"
    for offset, key in enumerate(others):
        exif[_EXIF_MAKE - offset] = f"{key}:{metadata[key]}"
    return exif
