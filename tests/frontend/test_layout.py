"""Graphs as the front end draws them: nothing over anything, nothing outside its group, no name cut, texts legible."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfyui_eridiffusion.dev.example_pictures import FOLDER
from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.workflows import build

#: Faults of what is on the canvas, one sentence each.
MEASURE = Path(__file__).with_name("measure.js").read_text(encoding="utf-8")


def graphs() -> dict[str, dict[str, Any]]:
    """Every example, and one of each trainer and family."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
    for trainer in TRAINERS.values():
        for family in trainer.families:
            spec = replace(sample_spec(family), trainer=trainer.id, name="run")
            found[f"{trainer.id} {family}"] = build(spec, None, "run", 500).ui()
    return found


def test_nothing_lies_over_anything(fresh: Canvas) -> None:
    faults = {}
    for name, graph in graphs().items():
        fresh.load(graph, name)
        faults[name] = fresh.page.evaluate(MEASURE)
        fresh.screenshot(f"layout_{name}")
    assert {name: found for name, found in faults.items() if found} == {}
