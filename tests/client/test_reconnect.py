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

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.recovery import run_through
from comfyui_eridiffusion.client.sweep import fetch, sweep
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.protocol import events
from comfyui_eridiffusion.spec import SampleSpec
from comfyui_eridiffusion.tests.client.relay import Relay
from comfyui_eridiffusion.tests.client.test_host_client import ENDLESS, slow_graph, wait_until_idle
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, short
from comfyui_eridiffusion.tests.waiting import PATIENCE, until
from comfyui_eridiffusion.workflows import Workflow

MODELS = EXAMPLES / "models" / "flux.yaml"
STEPS = (0, 50, 100)


def pictures(folder: Path) -> dict[str, int]:
    """Time of writing by file: a picture that is made again is written again."""
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.png")}


async def prompts_of(url: str) -> int:
    """How many prompts the host has run since it was started, by its own history, once it is idle."""
    async with HostClient(url) as client:
        await wait_until_idle(client)
        return len(await client._json("GET", "/history"))


def step_of(workflow: Workflow) -> int:
    step: int = workflow.api()["lora"]["inputs"]["step"]
    return step


async def test_cut_line_mid_sweep_runs_each_step_once(host_server: Any) -> None:
    """The line is cut in the middle of every step; the host's history counts what it was asked to do."""
    spec = short("flux", steps=6)
    before = await prompts_of(host_server.url)
    cuts: Counter[int] = Counter()
    async with Relay(host_server.url) as relay, HostClient(relay.url) as client:

        def report(workflow: Workflow, event: events.Event | None) -> None:
            step = step_of(workflow)
            if isinstance(event, events.StepProgress) and event.node == "sample" and not cuts[step]:
                cuts[step] += 1
                relay.cut()

        done = await sweep(client, spec, STEPS, models=MODELS, run=spec.name, report=report, timeout=PATIENCE)
    assert len(cuts) == len(STEPS)
    assert await prompts_of(host_server.url) - before == len(STEPS)
    assert [(image.step, image.item.index) for image in done.images] == [(s, i) for s in STEPS for i in (0, 2)]


def two_savers() -> SampleSpec:
    """Two prompts that cannot share a chain, saved one after the other, in a layout that puts the time into names."""
    spec = short("flux", steps=12)
    items = [spec.items[0], replace(spec.items[1], lora_scale=0.5)]
    return replace(spec, items=items, layout="kohya", name="killed")


async def test_host_killed_mid_sweep_and_another_in_its_place(host_server: Any, tmp_path: Path) -> None:
    """Killed in its second step, between the step's two files; a second later a host answers that knows nothing of it.

    The first step's files are not touched again; the file written just before the crash is written over, under its old
    name although that carries the time; the new host makes the others.
    """
    spec, output = two_savers(), host_server.output_dir / "killed"
    kept: dict[str, int] = {}
    before = await prompts_of(host_server.url)
    with LocalHost(output_dir=host_server.output_dir) as first:
        async with Relay(first.url) as relay, HostClient(relay.url, patience=PATIENCE) as client:

            def report(workflow: Workflow, event: events.Event | None) -> None:
                if step_of(workflow) == STEPS[1] and isinstance(event, events.Executed) and event.images and not kept:
                    os.kill(first.pid, signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
                    kept.update(pictures(output))
                    asyncio.get_running_loop().call_later(1.0, setattr, relay, "target", host_server.url)

            done = await sweep(client, spec, STEPS, models=MODELS, run="flux_zorp", report=report, timeout=PATIENCE)
            fetched = await fetch(client, done, tmp_path)
    assert relay.refused > 0
    assert await prompts_of(host_server.url) - before == 2  # steps 50 and 100; step 0 was the first host's
    early = {name for name in kept if "_000050_" in name}
    assert (len(kept), len(early)) == (3, 1)  # it was killed where it should be
    after = pictures(output)
    assert {name: after[name] for name in kept if name not in early} == {
        name: kept[name] for name in kept if name not in early
    }
    assert all(after[name] > kept[name] for name in early)
    assert len(after) == len(fetched) == 6
    assert sorted(path.name for path in output.rglob("*") if path.is_file() and path.suffix != ".png") == []
    assert all(path.stat().st_size for path in fetched.values())


async def test_host_that_never_comes_back(host_server: Any) -> None:
    """The limit is `patience`, once, not once per layer that waits."""
    spec = short("flux", steps=6)
    gone: list[float] = []
    async with Relay(host_server.url) as relay, HostClient(relay.url, patience=2.0) as client:

        def report(_: Workflow, event: events.Event | None) -> None:
            if isinstance(event, events.StepProgress) and not gone:
                gone.append(time.monotonic())
                relay.refuse = True
                relay.cut()

        with pytest.raises(HostError, match=r"did not come back within 2 s") as caught:
            await sweep(client, spec, [200], models=MODELS, run=spec.name, report=report)
    assert caught.value.kind == "down"
    assert time.monotonic() - gone[0] >= 2.0
    # Two questions a second and one per layer, each in two connections (aiohttp's own second try), and the WebSocket's
    # attempts: 20, fewer on a slow machine. A layer that waited anew would make it 29.
    assert relay.refused <= 24
    async with HostClient(host_server.url) as direct:
        await wait_until_idle(direct)


async def away_until(url: str, limit: float) -> bool:
    """A prompt whose line is cut for good when it runs, up to `limit` seconds; False where it did not run before."""
    away = False
    async with Relay(url) as relay, HostClient(relay.url, patience=PATIENCE) as client:

        def cut(event: events.Event) -> None:
            nonlocal away
            if isinstance(event, events.NodeStarted) and event.node == "shrink":
                away = relay.refuse = True
                relay.cut()

        with pytest.raises(HostError, match=r"not done after .* s") as caught:
            await run_through(client, slow_graph(ENDLESS, mark=41), cut, timeout=limit)
    assert caught.value.kind == "timeout"
    async with HostClient(url) as direct:
        await direct.interrupt()
        await wait_until_idle(direct)
    return away


async def test_time_limit_counts_the_time_a_host_is_away(host_server: Any) -> None:
    """Longer than the prompt takes to begin, shorter than `patience` would wait and the prompt takes."""
    for limit in (2, 10, 50):
        if await away_until(host_server.url, limit):
            return
    pytest.fail("the prompt did not begin within 50 s")


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no way to hang a process here")
async def test_host_that_hangs(host_server: Any) -> None:
    """A stopped process keeps its port open and accepts connections; it only never answers."""
    async with HostClient(host_server.url) as direct:
        prompt_id = await direct.queue_prompt(slow_graph(ENDLESS, mark=31))
        async with HostClient(host_server.url, timeout=4.0, patience=2.0) as client:
            waiting = asyncio.create_task(client.wait(prompt_id, timeout=PATIENCE))
            await until(lambda: client.met, "the client is connected")
            os.kill(host_server.pid, signal.SIGSTOP)
            try:
                with pytest.raises(HostError, match="stopped answering and did not come back within 2 s") as caught:
                    await waiting
            finally:
                os.kill(host_server.pid, signal.SIGCONT)
        assert caught.value.kind == "timeout"
        await direct.cancel(prompt_id)
        await wait_until_idle(direct)
