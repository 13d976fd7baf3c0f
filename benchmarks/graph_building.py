"""How long it takes to build the graph of 1,000 prompts, by family and style, and to write its two forms.

    python benchmarks/graph_building.py [--json]

The best of several runs, in milliseconds of processor time: building and the API form together (the goal is less than
100), and the UI form. `stock` has four or five nodes per prompt, all of which are laid out for the UI form.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfyui_eridiffusion.spec import SampleSpec

COUNT = 1000
RUNS = 5
TEXT = "picture number {}, " + "finely drawn, " * 8 + "at noon"


def make_spec(family: str) -> SampleSpec:
    from comfyui_eridiffusion.spec import SampleItem, SampleSpec

    guidance, cfg = (3.5, 1.0) if family == "flux" else (None, 4.5)
    items = [
        SampleItem(number, TEXT.format(number), 1024, 768, 28, seed=number, guidance=guidance, cfg_scale=cfg)
        for number in range(COUNT)
    ]
    return SampleSpec(family, "eridiffusion", items, name="zorp")


def best(call: Callable[[], object]) -> float:
    """Least processor time of several runs, in milliseconds."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return round(min(times) * 1e3, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    as_json = parser.parse_args().json
    from comfyui_eridiffusion.workflows import build

    results = {}
    for family in ("flux", "sd35", "sdxl"):
        for style in ("eri", "stock"):
            spec = make_spec(family)
            workflow = build(spec, style=style)
            api = best(lambda spec=spec, style=style: build(spec, style=style).api())  # type: ignore[misc]
            row = {"nodes": len(workflow.graph.nodes), "api_ms": api, "ui_ms": best(workflow.ui)}
            results[f"{family} {style}"] = row
            if not as_json:
                line = f"{family:5} {style:5} {row['nodes']:5} nodes  API {api:6.1f} ms  UI {row['ui_ms']:6.1f} ms\n"
                sys.stdout.write(line)
                sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
