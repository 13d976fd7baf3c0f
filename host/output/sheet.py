"""Puts pictures from ComfyUI onto one contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import comfy.model_management
import comfy.utils
import torch
from comfy_api.latest import ui
from PIL import Image
from torch import Tensor

from ...errors import ImagesError, NodeInputError
from ...images.pixels import to_array, to_image
from ...images.sheet import contact_sheet
from ...protocol.events import PICTURES, PICTURES_OF
from ..sampling.batches import Batch


class _Pictures(Sequence[Image.Image]):
    """8-bit pictures of IMAGE tensors, made one at a time when they are drawn; an interrupt stops between two."""

    def __init__(self, pictures: Sequence[Tensor]) -> None:
        self._pictures = pictures
        self._progress = comfy.utils.ProgressBar(len(pictures)) if len(pictures) > 1 else None

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, number: int) -> Image.Image: ...

    @overload
    def __getitem__(self, number: slice) -> list[Image.Image]: ...

    def __getitem__(self, number: int | slice) -> Image.Image | list[Image.Image]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        comfy.model_management.throw_exception_if_processing_interrupted()
        picture = to_image(self._pictures[number].detach().cpu().float().numpy())
        if self._progress is not None:
            self._progress.update(1)
        return picture


def make_sheet(
    batches: Sequence[Tensor], rows: Sequence[str], columns: Sequence[str], title: str = "", cell: int = 0
) -> Tensor:
    """Return one IMAGE [1, H, W, 3] that shows all pictures row by row, with labels.

    Args:
        batches: IMAGE tensors.
        rows, columns: labels. A single text of several lines is one label per line.
        title: the heading.
        cell: the longest side of a picture in pixels; 0 chooses it.

    Raises NodeInputError when the numbers of labels and pictures do not match.
    """
    pictures = [picture for batch in batches for picture in batch]
    sizes = [(picture.shape[1], picture.shape[0]) for picture in pictures]
    row_labels, column_labels = labels(rows, len(pictures)), labels(columns, len(pictures))
    try:
        sheet = contact_sheet(_Pictures(pictures), row_labels, column_labels, title, cell, sizes)
    except ImagesError as error:
        raise NodeInputError(str(error)) from error
    return torch.from_numpy(to_array(sheet))[None]


def labels(given: Sequence[str], pictures: int) -> list[str]:
    """Labels from a widget or from linked lists: one text of several lines is split, one empty text is no label."""
    texts = [str(text) for text in given]
    if len(texts) == 1 and pictures > 1:
        texts = texts[0].splitlines()
    return [] if not any(text.strip() for text in texts) else texts


def previews(node: Any, images: Sequence[Tensor], part: str) -> dict[str, Any]:
    """The UI output that shows pictures of a list, which lie in ComfyUI's temp folder, as Preview Image's do.

    Args:
        node: the class of the node that is running.
        images: IMAGE batches.
        part: which they are, as `Batch.part` says it.
    """
    entries = [entry for batch in images for entry in ui.PreviewImage(batch, cls=node).values]
    which = {PICTURES: Batch(part).numbers, PICTURES_OF: [int(part.partition(" of ")[2])]} if part else {}
    return {"images": entries, **which}
