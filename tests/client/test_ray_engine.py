"""A real Ray cluster of this machine: two workers with a ComfyUI each, one of them killed in the middle, and a third
one by its URL, whose sweep is cancelled."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client import ray_engine
from comfyui_eridiffusion.client.grid import Grid, Job, plan_grid
from comfyui_eridiffusion.client.jobs import sample_grid
from comfyui_eridiffusion.client.ray_engine import RayPlace, ray_places
from comfyui_eridiffusion.client.ray_worker import RayWorker
from comfyui_eridiffusion.client.workers import Place, SoFar, sample_on
from comfyui_eridiffusion.compare.manifest import read
from comfyui_eridiffusion.dev.local_host import own_host
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.tests.client.test_cli import eri
from comfyui_eridiffusion.tests.client.test_several_hosts import DOWN, shown
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, short
from comfyui_eridiffusion.tests.waiting import until

ray = pytest.importorskip("ray")

MODELS = EXAMPLES / "models" / "flux.yaml"
STEPS = [0, 50, 100, 200]
#: A run that the tests' ComfyUIs see.
SEEN = EXAMPLES / "runs" / "flux_zorp"


class Watched:
    """A worker that begins when all have been opened; the one to be killed dies in its first job."""

    def __init__(self, place: RayPlace, every: list[Watched], dies: bool) -> None:
        self._place, self._every, self._dies = place, every, dies
        self.ready = asyncio.Event()
        self.address = ""
        self.pid = 0
        every.append(self)

    @property
    def name(self) -> str:
        return self._place.name

    async def open(self) -> Any:
        info = await self._place.open()
        actor: Any = self._place._actor
        self.address, self.pid = await actor.__ray_call__.remote(lambda worker: (worker._url, os.getpid()))
        return info

    async def prepare(self, grid: Grid) -> None:
        await self._place.prepare(grid)
        self.ready.set()

    async def do(self, recipe: Any, job: Job, so_far: SoFar) -> Any:
        for one in self._every:
            await one.ready.wait()
        doing = asyncio.ensure_future(self._place.do(recipe, job, so_far))
        if self._dies:
            await until(lambda: asyncio.to_thread(busy, self.address), "it samples")
            os.kill(self.pid, signal.SIGKILL)
        return await doing

    async def close(self) -> None:
        await self._place.close()


def answered(url: str) -> bytes | None:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def busy(url: str) -> bool:
    return b'"queue_running": []' not in (answered(f"{url}/queue") or b'"queue_running": []')


async def test_a_worker_is_killed_and_a_sweep_is_cancelled(
    host_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pictures are those of one ComfyUI, bit for bit, and neither an actor nor a ComfyUI stays behind."""
    spec, run = short("flux", steps=2), tmp_path / "sent" / "hexa"  # no ComfyUI sees this folder
    shutil.copytree(SEEN, run)
    told: list[str] = []
    every: list[Watched] = []

    def plan(folder: str, run: Path) -> Grid:
        return plan_grid(spec, STEPS, tmp_path / folder, models=MODELS, runs={"": str(run)})

    async with ray_places(None, [], 2, own_host, tmp_path / "shared") as places:
        watched: list[Place] = [Watched(place, every, dies) for place, dies in zip(places, (True, False), strict=True)]
        await sample_on(watched, lambda _: plan("shared", run), told.append, lambda *_: None)
        await streamed(places[0]._files, tmp_path)
        await of_another_version(host_server.url, places[0]._files, tmp_path, monkeypatch)
        await cancelled(host_server, places[0]._files, tmp_path)
    assert len(told) == 1
    assert f"{every[0].name} is left out from now on: it is gone" in told[0]
    made = Counter((line.step, line.item, line.worker) for line in read(tmp_path / "shared" / spec.name))
    assert made == Counter((step, item, every[1].name) for step in STEPS for item in (0, 2))
    await sample_grid(host_server.url, plan("alone", SEEN), tmp_path / "alone", None)
    assert shown(tmp_path / "shared") == shown(tmp_path / "alone")
    await until(lambda: all(answered(one.address) is None for one in every), "both ComfyUIs have ended")
    assert not ray.is_initialized()


async def of_another_version(url: str, files: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = RayPlace(ray.remote(RayWorker).options(num_cpus=0).remote(url, None), "old", files, folder)
    with monkeypatch.context() as here:
        here.setattr(ray_engine, "pack_version", lambda *_: "9.9.9")
        with pytest.raises(HostError, match=r"its pack is version .+, this one is 9\.9\.9\. Install the same"):
            await place.open()
    await place.close()


async def streamed(files: Any, folder: Path) -> None:
    """The first picture of a job is here while the second one is still sampled."""
    spec = replace(short("flux", steps=60), name="streamed")
    grid = plan_grid(spec, [50], folder / "streamed", models=MODELS, runs={"": str(folder / "sent" / "hexa")})
    actor = ray.remote(RayWorker).options(num_cpus=0).remote(None, own_host)
    place = RayPlace(actor, "own", files, folder / "streamed")
    await place.open()
    await place.prepare(grid)
    counts: list[int] = []
    doing = asyncio.ensure_future(place.do(grid.recipe, grid.jobs[0], counts.append))
    there = folder / "streamed" / spec.name
    await until(lambda: len(list(there.rglob("*.png"))) == 1 or doing.done(), "the first picture is here")
    assert not doing.done()
    done = await doing
    assert sorted(done.pictures.values()) == sorted(there.rglob("*.png"))
    await place.close()


async def cancelled(host: Any, files: Any, folder: Path) -> None:
    """Cancel a sweep on a worker that uses a ComfyUI by its URL, while it samples: ComfyUI stops and keeps nothing."""
    spec = replace(short("flux", steps=500), name="cancelled_by_ray")
    grid = plan_grid(spec, [50], folder / "cancelled", models=MODELS, runs={"": str(SEEN)})
    actor = ray.remote(RayWorker).options(num_cpus=0).remote(host.url, None)
    place = RayPlace(actor, "by its URL", files, folder / "cancelled", sends=False)
    sampling = asyncio.ensure_future(sample_on([place], lambda _: grid, lambda _: None, lambda *_: None))
    await until(lambda: asyncio.to_thread(busy, host.url), "it samples")
    sampling.cancel()
    await asyncio.wait([sampling])
    assert sampling.cancelled()
    await until(lambda: not busy(host.url), "it is idle")
    assert not list((host.output_dir / spec.name).rglob("*.png"))


def test_no_cluster_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--steps", "0", "-o", tmp_path, "--engine", "ray", "--address", DOWN.removeprefix("http://"), "--json"]
    assert eri("sweep", EXAMPLES / "configs" / "flux.yaml", *words) == 1
    assert "no Ray cluster answers at 127.0.0.1:9" in json.loads(capsys.readouterr().out)["error"]["message"]
