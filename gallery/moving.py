"""Moving pictures: what a prompt looked like from step to step, small enough to send."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal

#: The most frames, and the longest side of each in pixels.
FRAMES: Final = 60
SIDE: Final = 384
_FRAME: Final = 450  # milliseconds
_LAST: Final = 1500
_LETTERS: Final = 16
_MARGIN: Final = 6
_QUALITY: Final = 75


def moving_picture(pictures: Sequence[Path], steps: Sequence[int], form: Literal["webp", "gif"]) -> bytes:
    """One frame for each picture with its step below, as WebP or GIF; frames have the size of the first.

    Raises ImagesError where a picture cannot be read.
    """
    from PIL import Image

    from ..errors import ImagesError
    from ..images.fonts import typeface
    from ..images.opened import open_picture

    words = ["newest" if step < 0 else "no LoRA" if step == 0 else f"step {step}" for step in steps]
    font = typeface(words).at(_LETTERS)
    frames: list[Any] = []
    for path, label in zip(pictures, words, strict=True):
        try:
            with open_picture(path) as picture:
                frame = picture.convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise ImagesError(f"{path.name} is no whole picture: {error}") from error
        frame.thumbnail((SIDE, SIDE))
        frames.append(_labelled(frame if not frames else frame.resize(frames[0].size), label, font))
    buffer = io.BytesIO()
    durations = [*[_FRAME] * (len(frames) - 1), _LAST]
    options: dict[str, Any] = {"quality": _QUALITY, "method": 2} if form == "webp" else {"disposal": 1}
    frames[0].save(buffer, form.upper(), save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return buffer.getvalue()


def _labelled(frame: Any, label: str, font: Any) -> Any:
    from PIL import ImageDraw

    draw = ImageDraw.Draw(frame, "RGBA")
    height = _LETTERS + 2 * _MARGIN
    box = (0, frame.height - height, font.getlength(label) + 2 * _MARGIN, frame.height)
    draw.rectangle(box, fill=(0, 0, 0, 190))
    font.draw(draw, (_MARGIN, frame.height - height + _MARGIN // 2), label, "white")
    return frame
