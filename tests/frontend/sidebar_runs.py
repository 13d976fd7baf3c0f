"""Runs for the sidebar tab, and what tests ask of its page."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.tests.frontend.conftest import Canvas

EXAMPLES = Path(__file__).parents[2] / "examples"
CONFIG = EXAMPLES / "configs" / "flux.yaml"
CELLS = ".eri-runs [role=gridcell]"
TABLE = ".eri-runs [role=grid]"
VISIBLE = """element => {
    const [a, b] = [element, document.querySelector('.eri-scroll')].map(x => x.getBoundingClientRect());
    return a.left >= b.left - 1 && a.right <= b.right + 1 && a.top >= b.top - 1 && a.bottom <= b.bottom + 1;
}"""
#: Columns of which a part lies behind the prompts or beyond the edge: [step, pixels hidden].
CUT = """() => {
    const [prompts, ...steps] = [...document.querySelectorAll('.eri-runs thead th')];
    const left = prompts.getBoundingClientRect().right;
    const right = document.querySelector('.eri-scroll').getBoundingClientRect().right - 1;
    return steps.map(th => [th, th.getBoundingClientRect()])
        .filter(([, box]) => box.right > left + 1 && box.left < right - 1)
        .map(([th, box]) => [th.textContent, Math.max(left - box.left, box.right - right)])
        .filter(([, hidden]) => hidden > 1);
}"""
#: Contrast of every text in the tab, and of the ring around what has the focus, by WCAG 2.1: [element, ratio, least].
CONTRAST = """() => {
    const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(x => x / 255)
        .map(x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4)
        .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = element => {
        for (let at = element; at; at = at.parentElement) {
            const colour = numbers(getComputedStyle(at).backgroundColor);
            if (colour.length === 3 || colour[3] > 0.9) return colour;
        }
    };
    const texts = ':is(h2, label, select, output, .eri-note, th, summary, td:empty, button, a, input[placeholder])';
    return [...document.querySelectorAll(`.eri-runs ${texts}`)]
        .filter(element => element.checkVisibility())
        .flatMap(element => {
            const ratio = colour => {
                const [a, b] = [light(numbers(colour)), light(behind(element))];
                return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            };
            const { color } = getComputedStyle(element, element.placeholder ? '::placeholder' : null);
            const told = [[element.tagName, ratio(color), 4.5]];
            element.focus({ focusVisible: true });
            if (element.matches(':focus-visible')) {
                told.push([`ring of ${element.tagName}`, ratio(getComputedStyle(element).outlineColor), 3]);
            }
            return told;
        });
}"""


def write_run(folder: Path, name: str, steps: range, prompts: list[str] | None = None) -> Path:
    """A run of these steps; with prompts, the Flux example's config under this name beside it."""
    run = folder / name
    run.mkdir(parents=True)
    weights = next((EXAMPLES / "runs" / "flux_zorp").glob("*.safetensors"))
    first = Path(shutil.copy(weights, run / f"{name}_{steps[0]:09d}.safetensors"))
    for step in steps[1:]:
        os.link(first, run / f"{name}_{step:09d}.safetensors")
    if prompts is not None:
        config = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
        config["config"]["name"] = name
        config["config"]["process"][0]["sample"]["prompts"] = prompts
        (run / "train.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return run


def make_sample(host: LocalHost, run: str, step: int, item: int) -> None:
    """A picture under EriDiffusion's own file name."""
    place = host.output_dir / run / f"samples_step_{step:06}" / f"step_{step:06}_sample_{item:02}.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (512, 384), (20 * (item % 12), 120, step % 200)).save(place)


def keep_config(run: Path, file: str) -> None:
    """As someone leaves it who chose this config for the run before."""
    document = {"version": 1, "config": {"file": file}, "marks": []}
    (run / "eridiffusion.json").write_text(json.dumps(document), encoding="utf-8")


def show(canvas: Canvas, run: str) -> Any:
    """Open the tab on this run, as someone finds it who chose it before."""
    page = canvas.page
    page.evaluate("kept => localStorage.setItem('eridiffusion.sidebar', kept)", json.dumps({"run": run}))
    hide(canvas)
    page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('eridiffusion-runs')")
    return page


def hide(canvas: Canvas) -> None:
    """Close the tab, where it is open: it would ask for its run when the run is no longer there."""
    if canvas.page.locator(".eri-runs").count() > 0:
        canvas.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('eridiffusion-runs')")
        canvas.page.wait_for_selector(".eri-runs", state="detached")


def compare(viewer: Any) -> None:
    """Lay the trainer's own and another step over the picture, a part of it in sight."""
    choice = viewer.get_by_label("Compare with")
    for against, url in (("The trainer's own", "run-picture"), ("step 1000", "000001000"[3:])):
        choice.select_option(against)
        assert url in viewer.locator(".eri-other").get_attribute("src")
    wipe = viewer.get_by_label("Where one picture ends")
    wipe.fill("30")
    clip = viewer.locator(".eri-other").evaluate("image => getComputedStyle(image).clipPath")
    assert clip == "inset(0px 70% 0px 0px)"


def show_example(canvas: Canvas) -> Any:
    """Open the tab on the Flux example, whose config lies in the input folder and one of whose samples is made."""
    keep_config(EXAMPLES / "runs" / "flux_zorp", "mine.yaml")
    page = show(canvas, "flux_zorp")
    page.wait_for_function("() => document.querySelector('.eri-runs td img')?.complete")
    return page


def mark_and_note(page: Any, step: int, item: int) -> None:
    """Make the sample that the large view shows a favourite, and take a note of it; both are kept with the run."""
    viewer = page.locator(".eri-viewer")
    viewer.get_by_role("button", name="Favourite").click()
    viewer.locator("[aria-pressed=true]").wait_for()
    viewer.get_by_label("Note", exact=True).fill("a good one")
    with page.expect_response(lambda answer: "/run-notes/" in answer.url):
        viewer.locator(".eri-stage").focus()
    kept = json.loads((EXAMPLES / "runs" / "flux_zorp" / "eridiffusion.json").read_text(encoding="utf-8"))
    assert kept["marks"] == [{"step": step, "item": item, "mark": "favourite"}]
    assert kept["notes"] == [{"step": step, "item": item, "note": "a good one"}]
