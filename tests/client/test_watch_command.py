"""`eri watch` as a process of its own: its logs, killed and started again, and ended by signals."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops, ImageStat

from comfyui_eridiffusion.compare.manifest import FILE, read
from comfyui_eridiffusion.tests.client.test_cli_choose import vote, write_votes
from comfyui_eridiffusion.tests.client.wandb_files import wandb_records
from comfyui_eridiffusion.tests.client.watched import MODELS, Place, checkpoint, short
from comfyui_eridiffusion.tests.waiting import PATIENCE, queue, wait_until, wait_until_idle


def command(place: Place, folder: Path, *more: str) -> list[str]:
    config = folder / "config.json"
    config.write_text(short().to_json(), encoding="utf-8")
    common = ["--config", str(config), "--models", str(MODELS), "--host", place.url, "-o", str(folder / "got")]
    return [str(Path(sys.executable).with_name("eri")), "watch", str(place.run), *common, "--json", *more]


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


def test_command_once_with_training_logs(place: Place, tmp_path: Path) -> None:
    """TensorBoard's own reader, W&B's own record of an offline run and SerenityBoard have the images at their steps,
    the measures, and the ranking of the votes that are there."""
    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    (place.run / checkpoint(200).name).write_bytes(b"\x02\0\0\0\0\0\0\0[]")
    write_votes(place.run / "votes.jsonl", vote(1, 50, 100, "left"), vote(2, 50, 100, "left"))
    logs, wandb = tmp_path / "logs", tmp_path / "wandb_logs"
    wandb.mkdir()
    done = subprocess.run(
        command(place, tmp_path, "--once", "--measure", "--tensorboard", str(logs), "--wandb", "eri_test",
                "--serenityboard", str(tmp_path / "board")),
        capture_output=True, text=True, timeout=PATIENCE,
        env={**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(wandb)},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    document = json.loads(done.stdout)
    assert [Path(path).name for path in document["failed"]] == [checkpoint(200).name]
    assert list(document["steps"]) == ["0", "50", "100"]
    change = {step: _change(document, step) for step in (0, 50, 100)}
    _in_tensorboard(logs, document, change)
    _in_wandb(wandb, document, change)
    with contextlib.closing(sqlite3.connect(tmp_path / "board" / "board.db")) as board:
        held = board.execute("SELECT tag, step FROM artifacts ORDER BY tag, step").fetchall()
        numbers = board.execute("SELECT step, value FROM scalars WHERE tag = 'measures/change'").fetchall()
    assert dict(numbers) == pytest.approx(change)
    assert held == [(tag, step) for tag in ("contact_sheet", "samples/00", "samples/02") for step in (50, 100)]


def _change(document: dict[str, Any], step: int) -> float:
    """By PIL, the mean difference of a step's pictures to those without LoRA."""
    apart = []
    for plain, path in zip(document["steps"]["0"], document["steps"][str(step)], strict=True):
        with Image.open(plain) as one, Image.open(path) as other:
            apart += ImageStat.Stat(ImageChops.difference(one.convert("RGB"), other.convert("RGB"))).mean
    return sum(apart) / len(apart)


def _in_tensorboard(logs: Path, document: dict[str, Any], change: dict[int, float]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logs), size_guidance={"images": 0}).Reload()
    assert set(events.Tags()["images"]) == {"samples/00", "samples/02", "contact_sheet"}
    assert [event.step for event in events.Images("contact_sheet")] == [50, 100]
    assert {event.step: event.value for event in events.Scalars("measures/change")} == pytest.approx(change)
    assert set(events.Tags()["scalars"]) >= {"measures/change_ssim", "measures/change_before", "measures/sharpness"}
    best = {event.step: event.value for event in events.Scalars("ranking/probability_of_best")}
    assert best[50] > 0.5 > best[100]
    for position, tag in enumerate(("samples/00", "samples/02")):
        for event in events.Images(tag):
            file = logs / f"{tag[8:]}_{event.step}.png"
            file.write_bytes(event.encoded_image_string)
            with Image.open(file) as logged, Image.open(document["steps"][str(event.step)][position]) as saved:
                assert logged.tobytes() == saved.convert("RGB").tobytes()


def _in_wandb(folder: Path, document: dict[str, Any], change: dict[int, float]) -> None:
    records = list(wandb_records(next(folder.rglob("*.wandb"))))
    assert [record.run.project for record in records if record.HasField("run")] == ["eri_test"]
    assert next((m.metric.glob_name, m.metric.step_metric) for m in records if m.HasField("metric")) == (
        "*",
        "train_step",
    )
    history = [record.history for record in records if record.HasField("history")]
    prompts = {item.index: item.prompt for item in short().items}
    entries = [
        {tuple(filter(None, (*item.nested_key, item.key))): json.loads(item.value_json) for item in entry.item}
        for entry in history
    ]
    numbers = {told["train_step",]: told["measures/change",] for told in entries if ("measures/change",) in told}
    assert numbers == pytest.approx(change)
    pictures = [told for told in entries if ("contact_sheet", "_type") in told]
    for told, step in zip(pictures, (50, 100), strict=True):
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
