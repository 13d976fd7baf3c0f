"""A run folder that grows while it is watched, in a real host."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.local_host import LocalHost
from comfyui_eridiffusion.client.watch import Told, Watch, sees_changes
from comfyui_eridiffusion.spec import SampleSpec, read_spec
from comfyui_eridiffusion.tests.client.relay import Relay

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN = EXAMPLES / "runs" / "flux_zorp"
MODELS = EXAMPLES / "models" / "flux.yaml"


@dataclass
class Place:
    """A host that offers the run folder `run`."""

    url: str
    run: Path


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    loras = tmp_path_factory.mktemp("loras")
    with LocalHost(model_paths={"loras": [loras]}) as running:
        yield running.url, loras


@pytest.fixture
def place(host: tuple[str, Path], request: pytest.FixtureRequest) -> Place:
    run = host[1] / re.sub(r"\W+", "_", request.node.name)
    run.mkdir()
    return Place(host[0], run)


def short() -> SampleSpec:
    """Two prompts of the example, two sampler steps each."""
    spec = read_spec(EXAMPLES / "configs" / "flux.yaml").select("0,2")
    items = [type(item)(**{**vars(item), "steps": 2}) for item in spec.items]
    return type(spec)(**{**vars(spec), "items": items})


def checkpoint(step: int) -> Path:
    return RUN / f"flux_lora_step{step}.safetensors"


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("step_*.png")}


async def until(condition: Any, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        await asyncio.sleep(0.05)


async def test_checkpoints_one_by_one(place: Place, tmp_path: Path) -> None:
    """Whole, half written then finished, broken then replaced; afterwards a restart repeats nothing."""
    told: list[Told] = []

    def what() -> list[str]:
        return [entry.what for entry in told]

    shutil.copy(checkpoint(50), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append)
        task = asyncio.create_task(watcher.forever(client, 0.5))
        await until(lambda: what() == ["sampled"] or task.done())
        whole, half = checkpoint(100).read_bytes(), place.run / checkpoint(100).name
        half.write_bytes(whole[: len(whole) // 2])
        await until(lambda: what() == ["sampled", "waiting"] or task.done())
        broken = place.run / checkpoint(200).name
        broken.write_bytes(b"\x02\0\0\0\0\0\0\0[]" + b"x" * 100)
        await until(lambda: "broken" in what() or task.done())
        assert list(watcher.summary.failed) == [str(broken)]
        half.write_bytes(whole)
        await until(lambda: what().count("sampled") == 2 or task.done())
        shutil.copy(checkpoint(200), broken)
        await until(lambda: what().count("sampled") == 3 or task.done())
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert watcher.summary.failed == {}
        made = stamps(tmp_path)
        assert set(made) == {f"step_{step:06}_sample_{index:02}.png" for step in (50, 100, 200) for index in (0, 2)}
        sheet = watcher.summary.sheet
        assert sheet is not None
        with Image.open(sheet) as picture:
            assert picture.width > 3 * 160

        next(tmp_path.rglob("step_000100_sample_02.png")).unlink()
        again = Watch(short(), place.run, tmp_path, models=MODELS)
        await again.once(client)
    assert {step: [path.name for path in paths] for step, paths in again.summary.made.items()} == {
        100: ["step_000100_sample_02.png"]
    }
    after = stamps(tmp_path)
    assert {name for name in made if after[name] != made[name]} == {"step_000100_sample_02.png"}


async def test_a_checkpoint_that_is_replaced_is_sampled_again(place: Place, tmp_path: Path) -> None:
    """By a training that was started anew: while the folder is watched, and between two sessions."""
    told: list[Told] = []
    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append)
        await watcher.once(client)
        before = stamps(tmp_path)
        shutil.copy(checkpoint(400), place.run / checkpoint(50).name)
        await watcher.once(client)
        assert [(entry.what, entry.step) for entry in told[2:]] == [("replaced", 50), ("sampled", 50)]
        after = stamps(tmp_path)
        assert {name for name in after if after[name] != before[name]} == {n for n in before if "000050" in n}
        assert list(watcher.pending()) == []
        shutil.copy(checkpoint(700), place.run / checkpoint(100).name)
        await Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append).once(client)
    assert [(entry.what, entry.step) for entry in told[4:]] == [("replaced", 100), ("sampled", 100)]


async def test_a_host_whose_run_is_another_than_the_one_here(place: Place, tmp_path: Path) -> None:
    """Told once, not sampled over and over."""
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    here = tmp_path / place.run.name / checkpoint(50).name
    here.parent.mkdir()
    shutil.copy(checkpoint(100), here)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), here.parent, tmp_path, models=MODELS, tell=told.append)
        for _ in range(2):
            await watcher.once(client)
    assert [entry.what for entry in told] == ["failed"]
    assert "holds another file" in watcher.summary.failed[str(here)]


def test_once_needs_no_host_where_all_is_made(place: Place, tmp_path: Path) -> None:
    def once(url: str) -> tuple[int, Any]:
        words = command(Place(url, place.run), tmp_path, "--once")
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        return done.returncode, json.loads(done.stdout)

    shutil.copy(checkpoint(50), place.run)
    assert once(place.url)[0] == 0
    code, document = once("http://127.0.0.1:9")
    assert (code, document["steps"], document["failed"]) == (0, {}, {})
    shutil.copy(checkpoint(100), place.run)
    code, document = once("http://127.0.0.1:9")
    assert (code, document["error"]["kind"]) == (1, "down")


async def test_new_only(place: Place, tmp_path: Path) -> None:
    shutil.copy(checkpoint(50), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, new_only=True)
        await watcher.once(client)
        assert watcher.summary.made == {}
        shutil.copy(checkpoint(100), place.run)
        await watcher.once(client)
    assert list(watcher.summary.made) == [100]


def command(place: Place, folder: Path, *more: str) -> list[str]:
    config = folder / "config.json"
    config.write_text(short().to_json(), encoding="utf-8")
    common = ["--config", str(config), "--models", str(MODELS), "--host", place.url, "-o", str(folder / "got")]
    return [str(Path(sys.executable).with_name("eri")), "watch", str(place.run), *common, "--json", *more]


def test_command_once_with_training_logs(place: Place, tmp_path: Path) -> None:
    """TensorBoard's own reader, and W&B's own record of an offline run, have the very images at the right steps."""
    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    (place.run / checkpoint(200).name).write_bytes(b"\x02\0\0\0\0\0\0\0[]")
    logs, wandb = tmp_path / "logs", tmp_path / "wandb_logs"
    wandb.mkdir()
    done = subprocess.run(
        command(place, tmp_path, "--once", "--tensorboard", str(logs), "--wandb", "eri_test"),
        capture_output=True, text=True, timeout=120,
        env={**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(wandb)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert [Path(path).name for path in document["failed"]] == [checkpoint(200).name]
    assert list(document["steps"]) == ["50", "100"]
    _in_tensorboard(logs, document)
    _in_wandb(wandb, document)


def _in_tensorboard(logs: Path, document: dict[str, Any]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logs), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"samples/00", "samples/02", "contact_sheet"}
    assert [event.step for event in events.Images("contact_sheet")] == [50, 100]
    for position, tag in enumerate(("samples/00", "samples/02")):
        for event in events.Images(tag):
            file = logs / f"{tag[8:]}_{event.step}.png"
            file.write_bytes(event.encoded_image_string)
            with Image.open(file) as logged, Image.open(document["steps"][str(event.step)][position]) as saved:
                assert logged.tobytes() == saved.convert("RGB").tobytes()


def _in_wandb(folder: Path, document: dict[str, Any]) -> None:
    records = list(wandb_records(next(folder.rglob("*.wandb"))))
    assert [record.run.project for record in records if record.HasField("run")] == ["eri_test"]
    assert next((m.metric.glob_name, m.metric.step_metric) for m in records if m.HasField("metric")) == (
        "*",
        "train_step",
    )
    history = [record.history for record in records if record.HasField("history")]
    prompts = {item.index: item.prompt for item in short().items}
    for entry, step in zip(history, (50, 100), strict=True):
        told = {(*item.nested_key, item.key): json.loads(item.value_json) for item in entry.item}
        told = {tuple(part for part in key if part): value for key, value in told.items()}
        assert told["train_step",] == step
        for index, path in zip((0, 2), document["steps"][str(step)], strict=True):
            name = f"samples/{index:02}"
            assert told[name, "caption"] == prompts[index]
            assert told[name, "sha256"] == hashlib.sha256(Path(path).read_bytes()).hexdigest()
            assert next(folder.rglob(Path(told[name, "path"]).name)).is_file()
        assert told["contact_sheet", "_type"] == "image-file"


def wandb_records(file: Path) -> Iterator[Any]:
    """W&B's records in an offline run's file: protobuf messages in LevelDB's log format, after seven bytes of its own.

    Format: blocks of 32768 bytes; in them checksum (4), length (2), kind (1: whole, 2: first, 3: middle, 4: last part).
    """
    from wandb.proto import wandb_internal_pb2

    raw = file.read_bytes()
    assert raw[:4] == b":W&B"
    place, parts = 7, b""
    while place < len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", raw, place)
        parts += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def test_command_stops_on_ctrl_c_with_a_summary(place: Place, tmp_path: Path) -> None:
    shutil.copy(checkpoint(50), place.run)
    with subprocess.Popen(
        command(place, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert "step 50" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        shown, errors = running.communicate(timeout=30)
    assert running.returncode == 0, errors
    assert "Traceback" not in errors
    assert list(json.loads(shown)["steps"]) == ["50"]


def test_ctrl_c_while_sampling(place: Place, tmp_path: Path) -> None:
    """The step that runs is cancelled on the host, those that are done are told."""
    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    words = command(place, tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"steps": 2', '"steps": 900'), encoding="utf-8")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        while not queue(place.url)[0] and running.poll() is None:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        shown, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    assert "Traceback" not in errors
    assert json.loads(shown)["steps"] == {}
    deadline = time.monotonic() + 30
    while queue(place.url) != ([], []):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def queue(url: str) -> tuple[list[Any], list[Any]]:
    with urllib.request.urlopen(f"{url}/queue", timeout=10) as answer:
        document = json.load(answer)
    return document["queue_running"], document["queue_pending"]


async def test_a_host_that_is_away_at_first_and_again_in_the_middle(place: Place, tmp_path: Path) -> None:
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    async with Relay(place.url) as relay, HostClient(relay.url, patience=0.5) as client:
        relay.refuse = True
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append, progress=cuts(relay))
        task = asyncio.create_task(watcher.forever(client, 0.3))
        await until(lambda: told or task.done())
        assert [entry.what for entry in told] == ["host"]
        assert "eri host start" in told[0].text
        relay.refuse = False
        await until(lambda: "sampled" in [entry.what for entry in told] or task.done())
        shutil.copy(checkpoint(100), place.run)  # this one's line is cut while it is sampled, see `cuts`
        await until(lambda: [entry.what for entry in told].count("host") == 2 or task.done())
        assert "did not come back" in told[-1].text
        relay.refuse = False
        await until(lambda: [entry.what for entry in told].count("sampled") == 2 or task.done())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert sorted(stamps(tmp_path)) == [f"step_{step:06}_sample_{i:02}.png" for step in (50, 100) for i in (0, 2)]


def cuts(relay: Relay) -> Any:
    """A progress display that cuts the line, once, at the first event of step 100."""

    @contextlib.contextmanager
    def progress(title: str, _: SampleSpec) -> Iterator[Any]:
        def report(_number: int, _workflow: Any, event: Any) -> None:
            if title == "step 100" and event is not None and not done:
                done.append(True)
                relay.refuse = True
                relay.cut()

        yield report

    done: list[bool] = []
    return progress


async def test_without_watchfiles_the_folder_is_looked_at(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert not sees_changes()
    told: list[Told] = []
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append)
        task = asyncio.create_task(watcher.forever(client, 0.2))
        await asyncio.sleep(0.3)
        shutil.copy(checkpoint(50), place.run)
        await until(lambda: told or task.done())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [(entry.what, entry.step) for entry in told] == [("sampled", 50)]


@pytest.mark.parametrize("kind", ["jpg", "webp"])
async def test_records_of_other_file_types(place: Place, tmp_path: Path, kind: str) -> None:
    """JPEG and WebP keep the record in EXIF; `again` overrides it, another run's LoRA or other models do too."""
    shutil.copy(checkpoint(50), place.run)
    spec = replace(short(), image_format=kind)
    async with HostClient(place.url) as client:

        async def made(**changes: Any) -> int:
            options = {"run": place.run, "models": MODELS, **changes}
            watcher = Watch(spec, folder=tmp_path, **options)
            await watcher.once(client)
            return sum(len(paths) for paths in watcher.summary.made.values())

        assert await made() == 2
        assert {path.suffix for path in tmp_path.rglob("step_*") if path.is_file()} == {f".{kind}", ".txt"}
        assert await made() == 0
        assert await made(again=True) == 2
        assert await made() == 0
        if kind == "jpg":
            other = place.run.with_name("another_run")
            shutil.copytree(place.run, other)
            assert await made(run=other) == 2
