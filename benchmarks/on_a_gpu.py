"""What only a GPU can tell: one script for a machine that has one, with torch and ComfyUI's requirements.

    python benchmarks/on_a_gpu.py ~/ComfyUI [--results on_a_gpu.json] [--table docs/performance.md]

Checks CUDA's noise against torch's own and the small models in bfloat16 against the trainers' runs, and measures, at
real widths with random weights (SDXL, SD 3.5 Medium, Flux dev), what a LoRA costs beside the weights, merged and by
ComfyUI's own loader, and what memory policies and the measures against an error for want of memory do; on classic and,
where ComfyUI has them, on dynamic patchers. It takes less than eight minutes. Each part is written to the results when
it is done, and a part that is there is not run again: start it again after an interruption. `--table` writes what the
results hold into a page, between its two marks, and runs nothing.

`--small` is a small form of the same for a CPU, with models two blocks deep.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
NAME: Final = "comfyui_eridiffusion"
KINDS: Final = ("classic", "dynamic")
FAMILIES: Final = ("sdxl", "sd35", "flux")
#: In the order in which they run: what is short and what others build on first.
PARTS: Final = (
    "noise",
    "pictures",
    *(f"lora {family} {kind}" for family in FAMILIES for kind in KINDS),
    *(f"memory {kind}" for kind in KINDS),
)
MARKS: Final = ("<!-- on_a_gpu.py: begin -->", "<!-- on_a_gpu.py: end -->")
#: Seconds after which no further part is begun.
BUDGET: Final = 360
#: Seconds after which a part is given up.
LONGEST: Final = 120


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def import_pack() -> None:
    """Make the folder above importable under the pack's name, whatever it is called; it may not be installed."""
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (ROOT, ROOT / "benchmarks")]
    if NAME in sys.modules or importlib.util.find_spec(NAME):
        return
    spec = importlib.util.spec_from_file_location(NAME, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{ROOT} is not the pack's folder")
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def read(path: Path) -> dict[str, Any]:
    """The results so far: by part, what it found, or why it could not run."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def end_with_parent() -> None:
    """End this process when the one that started it has ended, however that did: it holds the other end of stdin."""

    def wait() -> None:
        while os.read(0, 1):  # not sys.stdin: a thread that waits there keeps Python from ending
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def measured(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What a part's process printed. It ends with this one, and after LONGEST seconds; then TimeoutExpired."""
    end, held = os.pipe()
    try:
        return subprocess.run(  # noqa: S603
            command, stdin=end, capture_output=True, text=True, check=False, timeout=LONGEST
        )
    finally:
        os.close(end)
        os.close(held)


def run(comfyui: Path, results: Path, parts: list[str], small: bool) -> int:
    """Run the parts that the results lack, each in a process of its own; 1 where one failed or is left."""
    began, failed = time.monotonic(), False
    for part in parts:
        if part in read(results):
            say(f"{part}: there")
            continue
        if time.monotonic() - began > BUDGET:
            say(f"{part}: no time left, start again for it")
            failed = True
            continue
        command = [sys.executable, __file__, str(comfyui), "--part", part, *(["--small"] if small else [])]
        before = time.monotonic()
        try:
            done = measured(command)
        except subprocess.TimeoutExpired:
            say(f"{part}: given up after {LONGEST} s")
            failed = True
            continue
        if done.returncode:
            say(f"{part}: failed\n{done.stderr[-2000:]}")
            failed = True
            continue
        found = {"seconds": round(time.monotonic() - before, 1), **json.loads(done.stdout.splitlines()[-1])}
        unfinished = results.with_suffix(".part")
        unfinished.write_text(json.dumps({**read(results), part: found}, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(results)
        say(f"{part}: {json.dumps(found)}")
    return int(failed)


def write_table(page: Path, results: dict[str, Any]) -> None:
    """Put the results into the page, between its marks."""
    from comfyui_eridiffusion.benchmarks.gpu_tables import tables

    text = page.read_text(encoding="utf-8")
    start, end = (text.index(mark) for mark in MARKS)
    page.write_text(f"{text[:start]}{MARKS[0]}\n{tables(results)}{text[end:]}", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comfyui", type=Path, help="ComfyUI's folder; start this with the Python that runs it")
    parser.add_argument("--results", type=Path, default=Path("on_a_gpu.json"))
    parser.add_argument("--parts", default=",".join(PARTS), help="a comma between them")
    parser.add_argument("--small", action="store_true", help="a small form, for a CPU")
    parser.add_argument("--table", type=Path, help="write the results into this page and end")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["COMFYUI_PATH"] = str(options.comfyui.resolve())
    import_pack()
    if options.table:
        write_table(options.table, read(options.results))
        return 0
    if options.part:
        end_with_parent()
        from comfyui_eridiffusion.benchmarks.gpu_parts import measure

        say(json.dumps(measure(options.part, options.small)))
        return 0
    parts = options.parts.split(",")
    unknown = [part for part in parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}. There are: {', '.join(PARTS)}")
    return run(options.comfyui, options.results, parts, options.small)


if __name__ == "__main__":
    sys.exit(main())
