"""A graph is built once, however many training steps it is set to."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client import resume
from comfyui_eridiffusion.client.resume import StepGraphs, plan_sweep
from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.lora import checkpoints
from comfyui_eridiffusion.lora.remembered import Remembered
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, FAMILIES, short
from comfyui_eridiffusion.workflows import build, builder


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often graphs are built, compared with their trainer, and run folders searched."""
    counted: Counter[str] = Counter()

    def count(module: Any, name: str) -> None:
        original = getattr(module, name)

        def counting(*args: Any, **options: Any) -> Any:
            counted[name] += 1
            return original(*args, **options)

        monkeypatch.setattr(module, name, counting)

    count(resume, "build")
    count(builder, "explain")
    count(checkpoints, "_search")
    monkeypatch.setattr(checkpoints, "_FOUND", Remembered())
    return counted


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("run", [None, "a_run"])
def test_a_graph_set_to_a_step_is_the_one_built_for_it(family: str, run: str | None) -> None:
    spec, models = read_spec(EXAMPLES / "configs" / f"{family}.yaml"), EXAMPLES / "models" / f"{family}.yaml"
    graphs = StepGraphs(spec, models, run, batch=2)
    for step in (50, 0, 700, None, 0):
        expected = build(spec, models, run, step, batch=2)
        assert graphs.at(step).api() == expected.api()
        assert graphs.at(step).notes == expected.notes
        part = graphs.at(step, only=[1])
        assert part.api() == build(spec.select("1"), models, run, step, batch=2).api()
    named = graphs.at(50, "folder/b_run").api()
    assert named == build(spec, models, "folder/b_run" if run else spec.name, 50, batch=2).api() or run is None


def test_seeds_left_to_chance_are_drawn_once() -> None:
    spec = short("flux")
    graphs = StepGraphs(replace(spec, items=[replace(item, seed=None) for item in spec.items]), None, "a_run")
    seeds = [[item.seed for item in graphs.at(step).spec.items] for step in (0, 50, 100)]
    assert seeds == [seeds[0]] * 3 == [[item.seed for item in graphs.spec.items]] * 3
    assert None not in seeds[0]


def test_a_plan_builds_one_graph_for_all_its_steps(calls: Counter[str], tmp_path: Path) -> None:
    plan = plan_sweep(short("flux"), [0, 50, 100, 200], tmp_path, models=EXAMPLES / "models" / "flux.yaml", run="r")
    for step, items in plan.todo.items():
        plan.graphs.at(step, "runs/r", items)
    assert (calls["build"], calls["explain"]) == (1, 0)


def test_a_sweep_builds_one_graph_and_searches_its_run_once(
    calls: Counter[str], host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three steps of all samples need one graph; a step of which one sample is missing needs one for that sample."""
    config = tmp_path / "short.json"
    config.write_text(short("flux", steps=1).to_json(), encoding="utf-8")
    command = ["sweep", str(config), "--run", str(EXAMPLES / "runs" / "flux_zorp"), "--steps", "0-100", "--json"]
    command += ["--models", str(EXAMPLES / "models" / "flux.yaml"), "--host", host_server.url, "-o", str(tmp_path)]
    with pytest.raises(SystemExit):
        app(command)
    assert calls == {"build": 1, "_search": 1}
    next(tmp_path.rglob("step_000050_sample_02.png")).unlink()
    calls.clear()
    with pytest.raises(SystemExit):
        app(command)
    assert calls["build"] == 2
    assert calls["explain"] == 0


def test_averaged_weights_stay_those_of_the_run() -> None:
    spec = short("flux", steps=1)
    items = [*spec.items, *(replace(item, index=item.index + 9, ema=True) for item in spec.items)]
    graphs = StepGraphs(replace(spec, items=items), None, "a_run")
    for run in (None, "deep/a_run"):
        api = graphs.at(7, run).api()
        runs = {node["inputs"]["run"] for node in api.values() if node["class_type"] == "EriLoraAtStep"}
        assert runs == {run or "a_run", f"{run or 'a_run'}/ema"}
