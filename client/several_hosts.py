"""`eri sweep --host A --host B`: a ComfyUI that runs already, as a worker of a sweep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..protocol.events import Event
from ..workflows import Workflow
from .fitness import require_fit, require_pack, require_version
from .grid import Grid, Job, Recipe
from .host_client import HostClient
from .jobs import JobDone, Worker, do_job, worker_name
from .sweep import Report, Tally
from .workers import SoFar


class HostPlace:
    """The ComfyUI at a URL.

    Args:
        folder: Output folder, as for `jobs.Worker`.
        timeout: Seconds for each job.
        patience: As for `HostClient`; then its jobs are others'.
    """

    def __init__(self, url: str, folder: Path, timeout: float | None = None, patience: float = 30.0) -> None:
        self._client = HostClient(url, patience=patience)
        self.name = worker_name(url)
        self._worker = Worker(self._client, folder, None, self.name, timeout)
        self._info: Mapping[str, Any] = {}

    async def open(self) -> Mapping[str, Any]:
        """Ask it for its nodes; raises HostError."""
        self._info = await nodes_of(self._client)
        return self._info

    async def prepare(self, grid: Grid) -> None:
        """Bring control images; raises HostError where it cannot run the grid's graphs or lacks a run."""
        await self._worker.ready(grid.recipe, grid.control_images)
        for job in {grid.recipe.run(job.variant): job for job in reversed(grid.jobs)}.values():
            await require_fit_for(self._worker, self._info, grid.recipe, job)

    async def do(self, recipe: Recipe, job: Job, so_far: SoFar) -> JobDone:
        """Do a job; raises as `do_job`."""
        return await do_job(self._worker, recipe, job, counted(so_far))

    async def close(self) -> None:
        """Drop the connection."""
        await self._client.close()


async def nodes_of(client: HostClient) -> dict[str, Any]:
    """The /object_info of a ComfyUI that is new enough and has this version of the pack, or none; raises HostError."""
    require_version(client.url, await client.system_stats())
    info = await client.object_info()
    if "EriSampleSpec" in info:
        require_pack(client.url, await client.found("/eridiffusion/version", {}))
    return info


async def require_fit_for(worker: Worker, info: Mapping[str, Any], recipe: Recipe, job: Job) -> None:
    """Raise HostError where a worker's ComfyUI could not run a job's graph. info: its /object_info."""
    run = recipe.run(job.variant) if "EriLoraAtStep" in info else None  # without it the missing node is named
    name = await worker.run_name(run)
    graph = recipe.graphs(job.variant).at(job.step, name, job.indices).api()
    require_fit(worker.client.url, info, graph)


def counted(so_far: SoFar) -> Report:
    """The report of a job that tells how many of its pictures are made."""
    tally: Tally | None = None
    told = 0

    def report(workflow: Workflow, event: Event | None) -> None:
        nonlocal tally, told
        if event is None or tally is None:
            tally = Tally(workflow)
        else:
            tally.feed(event)
        if tally.items_done != told:
            told = tally.items_done
            so_far(told)

    return report
