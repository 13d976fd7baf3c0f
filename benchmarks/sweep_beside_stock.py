"""A sweep beside the same pictures made otherwise: time above the model's own forward passes, and what is loaded.

    python benchmarks/sweep_beside_stock.py [--family flux] [--prompts 4] [--checkpoints 3] [--steps 8] [--repeats 3]

Three ways make the same cells, with the example models, in a ComfyUI in this process:

- sweep: the prompts of `eri sweep`, one for each checkpoint;
- stock: a graph of ComfyUI's own nodes for each picture, queued one after the other;
- alone: one graph of this pack for each picture, as a script would queue them.

Time is processor time, which other programs on the machine change least. Time above the forward passes is all that is
not `BaseModel.apply_model`: encoding, the sampler's own arithmetic, decoding, saving, and ComfyUI's work. With
`--one-model` ComfyUI keeps one model at a time, as a card does that holds either the text encoders or the diffusion
model; loads onto the device are counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfyui_eridiffusion.client.grid import plan_grid
from comfyui_eridiffusion.spec import SampleSpec, read_spec
from comfyui_eridiffusion.workflows import build

EXAMPLES = Path(__file__).parents[1] / "examples"
RUNS = {"flux": "flux_zorp", "sd35": "sd35_quix", "sdxl": "sdxl_blaff"}


def start_host(output: Path) -> None:
    """ComfyUI with the pack, the example loaders and the example runs in this process."""
    from comfyui_eridiffusion.dev.host_install import WORKSPACE, find_host, write_shim
    from comfyui_eridiffusion.dev.host_links import link_custom_nodes, write_model_paths

    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    sys.argv = sys.argv[:1]
    import torch
    from comfy.cli_args import args

    args.cpu, args.disable_api_nodes, args.disable_all_custom_nodes = not torch.cuda.is_available(), True, True
    args.database_url = "sqlite:///:memory:"
    import folder_paths
    import utils.extra_config

    custom_nodes, names = link_custom_nodes(WORKSPACE, install)
    args.whitelist_custom_nodes = names
    for kind in ("output", "input", "temp", "user"):
        (output / kind).mkdir()
        getattr(folder_paths, f"set_{kind}_directory")(str(output / kind))
    paths = output / "model_paths.yaml"
    write_model_paths(paths, custom_nodes, {"loras": [EXAMPLES / "runs"]})
    utils.extra_config.load_extra_path_config(str(paths))
    import asyncio

    import nodes
    import server

    loop = asyncio.new_event_loop()
    server.PromptServer(loop)
    loop.run_until_complete(nodes.init_extra_nodes(init_custom_nodes=True, init_api_nodes=False))


class Meter:
    """Seconds in forward passes, and models brought onto the device."""

    def __init__(self, one_model: bool) -> None:
        import comfy.model_base
        import comfy.model_management as management

        self.passes, self.loads = 0.0, Counter[str]()
        forward, load = comfy.model_base.BaseModel.apply_model, management.LoadedModel.model_load
        wanted = management.load_models_gpu

        def timed(model: Any, *given: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return forward(model, *given, **named)
            finally:
                self.passes += time.process_time() - began

        def counted(loaded: Any, *given: Any, **named: Any) -> Any:
            if loaded.real_model is None or loaded.real_model() is None:
                self.loads[type(loaded.model.model).__name__] += 1
            return load(loaded, *given, **named)

        def alone(models: Any, *given: Any, **named: Any) -> Any:
            asked = {id(getattr(patcher, "model", patcher)) for patcher in models}
            for entry in list(management.current_loaded_models):
                if entry.model is not None and id(entry.model.model) not in asked:
                    entry.model_unload()
                    management.current_loaded_models.remove(entry)
            return wanted(models, *given, **named)

        comfy.model_base.BaseModel.apply_model, management.LoadedModel.model_load = timed, counted
        if one_model:
            management.load_models_gpu = alone


def run(graphs: list[dict[str, Any]]) -> None:
    """Queue graphs one after the other in a ComfyUI that knows nothing of earlier ones."""
    import comfy.model_management

    from comfyui_eridiffusion.tests.nodes.host_calls import new_executor, succeed

    comfy.model_management.unload_all_models()
    executor = new_executor()
    for graph in graphs:
        succeed(graph, executor)


def ways(spec: SampleSpec, steps: list[int], family: str) -> dict[str, list[dict[str, Any]]]:
    """The graphs of each way."""
    models, name = EXAMPLES / "models" / f"{family}.yaml", RUNS[family]
    files = {entry.name: entry for entry in (EXAMPLES / "runs" / name).iterdir()}
    with tempfile.TemporaryDirectory() as nowhere:
        grid = plan_grid(spec, [*steps], Path(nowhere), models=models, runs={"": str(EXAMPLES / "runs" / name)})
    sweep = [grid.recipe.graphs(job.variant).at(job.step, name, job.indices).api() for job in grid.jobs]
    single = [(step, spec.part([item])) for step in steps for item in spec.items]
    stock = []
    for step, one in single:
        file = next(entry for entry in files if entry.endswith(f"step{step}.safetensors"))
        stock.append(build(one, models, f"{name}/{file}", step, "stock").api())
    return {"sweep": sweep, "stock": stock, "alone": [build(one, models, name, step).api() for step, one in single]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=RUNS, default="flux")
    for option, value in (("prompts", 4), ("checkpoints", 3), ("steps", 8), ("repeats", 3)):
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--one-model", action="store_true")
    options = parser.parse_args()
    from comfyui_eridiffusion.client.runs import steps_in

    with tempfile.TemporaryDirectory() as folder:
        start_host(Path(folder))
        found = read_spec(EXAMPLES / "configs" / f"{options.family}.yaml")
        items = [replace(item, steps=options.steps) for item in found.items[: options.prompts]]
        steps = steps_in(EXAMPLES / "runs" / RUNS[options.family])[: options.checkpoints]
        graphs, meter = ways(found.part(items), steps, options.family), Meter(options.one_model)
        pictures = len(items) * len(steps)
        results: dict[str, list[dict[str, Any]]] = {way: [] for way in graphs}
        for repeat in range(options.repeats + 1):  # the first one warms up
            for way, queue in graphs.items():
                meter.passes, meter.loads = 0.0, Counter()
                began = time.process_time()
                run(queue)
                whole = time.process_time() - began
                if repeat:
                    results[way].append({"whole": whole, "passes": meter.passes, "loads": dict(meter.loads)})
    print(json.dumps({"machine": platform.platform(), "pictures": pictures, **vars(options)}))
    base = statistics.median(entry["whole"] for entry in results["stock"])
    for way, entries in results.items():
        whole = statistics.median(entry["whole"] for entry in entries)
        above = statistics.median((entry["whole"] - entry["passes"]) / entry["passes"] for entry in entries)
        each = statistics.median((entry["whole"] - entry["passes"]) / pictures for entry in entries)
        print(
            f"{way:6} {whole:6.2f} s, {whole / base:4.2f} of stock; above the forward passes {above:6.1%}, "
            f"{each * 1e3:5.0f} ms a picture; loads {entries[0]['loads']}"
        )


if __name__ == "__main__":
    main()
