"""What a gallery of many pictures costs: to write, to write again, and to scroll in Chromium.

    python benchmarks/galleries.py [--prompts 50] [--steps 20] [--side 512] [--json]

The pictures are blurred noise, each another file. Writing is processor time of all threads. The browser scrolls the
whole grid, a part for each frame; what is told are the times between two frames, which a display of 60 Hz gets every
16.7 ms.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

from comfyui_eridiffusion.compare.collection import read_collection
from comfyui_eridiffusion.gallery.write import write_gallery
from comfyui_eridiffusion.tests.compare.sample_pictures import picture, spec_of
from comfyui_eridiffusion.tests.frontend.browser import FLAGS, find_chromium

FRAMES = 240
SCROLL = """async count => {
    const box = document.querySelector('.eri-scroll');
    const times = [];
    for (let part = 0; part <= count; part += 1) {
        box.scrollTop = part / count * (box.scrollHeight - box.clientHeight);
        times.push(await new Promise(requestAnimationFrame));
    }
    return times.slice(1).map((time, at) => time - times[at]);
}"""


def run_of(folder: Path, prompts: int, steps: int, side: int) -> Path:
    """A run's folder of pictures that look like some, as far as their size goes."""
    spec = spec_of(tuple(f"prompt {number}" for number in range(prompts)))
    spec = replace(spec, items=[replace(item, width=side, height=side) for item in spec.items])
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 255, (side, side, 3), dtype=np.uint8))
    noise = noise.filter(ImageFilter.GaussianBlur(2))
    for step in range(steps):
        for item in spec.items:
            path = picture(folder, spec, 100 * step, item.index)
            shown = Image.open(path)
            texts = shown.text  # type: ignore[attr-defined]
            shown.paste(noise)
            shown.paste((step * 9 % 255, item.index * 5 % 255, 0), (0, 0, side // 4, side // 4))
            shown.save(path, pnginfo=_info(texts), compress_level=1)
    return folder


def _info(texts: dict[str, str]) -> Any:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    return info


def scrolled(page_file: Path) -> dict[str, float]:
    """Milliseconds until the page shows its first picture, and between frames while it scrolls."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium(), args=list(FLAGS), headless=True)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        start = time.perf_counter()
        page.goto(page_file.as_uri())
        page.wait_for_function("() => document.querySelector('.eri-scroll td img')?.complete")
        opened = 1e3 * (time.perf_counter() - start)
        times = sorted(page.evaluate(SCROLL, FRAMES))
        browser.close()
    at = {"median": statistics.median(times), "95 %": times[int(0.95 * len(times))], "worst": times[-1]}
    return {"opened": round(opened), **{name: round(value, 1) for name, value in at.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = read_collection(run_of(Path(name) / "my_run", args.prompts, args.steps, args.side))
        told: dict[str, Any] = {"pictures": len(found.pictures)}
        for key in ("write", "write again"):
            start = time.process_time()
            done = write_gallery(found, link=True)
            told[f"{key}, s"] = round(time.process_time() - start, 2)
        told["page, kB"] = round(done.page.stat().st_size / 1e3)
        beside = [path for part in ("small", "moving") for path in (done.page.parent / part).iterdir()]
        told["beside the pictures, MB"] = round(sum(path.stat().st_size for path in beside) / 1e6, 1)
        told |= {f"{key}, ms": value for key, value in scrolled(done.page).items()}
    print(json.dumps(told) if args.json else "\n".join(f"{key:26} {value}" for key, value in told.items()))


if __name__ == "__main__":
    main()
