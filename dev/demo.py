"""The demo: three training configs, a real host, images in the trainer's layout and a contact sheet per family."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from ..client.console import sweep_progress
from ..client.host_client import HostClient
from ..client.runs import host_run_name, steps_in
from ..client.sheets import write_sheets
from ..client.sweep import fetch, sweep
from ..errors import HostError
from ..families import FAMILIES
from ..lora.step_lists import spread
from ..spec import SampleSpec, read_spec

EXAMPLES: Final = Path(__file__).absolute().parent.parent / "examples"
#: The families that have an example.
DEMOS: Final = tuple(family for family in FAMILIES if (EXAMPLES / "configs" / f"{family}.yaml").is_file())


@dataclass(frozen=True)
class Job:
    """One family's part: the spec, the model description, the run folder and the training steps to show."""

    spec: SampleSpec
    models: Path
    run: Path
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """What one job made: folder of its images, its contact sheet, how many images, seconds, and notes."""

    family: str
    folder: Path
    sheet: Path
    images: int
    seconds: float
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {
            **vars(self), "folder": str(self.folder), "sheet": str(self.sheet), "notes": list(self.notes),
        }  # fmt: skip


def require_examples() -> None:
    """Raise HostError where the examples are not: they are too large for the package on PyPI."""
    if not DEMOS:
        raise HostError(
            f"There are no examples in {EXAMPLES}",
            remedy="Clone the pack's repository, which holds small models, and run `make demo` there.",
        )


def jobs(families: Sequence[str], columns: int) -> list[Job]:
    """The demo's jobs from the example configs, models and runs.

    columns: training steps per sheet, step 0 (no LoRA) included, >= 3. Raises SpecError, or HostError naming the
    example file that is missing.
    """
    found = []
    for family in families:
        config, models = EXAMPLES / "configs" / f"{family}.yaml", EXAMPLES / "models" / f"{family}.yaml"
        spec = read_spec(config)
        run = EXAMPLES / "runs" / spec.name
        for path in (models, run):
            if not path.exists():
                raise HostError(f"The demo's {path} is missing", remedy="Clone the repository again, weights included.")
        steps = (0, *spread([step for step in steps_in(run) if step > 0], columns - 1))
        found.append(Job(spec, models, run, steps))
    return found


async def run_job(client: HostClient, job: Job, folder: Path, local_output: Path | None, console: Console) -> Outcome:
    """Sample one job's steps on the host, bring its images into `folder` and write its contact sheet there."""
    began = time.monotonic()
    spec = job.spec
    run = await host_run_name(client, job.run)
    with sweep_progress(console, f"{spec.family}  {spec.name}", len(job.steps) * len(spec.items)) as report:
        done = await sweep(client, spec, job.steps, models=job.models, run=run, report=report)
    fetched = await fetch(client, done, folder, local_output)
    paths = {("", image.step, image.item.index): path for image, path in fetched.items()}
    name = f"{spec.family}_contact_sheet.png"
    (sheet,) = await asyncio.to_thread(write_sheets, paths, done.spec, done.steps, folder, name)
    images = sorted(fetched.values())
    top = folder / images[0].relative_to(folder).parts[0]
    return Outcome(spec.family, top, sheet, len(images), time.monotonic() - began, done.notes)


async def run_demo(
    url: str, work: Sequence[Job], folder: Path, local_output: Path | None, console: Console
) -> list[Outcome]:
    """Run all jobs on the host at `url`, one after the other."""
    folder.mkdir(parents=True, exist_ok=True)
    async with HostClient(url) as client:
        stats = await client.system_stats()
        device = (stats.get("devices") or [{}])[0].get("name", "?")
        version = stats["system"].get("comfyui_version", "?")
        console.print(f"ComfyUI {version} at {url} on {device}")
        return [await run_job(client, job, folder, local_output, console) for job in work]
