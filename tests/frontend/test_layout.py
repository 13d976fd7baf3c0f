"""Graphs as the front end draws them: nothing over anything, nothing outside its group, no name cut, texts legible.

With classic nodes and with Vue nodes (Nodes 2.0), and how a graph, its subgraph and a saved view of it open.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from comfyui_eridiffusion.dev.example_pictures import FOLDER
from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.workflows import build

#: Faults of what is on the canvas, one sentence each.
MEASURE = Path(__file__).with_name("measure.js").read_text(encoding="utf-8")


#: Texts are drawn from 8/14 on; the pack shows no graph below this.
READABLE: Final = 0.6
WINDOWS: Final = ((1280, 800), (1440, 900), (2560, 1440))
SET_VUE = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
#: Every node of the graph has its element.
MOUNTED = """() => LiteGraph.vueNodesMode
    && app.graph._nodes.every((node) => document.querySelector(`[data-node-id="${node.id}"]`))"""
#: Scale, where the graph on the canvas lies on the page (left, top, right, bottom), and the page's free part.
VIEW = """() => {
    const { ds, graph, canvas } = app.canvas;
    const whole = canvas.getBoundingClientRect();
    const free = document.querySelector(".graph-canvas-panel").getBoundingClientRect();
    const boxes = [...graph._groups].map(({ pos, size }) => [pos[0], pos[1], pos[0] + size[0], pos[1] + size[1]]);
    const edge = (side, outer) => outer(...boxes.map((box) => box[side]));
    const at = (value, side) => (value + ds.offset[side % 2]) * ds.scale + [whole.left, whole.top][side % 2];
    const graphBox = [Math.min, Math.min, Math.max, Math.max].map((outer, side) => at(edge(side, outer), side));
    return [ds.scale, graphBox, [free.left, free.top, free.right, free.bottom]];
}"""
OPEN_BOX = """() => {
    const box = app.graph._nodes.find((node) => node.subgraph);
    app.canvas.openSubgraph(box.subgraph, box);
}"""


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


def differing() -> dict[str, dict[str, Any]]:
    """Of the graphs, those with a box that none before them has: another kind of node, or another size."""
    found: dict[str, dict[str, Any]] = {}
    seen: set[Any] = set()
    for name, graph in graphs().items():
        nodes = [node for node in graph["nodes"] if node["type"] != "MarkdownNote"]
        boxes = {(node.get("title", node["type"]), *node["size"]) for node in nodes}
        if not boxes <= seen:
            found[name] = graph
            seen |= boxes
    return found


@pytest.fixture
def vue(fresh: Canvas) -> Iterator[Canvas]:
    fresh.page.evaluate(SET_VUE, True)
    yield fresh
    fresh.page.evaluate(SET_VUE, False)


def test_nothing_lies_over_anything_in_vue_nodes(vue: Canvas) -> None:
    faults = {}
    for name, graph in differing().items():
        vue.load(graph, name)
        vue.page.wait_for_function(MOUNTED)
        vue.settle()
        faults[name] = vue.page.evaluate(MEASURE)
        vue.screenshot(f"layout_vue_{name}")
    assert {name: found for name, found in faults.items() if found} == {}


def check_view(canvas: Canvas) -> None:
    """The graph is whole in the free canvas; where it would be too small for that, its beginning is there."""
    canvas.settle()
    scale, (left, top, right, bottom), free = canvas.page.evaluate(VIEW)
    assert scale >= READABLE
    assert left >= free[0]
    assert top >= free[1]
    if scale > READABLE:
        assert right <= free[2]
        assert bottom <= free[3]


@pytest.fixture
def windows(fresh: Canvas) -> Iterator[Canvas]:
    before = fresh.page.viewport_size
    yield fresh
    fresh.page.set_viewport_size(before)


def test_graph_and_its_subgraph_open_in_the_free_canvas(windows: Canvas) -> None:
    graph = build(sample_spec("sdxl", "kohya"), None, "run", 500).ui()
    for width, height in WINDOWS:
        windows.page.set_viewport_size({"width": width, "height": height})
        windows.load(graph)
        check_view(windows)
        windows.page.evaluate(OPEN_BOX)
        check_view(windows)


def test_a_saved_view_stays_as_it_was(fresh: Canvas) -> None:
    fresh.load(build(sample_spec("flux"), None, "run", 500).ui())
    saved = fresh.serialized()
    saved["extra"]["ds"] = {"scale": 0.4, "offset": [100, 100]}
    fresh.load(saved)
    assert fresh.page.evaluate("() => [app.canvas.ds.scale, ...app.canvas.ds.offset]") == [0.4, 100, 100]
