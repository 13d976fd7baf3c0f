"""Writes finished pictures into ComfyUI's output folder, in a trainer's layout."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

import comfy.model_management
import comfy.utils
import folder_paths
import torch
from comfy.cli_args import args
from torch import Tensor

from ...errors import ImagesError, NodeInputError
from ...images.files import SavedImage, save_image, taken
from ...images.layouts import SampleFile, layout_for, relative_path, sample_name
from ...images.pixels import to_image
from ...protocol.events import PICTURES, PICTURES_OF, PROMPT_FILES
from ...protocol.graph_marks import saver_marks
from ...spec import SampleItem, SampleSpec

log = logging.getLogger(__name__)

#: Stands for the spec of pictures that come without one.
_NO_SPEC: Final = SampleSpec(family="", trainer="", items=[])


@dataclass(frozen=True)
class SaveSettings:
    """How samples are written. "auto" does as the trainer does. See `save_samples`."""

    layout: str = "auto"
    image_format: str = "auto"
    existing: str = "overwrite"
    rounding: str = "truncate"
    run: str = ""
    template: str = ""
    quality: int = 95
    prompt_file: str = "auto"

    def texts(self, trainers: bool) -> bool:
        """Whether prompts are written beside the pictures. trainers: whether the trainer does it."""
        return trainers if self.prompt_file == "auto" else self.prompt_file == "yes"


@dataclass(frozen=True)
class _Sample:
    """One picture (None = made apart from these), its place, and what is known about it."""

    pixels: Tensor | None
    path: PurePosixPath
    step: int
    item: SampleItem | None
    report: str


def save_samples(
    batches: Sequence[Tensor], names: Sequence[str], steps: Sequence[int], spec: SampleSpec | None,
    settings: SaveSettings, hidden: Any = None, reports: Sequence[str] = (), part: str = "",
    sigmas: Callable[[int], str | None] = lambda number: None,
) -> dict[str, list[Any]]:  # fmt: skip
    """Write samples below ComfyUI's output folder and return the node's UI output.

    It has ComfyUI's own `images` entries, one per picture, `prompt_files`, the same entries for prompt files beside
    them, and with a part `pictures` and `pictures_of`: which these are of how many.

    Args:
        batches: IMAGE tensors [B, H, W, C] in 0..1; all pictures of all batches are saved in order.
        names: One per picture, those of EriSampleSpec ("sample_03" = item 3) or free ones; or none at all.
        steps: Training steps, one for all, one per batch or one per picture.
        spec: Gives the run's name, the layout and the prompts; without it the layout is "native".
        hidden: The node's hidden inputs. Their prompt and workflow go into the files as the stock saver does it, unless
            ComfyUI runs with --disable-metadata.
        reports: The LoRA's reports, as many as `steps` may be.
        sigmas: As `sigmas_above` gives them.
        part: Which pictures of a list these are: "1,3 of 4"; "" = all. Names, steps and reports are those of the list.

    Everything is checked before the first file is written. Raises NodeInputError when lists and pictures do not pair,
    or a picture is not finite, ImagesError when a template is wrong or a file cannot be written.
    """
    spec = spec or _NO_SPEC
    layout = spec.layout if settings.layout == "auto" else settings.layout
    numbers, count = _numbers(part, batches)
    samples = _samples(batches, names, steps, reports, spec, layout, settings, (numbers, count))
    root, texts = Path(folder_paths.get_output_directory()), settings.texts(layout_for(layout, spec.family).prompt_file)
    _check(samples, root, texts, settings)
    shared, marks = _graph_metadata(hidden), sorted({*saver_marks(getattr(hidden, "prompt", None) or {}).values()})
    here = [(sample, sample.pixels) for sample in samples if sample.pixels is not None]
    progress = comfy.utils.ProgressBar(len(here)) if len(here) > 1 else None
    images, prompt_files = [], []
    for number, (sample, pixels) in zip(sorted(numbers), here, strict=True):
        comfy.model_management.throw_exception_if_processing_interrupted()
        saved = save_image(
            _picture(pixels, settings.rounding),
            root,
            sample.path,
            text=sample.item.prompt if sample.item and texts else None,
            metadata={**shared, **_own_metadata(spec, sample, marks, sigmas(number))},
            existing=settings.existing,
            quality=settings.quality,
        )
        _log_left_out(saved)
        if progress is not None:
            progress.update(1)
        folder = "" if str(sample.path.parent) == "." else str(sample.path.parent)
        images.append({"filename": saved.path.name, "subfolder": folder, "type": "output"})
        text = saved.path.with_suffix(".txt") if texts and not saved.written else saved.text
        if text is not None and text.is_file():
            prompt_files.append({"filename": text.name, "subfolder": folder, "type": "output"})
    which = {PICTURES: list(numbers), PICTURES_OF: [count]} if part else {}
    return {"images": images, **({PROMPT_FILES: prompt_files} if prompt_files else {}), **which}


def _log_left_out(saved: SavedImage) -> None:
    if saved.metadata_left_out:
        left_out = ", ".join(saved.metadata_left_out)
        log.warning("EriSaveSamples: %s: no room in a JPEG for: %s. Use png or webp.", saved.path, left_out)
    if not saved.written:
        log.info("EriSaveSamples: %s exists already and was kept.", saved.path)


def _numbers(part: str, batches: Sequence[Tensor]) -> tuple[Sequence[int], int]:
    """The numbers, from 0, of the pictures in `batches`, and how many pictures there are in all."""
    if not part:
        count = sum(map(len, batches))
        return range(count), count
    numbers, _, count_text = part.partition(" of ")
    return [int(number) - 1 for number in numbers.split(",")], int(count_text)


def _samples(
    batches: Sequence[Tensor],
    names: Sequence[str],
    steps: Sequence[int],
    reports: Sequence[str],
    spec: SampleSpec,
    layout: str,
    settings: SaveSettings,
    part: tuple[Sequence[int], int],
) -> list[_Sample]:
    """The pictures of a list. part: the numbers of those in `batches`, and how many there are in all.

    With the first picture come all others, whose names are checked then; a later part is told by itself.
    """
    pictures = [picture for batch in batches for picture in batch]
    numbers, total = part
    if not pictures:
        raise NodeInputError("images is empty. Connect at least one image.")
    if names and len(names) != total:
        raise NodeInputError(
            f"name has {len(names)} entries for {total} images. Connect EriSampleSpec's names, one per image."
        )
    all_steps = _one_each("step", steps, batches, total)
    all_reports = _one_each("report", reports or [""], batches, total)
    if any(step < 0 for step in all_steps):
        raise NodeInputError(
            "step is unknown: neither the LoRA's file name nor its header tells it. Type the step in EriSaveSamples "
            "instead of linking it."
        )
    counts, seen = Counter(all_steps), Counter[int]()
    here = dict(zip(numbers, pictures, strict=True))
    by_name = {sample_name(item.index): item for item in reversed(spec.items)}
    samples = []
    for number, step in enumerate(all_steps):
        picture = here.get(number)
        position = seen[step]  # without names a step's pictures are counted from 0
        seen[step] += 1
        if 0 not in here and number not in here:
            continue
        name = names[number] if names else sample_name(position)
        item = by_name.get(name) if names else next(iter(spec.items[position : position + 1]), None)
        height, width = (pictures[0] if picture is None else picture).shape[:2]
        place = SampleFile(
            run=settings.run or spec.name,
            step=step,
            index=item.index if item else position,
            name=name,
            count=max(counts[step], spec.total or len(spec.items)),
            width=width,
            height=height,
            trainer=spec.trainer,
            family=spec.family,
        )
        if item is not None:
            place = replace(place, prompt=item.prompt, seed=item.seed, label=item.label)
        path = relative_path(layout, place, _format(settings, spec), settings.template)
        samples.append(_Sample(picture, path, step, item, all_reports[number]))
    return samples


def _one_each(what: str, values: Sequence[Any], batches: Sequence[Tensor], count: int) -> list[Any]:
    if len(set(values)) == 1:
        return [values[0]] * count
    if len(values) == count:
        return list(values)
    if len(values) == len(batches):
        return [value for value, batch in zip(values, batches, strict=True) for _ in batch]
    raise NodeInputError(
        f"{what} has {len(values)} different values for {count} images. Connect a single value or one per image."
    )


def _check(samples: Sequence[_Sample], root: Path, texts: bool, settings: SaveSettings) -> None:
    """Check everything that can be known before the first file is written."""
    paths: set[str] = set()
    for number, sample in enumerate(samples, start=1):
        key = str(sample.path).casefold()  # the file system may not tell case
        if key in paths:
            raise NodeInputError(
                f"Two images would both be {sample.path}: they have the same name twice. Use different names, or put "
                "{index} into the template."
            )
        paths.add(key)
        if sample.pixels is None:
            continue
        _check_picture(number, sample.pixels, settings.rounding)
        place = taken(root, sample.path, with_text=texts and sample.item is not None)
        if place is not None and settings.existing == "error":
            raise NodeInputError(f'{place} exists already. Choose "overwrite", "number" or "skip", or another name.')


def _check_picture(number: int, pixels: Tensor, rounding: str) -> None:
    """Raise NodeInputError for a picture, counted from 1, from which no file can be made."""
    if pixels.ndim == 3 and pixels.shape[-1] in (1, 3, 4) and bool(torch.isfinite(pixels).all()):
        return
    try:
        _picture(pixels, rounding)
    except ImagesError as error:
        raise NodeInputError(f"images: number {number}: {error}") from error


def _picture(pixels: Tensor, rounding: str) -> Any:
    return to_image(pixels.detach().cpu().float().numpy(), rounding)


def _format(settings: SaveSettings, spec: SampleSpec) -> str | None:
    if settings.image_format != "auto":
        return settings.image_format
    wanted = (spec.image_format or "").lower()
    return wanted if wanted in ("png", "jpg", "webp") else None


def _graph_metadata(hidden: Any) -> dict[str, str]:
    """What ComfyUI's own saver writes: the graph as it was queued, and whatever the front end sent with it."""
    if args.disable_metadata or hidden is None:
        return {}
    texts = {} if hidden.prompt is None else {"prompt": json.dumps(hidden.prompt)}
    for key, value in (getattr(hidden, "extra_pnginfo", None) or {}).items():
        texts[str(key)] = json.dumps(value)
    return texts


def _own_metadata(spec: SampleSpec, sample: _Sample, marks: list[str], sigmas: str | None) -> dict[str, str]:
    """The sample as plain values, as a spec of this one picture that EriSampleSpec reads, and the LoRA's report.

    `marks` are those of the graph's savers, for a JPEG that has no room for the graph itself; `sigmas` is the
    hash of its noise levels, None = not known.
    """
    if args.disable_metadata:
        return {}
    texts = {}
    if sample.item:
        facts = {"run": spec.name, "trainer": spec.trainer, "family": spec.family, "step": sample.step}
        facts |= {} if sigmas is None else {"sigmas": sigmas}
        texts["eridiffusion"] = json.dumps({**facts, **vars(sample.item), "graph_marks": marks})
        texts["eridiffusion_spec"] = json.dumps(replace(spec.part([sample.item]), source="<text>").to_dict())
    if sample.report:
        texts["eridiffusion_lora"] = _as_json(sample.report)
    return texts


def _as_json(report: str) -> str:
    """The report as JSON. EriLoraAtStep's details already are; its report for people becomes a string."""
    try:
        return json.dumps(json.loads(report))
    except (ValueError, RecursionError):
        return json.dumps(report)
