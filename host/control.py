"""The images that Flux Kontext's samples follow: where they lie, and fitted as the trainer fits them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import NodeInputError, OutsideError
from ..families.profile import CONTROL_FITS
from ..spec import SampleItem, SampleSpec
from .paths import candidates, input_roots

if TYPE_CHECKING:
    from PIL import Image

#: A side of what Kontext takes is a multiple of this: cells of 8 pixels, packed in pairs.
_CELL = 16


def control_images(spec: SampleSpec, fit: str) -> list[Tensor]:
    """The items' control images [1, H, W, 3] from 0 to 1.

    Args:
        spec: whose items each have a control image.
        fit: one of CONTROL_FITS. "the sample's size" scales as ai-toolkit does (bilinear, with the mean of pixels that
            fall together); "its own size" cuts the right and lower edge to multiples of 16 as musubi-tuner does.

    Raises NodeInputError for an item without one, and for a file that is missing or no image.
    """
    if fit not in CONTROL_FITS:
        raise NodeInputError(f"fit is {fit!r}. Choose one of: {', '.join(CONTROL_FITS)}.")
    return [_fitted(spec, item, fit) for item in spec.items]


def control_files(spec: SampleSpec) -> list[Path]:
    """The files of the items' control images that are there."""
    named = dict.fromkeys(item.control_image for item in spec.items if item.control_image is not None)
    found = (next((path for path in _tries(spec, name) if path.is_file()), None) for name in named)
    return [path for path in found if path is not None]


def _tries(spec: SampleSpec, name: str) -> list[Path]:
    """Where it may lie: beside the config, then in ComfyUI's folders, under its path or its bare name."""
    plain = name.replace("\\", "/")
    tries: list[Path] = []
    for wanted in dict.fromkeys((str(Path(spec.source).parent / plain), plain, PurePosixPath(plain).name)):
        try:
            tries += candidates(wanted, input_roots(), "control_image")
        except OutsideError:
            continue
    return list(dict.fromkeys(tries))


def _fitted(spec: SampleSpec, item: SampleItem, fit: str) -> Tensor:
    from PIL import Image

    name = item.control_image
    if name is None:
        raise NodeInputError(f"sample {item.index} names no control image. Give it one, or sample it apart.")
    tries = _tries(spec, name)
    path = next((path for path in tries if path.is_file()), None)
    if path is None:
        looked = ", ".join(str(path) for path in tries)
        raise NodeInputError(
            f"sample {item.index} follows {name!r}, which is not there; tried {looked}. Copy it into ComfyUI's input "
            "folder."
        )
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise NodeInputError(
            f"sample {item.index}: {path} is no image that can be read ({error}). Copy it anew."
        ) from error
    picture = _cut(picture, path) if fit == "its own size" else _scaled(picture, item)
    return torch.from_numpy(np.array(picture)).float()[None] / 255.0


def _scaled(picture: Image.Image, item: SampleItem) -> Image.Image:
    from PIL import Image

    size = item.width, item.height
    return picture if picture.size == size else picture.resize(size, Image.Resampling.BILINEAR)


def _cut(picture: Image.Image, path: Path) -> Image.Image:
    width, height = (side - side % _CELL for side in picture.size)
    if not width or not height:
        raise NodeInputError(f"{path} has {picture.width} × {picture.height} pixels. Give an image of 16 × 16 or more.")
    return picture.crop((0, 0, width, height))
