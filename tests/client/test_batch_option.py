"""`--batch`: samples that the host denoises at once, from the command line to files, progress and resuming included."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.runs import steps_in
from comfyui_eridiffusion.client.sweep import Tally, sweep
from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.protocol.events import StepProgress
from comfyui_eridiffusion.spec import SampleSpec
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, FAMILIES, short
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.workflows import build


def of_steps(*steps: int) -> SampleSpec:
    spec = sample_spec("flux")
    return replace(spec, items=[replace(spec.items[0], index=i, steps=n) for i, n in enumerate(steps)])


@pytest.mark.parametrize(
    ("batches", "done"),
    [
        ([1, 1, 1, 1, 1], [1, 2, 3, 4, 5]),
        ([2, 2, 1], [2, 4, 5]),
        ([1, 4], [1, 5]),  # the second begins above where the first ended
        ([5], [5]),
    ],
)
def test_progress_counts_every_sample_of_a_batch(batches: list[int], done: list[int]) -> None:
    tally = Tally(build(of_steps(4, 4, 4, 4, 4), batch=5))
    seen, steps = [], []
    for size in batches:
        behind = sum(batches[: len(seen)]) * 4
        for step in range(1, 5):
            tally.feed(StepProgress("", node="sample", value=float(behind + size * step), maximum=20.0))
            steps.append(tally.done)
        seen.append(tally.items_done)
    assert seen == done
    assert steps == sorted(steps)
    assert tally.done == tally.total == 20


@pytest.mark.parametrize("family", FAMILIES)
async def test_images_of_a_batch(host_server: Any, family: str) -> None:
    """Those that are made one by one, but for the last digits: at most one of 255 levels."""
    spec = short(family)
    last = steps_in(EXAMPLES / "runs" / spec.name)[-1]
    maxima: set[float] = set()
    tallies: list[Tally] = []

    def report(workflow: Any, event: Any) -> None:
        if event is None:
            tallies.append(Tally(workflow))
            return
        tallies[-1].feed(event)
        if isinstance(event, StepProgress) and event.node == "sample":
            maxima.add(event.maximum)

    made = {}
    async with HostClient(host_server.url) as client:
        for batch in (1, 2):
            maxima.clear()
            done = await sweep(
                client, spec, [last], models=EXAMPLES / "models" / f"{family}.yaml", run=spec.name, report=report,
                batch=batch,
            )  # fmt: skip
            assert maxima == {8.0}
            assert tallies[-1].items_done == 2
            places = [host_server.output_dir / image.ref.subfolder / image.ref.filename for image in done.images]
            made[batch] = [np.asarray(Image.open(path).convert("RGB")).astype(int) for path in places]
    for one, other in zip(made[1], made[2], strict=True):
        assert np.abs(one - other).max() <= 1
    assert np.abs(made[2][0] - made[2][1]).max() > 1


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        app([*map(str, arguments), "--json"])
    assert ended.value.code == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def graph_in(path: str | Path) -> dict[str, Any]:
    with Image.open(path) as picture:
        found: dict[str, Any] = json.loads(picture.text["prompt"])  # type: ignore[attr-defined]
    return found


def test_graph_command(capsys: pytest.CaptureFixture[str]) -> None:
    config = EXAMPLES / "configs" / "sdxl.yaml"
    for words, size in (((), 1), (("--batch", 8), 8)):
        found = document(capsys, "graph", config, *words)
        assert found["sample"]["inputs"]["batch_size"] == size


def test_commands_that_sample(host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another --batch is another setting: a sweep keeps what was made with the same one."""
    spec = short("flux", steps=2)
    config = tmp_path / "short.json"
    config.write_text(spec.to_json(), encoding="utf-8")
    run = EXAMPLES / "runs" / spec.name
    last = steps_in(run)[-1]
    common = ["--host", host_server.url, "--models", EXAMPLES / "models" / "flux.yaml", "-o", tmp_path / "got"]
    kept = []
    for command, words in (
        ("sample", ["--step", last, "--batch", 2]),
        ("sweep", ["--steps", last, "--batch", 2]),
        ("sweep", ["--steps", last]),
        ("sweep", ["--steps", last, "--batch", 1]),
    ):
        images = document(capsys, command, config, "--run", run, *words, *common)["images"]
        kept.append([image["kept"] for image in images])
        sizes = {graph_in(image["path"])["sample"]["inputs"]["batch_size"] for image in images}
        assert sizes == {2 if 2 in words else 1}
    assert kept == [[False, False], [True, True], [False, False], [True, True]]
    watched = document(capsys, "watch", run, "--config", config, "--once", "--batch", 2, *common)["steps"]
    assert all(len(paths) == 2 for paths in watched.values())
    assert graph_in(watched[str(last)][0])["sample"]["inputs"]["batch_size"] == 2
