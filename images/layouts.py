"""Where each trainer puts its samples: the trainers' own layouts, applied to one sample."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Final

from ..errors import ImagesError
from ..trainers import LAYOUT_NAMES, layout_owner
from .template import Layout, Value, render, safe_name


@dataclass(frozen=True)
class SampleFile:
    """One sample whose file is about to be named.

    Args:
        run: the name of the training run.
        step: the training step; 0 is before training.
        index: the sample's position in the trainer's numbering, from 0.
        name: the file stem for layouts that take one.
        count: the number of samples at this step.
        prompt, width, height, seed: those of this sample; the size in pixels, a seed of None is random.
        created: the moment of writing, in local time.
        label: the trainer's own name of the sample within a step, or None when it has none.
        trainer, family: ids of the spec; "" means none.
    """

    run: str
    step: int
    index: int
    name: str = ""
    count: int = 1
    prompt: str = ""
    seed: int | None = None
    width: int = 0
    height: int = 0
    created: datetime = field(default_factory=lambda: datetime.now(tz=timezone.utc).astimezone())
    label: str | None = None
    trainer: str = ""
    family: str = ""


def sample_name(index: int) -> str:
    """Return the file stem by which graphs name sample `index` (0, 1, …): "sample_00"."""
    return f"sample_{index:02d}"


#: trainer id, or a further program of one -> layout, in the order of lists for people.
LAYOUTS: Final[dict[str, Layout]] = {
    name: owner.layout.others.get(name, owner.layout) for name in LAYOUT_NAMES if (owner := layout_owner(name))
}


def layout_for(trainer: str, family: str = "") -> Layout:
    """Return the layout of a trainer id for a model family. Raises ImagesError naming the known ones."""
    try:
        return LAYOUTS[trainer].of(family)
    except KeyError:
        raise ImagesError(f"There is no file layout called {trainer!r}. Choose one of: {', '.join(LAYOUTS)}.") from None


def template_in(layout: str, family: str, place: str) -> str:
    """The file names of a trainer's layout, in the folder `place` of the run; "" = the layout's own."""
    template = layout_for(layout, family).template
    return template.replace("{run}/", f"{{run}}/{place}/", 1) if place else template


def relative_path(
    trainer: str, sample: SampleFile, image_format: str | None = None, template: str = ""
) -> PurePosixPath:
    """Return the path of one sample below the output folder, as `trainer` would name it.

    Args:
        trainer: a key of LAYOUTS.
        sample: the sample; its step and index are at least 0.
        image_format: "png", "jpg" or "webp"; None takes the trainer's own.
        template: is used in place of the trainer's own when it is not empty.

    The result is relative, has no "..", and only names that every system accepts. Raises ImagesError.
    """
    if sample.step < 0 or sample.index < 0:
        raise ImagesError(f"step and index are counted from 0, got step {sample.step}, index {sample.index}.")
    layout = layout_for(trainer, sample.family)
    path = render(template or layout.template, _values(sample))
    return PurePosixPath(f"{path}.{image_format or layout.image_format}")


def _values(sample: SampleFile) -> dict[str, Value]:
    # Without a trainer's own short name the letters of the prompt stand in for it.
    slug = re.sub(r"[^a-z0-9]+", "-", sample.prompt.lower())[:40].strip("-") or "unconditional"
    words = "".join(c for c in sample.prompt if c.isalnum() or c in " ._-#").strip()  # OneTrainer's safe_filename
    return {
        "run": safe_name(sample.run),
        "trainer": sample.trainer,
        "family": sample.family,
        "step": sample.step,
        "index": sample.index,
        "nth": sample.index if sample.count > 1 or sample.index else None,
        "count": sample.count,
        "name": safe_name(sample.name, sample_name(sample.index)),
        "label": sample.label or slug,
        "spot": None if sample.label else f"{sample.index}_{sample.width}x{sample.height}",
        "prompt": sample.prompt,
        "words": words or "empty",
        "seed": sample.seed,
        "width": sample.width,
        "height": sample.height,
        "time": sample.created,
        "ms": int(sample.created.timestamp() * 1000),
        "stem": sample.label or f"sample_{sample.index + 1:03}",
        "pth": "base" if sample.step == 0 and sample.count == 1 else f"p{sample.index + 1}",
        "bpth": f"{'' if sample.step else 'base_'}p{sample.index + 1}",
    }
