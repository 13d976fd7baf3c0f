"""What a large run costs in the sidebar: until its grid is there, and while it is scrolled, in Chromium.

    python benchmarks/sidebar_grid.py [--prompts 50] [--steps 100] [--side 256]

A real ComfyUI serves the run, every sample of which is there, to its own front end. The grid is scrolled down with the
wheel, and gone through with the keys, column by column. What is told of each: the times between two frames, which a
display of 60 Hz gets every 16.7 ms; the tasks of the page that took longer than 50 ms; the processor time that the
page's thread spent in all and on scripts. "At rest" is the page without the tab's work, for comparison.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.tests.frontend.browser import FLAGS, find_chromium
from comfyui_eridiffusion.tests.frontend.conftest import Canvas, opened, send_settings
from comfyui_eridiffusion.tests.frontend.sidebar_runs import CELLS, show, write_run

RUN = "large"
LOADED = "() => { const all = [...document.querySelectorAll('.eri-runs td img')];" \
    " return all.length > 10 && all.every(image => image.complete); }"  # fmt: skip
#: Begins to note the frames and the long tasks; `told` ends it.
WATCH = """() => {
    const seen = { frames: [], long: [] };
    const observer = new PerformanceObserver(list => seen.long.push(...list.getEntries().map(entry => entry.duration)));
    observer.observe({ type: 'longtask' });
    let going = true;
    const next = time => { seen.frames.push(time); if (going) requestAnimationFrame(next); };
    requestAnimationFrame(next);
    window.told = () => { going = false; observer.disconnect(); return seen; };
}"""


def make_pictures(output: Path, prompts: int, steps: int, side: int) -> None:
    """Pictures that look like some as far as their size goes, under EriDiffusion's file names, each another file."""
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    ground = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(2))
    for step in range(0, 100 * steps, 100):
        folder = output / RUN / f"samples_step_{step:06}"
        folder.mkdir(parents=True)
        for item in range(prompts):
            ground.paste((step // 40 % 255, item * 5 % 255, 0), (0, 0, side // 4, side // 4))
            ground.save(folder / f"step_{step:06}_sample_{item:02}.png", compress_level=1)


def spent(meter: Any) -> tuple[float, float]:
    """Seconds of the page's thread: all tasks, scripts."""
    found = {entry["name"]: entry["value"] for entry in meter.send("Performance.getMetrics")["metrics"]}
    return found["TaskDuration"], found["ScriptDuration"]


def watched(page: Any, meter: Any, what: Callable[[], None]) -> dict[str, Any]:
    before, start = spent(meter), time.perf_counter()
    page.evaluate(WATCH)
    what()
    seen = page.evaluate("() => told()")
    took, after = time.perf_counter() - start, spent(meter)
    between = sorted(later - earlier for earlier, later in zip(seen["frames"], seen["frames"][1:], strict=False))
    return {
        "s": round(took, 1),
        "frames, ms: median, 95 %, worst": [
            round(value, 1) for value in (statistics.median(between), between[int(0.95 * len(between))], between[-1])
        ],
        "long tasks, ms": [round(value) for value in seen["long"]],
        "page's thread, s: all, scripts": [round(now - then, 2) for then, now in zip(before, after, strict=True)],
    }


def measured(canvas: Canvas, steps: int) -> dict[str, Any]:
    page = canvas.page
    meter = page.context.new_cdp_session(page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})
    told: dict[str, Any] = {"at rest": watched(page, meter, lambda: page.wait_for_timeout(4000))}

    def open_tab() -> None:
        show(canvas, RUN)
        page.wait_for_function(LOADED)

    told["opened, until all cells in view have pictures"] = watched(page, meter, open_tab)
    count = "selector => document.querySelectorAll(selector).length"
    parts = (CELLS, f"{CELLS} img", ".eri-runs *")
    told["cells, pictures, elements of the tab"] = [page.evaluate(count, part) for part in parts]

    def wheel() -> None:
        page.locator(".eri-scroll").hover()
        for _ in range(120):
            page.mouse.wheel(0, 40)
            page.wait_for_timeout(16)

    def keys() -> None:
        page.locator(CELLS).nth(steps - 1).focus()
        for _ in range(steps - 1):
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(16)

    told["wheel"] = watched(page, meter, wheel)
    page.evaluate("() => document.querySelector('.eri-scroll').scrollTo(1e6, 0)")
    page.wait_for_function(LOADED)
    told["keys"] = watched(page, meter, keys)
    page.wait_for_function(LOADED)
    told["looked again, nothing new"] = watched(page, meter, lambda: looked(page))
    return told


def looked(page: Any) -> None:
    with page.expect_response(lambda answer: answer.url.endswith(f"/eridiffusion/runs/{RUN}")):
        page.get_by_label("Look again").click()
    page.wait_for_function(LOADED)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--side", type=int, default=256)
    args = parser.parse_args()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as name, LocalHost(model_paths={"loras": [Path(name)]}) as host:
        prompts = [f"castle {number} on a hill at sunset, wide angle, soft light" for number in range(args.prompts)]
        write_run(Path(name), RUN, range(100, 100 * args.steps, 100), prompts)  # and step 0, without LoRA
        make_pictures(host.output_dir, args.prompts, args.steps, args.side)
        send_settings(host.url)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=find_chromium(), args=list(FLAGS), headless=True)
            told = measured(opened(browser, host.url), args.steps)
            browser.close()
    print("\n".join(f"{key}: {json.dumps(value)}" for key, value in told.items()))


if __name__ == "__main__":
    main()
