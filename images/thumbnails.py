"""Small copies of pictures, for lists and grids on a screen."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from ..errors import ImagesError
from .opened import open_picture

#: Longest sides in pixels: twice what the sidebar shows at its smallest, for screens with small pixels, and larger.
SIZE: Final = 144
SIZES: Final = (SIZE, 288, 576)
_QUALITY: Final = 80


def thumbnail(path: Path, size: int = SIZE) -> bytes:
    """Return the picture in `path` as a WebP file whose longer side is at most `size` pixels; see `thumbnails`."""
    return thumbnails(path, (size,))[size]


def thumbnails(path: Path, sizes: Sequence[int]) -> dict[int, bytes]:
    """Return the picture in `path` as WebP files whose longer sides are at most so many pixels; it is decoded once.

    A smaller picture keeps its size, and transparency stays. Raises ImagesError when the file is missing or is no
    picture that Pillow reads whole.
    """
    most = max(sizes)
    try:
        with open_picture(path) as image:
            image.draft(None, (2 * most, 2 * most))  # JPEG: decoded at a part of its size
            whole = image.convert("RGBA" if "A" in image.getbands() or "transparency" in image.info else "RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImagesError(f"{path.name} is no whole picture: {error}. Make it again.") from error
    found = {}
    for size in sizes:
        small = whole.copy()
        small.thumbnail((size, size))
        buffer = io.BytesIO()
        small.save(buffer, "WEBP", quality=_QUALITY, method=2)
        found[size] = buffer.getvalue()
    return found
