"""Finished pictures into the host's output folder, in a trainer's layout, and onto contact sheets."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy.cli_args import args
from torch import Tensor

from ..images import (
    ImagesError,
    SampleFile,
    contact_sheet,
    layout_for,
    relative_path,
    sample_name,
    save_image,
    to_array,
    to_image,
)
from ..spec import SampleItem, SampleSpec
from ._schema import NodeInputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SaveSettings:
    """How samples are written; "auto" = as the trainer does. See `save_samples`."""

    step: int = 0
    layout: str = "auto"
    image_format: str = "auto"
    existing: str = "overwrite"
    rounding: str = "truncate"
    run: str = ""


def save_samples(
    batches: Sequence[Tensor],
    names: Sequence[str],
    spec: SampleSpec | None,
    settings: SaveSettings,
    hidden: Any = None,
) -> list[dict[str, str]]:
    """Write samples below the host's output folder and return the host's `images` entries for them.

    batches: IMAGE tensors [B, H, W, C] in 0..1, all pictures of all batches in order. names: one per picture, those
    of EriSampleSpec ("sample_03" = item 3) or free ones; fewer are allowed only as none at all. spec: gives the run's
    name, the layout and the prompts; None = layout "native". hidden: the node's hidden inputs, whose prompt and
    workflow go into the files as the stock saver does, unless the host runs with --disable-metadata.
    Raises NodeInputError when names and pictures do not pair, ImagesError when a file cannot be written.
    """
    pictures = [picture for batch in batches for picture in batch]
    if not pictures:
        raise NodeInputError("images is empty. Connect at least one image.")
    if names and len(names) != len(pictures):
        raise NodeInputError(
            f"name has {len(names)} entries for {len(pictures)} images. Connect EriSampleSpec's names, one per image."
        )
    if len(set(names)) != len(names):
        raise NodeInputError("name holds the same name twice; one image would replace the other. Use different names.")
    if settings.step < 0:
        raise NodeInputError(
            "step is unknown: neither the LoRA's file name nor its header tells it. Type the step in EriSaveSamples "
            "instead of linking it."
        )
    trainer = settings.layout if settings.layout != "auto" else (spec.layout if spec else "native")
    root = Path(folder_paths.get_output_directory())
    results = []
    for number, picture in enumerate(pictures):
        name = names[number] if names else sample_name(number)
        item = _item(spec, name, number if not names else None)
        place = _place(settings, spec, item, name, number, len(pictures), picture)
        path = relative_path(trainer, place, _format(settings, spec))
        saved = save_image(
            to_image(picture.detach().cpu().float().numpy(), settings.rounding),
            root,
            path,
            text=item.prompt if item and layout_for(trainer).prompt_file else None,
            metadata=_metadata(hidden, spec, item, settings.step),
            existing=settings.existing,
        )
        if saved.metadata_left_out:
            log.warning("EriSaveSamples: %s: the workflow is too large for a JPEG; use png or webp.", saved.path)
        subfolder = str(path.parent) if str(path.parent) != "." else ""
        results.append({"filename": saved.path.name, "subfolder": subfolder, "type": "output"})
    return results


def make_sheet(
    batches: Sequence[Tensor], rows: Sequence[str], columns: Sequence[str], title: str = "", cell: int = 0
) -> Tensor:
    """One IMAGE [1, H, W, 3] showing all pictures row by row, labelled.

    rows, columns: labels; a single text of several lines is one label per line. Raises NodeInputError when counts and
    pictures do not match.
    """
    pictures = [to_image(picture.detach().cpu().float().numpy()) for batch in batches for picture in batch]
    try:
        sheet = contact_sheet(pictures, labels(rows, len(pictures)), labels(columns, len(pictures)), title, cell)
    except ImagesError as error:
        raise NodeInputError(str(error)) from error
    return torch.from_numpy(to_array(sheet))[None]


def labels(given: Sequence[str], pictures: int) -> list[str]:
    """Labels from a widget or from linked lists: one text of several lines is split, one empty text is no label."""
    texts = [str(text) for text in given]
    if len(texts) == 1 and pictures > 1:
        texts = texts[0].splitlines()
    return [] if not any(text.strip() for text in texts) else texts


def _item(spec: SampleSpec | None, name: str, position: int | None) -> SampleItem | None:
    if spec is None:
        return None
    if position is not None:
        return spec.items[position] if position < len(spec.items) else None
    return next((item for item in spec.items if sample_name(item.index) == name), None)


def _place(
    settings: SaveSettings,
    spec: SampleSpec | None,
    item: SampleItem | None,
    name: str,
    number: int,
    count: int,
    picture: Tensor,
) -> SampleFile:
    height, width = picture.shape[:2]
    return SampleFile(
        run=settings.run or (spec.name if spec else "samples"),
        step=settings.step,
        index=item.index if item else number,
        name=name,
        count=count,
        prompt=item.prompt if item else "",
        seed=item.seed if item else None,
        width=width,
        height=height,
    )


def _format(settings: SaveSettings, spec: SampleSpec | None) -> str | None:
    if settings.image_format != "auto":
        return settings.image_format
    wanted = (spec.image_format or "").lower() if spec else ""
    return wanted if wanted in ("png", "jpg", "webp") else None


def _metadata(hidden: Any, spec: SampleSpec | None, item: SampleItem | None, step: int) -> dict[str, str]:
    if args.disable_metadata:
        return {}
    texts: dict[str, str] = {}
    if hidden is not None and hidden.prompt is not None:
        texts["prompt"] = json.dumps(hidden.prompt)
    for key, value in (getattr(hidden, "extra_pnginfo", None) or {}).items():
        texts[str(key)] = json.dumps(value)
    if spec and item:
        texts["eridiffusion"] = json.dumps(
            {"run": spec.name, "trainer": spec.trainer, "family": spec.family, "step": step, **vars(item)}
        )
    return texts
