"""A run folder that grows while it is watched, in a real host."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.local_host import LocalHost
from comfyui_eridiffusion.client.watch import Told, Watch
from comfyui_eridiffusion.spec import SampleSpec, read_spec

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
    run = host[1] / request.node.name.split("[")[0]
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
        watcher = Watch(client, short(), place.run, tmp_path, models=MODELS, tell=told.append)
        task = asyncio.create_task(watcher.forever(0.5))
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
        again = Watch(client, short(), place.run, tmp_path, models=MODELS)
        await again.once()
    assert {step: [path.name for path in paths] for step, paths in again.summary.made.items()} == {
        100: ["step_000100_sample_02.png"]
    }
    after = stamps(tmp_path)
    assert {name for name in made if after[name] != made[name]} == {"step_000100_sample_02.png"}


async def test_new_only(place: Place, tmp_path: Path) -> None:
    shutil.copy(checkpoint(50), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(client, short(), place.run, tmp_path, models=MODELS, new_only=True)
        await watcher.once()
        assert watcher.summary.made == {}
        shutil.copy(checkpoint(100), place.run)
        await watcher.once()
    assert list(watcher.summary.made) == [100]


def command(place: Place, folder: Path, *more: str) -> list[str]:
    config = folder / "config.json"
    config.write_text(short().to_json(), encoding="utf-8")
    common = ["--config", str(config), "--models", str(MODELS), "--host", place.url, "-o", str(folder / "got")]
    return [str(Path(sys.executable).with_name("eri")), "watch", str(place.run), *common, "--json", *more]


def test_command_once_with_tensorboard(place: Place, tmp_path: Path) -> None:
    """TensorBoard's own reader finds the very pixels of the files, at the checkpoints' steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    (place.run / checkpoint(200).name).write_bytes(b"\x02\0\0\0\0\0\0\0[]")
    logs = tmp_path / "logs"
    done = subprocess.run(
        command(place, tmp_path, "--once", "--tensorboard", str(logs)), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert [Path(path).name for path in document["failed"]] == [checkpoint(200).name]
    assert list(document["steps"]) == ["50", "100"]
    events = EventAccumulator(str(logs), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"samples/00", "samples/02", "contact_sheet"}
    assert [event.step for event in events.Images("contact_sheet")] == [50, 100]
    for position, tag in enumerate(("samples/00", "samples/02")):
        for event in events.Images(tag):
            file = tmp_path / f"{tag[8:]}_{event.step}.png"
            file.write_bytes(event.encoded_image_string)
            with Image.open(file) as logged, Image.open(document["steps"][str(event.step)][position]) as saved:
                assert logged.tobytes() == saved.convert("RGB").tobytes()


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


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", "complete "),
        ("zsh", "#compdef eri"),
        ("fish", "complete --command eri"),
        ("powershell", "Register-ArgumentCompleter"),
    ],
)
def test_completion_script(shell: str, words: str) -> None:
    """The marks are the shells' own commands for completion."""
    eri = str(Path(sys.executable).with_name("eri"))
    shown = subprocess.run(
        [eri], env={**os.environ, "_ERI_COMPLETE": f"source_{shell}"}, capture_output=True, text=True, timeout=60
    )
    assert shown.returncode == 0
    assert words in shown.stdout
