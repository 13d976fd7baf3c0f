"""The images that Flux Kontext's samples follow: where they lie, and fitted as the trainer fits them."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from torch import Tensor

from ..errors import NodeInputError, OutsideError
from ..families.profile import CONTROL_FITS
from ..images.opened import open_picture
from ..samplers.noise import initial_noise
from ..spec import SampleItem, SampleSpec
from .paths import candidates, input_roots
from .sampling.noise import problem_with

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


#: For `draw`: no noise.
MEAN: Final = "the mean"


def control_latents(spec: SampleSpec, images: list[Tensor], vae: Any, draw: str) -> list[dict[str, Tensor]]:
    """The latents of the items' control images, as VAEEncode gives them, or drawn from the VAE's distribution.

    Args:
        spec: whose items have the images; a random seed counts as 0.
        images: `control_images` of it.
        vae: a VAE of ComfyUI.
        draw: MEAN, or the profile text (samplers.noise) of the noise that starts at an item's seed and is multiplied by
            the deviation, as in musubi-tuner.

    Raises NodeInputError for an unknown profile, and for a VAE without a distribution, or that had to encode in tiles.
    """
    if draw == MEAN:
        return [{"samples": _encoded(vae, image)} for image in images]
    problem = problem_with(draw)
    if problem:
        raise NodeInputError(f"draw is {draw!r}: {problem}.")
    return [{"samples": _drawn(vae, image, draw, item)} for item, image in zip(spec.items, images, strict=True)]


def _encoded(vae: Any, image: Tensor) -> Tensor:
    encoded: Tensor = vae.encode(image)
    return encoded


def _drawn(vae: Any, image: Tensor, draw: str, item: SampleItem) -> Tensor:
    """mean + deviation · noise. The deviation is seen where ComfyUI's autoencoder takes the mean of both."""
    seen: list[Tensor] = []
    regularization = getattr(vae.first_stage_model, "regularization", None)
    if regularization is None:
        raise NodeInputError(f"draw is {draw!r}, but this VAE has no distribution to draw from. Set it to {MEAN!r}.")
    hook = regularization.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    try:
        mean = _encoded(vae, image)
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0].shape[1] != 2 * mean.shape[1] or seen[0].shape[2:] != mean.shape[2:]:
        raise NodeInputError(
            f"draw is {draw!r}, but the VAE gave no deviation for the whole image (it encodes in tiles where memory is "
            f"short). Make room, or set it to {MEAN!r}."
        )
    deviation = (0.5 * seen[0].chunk(2, dim=1)[1].float().clamp(-30.0, 20.0)).exp().to(mean)
    return mean + deviation * initial_noise(draw, item.seed or 0, *mean.shape).to(mean)


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
        with open_picture(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
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
