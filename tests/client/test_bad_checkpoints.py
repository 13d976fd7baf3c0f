"""Checkpoints that are cut off, replaced or deleted, and a folder that vanishes, while their pictures are made: the
cells are named, nothing half made stays, the rest goes on, and what is missing is made once it is mended."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client import jobs
from comfyui_eridiffusion.client.grid import Grid, plan_grid
from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.jobs import sample_grid
from comfyui_eridiffusion.client.several_hosts import HostPlace
from comfyui_eridiffusion.client.watch import Told, Watch
from comfyui_eridiffusion.client.workers import sample_on
from comfyui_eridiffusion.compare.axes import variants
from comfyui_eridiffusion.compare.manifest import read
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.lora.fingerprint import fingerprint
from comfyui_eridiffusion.spec import SampleSpec
from comfyui_eridiffusion.tests.client.test_sweep_in_host import short
from comfyui_eridiffusion.tests.client.test_watch import heard, stopped
from comfyui_eridiffusion.tests.client.watched import MODELS, Place, checkpoint

STRENGTHS = variants({"strength": [0.5, 1.0]})


def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI waits no half minute for the checkpoint of step 100 to be whole."""
    real = jobs.sample_step

    async def sample_step(client: HostClient, workflow: Any, step: int | None, *more: Any) -> Any:
        if step == 100:
            lora = workflow.graph.nodes["lora"]
            nodes = {**workflow.graph.nodes, "lora": lora._replace(inputs={**lora.inputs, "wait": 0.0})}
            workflow = replace(workflow, graph=replace(workflow.graph, nodes=nodes))
        return await real(client, workflow, step, *more)

    monkeypatch.setattr(jobs, "sample_step", sample_step)


def cut(path: Path) -> None:
    path.write_bytes(checkpoint(100).read_bytes()[:-1000])


@pytest.mark.parametrize("hosts", [1, 2])
async def test_a_sweep(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hosts: int) -> None:
    for step in (50, 100, 200, 400):
        shutil.copy(checkpoint(step), place.run)
    files = {step: place.run / checkpoint(step).name for step in (100, 200, 400)}

    def plan() -> Grid:
        steps = [50, 100, 200, 400]
        return plan_grid(
            short("flux", steps=1), steps, tmp_path, STRENGTHS, models=MODELS, runs={"": str(place.run)}
        )  # fmt: skip

    async def sweep() -> None:
        if hosts == 1:
            await sample_grid(place.url, plan(), tmp_path, None)
        else:
            places = [HostPlace(place.url, tmp_path)]
            await sample_on(places, lambda _: plan(), lambda _: None, lambda *_: None)

    real = jobs.do_job

    async def do_job(worker: Any, recipe: Any, job: Any, *more: Any) -> Any:
        if job.step == 100:
            cut(files[100])
        elif job.step == 200 and job.variant == STRENGTHS[1]:
            shutil.copy(checkpoint(700), files[200])
        elif job.step == 400:
            files[400].unlink(missing_ok=True)
        return await real(worker, recipe, job, *more)

    with monkeypatch.context() as here:
        no_wait(here)
        for module in ("jobs", "several_hosts"):
            here.setattr(f"comfyui_eridiffusion.client.{module}.do_job", do_job)
        with pytest.raises(HostError) as caught:
            await sweep()
    bad = ", ".join(f"step {step} (strength {of}), samples 0, 2" for step in (100, 400) for of in ("0.5", "1"))
    message = str(caught.value)
    assert message.startswith(f"{bad} could not be made. ")
    assert (files[100].name in message, "no checkpoint of step 400" in message) == (True, True)
    assert "step 200 (strength 0.5), samples 0, 2: ComfyUI sampled another checkpoint than" in message
    root = tmp_path / "flux_zorp"
    lines = read(root)
    whole = {(of, step) for of in (0.5, 1.0) for step in (50, 200)}
    assert {(line.axes["strength"], line.step) for line in lines} == whole
    there = {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
    assert there == {line.file for line in lines} | {"manifest.jsonl"}
    if hosts == 2:
        return

    shutil.copy(checkpoint(100), files[100])
    shutil.copy(checkpoint(400), files[400])
    todo = [(job.step, job.variant.values["strength"]) for job in plan().jobs]
    assert todo == [(100, 0.5), (100, 1.0), (200, 0.5), (400, 0.5), (400, 1.0)]
    await sweep()
    assert plan().jobs == []
    assert {line.checkpoint for line in read(root) if line.step == 200} == {fingerprint(checkpoint(700))}


async def test_a_watch(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_wait(monkeypatch)
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    changes = {
        "step 100": lambda path: cut(path),
        "step 200": lambda path: shutil.copy(checkpoint(700), path),
        "step 400": lambda path: path.unlink(),
    }

    @contextlib.contextmanager
    def progress(title: str, _: SampleSpec) -> Iterator[Any]:
        change = changes.pop(title, None)
        path = place.run / checkpoint(int(title.removeprefix("step "))).name
        if change is not None and title != "step 200":
            change(path)
            change = None

        def report(_: Any, event: Any) -> None:
            nonlocal change
            if change is not None and getattr(event, "node", None) == "sample":  # its LoRA is read
                change(path)
                change = None

        yield report

    def said(what: str) -> list[str]:
        return [entry.text for entry in told if entry.what == what]

    async with HostClient(place.url) as client:
        watcher = Watch(short("flux", 2), place.run, tmp_path, models=MODELS, tell=told.append, progress=progress)
        task = asyncio.create_task(watcher.forever(client, 0.3))
        await heard(task, told, "sampled")
        shutil.copy(checkpoint(100), place.run)
        await heard(task, told, "failed")
        assert checkpoint(100).name in said("failed")[0]
        shutil.copy(checkpoint(100), place.run)
        await heard(task, told, "sampled", 2)
        shutil.copy(checkpoint(200), place.run)
        await heard(task, told, "sampled", 4)
        assert any("was replaced while it was sampled" in text for text in said("waiting"))
        shutil.copy(checkpoint(400), place.run)
        await heard(task, told, "skipped")
        for turn in (1, 2):  # a network drive, twice
            away = place.run.rename(place.run.with_name(f"{place.run.name}_away"))
            await heard(task, told, "folder", turn)
            away.rename(place.run)
            shutil.copy(checkpoint(400 if turn == 1 else 700), place.run)
            await heard(task, told, "sampled", 4 + turn)
        await stopped(task)
    assert watcher.summary.failed == {}
    assert "is not there any more. Looking again every 0.3 s." in said("folder")[0]
    lines = read(tmp_path / "flux_zorp")
    assert {line.step: line.checkpoint for line in lines} == {
        step: fingerprint(checkpoint(700 if step == 200 else step)) for step in (50, 100, 200, 400, 700)
    }
