"""What a user waits for, each beside its alternative in one run: `make bench`.

    python benchmarks/bench.py [--only lora,starts] [--repeats 7] [--write docs/performance.md]

Every row is measured several times, ours and the other in turns, with one thread, in processor time where the row does
not say otherwise; the ratio is ours by the other's, its median and its least and most. Each group of rows runs in a
process of its own. The figures go to .workspace/bench.json; `--write` puts the tables into a document, and the figures
and the plot beside it. Groups that were not measured this time stay as they were; `--only ""` measures nothing.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

from comfyui_eridiffusion.benchmarks.rows import CLOCK, Row, Work, row, shown
from comfyui_eridiffusion.dev.host_install import ROOT, WORKSPACE

BEGIN: Final = "<!-- bench.py: begin -->"
END: Final = "<!-- bench.py: end -->"
CONFIG: Final = str(ROOT / "examples" / "configs" / "flux.yaml")


class Group(NamedTuple):
    """Rows that are measured together.

    where: module of the benchmarks and its function, repeats -> rows. most: repeats of what takes long.
    """

    title: str
    where: str
    most: int = 99


GROUPS: Final = {
    "numerics": Group("Arithmetic", "bench:numerics"),
    "starts": Group("Commands", "bench:starts"),
    "long": Group("Many prompts and pictures", "bench:long_work"),
    "lora": Group("A LoRA, and changing it", "lora_beside:rows", 5),
    "sweep": Group("A sweep", "sweep_beside_stock:rows", 3),
    "limited": Group("A sweep where only one model has room", "large_encoders:limited", 3),
    "cached": Group("Prompts from the cache", "large_encoders:cached", 3),
    "host": Group("ComfyUI's start and page, a new checkpoint", "host_waits:rows", 5),
}


def numerics(repeats: int) -> list[Row]:
    """Steps, threshold and Flux's layout beside plain torch, einops and diffusers."""
    import torch
    from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
    from einops import rearrange

    from comfyui_eridiffusion.samplers import diffusion, flow, flux_latents, guidance, schedules

    torch.manual_seed(0)
    x, v = torch.randn(1, 16, 128, 128), torch.randn(1, 16, 128, 128)
    small, output, noise = (torch.randn(1, 4, 128, 128) for _ in range(3))
    table = schedules.alphas_cumprod()
    ddim = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", set_alpha_to_one=False, steps_offset=1,
        clip_sample=False,
    )  # fmt: skip
    ddim.set_timesteps(30)
    t = int(ddim.timesteps[10])
    euler = FlowMatchEulerDiscreteScheduler()
    euler.set_timesteps(20)

    def their_euler() -> object:
        euler._step_index = 5
        return euler.step(v, euler.timesteps[5], x)

    def with_einops() -> object:
        tokens = rearrange(x, "b c (h ph) (w pw) -> b (h w) (c ph pw)", ph=2, pw=2)
        return rearrange(tokens, "b (h w) (c ph pw) -> b c (h ph) (w pw)", h=64, w=64, ph=2, pw=2)

    def ours(eta: float, new: torch.Tensor | None) -> Work:
        return lambda: diffusion.ddim_step(small, output, t, t - 33, table, eta=eta, noise=new)

    def theirs(eta: float, new: torch.Tensor | None) -> Work:
        return lambda: ddim.step(output, t, small, eta=eta, variance_noise=new)

    step = "flow Euler step, 1×16×128×128"
    flat = small.flatten(1).abs()
    return [
        row(step, "`x + dt * v`", "≤ 1.3", lambda: flow.euler_step(x, v, 0.8, 0.75), lambda: x + -0.05 * v, repeats),
        row(step, "diffusers", "", lambda: flow.euler_step(x, v, 0.8, 0.75), their_euler, repeats),
        row("DDIM step, 1×4×128×128", "diffusers", "≤ 0.6", ours(0.0, None), theirs(0.0, None), repeats),
        row("DDIM step, η = 0.5", "diffusers", "≤ 0.6", ours(0.5, noise), theirs(0.5, noise), repeats),
        row(
            "Imagen threshold, 1×4×128×128", "torch.quantile alone", "≤ 0.2",
            lambda: guidance.dynamic_threshold(small, 0.995), lambda: torch.quantile(flat, 0.995, dim=1), repeats,
        ),
        row(
            "patchify + unpatchify, 1×16×128×128", "einops", "≤ 1.0",
            lambda: flux_latents.unpatchify(flux_latents.patchify(x), 128, 128), with_einops, repeats,
        ),
    ]  # fmt: skip


def starts(repeats: int) -> list[Row]:
    """How much processor time `eri` takes from start to end, compiled as pip does, and what typer alone does."""
    alone = statistics.median(_process("import typer") for _ in range(repeats))
    rows = []
    for words in (["--help"], ["explain", CONFIG], ["graph", CONFIG, "-o", os.devnull]):
        code = f"import sys; sys.argv = {['eri', *words]!r}; from comfyui_eridiffusion.cli import main; main()"
        took = [_process(code) for _ in range(repeats + 1)][1:]
        rows.append(Row(f"`eri {words[0]}`", f"`import typer`: {shown(alone)}", "≤ 0.25 s more", took, []))
    return rows


def _process(code: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    compiled = os.environ | {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(WORKSPACE / "bench_compiled")}
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/", env=compiled, **quiet)  # noqa: S603 - our own
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def long_work(repeats: int) -> list[Row]:
    """Graphs of many prompts, and a sheet of many pictures."""
    from PIL import Image

    from comfyui_eridiffusion.images.sheet import contact_sheet
    from comfyui_eridiffusion.spec import SampleItem, SampleSpec
    from comfyui_eridiffusion.workflows import build

    def graph(count: int) -> Work:
        items = [SampleItem(n, f"picture {n}, finely drawn, at noon", 1024, 768, 28, seed=n) for n in range(count)]
        spec = SampleSpec("sdxl", "eridiffusion", items, name="zorp")
        return lambda: build(spec, style="stock").ui()

    pictures = [Image.new("RGB", (1024, 1024), (n % 255, 90, 40)) for n in range(50)] * 10
    labels = [f"a picture of the number {n}" for n in range(50)]
    thousand = graph(1000)
    columns = [f"step {n}" for n in range(10)]

    def ten_times() -> object:
        return [thousand() for _ in range(10)]

    def sheet() -> object:
        return contact_sheet(pictures, labels, columns)

    return [
        row("1,000 prompts → graph, canvas form, stock", "–", "< 100 ms", thousand, None, repeats),
        row("10,000 prompts → the same", "ten times 1,000", "≤ 1", graph(10_000), ten_times, 2),
        row("contact sheet of 500 pictures, 1024², on all cores, by the clock", "–", "< 2 s", sheet, None, 3, CLOCK),
    ]


def measured(name: str, repeats: int) -> dict[str, Any]:
    """The rows of a group, and on what they were measured, as JSON types; runs in a process of its own."""
    import torch

    torch.set_num_threads(1)
    module, function = GROUPS[name].where.split(":")
    repeats = min(repeats, GROUPS[name].most)
    rows: list[Row] = getattr(import_module(f"comfyui_eridiffusion.benchmarks.{module}"), function)(repeats)
    cpu = next((line.split(": ")[1] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    machine = (
        f"Python {platform.python_version()}, torch {torch.__version__}, one thread of {cpu or platform.machine()} "
        f"({os.cpu_count()} cores, load {load:.0f}); median of {repeats} runs (least–most)."
    )
    return {"machine": machine, "rows": [asdict(one) for one in rows]}


def text_of(found: dict[str, Any]) -> str:
    """A table for each group, with the machine that it is of."""
    parts = []
    for name, group in GROUPS.items():
        if name in found:
            rows = [Row(**one) for one in found[name]["rows"]]
            noted = any(one.note for one in rows)
            titles = ["work", "beside", "ours", "ratio", "aim", *(["meanwhile"] if noted else [])]
            lines = [f"| {' | '.join(cells[: len(titles)])} |" for cells in (titles, *(one.cells() for one in rows))]
            table = "\n".join([lines[0], "|---" * len(titles) + "|", *lines[1:]])
            parts.append(f"### {group.title}\n\n{found[name]['machine']}\n\n{table}")
    return "\n\n".join(parts)


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).is_file() else []


def known(figures: Path) -> dict[str, Any]:
    """What was measured until now."""
    found: dict[str, Any] = json.loads(figures.read_text(encoding="utf-8")) if figures.is_file() else {}
    return found


def write(document: Path, found: dict[str, Any]) -> None:
    """Put the tables into the document, and the plot beside it."""
    from comfyui_eridiffusion.benchmarks.plots import plot_ratios

    head, _, rest = document.read_text(encoding="utf-8").partition(BEGIN)
    tail = rest.partition(END)[2]
    plot = document.with_suffix(".svg")
    plot_ratios([Row(**one) for name in GROUPS if name in found for one in found[name]["rows"]], plot)
    picture = f"![Each ratio by the one aimed at]({plot.name})"
    document.write_text(f"{head}{BEGIN}\n\n{picture}\n\n{text_of(found)}\n\n{END}{tail}", encoding="utf-8")


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(GROUPS), help="groups of rows, with commas: " + ", ".join(GROUPS))
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--write", type=Path, help=f"document that holds {BEGIN} and {END}")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else []
    if unknown := [name for name in names if name not in GROUPS]:
        parser.error(f"--only: {unknown[0]!r} is no group. There are: {', '.join(GROUPS)}")
    WORKSPACE.mkdir(exist_ok=True)
    figures = options.write.with_suffix(".json") if options.write else WORKSPACE / "bench.json"
    os.environ |= {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    for name in names:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as alone:
            new = alone.submit(measured, name, options.repeats).result()
        sys.stdout.write(text_of({name: new}) + "\n\n")
        text = json.dumps({**known(figures), name: new}, indent=1, ensure_ascii=False)
        figures.write_text(text + "\n", encoding="utf-8")
    if options.write:
        write(options.write, known(figures))


if __name__ == "__main__":
    main()
