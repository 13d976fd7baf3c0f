"""Graphs as the host's front end and the newest one draw them: nothing lies over anything or outside its group, no name
is cut, texts are legible. With classic nodes and with Vue nodes (Nodes 2.0), and how graph and subgraph open.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from comfyui_eridiffusion.dev.example_pictures import FOLDER, MODELS
from comfyui_eridiffusion.dev.host_install import FRONT_END
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.frontend.test_frontend import RUN
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.workflows import build

#: Faults of what is on the canvas, one sentence each.
MEASURE = Path(__file__).with_name("measure.js").read_text(encoding="utf-8")


SCRIPTS: Final = Path(__file__).parents[2] / "web" / "js"
#: Texts are drawn from 8/14 on; the pack shows no graph below this.
READABLE: Final = 0.6
WINDOWS: Final = ((1280, 800), (1440, 900), (2560, 1440))
SET_VUE = "on => app.extensionManager.setting.set('Comfy.VueNodes.Enabled', on)"
#: Every node of the graph has its element.
MOUNTED = """() => LiteGraph.vueNodesMode
    && app.canvas.graph._nodes.every((node) => document.querySelector(`[data-node-id="${node.id}"]`))"""
#: So many pictures of the page later the pack has fitted a graph whose Vue nodes are there (view.js).
FITTED = """async () => {
    for (let frame = 0; frame < 12; frame += 1) await new Promise(requestAnimationFrame);
}"""
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
#: In newer front ends the page's address says which graph is shown; one that is loaded before it does may give way to
#: another that is open.
NAMED = "() => !location.hash || location.hash.slice(1) === app.canvas.graph.id"


def open_box(canvas: Canvas) -> None:
    canvas.page.evaluate(OPEN_BOX)
    canvas.page.wait_for_function(NAMED)


def graphs() -> dict[str, dict[str, Any]]:
    """Every example, and one of each trainer and family."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}
    for trainer in TRAINERS.values():
        for family in trainer.families:
            spec = replace(sample_spec(family), trainer=trainer.id, name="run")
            found[f"{trainer.id} {family}"] = build(spec, None, "run", 500).ui()
    return found | awkward()


def awkward() -> dict[str, dict[str, Any]]:
    """Of wide letters and capitals, without the model that they name; of strengths that need a box each, or one box."""
    found: dict[str, dict[str, Any]] = {}
    for family, chains in (("sdxl", 3), ("sd35", 7)):
        spec = sample_spec(family)
        items = [replace(spec.items[0], index=i, lora_scale=1 - i / 16) for i in range(chains)]
        files = {"checkpoint": "JUGGERNAUT_XL_V9_WITHOUT_ITS_FILE.safetensors"}
        name = "雨の日の赤い猫を描くためのLORA" * chains
        spec = replace(spec, name=name, items=items, loras={"名前.safetensors": 0.5})
        found[f"{chains} strengths"] = build(spec, {"files": files}, "run", 500).ui()
    return found


def differing(found: dict[str, dict[str, Any]], *, sizes: bool = True) -> dict[str, dict[str, Any]]:
    """Of the graphs, or of what is inside their boxes, those with a node of a kind, or size, that none before has."""
    kept: dict[str, dict[str, Any]] = {}
    seen: set[Any] = set()
    for name, graph in found.items():
        nodes = [node for node in graph["nodes"] if node["type"] != "MarkdownNote"]
        boxes = {(node.get("title", node["type"]), *node["size"]) if sizes else node["type"] for node in nodes}
        if not boxes <= seen:
            kept[name] = graph
            seen |= boxes
    return kept


def drawn(graph: dict[str, Any]) -> list[tuple[Any, ...]]:
    """What is drawn of a graph, notes aside: each node's class, or that it is a box, its place and its size."""
    boxes = {box["id"]: "box" for box in graph.get("definitions", {}).get("subgraphs", ())}
    nodes = (node for node in graph["nodes"] if node["type"] != "MarkdownNote")
    return sorted((boxes.get(node["type"], node["type"]), *node["pos"], *node["size"]) for node in nodes)


def faults(canvas: Canvas, found: dict[str, dict[str, Any]], inside: Collection[str] = (), vue: bool = False) -> Any:
    """What is wrong with how these graphs are drawn, and, of those in `inside`, with how their boxes' insides are."""
    told = {}
    for name, graph in found.items():
        canvas.load(graph, name)
        for place in ("", " inside")[: 1 + (name in inside)]:
            if place:
                open_box(canvas)
            if vue:
                canvas.page.wait_for_function(MOUNTED)
                canvas.page.evaluate(FITTED)
            canvas.settle()
            told[name + place] = canvas.page.evaluate(MEASURE)
            canvas.screenshot(f"layout_{'vue_' * vue}{name}{place}")
    return {place: sentences for place, sentences in told.items() if sentences}


def insides(*, sizes: bool = True) -> Collection[str]:
    """Graphs whose boxes, between them, hold every kind, and size, of node that boxes hold."""
    boxed = {name: graph["definitions"]["subgraphs"][0] for name, graph in graphs().items() if "definitions" in graph}
    return differing(boxed, sizes=sizes).keys()


def test_nothing_lies_over_anything(fresh: Canvas) -> None:
    """Of graphs that are drawn alike, whoever trains, those with the longest title of any node."""
    inside, every = insides(), graphs()
    longest: dict[Any, tuple[int, str]] = {}
    for name, graph in every.items():
        for node in graph["nodes"]:
            place = (str(drawn(graph)), *node["pos"])
            longest[place] = max(longest.get(place, (-1, "")), (len(node.get("title", "")), name))
    shown = {*inside, *(name for _, name in longest.values())}
    some = {name: graph for name, graph in every.items() if name in shown}
    assert faults(fresh, some, inside) == {}


@pytest.fixture
def vue(fresh: Canvas) -> Iterator[Canvas]:
    fresh.page.evaluate(SET_VUE, True)
    yield fresh
    fresh.page.evaluate(SET_VUE, False)


def test_nothing_lies_over_anything_in_vue_nodes(vue: Canvas) -> None:
    """Not inside: 1.32.9 makes a subgraph's nodes larger each time that it opens."""
    assert faults(vue, differing(graphs()), vue=True) == {}


def test_nothing_lies_over_anything_in_the_newest_front_end(newest: Canvas) -> None:
    """Every kind of node; ERI_EVERY_SIZE=1 for every size of each."""
    inside = insides(sizes="ERI_EVERY_SIZE" in os.environ)
    some = {name: graph for name, graph in graphs().items() if name in inside}
    assert faults(newest, some, inside) == {}
    newest.page.evaluate(SET_VUE, True)
    assert faults(newest, some, inside, vue=True) == {}
    assert newest.page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__") in FRONT_END.requirement


def test_both_front_ends_have_the_colours_that_the_pack_takes_from_them(fresh: Canvas, newest: Canvas) -> None:
    """A colour that one of them lacks needs another beside it: `var(--name, other)`."""
    sheets = "".join(path.read_text(encoding="utf-8") for path in sorted(SCRIPTS.iterdir()))
    names = set(re.findall(r"var\((--(?!eri-)[\w-]+)\)", sheets))
    assert "--fg-color" in names
    has = "name => getComputedStyle(document.body).getPropertyValue(name) !== ''"
    for canvas in (fresh, newest):
        assert [name for name in names if not canvas.page.evaluate(has, name)] == []


def check_view(canvas: Canvas) -> None:
    """The graph is whole in the free canvas and no smaller than it has to be; if that is too small, it begins there."""
    canvas.settle()
    scale, (left, top, right, bottom), free = canvas.page.evaluate(VIEW)
    assert scale >= READABLE
    assert left >= free[0]
    assert top >= free[1]
    if scale > READABLE:
        assert right <= free[2]
        assert bottom <= free[3]
    bars, margin = 76, 16
    filled = ((right - left) / (free[2] - free[0] - 2 * margin), (bottom - top) / (free[3] - free[1] - bars - margin))
    assert scale == 1 or max(filled) > 0.95


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
        open_box(windows)
        check_view(windows)


#: Fields of the prompts' nodes that are drawn, and that the front end would draw.
FIELDS = """() => app.canvas.graph._nodes.filter((node) => node.comfyClass === "EriTripleTextEncode")
    .flatMap((node) => node.widgets.filter((field) => !field.hidden).map(({ name }) => name))"""


def test_fields_that_a_family_has_no_use_for_are_hidden(fresh: Canvas) -> None:
    """Until they are given a value, and with the prompt as it was."""
    graph = build(sample_spec("sdxl", "kohya"), None, "run", 500)
    fresh.load(graph.ui())
    open_box(fresh)
    shown = fresh.page.evaluate(FIELDS)
    assert {"prompt_2", "width", "height", "text_rules"} <= set(shown)
    assert not {"prompt_3", "t5_length", "t5_padding", "missing"} & set(shown)
    encoders = [node for node in fresh.prompt().values() if node["class_type"] == "EriTripleTextEncode"]
    assert [node["inputs"]["t5_length"] for node in encoders] == [0, 0]
    saved = fresh.serialized()
    for node in saved["definitions"]["subgraphs"][0]["nodes"]:
        if node["type"] == "EriTripleTextEncode":
            node["widgets_values"][3] = 77
    fresh.load(saved)
    open_box(fresh)
    assert "t5_length" in fresh.page.evaluate(FIELDS)


def test_a_saved_view_stays_as_it_was(fresh: Canvas) -> None:
    fresh.load(build(sample_spec("flux"), None, "run", 500).ui())
    saved = fresh.serialized()
    saved["extra"]["ds"] = {"scale": 0.4, "offset": [100, 100]}
    fresh.load(saved)
    assert fresh.page.evaluate("() => [app.canvas.ds.scale, ...app.canvas.ds.offset]") == [0.4, 100, 100]


#: Opens the help page of a node class in the node library; whether this front end does it so.
HELP = """(name) => {
    const stores = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia._s;
    stores.get("nodeHelp")?.openHelp(stores.get("nodeDef").nodeDefsByName[name]);
    return stores.has("nodeHelp");
}"""
#: Columns of the page's tables that reach over the right edge of what shows it; null before a table is there.
CUT = """(name) => {
    const page = document.querySelector(".node-help-content");
    if (!page?.innerText.includes(name) || !page.querySelector("table")) return null;
    const edge = page.getBoundingClientRect().right;
    return [...page.querySelectorAll("td, th")].filter((cell) => cell.getBoundingClientRect().right > edge).length;
}"""


def test_tables_of_help_pages_fit_their_panel(fresh: Canvas) -> None:
    """Those with the longest words."""
    fresh.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('node-library')")
    for name, title in (("EriSaveSamples", "Save Samples"), ("EriTrainerSampler", "Trainer Sampler")):
        if not fresh.page.evaluate(HELP, name):
            pytest.skip("front ends from 1.49 on open help pages otherwise")
        fresh.page.wait_for_function(f"(name) => ({CUT})(name) !== null", arg=title)
        assert fresh.page.evaluate(CUT, title) == 0
        fresh.screenshot(f"help_{name}")
    fresh.page.evaluate("() => app.extensionManager.sidebarTab.toggleSidebarTab('node-library')")


#: Pictures on the outside of each box, once all are there.
ON_BOXES = """() => app.graph._nodes.filter((node) => node.subgraph).map((box) => box.widgets
    .flatMap(({ element }) => [...(element?.querySelectorAll?.("img") ?? [])])
    .filter((shown) => shown.naturalWidth).length)"""


def test_boxes_that_hold_their_savers_show_the_pictures(fresh: Canvas, frontend_host: LocalHost) -> None:
    """And queue the prompt of the API form, also after the canvas was saved and opened again."""
    spec = sample_spec("sdxl")
    samplers = ("euler", "ddim", "ddim")
    items = [
        replace(spec.items[0], index=i, sampler=word, width=64, height=64, steps=1, cfg_scale=1.0)
        for i, word in enumerate(samplers)
    ]
    workflow = build(replace(spec, items=items, name="boxes"), MODELS / "sdxl.yaml")
    fresh.load(workflow.ui())
    queued = fresh.prompt()
    kinds = sorted(node["class_type"] for node in workflow.api().values())
    assert sorted(node["class_type"] for node in queued.values()) == kinds
    assert fresh.page.evaluate(RUN) == "execution_success"
    fresh.page.wait_for_function(f"() => String(({ON_BOXES})()) === '1,2'")
    fresh.screenshot("boxes_with_pictures")
    fresh.load(fresh.serialized())
    assert fresh.prompt() == queued
    assert fresh.complaints == []
    fresh.page.evaluate("() => app.graph.clear()")
    fresh.settle()
    shutil.rmtree(frontend_host.output_dir / "boxes")
