"""Where each trainer puts its sample images: one line per trainer in `LAYOUTS`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Final

from ..errors import ImagesError
from .names import safe_name
from .template import Value, render


@dataclass(frozen=True)
class SampleFile:
    """One sample image about to be named.

    run: name of the training run. step: training step (0 = before training). index: the sample's position in the
    trainer's numbering, from 0. name: file stem for layouts that take one. count: samples of this step.
    prompt, seed (None = random), width, height (pixels): of this sample. created: moment of writing, local time.
    label: the trainer's own name of the sample within a step, None where it has none. trainer, family: ids of the
    spec, "" = none.
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


@dataclass(frozen=True)
class Layout:
    """How one trainer names its samples.

    template: path without suffix, see `template.render`. image_format: the trainer's own file type. prompt_file:
    whether it writes the prompt into a .txt of the same stem.
    """

    template: str
    image_format: str = "png"
    prompt_file: bool = False


def sample_name(index: int) -> str:
    """File stem by which graphs name sample `index` (0, 1, …): "sample_00"."""
    return f"sample_{index:02d}"


_KOHYA: Final = "{run}/sample/{run}_{step:06}_{index:02}_{time:%Y%m%d%H%M%S}[_{seed}]"

#: trainer id -> layout. A new trainer is one line here.
#: onetrainer writes "<step>-<epoch>-<step of the epoch>"; a checkpoint tells the step alone, so the epoch counts as 0.
LAYOUTS: Final[dict[str, Layout]] = {
    "eridiffusion": Layout("{run}/samples_step_{step:06}/step_{step:06}_sample_{index:02}", "png", prompt_file=True),
    "eridiffusion-v2": Layout("{run}/sample_step{step}[_seed{nth}]", "png"),
    "ai-toolkit": Layout("{run}/samples/{ms}__{step:09}_{index}", "jpg"),
    "kohya": Layout(_KOHYA, "png"),
    "simpletuner": Layout("{run}/validation_images/step_{step}_{label}[_{spot}]", "png"),
    "onetrainer": Layout(
        "{run}/samples/{index} - {words:32}/{time:%Y-%m-%d_%H-%M-%S}-training-sample-{step}-0-{step}", "jpg"
    ),
    "musubi": Layout(_KOHYA + "_000", "png"),
    "native": Layout("{run}/step_{step:06}/{name}", "png", prompt_file=True),
}


def layout_for(trainer: str) -> Layout:
    """The layout of a trainer id; raises ImagesError naming the known ones."""
    try:
        return LAYOUTS[trainer]
    except KeyError:
        raise ImagesError(f"There is no file layout called {trainer!r}. Choose one of: {', '.join(LAYOUTS)}.") from None


def relative_path(
    trainer: str, sample: SampleFile, image_format: str | None = None, template: str = ""
) -> PurePosixPath:
    """Path of one sample below the output folder, as `trainer` would name it.

    trainer: a key of LAYOUTS. image_format: "png", "jpg", "webp"; None = the trainer's own. template: used instead of
    the trainer's own when not empty. step and index must be >= 0. The result is relative, has no ".." and only names
    that every system accepts. Raises ImagesError.
    """
    if sample.step < 0 or sample.index < 0:
        raise ImagesError(f"step and index are counted from 0, got step {sample.step}, index {sample.index}.")
    layout = layout_for(trainer)
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
    }
