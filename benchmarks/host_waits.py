"""What the pack adds to a ComfyUI's start and page, and how soon `eri watch` has a picture. Rows of `make bench`.

    make bench ARGS="--only host"

ComfyUI runs in a process of its own. Starts and pages are told in processor time: of ComfyUI until it answers, and of
the browser's process that draws the page until all nodes are there.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psutil

from comfyui_eridiffusion.benchmarks.rows import Row, shown
from comfyui_eridiffusion.benchmarks.sweep_beside_stock import EXAMPLES, RUN
from comfyui_eridiffusion.dev.host_install import WORKSPACE
from comfyui_eridiffusion.dev.host_links import LOADERS_FOLDER
from comfyui_eridiffusion.dev.local_host import LocalHost

#: Of main.py: the last list of packs counts.
WITHOUT: Final = ("--whitelist-custom-nodes", LOADERS_FOLDER)
PATIENCE: Final = 300.0


def rows(repeats: int) -> list[Row]:
    """A start, a page, and a checkpoint that appears; modules are compiled once, as where people run them."""
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(WORKSPACE / "bench_compiled")}
    return [starts(repeats), pages(repeats), first_pictures(repeats)]


def starts(repeats: int) -> Row:
    """ComfyUI's start with the pack and without."""

    def start(*more: str) -> float:
        with LocalHost(extra_args=more) as host:
            return processor_time(host.pid)

    start(), start(*WITHOUT)  # files come into memory, modules are compiled
    return difference("ComfyUI's start", "≤ 0.15 s more", [(start(), start(*WITHOUT)) for _ in range(repeats)])


def pages(repeats: int) -> Row:
    """ComfyUI's page with the pack and without."""
    from playwright.sync_api import sync_playwright

    from comfyui_eridiffusion.tests.frontend.browser import FLAGS, find_chromium
    from comfyui_eridiffusion.tests.frontend.conftest import READY

    with LocalHost() as ours, LocalHost(extra_args=WITHOUT) as plain, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=find_chromium(), args=list(FLAGS), headless=True)

        def load(host: LocalHost) -> float:
            context = browser.new_context()
            page = context.new_page()
            told = context.new_cdp_session(page)
            told.send("Performance.enable")
            page.goto(host.url)
            page.wait_for_function(READY, timeout=1e3 * PATIENCE)
            metrics = told.send("Performance.getMetrics")["metrics"]
            context.close()
            return next(float(one["value"]) for one in metrics if one["name"] == "ProcessTime")

        load(ours), load(plain)
        pairs = [(load(ours), load(plain)) for _ in range(repeats)]
        browser.close()
    return difference("ComfyUI's page, until it can be used", "≤ 0.1 s more", pairs)


def difference(work: str, aim: str, pairs: list[tuple[float, float]]) -> Row:
    """A row of what the pack adds."""
    ours, others = ([pair[side] for pair in pairs] for side in (0, 1))
    more = statistics.median(one - two for one, two in pairs)
    return Row(work, "without the pack", aim, ours, others, f"{shown(more)} more")


def processor_time(pid: int) -> float:
    """Seconds that a process computed until now."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def first_pictures(repeats: int) -> Row:
    """From the moment in which a checkpoint has its name until its picture has, of one step: nearly no model time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run, pictures = folder / "loras" / "run", folder / "pictures"
        run.mkdir(parents=True)
        config = (EXAMPLES / "configs" / "flux.yaml").read_text(encoding="utf-8")
        (folder / "train.yaml").write_text(config.replace("sample_steps: 20", "sample_steps: 1"), encoding="utf-8")
        with LocalHost(model_paths={"loras": [folder / "loras"]}) as host:
            words = ["watch", str(run), "--config", str(folder / "train.yaml"), "--items", "0", "--host", host.url]
            words += ["--models", str(EXAMPLES / "models" / "flux.yaml"), "--output", str(pictures)]
            code = f"import sys; sys.argv = {['eri', *words]!r}; from comfyui_eridiffusion.cli import main; main()"
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            watcher = subprocess.Popen([sys.executable, "-c", code], cwd="/", **quiet)  # noqa: S603 - our own
            try:
                wait(lambda: appears(run, pictures, 1))  # ComfyUI loads the models
                computed = [processor_time(pid) for pid in (host.pid, watcher.pid)]
                seconds = [appears(run, pictures, step) for step in range(2, 2 + repeats)]
                spent = [processor_time(pid) for pid in (host.pid, watcher.pid)]
            finally:
                watcher.terminate()
                watcher.wait()
    of_host, of_eri = ((after - before) / repeats for after, before in zip(spent, computed, strict=True))
    note = f"processor time of ComfyUI {shown(of_host)}, of `eri` {shown(of_eri)}"
    work = "a checkpoint appears → its first picture, `eri watch`, wall clock"
    return Row(work, "the model's own time, one step", "≤ 1 s more", seconds, [], note)


def appears(run: Path, pictures: Path, step: int) -> float:
    """Wall seconds from the renaming of a new checkpoint to its picture."""
    half = run.parent / "half_written"
    files = sorted(RUN.iterdir())
    shutil.copyfile(files[step % len(files)], half)
    before = len(list(pictures.rglob("*.png")))
    began = time.perf_counter()
    os.replace(half, run / f"flux_lora_step{10 * step}.safetensors")
    while not any(path.stat().st_mtime for path in list(pictures.rglob("*.png"))[before:]):
        if time.perf_counter() - began > PATIENCE:
            raise TimeoutError(f"no picture of step {10 * step} in {PATIENCE:g} s")
        time.sleep(0.01)
    return time.perf_counter() - began


def wait(work: Callable[[], object]) -> None:
    """Once, and a moment more, in which sheets and records are written."""
    work()
    time.sleep(3)
