"""The texts inside pictures: what Save Samples and ComfyUI write into them, read back."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from ..whole_files import written_at
from .opened import open_picture

#: How the names of pictures end that may have such texts, in small letters.
SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".webp")
#: Keyword under which Save Samples writes what a picture shows; whatever has it is this pack's.
KEY: Final = "eridiffusion"
#: Keyword under which it writes what LoRA at Step said of the LoRA.
LORA: Final = "eridiffusion_lora"


def read_texts(path: Path) -> dict[str, str]:
    """The texts inside an image that Save Samples may have written, by keyword; {} for what is no readable image."""
    from PIL import Image

    try:
        with open_picture(path) as picture:
            if picture.format == "PNG":  # text chunks
                return {
                    key: text for key, text in picture.info.items() if isinstance(key, str) and isinstance(text, str)
                }
            values = [value for value in picture.getexif().values() if isinstance(value, str)]  # "keyword:text"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return {}
    return {key: text for key, colon, text in (value.partition(":") for value in values) if colon}


def parsed(text: str | None) -> dict[str, Any]:
    """One of these texts as the JSON object that it is; {} for anything else."""
    try:
        document = json.loads(text or "")
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def is_ours(path: Path) -> bool:
    """Whether Save Samples wrote an image, as far as the image itself says it."""
    return _is_ours(path, written_at(path))


@lru_cache(maxsize=20_000)  # the sidebar asks again whenever ComfyUI made something
def _is_ours(path: Path, _: int | None) -> bool:
    return KEY in read_texts(path)
