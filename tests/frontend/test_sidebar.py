"""The sidebar tab in the real front end: a run's grid, its keys, and the graph behind a cell."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client.local_host import LocalHost
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.frontend.conftest import Canvas

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = EXAMPLES / "configs" / "flux.yaml"


@pytest.fixture
def tab(fresh: Canvas, frontend_host: LocalHost) -> Any:
    """The open tab on the Flux example, whose config lies in the input folder and one of whose samples is made."""
    spec = read_spec(CONFIG)
    shutil.copy(CONFIG, frontend_host.input_dir / "mine.yaml")
    made = frontend_host.output_dir / spec.name / "samples_step_000250" / "step_000250_sample_01.png"
    made.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(frontend_host.input_dir / "example.png", made)
    kept = {"run": "flux_zorp", "configs": {"flux_zorp": "mine.yaml"}}
    fresh.page.evaluate("kept => localStorage.setItem('eridiffusion.sidebar', kept)", json.dumps(kept))
    if fresh.page.locator(".eri-runs").count() == 0:
        fresh.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('eridiffusion-runs')")
    else:
        # the grid of the test before goes only when the answers are there
        fresh.page.evaluate("() => document.querySelector('.eri-runs table').classList.add('earlier')")
        fresh.page.get_by_label("Look again").click()
    fresh.page.wait_for_selector(".eri-runs table:not(.earlier) td button")
    fresh.page.locator(".eri-runs td img").scroll_into_view_if_needed()
    fresh.page.wait_for_function("() => document.querySelector('.eri-runs td img')?.complete")
    return fresh.page


def test_grid_shows_prompts_steps_and_what_is_made(tab: Any, fresh: Canvas) -> None:
    spec = read_spec(CONFIG)
    assert tab.locator(".eri-runs tbody th").all_inner_texts() == [item.prompt for item in spec.items]
    assert tab.locator(".eri-runs td img").count() == 1
    assert tab.locator(".eri-runs td img").evaluate("image => image.naturalWidth") > 0
    assert fresh.complaints == []
    folder = os.environ.get("ERI_SCREENSHOTS")
    if folder:
        for theme in ("light", "dark"):
            tab.evaluate("id => app.extensionManager.setting.set('Comfy.ColorPalette', id)", theme)
            tab.wait_for_timeout(800)
            tab.screenshot(path=str(Path(folder) / f"sidebar_{theme}.png"))


def test_arrow_keys_and_enter_open_the_graph_of_a_cell(tab: Any, fresh: Canvas) -> None:
    tab.locator(".eri-runs td button").first.focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowRight")
    step = int(tab.locator(".eri-runs thead th").nth(2).inner_text())
    tab.keyboard.press("Enter")
    tab.wait_for_function("() => app.graph._nodes.some(node => node.type === 'EriSampleSpec')")
    prompt = fresh.prompt()
    lora = next(node for node in prompt.values() if node["class_type"] == "EriLoraAtStep")
    assert (lora["inputs"]["run"], lora["inputs"]["step"]) == ("flux_zorp", step)
    spec = next(node for node in prompt.values() if node["class_type"] == "EriSampleSpec")
    shown = read_spec(spec["inputs"]["config"])
    assert [item.prompt for item in shown.items] == [read_spec(CONFIG).items[1].prompt]
    assert fresh.complaints == []


def test_slider_marks_a_column(tab: Any) -> None:
    slider = tab.get_by_label("Step", exact=True)
    slider.focus()
    tab.keyboard.press("Home")
    assert tab.locator(".eri-runs thead .eri-at").inner_text() == "0"
    tab.keyboard.press("ArrowRight")
    assert tab.locator(".eri-runs thead .eri-at").inner_text() == tab.locator(".eri-runs output").inner_text() != "0"
