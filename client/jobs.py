"""The work behind `eri sample` and `eri sweep`: steps on a host, images and a contact sheet in a folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec import SampleSpec
from .host_client import HostClient
from .runs import host_run_name
from .sweep import Report, contact_sheet, fetch, sweep

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
) -> dict[str, Any]:
    """Sample `steps` of `run` on the host at `url` and bring the images into `folder`.

    local_output: the host's output folder where it is on this machine. sheet: file name of a contact sheet to write
    into the run's folder, None = none. console: shows progress. Returns images (step, index, prompt, seed, path),
    sheet and notes, as JSON types. Raises HostError, WorkflowError.
    """
    folder = folder.absolute()
    async with HostClient(url) as client:
        name = None if run is None else await host_run_name(client, run)
        with _progress(console, spec, len(steps)) as report:
            done = await sweep(client, spec, steps, models=models, run=name, report=report)
        fetched = await fetch(client, done, folder, local_output)
        sheet_path = None
        if sheet is not None:
            picture = await contact_sheet(client, done, f"{spec.name} ({spec.family})")
            first = next(iter(fetched.files.values()))
            sheet_path = folder / first.relative_to(folder).parts[0] / sheet
            sheet_path.parent.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(picture.save, sheet_path)
    images = [
        {
            "step": None if image.step < 0 else image.step,
            "index": image.item.index,
            "prompt": image.item.prompt,
            "seed": image.item.seed,
            "path": str(path),
        }
        for image, path in fetched.files.items()
    ]
    return {"images": images, "sheet": None if sheet_path is None else str(sheet_path), "notes": list(done.notes)}


@contextlib.contextmanager
def _progress(console: Console | None, spec: SampleSpec, steps: int) -> Iterator[Report | None]:
    if console is None:
        yield None
        return
    from .console import sweep_progress

    with sweep_progress(console, spec.name, steps, len(spec.items)) as report:
        yield report
