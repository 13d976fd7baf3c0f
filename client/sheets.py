"""The contact sheet of a run, drawn from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from ..spec import SampleSpec


def write_sheet(
    paths: Mapping[tuple[int, int], Path], spec: SampleSpec, steps: Sequence[int], root: Path, name: str
) -> Path:
    """Write `name` into `root`: a row per sample of `spec`, a column per training step; returns the file.

    paths: image files by (step, item index); a cell without one stays empty. step < 0 reads "newest", 0 "no LoRA".
    Raises ImagesError.
    """
    from PIL import Image

    from ..images.files import save_image
    from ..images.sheet import contact_sheet

    pictures: list[Image.Image | None] = []
    for item in spec.items:
        for step in steps:
            path = paths.get((step, item.index))
            if path is None:
                pictures.append(None)
                continue
            with Image.open(path) as picture:
                pictures.append(picture.convert("RGB"))
    rows, columns = [item.prompt for item in spec.items], [column_title(step) for step in steps]
    sheet = contact_sheet(pictures, rows, columns, f"{spec.name} ({spec.family})")
    return save_image(sheet, root, PurePosixPath(name)).path


def column_title(step: int) -> str:
    """Heading of a training step's column."""
    if step < 0:
        return "newest"
    return f"step {step}" if step else "no LoRA"
