"""`eri sweep --engine ray`: a sweep's jobs on the workers of a Ray cluster, each an actor with a ComfyUI.

Ray is imported only here, and only when it is asked for; how it authenticates is left as the user has set it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Container, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from ..compare.manifest import append
from ..errors import HostError
from ..lora import Checkpoint
from ..lora.fingerprint import content
from ..protocol.pack_version import pack_version
from ..workflows.models import read_description
from .grid import Grid, Job, Recipe
from .jobs import JobDone
from .ray_worker import ROOMS, Answer, MakeHost, RayWorker, SentFile, SentRun
from .runs import checkpoints_here
from .sample_records import samples_root
from .saving import save_file
from .workers import SoFar

#: Seconds that a worker may take to end its ComfyUI in order; then it is ended all the same.
_PARTING: Final = 30.0
#: Seconds between two looks at how far a worker is.
_LOOK: Final = 1.0
#: JSON beside a checkpoint that belongs to it (its step, its alpha) is small.
_SMALL: Final = 1 << 20


@asynccontextmanager
async def ray_places(
    address: str | None,
    urls: Sequence[str],
    workers: int | None,
    make_host: MakeHost | None,
    folder: Path,
    timeout: float | None = None,
) -> AsyncIterator[list[RayPlace]]:
    """The workers of a cluster, for `workers.sample_on`; at the end no actor is left.

    Args:
        address: The cluster's; None = that of RAY_ADDRESS, else one that runs on this machine, else one of this machine
            alone that ends with this.
        urls: ComfyUIs that run already, one for each worker; none = each worker starts its own.
        workers: How many start their own; None = one for each GPU of the cluster, or one for each node without any.
        make_host: Makes a worker's own ComfyUI, on its machine.
        folder: Output folder.
        timeout: Seconds for each job.

    Raises HostError where Ray is not installed, or the cluster cannot be used.
    """
    ray = _imported()
    await _connected(ray, address)
    actors: list[Any] = []
    try:
        files = _Files(ray)
        own = {} if urls else _share(ray, count := workers or _count(ray))
        actor = ray.remote(RayWorker).options(max_restarts=0, **(own or {"num_cpus": 0}))
        actors += [actor.remote(url, None) for url in urls] or [actor.remote(None, make_host) for _ in range(count)]
        numbered = enumerate(actors, 1)
        yield [RayPlace(actor, f"Ray worker {n}", files, folder, timeout, not urls) for n, actor in numbered]
    finally:
        for actor in actors:
            with suppress(ray.exceptions.RayError):
                ray.kill(actor)
        await asyncio.to_thread(ray.shutdown)


class RayPlace:
    """One actor, as a worker of a sweep (`workers.Place`).

    Args:
        name: what it is called until its machine is known.
        sends: whether its ComfyUI sees the checkpoints that are sent to it.
    """

    def __init__(
        self, actor: Any, name: str, files: _Files, folder: Path, timeout: float | None = None, sends: bool = True
    ) -> None:
        self.name, self._actor, self._files, self._sends = name, actor, files, sends
        self._folder, self._timeout = folder.absolute(), timeout
        self._opened = False

    async def open(self) -> Mapping[str, Any]:
        """Start or reach its ComfyUI, which may wait for a free GPU; raises HostError."""
        there, node = await self._asked(self._actor.about.remote())
        self.name = f"{node}, {self.name}"
        if there != (here := pack_version(*ROOMS)):
            raise HostError(
                f"its pack is version {there}, this one is {here}",
                remedy="Install the same one there.",
                kind="protocol",
            )
        self._opened = True
        info: Mapping[str, Any] = await self._asked(self._actor.open.remote(self._timeout))
        return info

    async def prepare(self, grid: Grid) -> None:
        """Send what all jobs are made by, and raise HostError where it cannot run their graphs."""
        firsts = {grid.recipe.run(job.variant): job for job in reversed(grid.jobs)}
        for first in firsts.values():
            await self._bring(grid.recipe, first)
        recipe, job = _to_send(grid.recipe, firsts), grid.jobs[0]
        images = self._files.sent({path: name for name, path in grid.control_images.items()})
        await self._asked(self._actor.prepare.remote(recipe, job, images, self.name))

    async def do(self, recipe: Recipe, job: Job, so_far: SoFar) -> JobDone:
        """Do a job there, and write its pictures and their lines in the manifest here."""
        await self._bring(recipe, job)
        telling = asyncio.ensure_future(self._tell(so_far))
        try:
            done, files = await self._asked(self._actor.do.remote(job))
        finally:
            telling.cancel()
        self._keep(files)
        append(samples_root(self._folder, recipe.spec), done.lines)
        pictures = {index: self._folder / place for index, place in done.pictures.items()}
        return replace(done, pictures=pictures)

    async def close(self) -> None:
        """End its job and its ComfyUI in order; one that has not answered yet ends with its actor."""
        if not self._opened:
            return
        ray = _imported()
        with suppress(ray.exceptions.RayError, asyncio.TimeoutError):
            await asyncio.wait_for(_result(self._actor.close.remote()), _PARTING)

    async def _tell(self, so_far: SoFar) -> None:
        """Tell how far it is, and take what is saved, until this is cancelled or the actor is gone."""
        there: list[str] = []
        with suppress(_imported().exceptions.RayError):
            while True:
                await asyncio.sleep(_LOOK)
                made, files = await _result(self._actor.made.remote(there))
                self._keep(files)
                there = [*files]
                so_far(made)

    def _keep(self, files: Mapping[str, bytes]) -> None:
        for place, data in files.items():
            save_file(self._folder / place, data)

    async def _bring(self, recipe: Recipe, job: Job) -> None:
        """Have the checkpoint of a job there; raises HostError."""
        run = recipe.run(job.variant)
        for every in (False, True):
            sent = self._files.of_run(run, recipe, job.step, every) if run is not None and self._sends else None
            if sent is None or await self._asked(self._actor.receive.remote(sent)):
                return
        raise HostError(
            f"{run} does not tell its checkpoint of step {job.step} once it is copied to a worker", kind="execution"
        )

    async def _asked(self, reference: Any) -> Any:
        """What the actor answers; HostError of kind "lost" where it is gone."""
        ray = _imported()
        try:
            answer: Answer = await _result(reference)
        except ray.exceptions.RayError as error:
            raise _gone(error, self._opened) from error
        if answer.error is not None:
            raise HostError(**answer.error)
        return answer.value


class _Files:
    """Files of this machine in Ray's object store, each put there once."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._kept: dict[str, Any] = {}

    def sent(self, files: Mapping[Path, str]) -> list[SentFile]:
        """Files, and where they go."""
        found = []
        for path, place in files.items():
            mark = content(path)
            if mark not in self._kept:
                self._kept[mark] = self._ray.put(path.read_bytes())
            found.append(SentFile(place, mark, [self._kept[mark]]))
        return found

    def of_run(self, run: str, recipe: Recipe, step: int | None, every: bool) -> SentRun | None:
        """What a worker needs of a run for a step (every: for any step).

        None: the run is not on this machine, and the worker must see it itself.
        """
        found = checkpoints_here(run)
        if not found:
            return None
        path = Path(run).absolute()
        folder = path if path.is_dir() else path.parent
        wanted = [entry for entry in found if entry.step == step] or found[:1]
        chosen = [*wanted, *(entry for entry in found if entry not in wanted)] if every else wanted[:1]
        files = {file: file.relative_to(folder).as_posix() for entry in chosen for file in _with(entry, folder)}
        others = [Path(other).absolute() for other in recipe.runs.values() if other is not None]
        inside = "" if path.is_dir() else path.name
        known = any(entry.step == step for entry in found)
        return SentRun(run, _tail(folder, others), inside, step if known else None, self.sent(files))


def _with(entry: Checkpoint, folder: Path) -> Iterable[Path]:
    """The files of a checkpoint: itself, what says its step or its alpha, and its averaged weights."""
    beside = entry.path.parent
    states = [*beside.glob("*.json"), *beside.glob(f"{entry.path.stem}-state/*.json"), beside.parent / "meta.json"]
    small = [path for path in states if folder in path.parents and path.is_file() and path.stat().st_size <= _SMALL]
    return [entry.path, *small, *beside.glob("ema/*.*")]


def _tail(folder: Path, others: Sequence[Path]) -> str:
    """The last parts of a folder's path, as many as tell it from those of other runs."""
    for count in range(1, len(folder.parts)):
        tail = folder.parts[-count:]
        if all(other == folder or folder in other.parents or other.parts[-count:] != tail for other in others):
            return "/".join(tail)
    return folder.name


def _to_send(recipe: Recipe, runs: Container[str | None]) -> Recipe:
    """A recipe that needs no file of this machine, for jobs of these runs."""
    models = recipe.models
    read = read_description(Path(models)) if isinstance(models, str | Path) else models
    wanted = {value: run for value, run in recipe.runs.items() if run in runs}
    return Recipe(recipe.spec, read, wanted, recipe.batch)


def _imported() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise HostError(
            "Ray is not installed", remedy='Install it: pip install "eridiffusion[cli,ray]"'
        ) from error
    return ray


async def _connected(ray: Any, address: str | None) -> None:
    """Join a cluster, or begin one; raises HostError."""
    joining = asyncio.ensure_future(asyncio.to_thread(_init, ray, address))
    try:
        await asyncio.shield(joining)
    except asyncio.CancelledError:
        await asyncio.wait([joining])
        await asyncio.to_thread(ray.shutdown)
        raise


def _init(ray: Any, address: str | None) -> None:
    # In a thread: in the main one Ray would take SIGTERM for itself.
    named = address or os.environ.get("RAY_ADDRESS") or ""
    _require_reachable(named)
    alone = {} if named else {"include_dashboard": False}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **alone)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise HostError(
            f"the Ray cluster {named or 'of this machine'} cannot be used: {' '.join(str(error).split())}",
            remedy="Ray and Python must be the cluster's versions, and RAY_AUTH_TOKEN its token where it asks for one.",
            kind="down",
        ) from error


def _require_reachable(address: str) -> None:
    """Raise HostError at once where nothing listens at `host:port`: Ray would try for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), _PARTING).close()
    except OSError as error:
        raise HostError(
            f"no Ray cluster answers at {address} ({error.strerror or error})",
            remedy="Check the address and port, and that the cluster runs: ray status",
            kind="down",
        ) from error


def _count(ray: Any) -> int:
    return int(ray.cluster_resources().get("GPU", 0)) or len(_cpus(ray))


def _share(ray: Any, workers: int) -> dict[str, float]:
    """What of the cluster a worker has to itself: a GPU, else as much as the smallest node has for its part of them."""
    if ray.cluster_resources().get("GPU"):
        return {"num_gpus": 1, "num_cpus": 1}
    cpus = _cpus(ray)
    return {"num_cpus": max(1, min(cpus) // -(-workers // len(cpus)))}


def _cpus(ray: Any) -> list[int]:
    """CPUs of each node that has any for work: heads of larger clusters often have none."""
    found = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
    return [count for count in found if count] or [1]


async def _result(reference: Any) -> Any:
    return await reference


def _gone(error: Any, opened: bool) -> HostError:
    """What it means that an actor ended by itself: one that never answered has not this pack, or another one."""
    said = [line.strip() for line in str(error).splitlines() if "Error" in line]
    why = said[-1] if said else str(error)
    if opened:
        return HostError(f"it is gone ({why})", remedy="Read its log on the cluster.", kind="lost", details=str(error))
    return HostError(
        f"its Python cannot run this pack ({why})",
        remedy='Install the same version there: pip install "eridiffusion[cli,ray]"',
        kind="protocol",
        details=str(error),
    )
