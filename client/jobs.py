"""The work behind `eri sample` and `eri sweep`: ComfyUI samples the steps, images and a sheet come into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .control_images import upload
from .host_client import HostClient
from .resume import Plan
from .runs import host_run_name
from .sheets import write_sheet
from .sweep import Report, fetch, sample_step

if TYPE_CHECKING:
    from rich.console import Console

#: Image files by training step (-1 = the newest checkpoint) and item index.
Made = dict[tuple[int, int], Path]


async def sample_plan(
    url: str,
    plan: Plan,
    run: str | None,
    folder: Path,
    local_output: Path | None,
    console: Console | None = None,
    *,
    timeout: float | None = None,
) -> Made:
    """Sample what a plan lacks on ComfyUI at `url` and bring the images into `folder`, each step when it is done.

    Args:
        run: That of the plan.
        local_output: ComfyUI's output folder where it is on this machine.
        console: Where progress is shown.
        timeout: Seconds per step.

    Raises HostError, WorkflowError, OSError.
    """
    folder = folder.absolute()
    made: Made = {}
    async with HostClient(url) as client:
        await upload(client, plan.control_images)
        name = None if run is None else await host_run_name(client, run)
        with _progress(console, plan) as report:
            for step, indices in plan.todo.items():
                done = await sample_step(client, plan.graphs.at(step, name, indices), step, report, timeout)
                files = await fetch(client, done, folder, local_output)
                made |= {(image.step, image.item.index): path for image, path in files.items()}
                if step is not None and plan.samples.are_of_another(step, list(files.values())):
                    plan.notes.append(f"step {step}: ComfyUI sampled another checkpoint than the one in {run} here.")
    return made


async def comfyui_version(url: str) -> str | None:
    """The version of ComfyUI at `url`, None where it does not say it; raises HostError."""
    async with HostClient(url) as client:
        version = (await client.system_stats())["system"].get("comfyui_version")
    return version if isinstance(version, str) else None


def document_of(plan: Plan, steps: Sequence[int | None], made: Made, sheet: str | None = None) -> dict[str, Any]:
    """What there is after a plan is done, as JSON types.

    Images (step, index, prompt, seed, path, kept), sheet, notes; `instead`: the notes that tell of another base model.

    Args:
        steps: As for the plan.
        made: What `sample_plan` gave, {} where there was nothing to do.
        sheet: File name of a contact sheet to write into the run's folder; None writes none.

    Raises ImagesError.
    """
    paths = {**plan.samples.paths(), **made}
    shown = [-1 if step is None else step for step in steps]
    sheet_path = None if sheet is None else write_sheet(paths, plan.spec, shown, plan.samples.root, sheet)
    images = [
        {
            "step": None if step < 0 else step,
            "index": item.index,
            "prompt": item.prompt,
            "seed": item.seed,
            "path": str(paths[step, item.index]),
            "kept": (step, item.index) not in made,
        }
        for step in shown
        for item in plan.spec.items
    ]
    instead = [note for step in steps for note in plan.graphs.at(step).instead]
    return {
        "images": images,
        "sheet": None if sheet_path is None else str(sheet_path),
        "notes": plan.notes,
        "instead": list(dict.fromkeys(instead)),
    }


def _progress(console: Console | None, plan: Plan) -> AbstractContextManager[Report | None]:
    if console is None or not plan.images:
        return nullcontext()
    from .console import sweep_progress

    return sweep_progress(console, plan.spec.name, plan.images)
