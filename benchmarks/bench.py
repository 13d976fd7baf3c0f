"""What a user waits for, each beside its alternative in one run: `make bench`.

    python benchmarks/bench.py [--repeats 7] [--write docs/performance.md]

Every row is measured several times, ours and the other in turns, in processor time, with one thread; the ratio is ours
by the other's, its median and its least and most. The figures go to .workspace/bench.json, the table to a document.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from comfyui_eridiffusion.dev.host_install import ROOT, WORKSPACE

BEGIN: Final = "<!-- bench.py: begin -->"
END: Final = "<!-- bench.py: end -->"
CONFIG: Final = str(ROOT / "examples" / "configs" / "flux.yaml")

Work = Callable[[], object]
Clock = Callable[[], float]
#: Of work that several cores share.
CLOCK: Final[Clock] = time.perf_counter


@dataclass(frozen=True)
class Row:
    """One comparison: seconds of each run. other: what ours is beside, without seconds where there is nothing."""

    work: str
    other: str
    aim: str
    ours: list[float]
    others: list[float]

    def cells(self) -> list[str]:
        """Of the table."""
        took = f"{_shown(statistics.median(self.ours))} ({_shown(min(self.ours))}–{_shown(max(self.ours))})"
        if not self.others:
            return [self.work, self.other, took, "–", self.aim]
        ratios = [one / other for one, other in zip(self.ours, self.others, strict=True)]
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"
        return [self.work, self.other, took, ratio, self.aim]


def _shown(seconds: float) -> str:
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


def seconds(work: Work, clock: Clock = time.process_time, least: float = 0.02) -> float:
    """Processor time (or another clock's) of one call: of as many as take `least` seconds."""
    calls, took = 0, 0.0
    began = clock()
    while took < least:
        work()
        calls += 1
        took = clock() - began
    return took / calls


def row(
    work: str, other: str, aim: str, ours: Work, others: Work | None, repeats: int, clock: Clock = time.process_time
) -> Row:
    """Both in turns, after one call of each that does not count."""
    ours()
    if others is not None:
        others()
    pairs = [(seconds(ours, clock), seconds(others, clock) if others else 0.0) for _ in range(repeats)]
    return Row(work, other, aim, [one for one, _ in pairs], [two for _, two in pairs] if others else [])


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
        rows.append(Row(f"`eri {words[0]}`", f"`import typer`: {_shown(alone)}", "≤ 0.25 s more", took, []))
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


def text_of(rows: list[Row], repeats: int) -> str:
    """The table with the machine that it is of."""
    import torch

    cpu = next((line.split(": ")[1] for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    head = (
        f"Python {platform.python_version()}, torch {torch.__version__}, one thread of {cpu or platform.machine()} "
        f"({os.cpu_count()} cores, load {load:.0f}); median of {repeats} runs (least–most), processor time."
    )
    lines = [head, "", "| work | beside | ours | ratio | aim |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row.cells())} |" for row in rows)])


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).is_file() else []


def main() -> None:
    """Measure, print, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--write", type=Path, help=f"document that holds {BEGIN} and {END}")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    rows = [*numerics(options.repeats), *starts(options.repeats), *long_work(options.repeats)]
    text = text_of(rows, options.repeats)
    sys.stdout.write(text + "\n")
    WORKSPACE.mkdir(exist_ok=True)
    (WORKSPACE / "bench.json").write_text(json.dumps([asdict(one) for one in rows], indent=1), encoding="utf-8")
    if options.write:
        head, _, rest = options.write.read_text(encoding="utf-8").partition(BEGIN)
        tail = rest.partition(END)[2]
        options.write.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
