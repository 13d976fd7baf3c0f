"""The client against a real host."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient, PromptResult
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.protocol import events
from comfyui_eridiffusion.tests.client.relay import Relay
from comfyui_eridiffusion.tests.waiting import PATIENCE, until

AS_WRITTEN = {"family": "auto", "trainer": "auto", "trigger_word": "", "items": ""}


def image_graph(color: int = 0xFF8000, width: int = 40) -> dict[str, Any]:
    return {
        "make": {"class_type": "EmptyImage", "inputs": {"width": width, "height": 24, "batch_size": 2, "color": color}},
        "keep": {"class_type": "SaveImage", "inputs": {"images": ["make", 0], "filename_prefix": "client_test"}},
    }


#: Items of a slow graph that is ended, never waited for: more than half a minute of work.
ENDLESS = 2000


def slow_graph(items: int = 40, mark: int = 0) -> dict[str, Any]:
    """Some 20 ms per item on an idle core, little memory; the host can be interrupted between items."""
    samples = [{"index": i, "prompt": "x", "width": 16, "height": 16, "steps": 1, "seed": mark} for i in range(items)]
    spec = {"eri_spec": 1, "family": "flux", "trainer": "native", "items": samples}
    return {
        "spec": {"class_type": "EriSampleSpec", "inputs": {"config": json.dumps(spec), **AS_WRITTEN}},
        "make": {
            "class_type": "EmptyImage",
            "inputs": {"width": 1024, "height": 1024, "batch_size": 1, "color": mark},
        },
        "shrink": {
            "class_type": "ImageScale",
            "inputs": {
                "image": ["make", 0],
                "upscale_method": "lanczos",
                "width": ["spec", 2],
                "height": 16,
                "crop": "disabled",
            },
        },
        "keep": {"class_type": "PreviewImage", "inputs": {"images": ["shrink", 0]}},
    }


async def wait_until_idle(client: HostClient) -> None:
    async def idle() -> bool:
        return await client.queued() == ([], [])

    await until(idle, "the host's queue is empty")


async def wait_until_running(client: HostClient, prompt_id: str | None = None) -> None:
    """Until the host has taken up this prompt, or any: it may leave one pending for a moment after it has queued it."""

    async def running() -> bool:
        ids, _ = await client.queued()
        return bool(ids) and prompt_id in (None, *ids)

    await until(running, "the host runs the prompt")


async def test_stats_and_schemas(host_server: Any) -> None:
    async with HostClient(host_server.url.removeprefix("http://")) as client:
        stats = await client.system_stats()
        assert stats["system"]["comfyui_version"].count(".") == 2
        everything = await client.object_info()
        assert (await client.object_info("VAEDecode"))["VAEDecode"] == everything["VAEDecode"]
        assert (
            await client.choices("KSampler", "sampler_name")
            == everything["KSampler"]["input"]["required"]["sampler_name"][0]
        )
        assert await client.choices("EriLoraAtStep", "mode") == ["exact", "nearest", "at_or_before", "latest"]
        assert await client.choices("EmptyImage", "width") is None
        with pytest.raises(HostError, match="NoSuchNode") as caught:
            await client.object_info("NoSuchNode")
        assert caught.value.kind == "missing_node"


async def test_run_images_and_download(host_server: Any, tmp_path: Path) -> None:
    seen: list[events.Event] = []
    async with HostClient(host_server.url) as client:
        result = await client.run(image_graph(), seen.append)
        refs = result.images["keep"]
        assert len(refs) == 2
        picture = Image.open(io.BytesIO(await client.view(refs[1])))
        assert (picture.size, picture.getpixel((3, 3))) == ((40, 24), (255, 128, 0))
        target = await client.download(refs[0], tmp_path / "a" / "b.png")
        on_disk = Path(host_server.output_dir) / refs[0].subfolder / refs[0].filename
        assert target.read_bytes() == on_disk.read_bytes()
        assert list(target.parent.iterdir()) == [target]
        record = await client.history(result.prompt_id)
        assert record is not None
        assert record["outputs"] == result.outputs
    assert {type(event) for event in seen} >= {events.Started, events.NodeStarted, events.Executed, events.Succeeded}
    assert [event.node for event in seen if isinstance(event, events.NodeStarted)] == ["make", "keep"]
    assert [event.images for event in seen if isinstance(event, events.Executed)] == [refs]
    assert {event.prompt_id for event in seen} == {result.prompt_id}
    assert isinstance(seen[-1], events.Succeeded)


async def test_two_prompts_do_not_mix(host_server: Any) -> None:
    async with HostClient(host_server.url) as client:
        first = await client.queue_prompt(image_graph(1, 16))
        second = await client.queue_prompt(image_graph(2, 24))
        results = await asyncio.gather(client.wait(first), client.wait(second))
        sizes = [Image.open(io.BytesIO(await client.view(result.images["keep"][0]))).width for result in results]
    assert sizes == [16, 24]


@pytest.mark.parametrize(
    ("node", "change", "field", "words"),
    [
        ("make", {"width": -5}, "width", "smaller than min"),
        ("make", {"width": None}, "width", "missing"),
        ("make", {"width": "wide"}, "width", "wide"),
        ("keep", {"images": ["make", 0, 1]}, "images", "link"),
        ("load", {"ckpt_name": "no_such.safetensors"}, "ckpt_name", "no_such.safetensors"),
    ],
)
async def test_refused_graph_names_node_and_input(
    host_server: Any, node: str, change: dict[str, Any], field: str, words: str
) -> None:
    graph = image_graph()
    if node == "load":
        graph = {
            "load": {"class_type": "CheckpointLoaderSimple", "inputs": {}},
            "code": {"class_type": "VAEDecode", "inputs": {"samples": ["empty", 0], "vae": ["load", 2]}},
            "empty": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
            "keep": {"class_type": "SaveImage", "inputs": {"images": ["code", 0], "filename_prefix": "x"}},
        }
    graph[node]["inputs"].update(change)
    graph[node]["inputs"] = {key: value for key, value in graph[node]["inputs"].items() if value is not None}
    async with HostClient(host_server.url) as client:
        with pytest.raises(HostError) as caught:
            await client.queue_prompt(graph)
        assert await client.queued() == ([], [])
    error = caught.value
    assert (error.kind, error.node, error.field) == ("validation", node, field)
    assert error.class_type == graph[node]["class_type"]
    assert words in str(error)
    assert repr(node) in str(error)


async def test_missing_node_and_no_output(host_server: Any) -> None:
    async with HostClient(host_server.url) as client:
        with pytest.raises(HostError, match="NoSuchNode") as caught:
            await client.queue_prompt({"a": {"class_type": "NoSuchNode", "inputs": {}}, **image_graph()})
        assert (caught.value.kind, caught.value.class_type, caught.value.node) == ("missing_node", "NoSuchNode", "a")
        with pytest.raises(HostError, match=r"EriNoSuchNode.*Update ComfyUI, or install the node pack"):
            await client.queue_prompt({"a": {"class_type": "EriNoSuchNode", "inputs": {}}, **image_graph()})
        only_input = {"make": image_graph()["make"]}
        with pytest.raises(HostError, match="no outputs"):
            await client.queue_prompt(only_input)


async def test_graph_that_would_run_in_part_is_taken_back(host_server: Any) -> None:
    """The host answers 200 with node_errors when only some outputs are valid."""
    graph = image_graph(0x123456)
    graph["other"] = {"class_type": "SaveImage", "inputs": {"images": ["bad", 0], "filename_prefix": "x"}}
    graph["bad"] = {"class_type": "EmptyImage", "inputs": {"width": 0, "height": 8, "batch_size": 1, "color": 0}}
    async with HostClient(host_server.url) as client:
        blocker = await client.queue_prompt(slow_graph(8, mark=11))
        with pytest.raises(HostError) as caught:
            await client.queue_prompt(graph)
        assert (caught.value.node, caught.value.field) == ("bad", "width")
        running, pending = await client.queued()
        assert {*running, *pending} <= {blocker}  # the host may not have taken it up yet, or be done with it
        await client.cancel(blocker)
        await wait_until_idle(client)


async def test_failure_in_a_node(host_server: Any) -> None:
    graph = {
        "spec": {
            "class_type": "EriSampleSpec",
            "inputs": {
                "config": "just: nonsense",
                "family": "auto",
                "trainer": "auto",
                "trigger_word": "",
                "items": "",
            },
        },
        "show": {"class_type": "PreviewAny", "inputs": {"source": ["spec", 10]}},
    }
    async with HostClient(host_server.url) as client:
        with pytest.raises(HostError) as caught:
            await client.run(graph)
    error = caught.value
    assert (error.kind, error.node, error.class_type) == ("execution", "spec", "EriSampleSpec")
    assert "UnknownConfigError" in (error.details or "")
    assert "Traceback" not in str(error)
    assert len(str(error)) > len("node 'spec' (EriSampleSpec): ")


async def test_out_of_memory(host_server: Any) -> None:
    """4 PiB: more than any address space, so that no allocator can promise it."""
    graph = {
        "big": {
            "class_type": "EmptyHunyuanLatentVideo",
            "inputs": {"width": 16384, "height": 16384, "length": 16381, "batch_size": 4096},
        },
        "save": {"class_type": "SaveLatent", "inputs": {"samples": ["big", 0], "filename_prefix": "x"}},
    }
    async with HostClient(host_server.url) as client:
        with pytest.raises(HostError, match="ran out of memory") as caught:
            await client.run(graph)
    assert (caught.value.kind, caught.value.node) == ("out_of_memory", "big")


async def test_interrupt(host_server: Any) -> None:
    async with HostClient(host_server.url) as client:
        prompt_id = await client.queue_prompt(slow_graph(ENDLESS, mark=1))
        kinds = []
        async for event in client.events(prompt_id):
            kinds.append(type(event))
            if isinstance(event, events.NodeStarted) and event.node == "shrink":
                await client.interrupt(prompt_id)
        assert kinds[-1] is events.Interrupted
        with pytest.raises(HostError) as caught:  # the history tells it too, to a client that comes later
            await client.wait(prompt_id)
        assert caught.value.kind == "interrupted"


async def test_interrupt_of_another_prompt_leaves_the_running_one(host_server: Any) -> None:
    async with HostClient(host_server.url) as client:
        running = await client.queue_prompt(slow_graph(6, mark=2))
        await client.interrupt("00000000-0000-0000-0000-000000000000")
        assert set((await client.wait(running)).images) == {"keep"}


async def test_timeout_cancels(host_server: Any) -> None:
    async with HostClient(host_server.url) as client:
        with pytest.raises(HostError, match=r"after 0\.5 s") as caught:
            await client.run(slow_graph(200, mark=3), timeout=0.5)
        assert caught.value.kind == "timeout"
        await wait_until_idle(client)


async def test_cancelling_the_task_cancels_the_prompt(host_server: Any) -> None:
    async with HostClient(host_server.url) as client:
        task = asyncio.create_task(client.run(slow_graph(200, mark=4)))
        await wait_until_running(client)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until_idle(client)


async def test_cancelling_while_the_prompt_is_on_its_way(host_server: Any) -> None:
    """Between the request and its answer the host may have queued the prompt already."""
    async with HostClient(host_server.url) as client, HostClient(host_server.url) as direct:
        await client.system_stats()
        for turn, delay in enumerate((0.0, 0.002, 0.005, 0.01, 0.02, 0.04)):
            task = asyncio.create_task(client.run(slow_graph(200, mark=60 + turn)))
            await asyncio.sleep(delay)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.1)
            await wait_until_idle(direct)


async def test_prompt_removed_from_the_queue_is_lost(host_server: Any) -> None:
    async with HostClient(host_server.url) as client:
        blocker = await client.queue_prompt(slow_graph(ENDLESS, mark=5))
        waiting = await client.queue_prompt(image_graph(77))
        await wait_until_running(client, blocker)
        assert await client.queued() == ([blocker], [waiting])
        await client.cancel(waiting)
        with pytest.raises(HostError) as caught:
            await client.wait(waiting, timeout=PATIENCE)
        assert caught.value.kind == "lost"
        await client.cancel(blocker)
        await wait_until_idle(client)


async def test_dropped_line_is_repaired(host_server: Any) -> None:
    async with Relay(host_server.url) as relay, HostClient(relay.url) as client:
        seen: list[events.Event] = []
        prompt_id = await client.queue_prompt(slow_graph(60, mark=6))

        def on_event(event: events.Event) -> None:
            if isinstance(event, events.NodeStarted) and event.node == "shrink":
                relay.cut()
            seen.append(event)

        result: PromptResult = await client.wait(prompt_id, on_event, timeout=PATIENCE)
    kinds = [type(event) for event in seen]
    assert kinds.index(events.Disconnected) < kinds.index(events.Reconnected) < len(kinds) - 1
    assert kinds[-1] is events.Succeeded
    assert len(result.images["keep"]) == 60


async def test_end_during_an_outage_is_read_from_the_history(host_server: Any) -> None:
    async with Relay(host_server.url) as relay, HostClient(relay.url) as client, HostClient(host_server.url) as direct:
        prompt_id = await client.queue_prompt(slow_graph(4, mark=7))
        relay.refuse = True
        relay.cut()
        await until(lambda: direct.history(prompt_id), "the host has made the prompt")
        relay.refuse = False
        seen = [event async for event in client.events(prompt_id)]
        outputs = [event for event in seen if isinstance(event, events.Executed)]
        assert [(event.node, len(event.images)) for event in outputs] == [("keep", 4)]
        assert isinstance(seen[-1], events.Succeeded)


async def test_host_that_stays_away(host_server: Any) -> None:
    async with Relay(host_server.url) as relay, HostClient(relay.url, patience=1.0) as client:
        prompt_id = await client.queue_prompt(slow_graph(ENDLESS, mark=8))
        relay.refuse = True
        relay.cut()
        with pytest.raises(HostError) as caught:
            await client.wait(prompt_id, timeout=PATIENCE)
        assert caught.value.kind == "down"
    async with HostClient(host_server.url) as direct:
        await direct.cancel(prompt_id)
        await wait_until_idle(direct)


@pytest.mark.parametrize("call", ["system_stats", "queue"])
async def test_no_host_there(call: str) -> None:
    with socket.socket() as mute:  # holds its port, so that no other program takes it, and does not listen
        mute.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        async with HostClient(url) as client:
            with pytest.raises(HostError, match=url) as caught:
                await (client.system_stats() if call == "system_stats" else client.queue_prompt(image_graph()))
    assert caught.value.kind == "down"
    assert "eri host start" in str(caught.value)


async def test_something_else_there(tmp_path: Path) -> None:
    """A plain web server, the usual thing to find on a wrong port."""

    async def page(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Type: text/html\r\n\r\n<html/>")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(page, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with HostClient(url) as client:
        for call in (client.system_stats(), client.queue_prompt(image_graph())):
            with pytest.raises(HostError, match="does not behave like a ComfyUI") as caught:
                await call
            assert caught.value.kind == "protocol"
    server.close()


async def test_silent_host_times_out() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with HostClient(url, timeout=0.3) as client:
        with pytest.raises(HostError) as caught:
            await client.system_stats()
        assert caught.value.kind == "timeout"
    server.close()


async def test_download_into_an_impossible_place(host_server: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    async with HostClient(host_server.url) as client:
        result = await client.run(image_graph(99))
        with pytest.raises(HostError, match="Cannot write"):
            await client.download(result.images["keep"][0], tmp_path / "file" / "b.png")
