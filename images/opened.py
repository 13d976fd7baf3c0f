"""Opens pictures, and nothing else that Pillow knows: a file is what it holds, whatever its name says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..whole_files import check_regular

if TYPE_CHECKING:
    from PIL import Image

#: The forms that trainers, ComfyUI and people save pictures in. Of others Pillow knows some that are programs (EPS, for
#: which it starts Ghostscript).
FORMS: Final = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
#: Pillow allows 178 million: 22 KB of WebP then are 3.4 GB of memory. No sample is near to 8192 × 8192.
MAX_PIXELS: Final = 1 << 26


def open_picture(path: Path) -> Image.Image:
    """As PIL.Image.open, whose errors it raises: UnidentifiedImageError, an OSError, for a file of another form.

    A pipe, which would never end, is an OSError, and more than MAX_PIXELS are a DecompressionBombError.
    """
    from PIL import Image

    check_regular(path)
    picture = Image.open(path, formats=FORMS)
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        raise Image.DecompressionBombError(f"{picture.width} × {picture.height} pixels are more than {MAX_PIXELS}")
    return picture
