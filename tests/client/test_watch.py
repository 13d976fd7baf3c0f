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
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.watch import Told, Watch, sees_changes
from comfyui_eridiffusion.compare.manifest import FILE, read
from comfyui_eridiffusion.spec import SampleSpec, read_spec
from comfyui_eridiffusion.tests.client.relay import Relay
from comfyui_eridiffusion.tests.client.wandb_files import wandb_records
from comfyui_eridiffusion.tests.waiting import PATIENCE, queue, until, wait_until, wait_until_idle

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN = EXAMPLES / "runs" / "flux_zorp"
MODELS = EXAMPLES / "models" / "flux.yaml"


@dataclass
class Place:
    """A host that offers the run folder `run`."""

    url: str
    run: Path


@pytest.fixture
def place(host_server: Any, loras_dir: Path, request: pytest.FixtureRequest) -> Iterator[Place]:
    run = loras_dir / re.sub(r"\W+", "_", request.node.name)
    run.mkdir()
    yield Place(host_server.url, run)
    shutil.rmtree(run)


def short() -> SampleSpec:
    """Two prompts of the example, two sampler steps each."""
    spec = read_spec(EXAMPLES / "configs" / "flux.yaml").select("0,2")
    items = [type(item)(**{**vars(item), "steps": 2}) for item in spec.items]
    return type(spec)(**{**vars(spec), "items": items})


def checkpoint(step: int) -> Path:
    return RUN / f"flux_lora_step{step}.safetensors"


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("step_*.png")}


async def heard(task: asyncio.Task[None], told: list[Told], what: str, times: int = 1) -> None:
    """Until the watch has told this so many times; its error where it ended instead."""

    def enough() -> bool:
        return [entry.what for entry in told].count(what) >= times

    await until(lambda: enough() or task.done(), f"{what!r} is told {times} times")
    if task.done():
        await task


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_checkpoints_one_by_one(place: Place, tmp_path: Path) -> None:
    """Whole, half written then finished, broken then replaced; afterwards a restart repeats nothing."""
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append)
        task = asyncio.create_task(watcher.forever(client, 0.5))
        await heard(task, told, "sampled")
        whole, half = checkpoint(100).read_bytes(), place.run / checkpoint(100).name
        half.write_bytes(whole[: len(whole) // 2])
        await heard(task, told, "waiting")
        broken = place.run / checkpoint(200).name
        broken.write_bytes(b"\x02\0\0\0\0\0\0\0[]" + b"x" * 100)
        await heard(task, told, "broken")
        assert list(watcher.summary.failed) == [str(broken)]
        half.write_bytes(whole)
        await heard(task, told, "sampled", 2)
        shutil.copy(checkpoint(200), broken)
        await heard(task, told, "sampled", 3)
        await stopped(task)
        assert half.name in told[1].text
        # a file that is looked at while it is written here is "waiting", too
        assert [entry.what for entry in told if entry.what != "waiting"] == ["sampled", "broken", "sampled", "sampled"]
        assert watcher.summary.failed == {}
        made = stamps(tmp_path)
        assert set(made) == {f"step_{step:06}_sample_{index:02}.png" for step in (50, 100, 200) for index in (0, 2)}
        (sheet,) = watcher.summary.sheets
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
        assert [step for _, step in watcher.pending()] == [50]
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
        done = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE)
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
    """TensorBoard's own reader, W&B's own record of an offline run and SerenityBoard have the images at their steps."""
    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    (place.run / checkpoint(200).name).write_bytes(b"\x02\0\0\0\0\0\0\0[]")
    logs, wandb = tmp_path / "logs", tmp_path / "wandb_logs"
    wandb.mkdir()
    done = subprocess.run(
        command(place, tmp_path, "--once", "--tensorboard", str(logs), "--wandb", "eri_test",
                "--serenityboard", str(tmp_path / "board")),
        capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(wandb)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert [Path(path).name for path in document["failed"]] == [checkpoint(200).name]
    assert list(document["steps"]) == ["50", "100"]
    _in_tensorboard(logs, document)
    _in_wandb(wandb, document)
    with contextlib.closing(sqlite3.connect(tmp_path / "board" / "board.db")) as board:
        held = board.execute("SELECT tag, step FROM artifacts ORDER BY tag, step").fetchall()
    assert held == [(tag, step) for tag in ("contact_sheet", "samples/00", "samples/02") for step in (50, 100)]


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


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_a_killed_watch_over_strengths_goes_on(place: Place, tmp_path: Path) -> None:
    """Killed in the middle, started again: every cell once, the manifest whole; then it ends by its time limit.

    Meanwhile the gallery is served, with what was made so far.
    """
    for step in (50, 100, 200):
        shutil.copy(checkpoint(step), place.run)
    words = command(place, tmp_path, "--strengths", "0.5,1", "--timeout", "1", "--interval", "0.2")
    root = tmp_path / "got" / "flux_zorp"
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_until(lambda: len(list(root.rglob("step_*.png"))) >= 3 or first.poll() is not None, "some are made")
        first.kill()
    before = {str(path): path.stat().st_mtime_ns for path in root.rglob("step_*.png")}
    assert 3 <= len(before) < 12
    wait_until_idle(place.url)
    with (root / FILE).open("ab") as stream:
        stream.write(b'{"version": 1, "run": "flux')  # what a kill in the middle of a line leaves
    with subprocess.Popen([*words, "--serve"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as second:
        assert second.stderr is not None
        served = next(line for line in second.stderr if "serving" in line).split()[-1]
        page = urllib.request.urlopen(served, timeout=PATIENCE).read().decode()
        shown, errors = second.communicate(timeout=PATIENCE)
    assert (second.returncode, "Traceback" in errors) == (0, False), errors
    assert "no new checkpoint for 1 s" in errors
    assert "strength=0.5" in page
    after = {str(path): path.stat().st_mtime_ns for path in root.rglob("step_*.png") if "gallery" not in path.parts}
    assert {path: after[path] for path in before} == before
    cells = {(strength, step, item) for strength in (0.5, 1.0) for step in (50, 100, 200) for item in (0, 2)}
    lines = read(root)
    assert {(line.axes["strength"], line.step, line.item) for line in lines} == cells
    assert len(lines) == len({line.file for line in lines}) == len(after) == len(cells)
    assert {str(root / line.file) for line in lines} == set(after)
    made = sum(len(paths) for paths in json.loads(shown)["steps"].values())
    assert made == len(cells) - len(before)
    assert len(json.loads(shown)["sheets"]) == 2


SIGNALS = pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to send")
@SIGNALS
def test_command_stops_on_ctrl_c_with_a_summary(place: Place, tmp_path: Path, how: signal.Signals) -> None:
    shutil.copy(checkpoint(50), place.run)
    with subprocess.Popen(
        command(place, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert "step 50" in running.stderr.readline()
        running.send_signal(how)
        shown, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert list(json.loads(shown)["steps"]) == ["50"]


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to send")
@SIGNALS
def test_ctrl_c_while_sampling(place: Place, tmp_path: Path, how: signal.Signals) -> None:
    """The step that runs is cancelled on the host, those that are done are told."""
    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    wait_until_idle(place.url)
    words = command(place, tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"steps": 2', '"steps": 900'), encoding="utf-8")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        wait_until(lambda: queue(place.url)[0] or running.poll() is not None, "the host runs the prompt")
        running.send_signal(how)
        shown, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert json.loads(shown)["steps"] == {}
    wait_until_idle(place.url)


async def test_a_host_that_is_away_at_first_and_again_in_the_middle(place: Place, tmp_path: Path) -> None:
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    async with Relay(place.url) as relay, HostClient(relay.url, patience=0.5) as client:
        relay.refuse = True
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append, progress=cuts(relay))
        task = asyncio.create_task(watcher.forever(client, 0.3))
        await heard(task, told, "host")
        assert [entry.what for entry in told] == ["host"]
        assert "eri host start" in told[0].text
        relay.refuse = False
        await heard(task, told, "sampled")
        shutil.copy(checkpoint(100), place.run)  # this one's line is cut while it is sampled, see `cuts`
        await heard(task, told, "host", 2)
        assert "did not come back" in told[-1].text
        relay.refuse = False
        await heard(task, told, "sampled", 2)
        await stopped(task)
    assert sorted(stamps(tmp_path)) == [f"step_{step:06}_sample_{i:02}.png" for step in (50, 100) for i in (0, 2)]


def cuts(relay: Relay) -> Any:
    """A progress display that cuts the line, once, at the first event of step 100."""

    @contextlib.contextmanager
    def progress(title: str, _: SampleSpec) -> Iterator[Any]:
        def report(_workflow: Any, event: Any) -> None:
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
        once, looks = watcher.once, 0

        async def counted(host: HostClient) -> None:
            nonlocal looks
            await once(host)
            looks += 1

        monkeypatch.setattr(watcher, "once", counted)
        task = asyncio.create_task(watcher.forever(client, 0.2))
        await until(lambda: looks > 1 or task.done(), "the folder was looked at")
        shutil.copy(checkpoint(50), place.run)
        await heard(task, told, "sampled")
        await stopped(task)
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
        assert {path.suffix for path in tmp_path.rglob("step_*") if path.is_file()} == {f".{kind}"}
        assert await made() == 0
        assert await made(again=True) == 2
        assert await made() == 0
        if kind == "jpg":
            other = place.run.with_name("another_run")
            shutil.copytree(place.run, other)
            assert await made(run=other) == 2
