"""Lines that drop, hosts that die, come back, stay away or hang: nothing is made twice, nothing is missing."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client import events
from comfyui_eridiffusion.client.errors import HostError
from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.local_host import LocalHost, free_port
from comfyui_eridiffusion.client.recovery import run_through
from comfyui_eridiffusion.client.sweep import fetch, sweep
from comfyui_eridiffusion.spec import SampleSpec
from comfyui_eridiffusion.tests.client.relay import Relay
from comfyui_eridiffusion.tests.client.test_host_client import slow_graph, wait_until_idle
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, short
from comfyui_eridiffusion.workflows import Workflow

MODELS = EXAMPLES / "models" / "flux.yaml"
STEPS = (0, 50, 100)


def pictures(folder: Path) -> dict[str, int]:
    """Time of writing by file: a picture that is made again is written again."""
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.png")}


async def prompts_of(url: str) -> int:
    """How many prompts the host has run since it was started, by its own history."""
    async with HostClient(url) as client:
        return len(await client._json("GET", "/history"))


async def test_cut_line_mid_sweep_runs_each_step_once(host_server: Any) -> None:
    """The line is cut in the middle of every step; the host's history counts what it was asked to do."""
    spec = short("flux", steps=6)
    before = await prompts_of(host_server.url)
    cuts: Counter[int] = Counter()
    async with Relay(host_server.url) as relay, HostClient(relay.url) as client:

        def report(number: int, _: Workflow, event: events.Event | None) -> None:
            if isinstance(event, events.StepProgress) and event.node == "sample" and not cuts[number]:
                cuts[number] += 1
                relay.cut()

        done = await sweep(client, spec, STEPS, models=MODELS, run=spec.name, report=report, timeout=120)
    assert len(cuts) == len(STEPS)
    assert await prompts_of(host_server.url) - before == len(STEPS)
    assert [(image.step, image.item.index) for image in done.images] == [(s, i) for s in STEPS for i in (0, 2)]


def two_savers() -> SampleSpec:
    """Two prompts that cannot share a chain, saved one after the other, in a layout that puts the time into names."""
    spec = short("flux", steps=6)
    items = [spec.items[0], replace(spec.items[1], lora_scale=0.5)]
    return replace(spec, items=items, layout="kohya")


async def test_host_killed_and_restarted_mid_sweep(tmp_path: Path) -> None:
    """Killed in its second step, between the step's two files.

    The first step's files are not touched again; the file written just before the crash is written over, under its old
    name although that carries the time; the new host makes the others.
    """
    spec = two_savers()
    output, port = tmp_path / "output", free_port()
    restarts: list[asyncio.Task[LocalHost]] = []
    kept: dict[str, int] = {}
    first = LocalHost(port=port, output_dir=output).start()
    second = LocalHost(port=port, output_dir=output)
    try:

        def report(number: int, _: Workflow, event: events.Event | None) -> None:
            if number == 1 and isinstance(event, events.Executed) and event.images and not restarts:
                os.kill(first.pid, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
                kept.update(pictures(output))
                restarts.append(asyncio.create_task(asyncio.to_thread(restart)))

        def restart() -> LocalHost:
            first.stop()
            return second.start()

        async with HostClient(f"http://127.0.0.1:{port}", patience=240) as client:
            done = await sweep(client, spec, STEPS, models=MODELS, run=spec.name, report=report, timeout=200)
            await restarts[0]
            assert len(await client._json("GET", "/history")) == 2  # steps 50 and 100; step 0 was the first host's
            fetched = await fetch(client, done, tmp_path / "got")
    finally:
        if restarts:
            await asyncio.gather(*restarts, return_exceptions=True)
        first.stop()
        second.stop()
    early = {name for name in kept if "_000050_" in name}
    assert (len(kept), len(early)) == (3, 1)  # it was killed where it should be
    after = pictures(output)
    assert {name: after[name] for name in kept if name not in early} == {
        name: kept[name] for name in kept if name not in early
    }
    assert all(after[name] > kept[name] for name in early)
    assert len(after) == len(fetched.files) == 6
    assert sorted(path.name for path in output.rglob("*") if path.is_file() and path.suffix != ".png") == []
    assert all(path.stat().st_size for path in fetched.files.values())


async def test_host_that_never_comes_back(host_server: Any) -> None:
    """The limit is `patience`, once, not once per layer that waits."""
    spec = short("flux", steps=6)
    gone: list[float] = []
    async with Relay(host_server.url) as relay, HostClient(relay.url, patience=2.0) as client:

        def report(_: int, __: Workflow, event: events.Event | None) -> None:
            if isinstance(event, events.StepProgress) and not gone:
                gone.append(time.monotonic())
                relay.refuse = True
                relay.cut()

        with pytest.raises(HostError, match=r"did not come back within 2 s") as caught:
            await sweep(client, spec, [200], models=MODELS, run=spec.name, report=report)
    assert caught.value.kind == "down"
    assert 2.0 <= time.monotonic() - gone[0] < 6.0


async def test_time_limit_counts_the_time_a_host_is_away(host_server: Any) -> None:
    """Longer than `patience` would wait, shorter than the prompt takes."""
    away: list[float] = []
    async with Relay(host_server.url) as relay, HostClient(relay.url, patience=60) as client:

        def cut(event: events.Event) -> None:
            if isinstance(event, events.NodeStarted) and event.node == "shrink" and not away:
                away.append(time.monotonic())
                relay.refuse = True
                relay.cut()

        with pytest.raises(HostError, match=r"not done after .* s") as caught:
            await run_through(client, slow_graph(600, mark=41), cut, timeout=3)
        assert caught.value.kind == "timeout"
        assert time.monotonic() - away[0] < 10
    async with HostClient(host_server.url) as direct:
        await direct.interrupt()
        await wait_until_idle(direct)


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to hang a process here")
async def test_host_that_hangs(host_server: Any) -> None:
    """A stopped process keeps its port open and accepts connections; it only never answers."""
    async with HostClient(host_server.url, timeout=1.0, patience=2.0) as client:
        prompt_id = await client.queue_prompt(slow_graph(400, mark=31))
        os.kill(host_server.pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            with pytest.raises(HostError, match="stopped answering and did not come back within 2 s") as caught:
                await client.wait(prompt_id)
        finally:
            os.kill(host_server.pid, signal.SIGCONT)
        assert caught.value.kind == "timeout"
        assert time.monotonic() - began < 15
    async with HostClient(host_server.url) as client:
        await client.cancel(prompt_id)
