"""What a run's tab makes: missing samples, sweeps, and votes of blind comparisons."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.compare.votes import read_votes
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.frontend.blind_votes import bright_sample, prefer_later
from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.frontend.sidebar_runs import (
    CELLS,
    CONFIG,
    EXAMPLES,
    make_sample,
    show,
    show_example,
    write_run,
)
from comfyui_eridiffusion.tests.waiting import PATIENCE, wait_until_idle


@pytest.fixture(scope="module")
def runs(frontend_host: LocalHost, runs_dir: Path) -> Iterator[Path]:
    """A folder for runs. Of the Flux example, the config lies in the input folder and one sample is made."""
    shutil.copy(CONFIG, frontend_host.input_dir / "mine.yaml")
    make_sample(frontend_host, read_spec(CONFIG).name, 250, 1)
    yield runs_dir
    for folder in runs_dir.iterdir():  # other tests need no such list
        shutil.rmtree(folder)


@pytest.fixture
def tab(fresh: Canvas, runs: Path) -> Any:
    return show_example(fresh)


def test_missing_samples_are_made_one_by_one_until_somebody_stops(
    tab: Any, fresh: Canvas, frontend_host: LocalHost
) -> None:
    asked: list[tuple[int, str]] = []
    held: list[int] = []  # in ComfyUI's queue each time
    second: list[Any] = []  # kept back: it could be done before anybody stops it

    def noted(route: Any) -> None:
        body = json.loads(route.request.post_data)
        asked.append((body["step"], body["items"]))
        with urllib.request.urlopen(f"{frontend_host.url}/queue", timeout=30) as answer:
            held.append(sum(map(len, json.load(answer).values())))
        second.append(route) if len(asked) == 2 else route.continue_()

    tab.route("**/eridiffusion/queue", noted)
    heads = tab.locator(".eri-runs thead th")
    step = int(heads.nth(6).inner_text())
    make = tab.get_by_role("button", name=f"Make the missing samples of step {step}")
    made = tab.locator(f"{CELLS}[aria-label*=', step {step}, made']")
    make.evaluate("button => button.click()")
    tab.get_by_text("Making samples: 1 of 4").wait_for()
    tab.locator(CELLS).first.click()  # the large view lies over the tab
    viewer = tab.locator(".eri-viewer")
    viewer.get_by_text("Making samples: 1 of 4").wait_for()
    viewer.get_by_role("button", name="Stop").click()
    viewer.get_by_text("Stopping…").wait_for()
    tab.keyboard.press("Escape")
    deadline = time.monotonic() + PATIENCE
    while not second and time.monotonic() < deadline:
        tab.wait_for_timeout(20)
    tab.locator(".eri-runs").get_by_text("Stopping…").wait_for()
    second[0].continue_()
    tab.get_by_role("progressbar").wait_for(state="hidden")
    wait_until_idle(frontend_host.url)
    assert asked == [(step, "0"), (step, "1")]
    made.first.wait_for()
    assert set(held) == {0}, "only one of them is in the queue at a time"

    (EXAMPLES / "runs" / "flux_zorp" / "eridiffusion.json").unlink()  # then the picture says what made it
    tab.get_by_label("Look again").click()
    tab.wait_for_function("() => document.querySelectorAll('.eri-runs tbody th').length === 1")
    assert tab.locator("#eri-config option:checked").inner_text() == "As the pictures say"
    assert tab.locator(".eri-runs tbody th").inner_text() == read_spec(CONFIG).items[0].prompt
    assert made.count() == 1
    tab.unroute("**/eridiffusion/queue")
    assert fresh.complaints == []


def test_samples_are_compared_blind(fresh: Canvas, runs: Path, frontend_host: LocalHost) -> None:
    run = write_run(runs, "blind", range(100, 400, 100), ["a hill", "<b>a lake</b>", "a wood"])
    for step in (100, 200, 300):
        for item in range(3):
            place = f"blind/samples_step_{step:06}/step_{step:06}_sample_{item:02}.png"
            bright_sample(frontend_host.output_dir / place, step)
    page = show(fresh, "blind")
    page.get_by_role("button", name="Compare blind").click()
    page.get_by_label("Your name").fill("Anna")
    page.keyboard.press("Enter")
    prefer_later(page, 9, lambda: fresh.screenshot("blind_pair"))
    fresh.screenshot("blind_result")
    votes = read_votes(run / "votes.jsonl", "blind")
    better = [sorted([vote.left.step, vote.right.step], reverse=vote.vote == "left") for vote in votes]
    assert better == [[vote.left.step, vote.right.step] for vote in votes]
    assert {(vote.voter, vote.seed is not None) for vote in votes} == {("Anna", True)}
    assert len(votes) == 9
    assert page.locator(".eri-blind-chart tbody th").all_inner_texts() == ["step 300", "step 200", "step 100"]
    assert page.locator(".eri-blind-answer").inner_text().lower().startswith(("step 300 looks best", "take step 300"))
    page.keyboard.press("Escape")
    assert fresh.complaints == []


def test_a_sweep_is_planned_then_made_until_somebody_stops(tab: Any, fresh: Canvas, frontend_host: LocalHost) -> None:
    spec = read_spec(CONFIG)
    tab.get_by_role("button", name="Sweep…").click()
    dialog = tab.locator(".eri-sweep")
    dialog.get_by_label("Steps").fill("50")
    dialog.get_by_label("CFG").fill("much")
    dialog.get_by_text("that is no number").wait_for()
    dialog.get_by_label("CFG").fill("")
    dialog.get_by_label("Strengths").fill("0.5, 1")
    dialog.get_by_text(f"To make: {2 * len(spec.items)} (variants: 2, steps: 1, already there: 0).").wait_for()
    fresh.screenshot("sidebar_sweep")
    dialog.get_by_role("button", name="Start").click()
    tab.get_by_text(re.compile(r"Making samples: [1-9]")).wait_for()
    tab.get_by_role("button", name="Stop").click()
    tab.get_by_role("progressbar").wait_for(state="hidden")
    wait_until_idle(frontend_host.url)
    made = list((frontend_host.output_dir / spec.name).glob("strength=*/**/*.png"))
    assert 1 <= len(made) < 2 * len(spec.items)
    assert {path.relative_to(frontend_host.output_dir).parts[1] for path in made} <= {"strength=0.5", "strength=1"}
    fresh.settle()
    shutil.rmtree(frontend_host.output_dir / spec.name / "strength=0.5")
    tab.get_by_label("Look again").click()

    # the grid shows what a sweep made, and compares it with what is there as trained
    made_at = frontend_host.output_dir / spec.name / "samples_step_000250"
    variant = made_at.parent / "strength=0.7"
    shutil.copytree(made_at, variant / made_at.name)
    tab.get_by_label("Look again").click()
    cells = tab.locator(f"{CELLS}.eri-made")
    choice = tab.get_by_label("Settings", exact=True)  # newer front ends have a button of that name
    choice.select_option("strength 0.7")
    tab.wait_for_function("() => document.querySelectorAll('.eri-runs [role=gridcell].eri-made').length === 1")
    assert tab.get_by_role("button", name=re.compile("Make the missing samples \\(")).count() == 0
    cells.first.click()
    viewer = tab.get_by_role("dialog")
    assert viewer.get_by_role("button", name="Open graph").count() == 0
    viewer.get_by_label("Compare with").select_option("as trained")
    fresh.screenshot("sidebar_variant")
    tab.keyboard.press("Escape")
    choice.select_option("as trained")
    fresh.settle()  # nothing asks any more for what goes now
    shutil.rmtree(variant)
    # but of a CFG that is no number; and of what was deleted, which newer front ends may still show in their own list
    meant = ("run-sweep", "strength%3D0.5")
    assert [line for line in fresh.complaints if not any(word in line for word in meant)] == []
