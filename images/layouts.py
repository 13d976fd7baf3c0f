"""Where each trainer puts its sample images: one line per trainer in `LAYOUTS`."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import PurePosixPath
from typing import Final

from .errors import ImagesError

_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")
_MAX_NAME: Final = 120


@dataclass(frozen=True)
class SampleFile:
    """One sample image about to be named.

    run: name of the training run. step: training step (0 = before training). index: the sample's position in the
    trainer's numbering, from 0. name: file stem for layouts that take one. count: samples of this step.
    prompt, seed (None = random), width, height (pixels): of this sample. created: moment of writing, local time.
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


@dataclass(frozen=True)
class Layout:
    """How one trainer names its samples.

    path: SampleFile -> relative path without suffix, "/" between folders. image_format: the trainer's own file type.
    prompt_file: whether it writes the prompt into a .txt of the same stem.
    """

    path: Callable[[SampleFile], str]
    image_format: str = "png"
    prompt_file: bool = False


def safe_name(text: str, fallback: str = "samples") -> str:
    """One file or folder name that every system accepts, as near to `text` as that allows.

    Characters that Windows or POSIX forbid become "_", trailing dots and spaces go, device names (CON, NUL, …) get a
    leading "_", more than 120 characters (or 200 bytes) are cut, and nothing left gives `fallback`. Never contains
    a separator, never is "." or "..".
    """
    name = _FORBIDDEN.sub("_", text.encode("utf-8", "replace").decode("utf-8")).strip(" ")[:_MAX_NAME]
    while len(name.encode("utf-8")) > 200:
        name = name[:-1]
    name = name.rstrip(". ")
    if not name.strip("._ "):
        return fallback
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def sample_name(index: int) -> str:
    """File stem by which graphs name sample `index` (0, 1, …): "sample_00"."""
    return f"sample_{index:02d}"


def _v2(sample: SampleFile) -> str:
    suffix = f"_seed{sample.index}" if sample.count > 1 or sample.index else ""
    return f"{safe_name(sample.run)}/sample_step{sample.step}{suffix}"


def _ai_toolkit(sample: SampleFile) -> str:
    milliseconds = int(sample.created.timestamp() * 1000)
    return f"{safe_name(sample.run)}/samples/{milliseconds}__{sample.step:09d}_{sample.index}"


def _kohya(sample: SampleFile) -> str:
    run, stamp = safe_name(sample.run), sample.created.strftime("%Y%m%d%H%M%S")
    seed = "" if sample.seed is None else f"_{sample.seed}"
    return f"{run}/sample/{run}_{sample.step:06d}_{sample.index:02d}_{stamp}{seed}"


def _simpletuner(sample: SampleFile) -> str:
    # Trainer: the prompt's short name; a spec carries the prompt only, so its letters stand in for it.
    label = re.sub(r"[^a-z0-9]+", "-", sample.prompt.lower())[:40].strip("-") or "unconditional"
    folder = f"{safe_name(sample.run)}/validation_images"
    return f"{folder}/step_{sample.step}_{label}_{sample.index}_{sample.width}x{sample.height}"


def _onetrainer(sample: SampleFile) -> str:
    # Trainer: "<step>-<epoch>-<step of the epoch>"; a checkpoint tells the step alone, so the epoch counts as 0.
    legal = "".join(c for c in sample.prompt if c.isalnum() or c in " ._-,()[]")[:32]
    folder = f"{sample.index} - {safe_name(legal, 'empty')}"
    stamp = sample.created.strftime("%Y-%m-%d_%H-%M-%S")
    return f"{safe_name(sample.run)}/samples/{folder}/{stamp}-training-sample-{sample.step}-0-{sample.step}"


def _eridiffusion(sample: SampleFile) -> str:
    step = f"step_{sample.step:06d}"
    return f"{safe_name(sample.run)}/samples_{step}/{step}_sample_{sample.index:02d}"


def _native(sample: SampleFile) -> str:
    name = safe_name(sample.name, sample_name(sample.index))
    return f"{safe_name(sample.run)}/step_{sample.step:06d}/{name}"


#: trainer id -> layout. A new trainer is one line here.
LAYOUTS: Final[dict[str, Layout]] = {
    "eridiffusion": Layout(_eridiffusion, "png", prompt_file=True),
    "eridiffusion-v2": Layout(_v2, "png"),
    "ai-toolkit": Layout(_ai_toolkit, "jpg"),
    "kohya": Layout(_kohya, "png"),
    "simpletuner": Layout(_simpletuner, "png"),
    "onetrainer": Layout(_onetrainer, "jpg"),
    "musubi": Layout(_kohya, "png"),
    "native": Layout(_native, "png", prompt_file=True),
}


def layout_for(trainer: str) -> Layout:
    """The layout of a trainer id; raises ImagesError naming the known ones."""
    try:
        return LAYOUTS[trainer]
    except KeyError:
        raise ImagesError(f"There is no file layout called {trainer!r}. Choose one of: {', '.join(LAYOUTS)}.") from None


def relative_path(trainer: str, sample: SampleFile, image_format: str | None = None) -> PurePosixPath:
    """Path of one sample below the output folder, as `trainer` would name it.

    trainer: a key of LAYOUTS. image_format: "png", "jpg", "webp"; None = the trainer's own. step and index must be
    >= 0. The result is relative, has no ".." and only names that every system accepts. Raises ImagesError.
    """
    if sample.step < 0 or sample.index < 0:
        raise ImagesError(f"step and index are counted from 0, got step {sample.step}, index {sample.index}.")
    layout = layout_for(trainer)
    return PurePosixPath(f"{layout.path(sample)}.{image_format or layout.image_format}")
