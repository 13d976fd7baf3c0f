"""A sweep beside the same pictures made otherwise: time above the model's own forward passes, and what is loaded.

    make bench ARGS="--only sweep"

With the small Flux model of the examples, in a ComfyUI in this process: the prompts of `eri sweep`, one for each
checkpoint; a graph of ComfyUI's own nodes for each picture, queued one after the other; and a script of diffusers. Time
above the forward passes is all that is not the diffusion model's call: loading, encoding, the sampler's own arithmetic,
decoding, saving, and ComfyUI's work.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from comfyui_eridiffusion.benchmarks.meter import Found, Meter
from comfyui_eridiffusion.benchmarks.rows import Row
from comfyui_eridiffusion.client.grid import plan_grid
from comfyui_eridiffusion.spec import SampleSpec, read_spec
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.models import Models

EXAMPLES: Final = Path(__file__).parents[1] / "examples"
RUN: Final = EXAMPLES / "runs" / "flux_zorp"
PROMPTS, CHECKPOINTS = 8, 10
Works = Mapping[str, Callable[[], None]]


def rows(repeats: int) -> list[Row]:
    """8 prompts × 10 checkpoints beside stock graphs and a diffusers script."""
    logging.disable(logging.WARNING)
    from comfyui_eridiffusion.benchmarks import diffusers_script as theirs
    from comfyui_eridiffusion.dev.host_install import find_host

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        start(folder)
        files = write_run(folder / "loras" / "run", CHECKPOINTS)
        theirs.save_pipeline(folder / "pipeline", find_host().path)
        (folder / "theirs").mkdir()
        checkpoints, meter = theirs.save_checkpoints(files, folder / "theirs"), Meter()

        def script(spec: SampleSpec, count: int) -> None:
            items, output = spec.items, folder / "output"
            theirs.sweep(folder / "pipeline", checkpoints[:count], items, output, meter.timed)

        models = EXAMPLES / "models" / "flux.yaml"
        spec = prompts_of(PROMPTS)

        def works(spec: SampleSpec, count: int) -> dict[str, Callable[[], None]]:
            found = of_host(spec, files[:count], models)
            return {**found, "a diffusers script": lambda: script(spec, count)}

        found = in_turns(meter, works(spec.part(spec.items[:1]), 1), works(spec, CHECKPOINTS), repeats)
    return rows_of(found, f"sweep of {PROMPTS} prompts × {CHECKPOINTS} checkpoints, a picture", PROMPTS * CHECKPOINTS)


def start(folder: Path) -> None:
    """ComfyUI in this process, with its outputs and LoRAs in folders below this one."""
    from comfyui_eridiffusion.benchmarks.lora_models import start_host

    for name in ("output", "temp", "user", "loras"):
        (folder / name).mkdir()
    start_host([folder / "loras"])
    import comfy.utils
    import folder_paths

    comfy.utils.set_progress_bar_enabled(False)

    for name in ("output", "temp", "user"):
        getattr(folder_paths, f"set_{name}_directory")(str(folder / name))


def write_run(folder: Path, checkpoints: int) -> list[Path]:
    """A run of so many checkpoints: the example's, again and again."""
    folder.mkdir()
    theirs = sorted(RUN.iterdir())
    files = [folder / f"flux_lora_step{50 * step}.safetensors" for step in range(1, checkpoints + 1)]
    for number, file in enumerate(files):
        shutil.copyfile(theirs[number % len(theirs)], file)
    return files


def prompts_of(count: int) -> SampleSpec:
    """The example's samples, with further prompts."""
    spec = read_spec(EXAMPLES / "configs" / "flux.yaml")
    items = [spec.items[number % len(spec.items)] for number in range(count)]
    return spec.part([replace(item, index=n, prompt=f"{item.prompt}, number {n}") for n, item in enumerate(items)])


def of_host(spec: SampleSpec, files: Sequence[Path], models: Models) -> dict[str, Callable[[], None]]:
    """A sweep's graphs, and stock ones, to be run by ComfyUI."""
    run, steps = files[0].parent, [int(file.stem.partition("step")[2]) for file in files]
    with tempfile.TemporaryDirectory() as nowhere:
        grid = plan_grid(spec, [*steps], Path(nowhere), models=models, runs={"": str(run)})
    sweep = [grid.recipe.graphs(job.variant).at(job.step, run.name, job.indices).api() for job in grid.jobs]
    stock = [
        build(spec.part([item]), models, f"{run.name}/{file.name}", step, "stock").api()
        for step, file in zip(steps, files, strict=True)
        for item in spec.items
    ]
    return {"sweep": lambda: queue(sweep), "stock, a graph for each picture": lambda: queue(stock)}


def queue(graphs: list[dict[str, Any]]) -> None:
    """Run graphs one after the other in a ComfyUI that knows nothing of earlier ones."""
    import comfy.model_management

    from comfyui_eridiffusion.tests.nodes.host_calls import new_executor, succeed

    comfy.model_management.unload_all_models()
    executor = new_executor()
    for graph in graphs:
        succeed(graph, executor)


def in_turns(meter: Meter, short: Works, works: Works, repeats: int) -> dict[str, list[Found]]:
    """What each way took in each round, after a short form of each that does not count."""
    for work in short.values():
        work()
    found: dict[str, list[Found]] = {way: [] for way in works}
    for _ in range(repeats):
        for way, work in works.items():
            found[way].append(meter.of(work))
    return found


def rows_of(found: Mapping[str, Sequence[Found]], title: str, pictures: int, aim: str = "") -> list[Row]:
    """The sweep beside each other way: all of it, and what is above the forward passes.

    aim: beside stock, in place of one above the passes.
    """
    ours, *others = found
    whole = {way: [one.whole / pictures for one in runs] for way, runs in found.items()}
    above = {way: [one.above / pictures for one in runs] for way, runs in found.items()}
    passes = [one.passes / pictures for one in found[ours]]
    made, rest = [], f"{title}, above the forward passes"
    for way in others:
        theirs = found[way][0].note() if found[way][0].loads else "loads: each once"
        note = f"{found[ours][0].note()}; of the other {theirs}"
        made.append(Row(title, way, aim if way.startswith("stock") else "", whole[ours], whole[way], note))
        made.append(Row(rest, way, "", above[ours], above[way]))
    return [*made, Row(rest, "these passes", "" if aim else "≤ 0.1", above[ours], passes)]
