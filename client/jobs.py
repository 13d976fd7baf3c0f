"""The work behind `eri sample` and `eri sweep`: steps on a host, images and a contact sheet in a folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec import SampleSpec
from .host_client import HostClient
from .resume import Plan, plan_sweep
from .runs import host_run_name
from .sheets import write_sheet
from .sweep import Report, SweepImage, fetch, sweep

if TYPE_CHECKING:
    from rich.console import Console


async def sample_steps(
    url: str,
    spec: SampleSpec,
    steps: Sequence[int | None],
    run: str | None,
    models: Path | None,
    folder: Path,
    local_output: Path | None,
    sheet: str | None = None,
    console: Console | None = None,
    *,
    again: bool = True,
    timeout: float | None = None,
) -> dict[str, Any]:
    """Sample `steps` of `run` on the host at `url` and bring the images into `folder`, each step when it is done.

    local_output: the host's output folder where it is on this machine. sheet: file name of a contact sheet to write
    into the run's folder, None = none. console: shows progress. again: False keeps the images in `folder` that are what
    would be made (see `plan_sweep`). timeout: seconds per step. Returns images (step, index, prompt, seed, path, kept),
    sheet and notes, as JSON types. Raises HostError, WorkflowError, ImagesError.
    """
    folder = folder.absolute()
    async with HostClient(url) as client:
        name = None if run is None else await host_run_name(client, run)
        plan = await asyncio.to_thread(plan_sweep, spec, steps, folder, models=models, run=name, again=again)
        paths = plan.samples.paths()
        kept = set(paths)
        with _progress(console, plan) as report:
            for step, indices in plan.todo.items():
                part = plan.spec.select(",".join(map(str, indices)))
                done = await sweep(client, part, [step], models=models, run=name, report=report, timeout=timeout)
                fetched = await fetch(client, done, folder, local_output)
                made = {_key(image): path for image, path in fetched.files.items()}
                paths.update(made)
                kept -= set(made)
    shown = [-1 if step is None else step for step in steps]
    sheet_path = None
    if sheet is not None:
        sheet_path = await asyncio.to_thread(write_sheet, paths, plan.spec, shown, plan.samples.root, sheet)
    images = [
        {
            "step": None if step < 0 else step,
            "index": item.index,
            "prompt": item.prompt,
            "seed": item.seed,
            "path": str(paths[step, item.index]),
            "kept": (step, item.index) in kept,
        }
        for step in shown
        for item in plan.spec.items
    ]
    return {"images": images, "sheet": None if sheet_path is None else str(sheet_path), "notes": plan.notes}


def _key(image: SweepImage) -> tuple[int, int]:
    return image.step, image.item.index


@contextlib.contextmanager
def _progress(console: Console | None, plan: Plan) -> Iterator[Report | None]:
    if console is None or not plan.images:
        yield None
        return
    from .console import sweep_progress

    with sweep_progress(console, plan.spec.name, plan.images) as report:
        yield report
