"""How long it takes to build the graph of 1,000 prompts, by family and style, and to write its two forms.

    python benchmarks/graph_building.py [--json]

The best of several runs, in milliseconds of processor time: building and the API form together, and the UI form.
`stock` has four or five nodes per prompt, each of which the UI form measures and places.

Measured on two cores of a Xeon (Python 3.11) with other work on them, the best of two calls:

    all    eri    API  6   UI   3
    flux   stock  API 24   UI 125
    sd35   stock  API 21   UI 103
    sdxl   stock  API 21   UI 100
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from comfyui_eridiffusion.benchmarks.stopwatch import best

if TYPE_CHECKING:
    from comfyui_eridiffusion.spec import SampleSpec

COUNT = 1000
TEXT = "picture number {}, " + "finely drawn, " * 8 + "at noon"


def make_spec(family: str) -> SampleSpec:
    from comfyui_eridiffusion.spec import SampleItem, SampleSpec

    guidance, cfg = (3.5, 1.0) if family == "flux" else (None, 4.5)
    items = [
        SampleItem(number, TEXT.format(number), 1024, 768, 28, seed=number, guidance=guidance, cfg_scale=cfg)
        for number in range(COUNT)
    ]
    return SampleSpec(family, "eridiffusion", items, name="zorp")


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
            api = round(best(lambda spec=spec, style=style: build(spec, style=style).api()), 1)  # type: ignore[misc]
            links = workflow.ui()["last_link_id"]
            row = {
                "nodes": len(workflow.graph.nodes),
                "links": links,
                "api_ms": api,
                "ui_ms": round(best(workflow.ui), 1),
            }
            results[f"{family} {style}"] = row
            if not as_json:
                size = f"{row['nodes']:5} nodes {links:5} links"
                line = f"{family:5} {style:5} {size}  API {api:6.1f} ms  UI {row['ui_ms']:6.1f} ms\n"
                sys.stdout.write(line)
                sys.stdout.flush()
    if as_json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
