"""How far two pictures of the same sample are apart: the trainer's, as it was saved, and one that was made again.

A saved JPEG, WebP or resized copy shows less than the picture that was made. The other picture is put through the same
before they are compared, and what one level of 255 may become on that way does not count as a difference.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from ..errors import ImagesError
from .opened import open_picture
from .pixels import on_white

if TYPE_CHECKING:
    import numpy as np

Outcome = Literal["same picture", "close", "different"]

#: Pictures are close up to this largest difference of 255 everywhere, or up to this mean difference with at least this
#: structural similarity. The example models in bfloat16, beside float32: largest 80, mean 1.1, similarity 0.994.
CLOSE_LARGEST: Final = 8
CLOSE_MEAN: Final = 2.0
CLOSE_SSIM: Final = 0.98
#: How often the difference of two pictures is magnified to be seen.
MAGNIFIED: Final = 8
_FILTERS: Final = {
    "Lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "box": Image.Resampling.BOX,
}
_WEBP_QUALITIES: Final = (75, 80, 90, 95, 100)
#: How often a picture is moved by a level and saved, to see what becomes of that in a file.
_TRIALS: Final = 24
#: How far outside of that a wave of a block may be, for the rounding of pixels: in levels, and as a share of the steps
#: that the file makes in this block.
_LEAST_ROOM: Final = 3.0
_ROOM: Final = 0.25
#: By Pillow's word for a JPEG's sampling: how many rows and columns of light share one of colour.
_HALVED: Final = {-1: (1, 1), 0: (1, 1), 1: (1, 2), 2: (2, 2)}

Way = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class Comparison:
    """Two pictures, compared as far as the saved one can show it.

    Args:
        outcome: "same picture": no more than one level of 255 apart, or than what one level becomes in such a file.
        largest, mean: the difference of 255, over all pixels and channels.
        ssim: structural similarity (Wang et al. 2004), 1 = the same.
        shown_as: what the saved picture is, for people: "PNG", "JPEG", "JPEG, resized (Lanczos) from 96 x 64".
        theirs, ours: the saved picture, and the other as such a file shows it.
        difference: how they differ, magnified; black = not at all.
    """

    outcome: Outcome
    largest: int
    mean: float
    ssim: float
    shown_as: str
    theirs: Image.Image
    ours: Image.Image
    difference: Image.Image

    @property
    def text(self) -> str:
        """The verdict as people read it."""
        return f"close ({self.largest} of 255)" if self.outcome == "close" else self.outcome


def read_picture(path: Path) -> Image.Image:
    """A picture, whole; ImagesError for what is none, with the file as its place alone."""
    try:
        with open_picture(path) as picture:
            picture.load()
            return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        unknown = isinstance(error, UnidentifiedImageError)
        why = "its form is not known" if unknown else getattr(error, "strerror", None) or error
        raise ImagesError(f"is no whole picture ({why})", place=str(path)) from error


def is_copy(size: tuple[int, int], of: tuple[int, int]) -> bool:
    """Whether a size is that of a larger or smaller copy, each side rounded to a pixel; or the same."""
    return abs(size[0] / of[0] - size[1] / of[1]) <= 1 / of[0] + 1 / of[1]


def compare_pictures(theirs: Image.Image, ours: Image.Image) -> Comparison:
    """Compare a picture as it was saved, fresh from its file, with one that was made again and saved without loss.

    Raises ImagesError where one is no copy of the other's shape, or SSIM's package is missing.
    """
    import numpy as np

    if not is_copy(theirs.size, ours.size):
        raise ImagesError(f"the pictures are {theirs.width} x {theirs.height} and {ours.width} x {ours.height}")
    plain, flat = on_white(theirs), on_white(ours)
    saved = np.asarray(plain, dtype=np.int16)
    ways = [(shown_as, way, way(flat)) for shown_as, way in _ways(theirs, flat.size)]
    means = [float(np.abs(saved - np.asarray(shown, dtype=np.int16)).mean()) for _, _, shown in ways]
    mean, (shown_as, way, shown) = min(zip(means, ways, strict=True), key=lambda entry: entry[0])
    apart = np.abs(saved - np.asarray(shown, dtype=np.int16))
    similar = structural_similarity(plain, shown)
    largest = int(apart.max())
    outcome: Outcome = "different"
    if largest <= CLOSE_LARGEST or (mean <= CLOSE_MEAN and similar >= CLOSE_SSIM):
        alike = largest <= 1 if way is _unchanged else largest <= 2 or _hidden(theirs, flat, way)
        outcome = "same picture" if alike else "close"
    seen = Image.fromarray(np.clip(apart * MAGNIFIED, 0, 255).astype(np.uint8))
    return Comparison(outcome, largest, mean, similar, shown_as, plain, shown, seen)


def verdict_on(theirs: Path, ours: Path) -> dict[str, Any]:
    """How far two files are apart, as the sidebar and a gallery show it; raises ImagesError for what is no picture."""
    first, second = read_picture(theirs), read_picture(ours)
    try:
        found = compare_pictures(first, second)
    except ImagesError as error:
        if first.size == second.size:
            raise
        return {"verdict": "different", "text": "different", "why": error.problem}
    numbers = {"largest": found.largest, "mean": round(found.mean, 4), "ssim": round(found.ssim, 5)}
    return {"verdict": found.outcome, "text": found.text, "why": "", **numbers, "shown_as": found.shown_as}


def structural_similarity(one: Image.Image, other: Image.Image) -> float:
    """SSIM of two RGB pictures of one size, mean over pixels and channels, with the paper's Gaussian window.

    Raises ImagesError where kornia is not there: ComfyUI brings it, and so does the extra `cli`.
    """
    try:
        from kornia.metrics import ssim
    except ImportError as error:
        remedy = 'Install it: pip install "kornia>=0.7.1"'
        raise ImagesError("SSIM needs the package kornia, which is not there", remedy=remedy) from error
    import numpy as np
    import torch

    window = min(11, *(side - 1 + side % 2 for side in one.size))
    arrays = (np.array(picture, dtype=np.float64) / 255 for picture in (one, other))
    first, second = (torch.from_numpy(array).permute(2, 0, 1)[None] for array in arrays)
    similarity: float = ssim(first, second, window, padding="valid").mean().item()
    return similarity


def _ways(theirs: Image.Image, size: tuple[int, int]) -> Iterator[tuple[str, Way]]:
    """What a picture of `size` may have gone through to be saved as `theirs`, with a name."""
    for encoded_as, encode in _codecs(theirs):
        if theirs.size == size:
            yield encoded_as, encode
            continue
        for name, resampling in _FILTERS.items():
            resize = partial(_resized, size=theirs.size, resampling=resampling, then=encode)
            yield f"{encoded_as}, resized ({name}) from {size[0]} x {size[1]}", resize


def _codecs(theirs: Image.Image) -> Iterator[tuple[str, Way]]:
    if isinstance(theirs, JpegImagePlugin.JpegImageFile):
        tables, sampling = theirs.quantization, JpegImagePlugin.get_sampling(theirs)
        yield "JPEG", partial(_encoded, form="JPEG", qtables=tables, subsampling=max(sampling, 0))
    elif theirs.format == "WEBP":
        yield "WebP without loss", _unchanged
        for quality in _WEBP_QUALITIES:
            yield f"WebP of quality {quality}", partial(_encoded, form="WEBP", quality=quality)
    else:
        yield theirs.format or "a picture", _unchanged


def _unchanged(picture: Image.Image) -> Image.Image:
    return picture


def _resized(picture: Image.Image, size: tuple[int, int], resampling: Image.Resampling, then: Way) -> Image.Image:
    return then(picture.resize(size, resampling))


def _encoded(picture: Image.Image, form: str, **settings: Any) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, form, **settings)
    with Image.open(buffer) as decoded:
        return decoded.convert("RGB")


def _hidden(theirs: Image.Image, ours: Image.Image, way: Way) -> bool:
    """Whether a picture no more than one level from ours may have been saved as theirs, on its way into a file.

    Ours is moved by a level up or down, again and again, and sent the same way: theirs must lie between all that came
    out. JPEG rounds the waves of a block one by one, so there it is these that must.
    """
    import numpy as np

    jpeg = isinstance(theirs, JpegImagePlugin.JpegImageFile)
    halved = _HALVED[JpegImagePlugin.get_sampling(theirs)] if jpeg else (1, 1)
    values = partial(_waves, halved=halved) if jpeg else _levels
    levels, random = np.asarray(ours, dtype=np.int16), np.random.default_rng(0)
    low = high = values(way(ours))
    for _ in range(_TRIALS):
        moved = np.clip(levels + random.integers(-1, 2, levels.shape), 0, 255).astype(np.uint8)
        trial = values(way(Image.fromarray(moved)))
        low, high = list(map(np.minimum, low, trial)), list(map(np.maximum, high, trial))
    for saved, least, most in zip(values(on_white(theirs)), low, high, strict=True):
        room = _LEAST_ROOM + _ROOM * (most - least).max(axis=(2, 3), keepdims=True) if jpeg else 1
        if (np.maximum(least - saved, saved - most) > room).any():
            return False
    return True


def _levels(picture: Image.Image) -> list[np.ndarray[Any, Any]]:
    import numpy as np

    return [np.asarray(picture, dtype=np.int16)]


def _waves(picture: Image.Image, halved: tuple[int, int]) -> list[np.ndarray[Any, Any]]:
    """The cosine transform of each 8 x 8 block, for light and both colours: [rows, columns, 8, 8].

    halved: by how much the file has fewer rows and columns of colour.
    """
    import numpy as np

    place = np.arange(8)
    waves = np.cos((2 * place + 1) * place[:, None] * np.pi / 16) * np.where(place == 0, 8**-0.5, 0.5)[:, None]
    planes = np.asarray(picture.convert("YCbCr"), dtype=np.float64)
    height, width = (-side % 16 for side in planes.shape[:2])
    planes = np.pad(planes, ((0, height), (0, width), (0, 0)), mode="edge")
    found = []
    for number, (down, right) in enumerate(((1, 1), halved, halved)):
        plane = planes[:, :, number]
        plane = plane.reshape(len(plane) // down, down, -1, right).mean(axis=(1, 3))
        blocks = plane.reshape(len(plane) // 8, 8, -1, 8).swapaxes(1, 2)
        found.append(waves @ blocks @ waves.T)
    return found
