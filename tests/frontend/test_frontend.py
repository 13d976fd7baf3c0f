"""Example and built graphs in the host's real front end: no warning, the same prompt, an image."""

from __future__ import annotations

import asyncio
import io
import json
import urllib.parse
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.dev import blueprints
from comfyui_eridiffusion.dev.example_graphs import examples
from comfyui_eridiffusion.dev.example_pictures import FOLDER, MODELS, Prompt, packed_latent, put_inputs, swap
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.families import FAMILIES
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, read_text
from comfyui_eridiffusion.tests.client.test_sweep_in_host import forget
from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.waiting import PATIENCE
from comfyui_eridiffusion.tests.workflows.test_canvas_form import plain
from comfyui_eridiffusion.tests.workflows.test_examples_run import few_steps
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.workflows import build

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
TRICKY = 'a {red|blue} circle (on:1.2) [b] // no comment /* this too */ "quoted" \\n embedding:x 😀'

#: Whether a node that saves shows a picture.
SAVED = """() => app.graph._nodes.some(
    node => /Save/.test(node.type) && node.imgs?.length && node.imgs.every(image => image.naturalWidth))"""

#: What each LoRA at Step says that it loaded.
LOADED = """() => [app.graph, ...app.graph.subgraphs.values()].flatMap(({ nodes }) => nodes)
    .filter(({ comfyClass }) => comfyClass === "EriLoraAtStep")
    .map(({ widgets }) => widgets.find(({ name }) => name === "loaded").value)"""
#: Queues the graph by the button's own function; how its run ended, once all that it reports was heard.
RUN = """() => new Promise(done => {
    for (const end of ["execution_success", "execution_error", "execution_interrupted"])
        app.api.addEventListener(end, () => done(end), { once: true });
    setTimeout(() => done("nothing was heard"), 180000);
    app.queuePrompt(0, 1);
})"""


def graph_of(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return document


def same_prompt(found: dict[str, Any], wanted: dict[str, Any], info: dict[str, Any]) -> None:
    """The front end's prompt is ours, its nodes numbered, what we leave open filled with the host's defaults."""
    found = plain(found)
    number = {node_id: str(index + 1) for index, node_id in enumerate(wanted)}
    assert set(found) == set(number.values())
    for node_id, node in wanted.items():
        other = found[number[node_id]]
        assert other["class_type"] == node["class_type"]
        for name, value in node["inputs"].items():
            ours = [number[value[0]], value[1]] if isinstance(value, list) else value
            assert other["inputs"][name] == ours, (node_id, name)
        for name in set(other["inputs"]) - set(node["inputs"]):
            spec = info[node["class_type"]]["input"].get("optional", {}).get(name)
            if spec is None:  # what a widget adds for itself (the upload button)
                assert name == "upload", (node_id, name)
                continue
            choices = spec[0] if isinstance(spec[0], list) else spec[1].get("options", [None])
            assert other["inputs"][name] == spec[1].get("default", choices[0]), (node_id, name)


@pytest.fixture(scope="module")
def info(frontend_host: LocalHost) -> dict[str, Any]:
    with urllib.request.urlopen(f"{frontend_host.url}/object_info", timeout=PATIENCE) as answer:
        document: dict[str, Any] = json.load(answer)
    return document


@pytest.fixture(scope="module", autouse=True)
def started_anew(canvas: Canvas, frontend_host: LocalHost) -> Iterator[None]:
    """Without the workflows of files that were dropped, about which the front end's console complains later.

    The pictures made here go when the page has forgotten them, too: 1.49.6 asks for one again some graphs later.
    """
    canvas.reload()
    yield
    canvas.reload()
    for path in frontend_host.output_dir.rglob("*.png"):
        path.unlink()


def check_canvas(canvas: Canvas, graph: dict[str, Any]) -> None:
    """Nothing was reported, every node is known, shows all its widgets, and kept its values."""
    assert canvas.dialogs() == []
    assert canvas.complaints == []
    shown = {node["id"]: node for node in canvas.serialized()["nodes"]}
    least = canvas.page.evaluate(  # a node's id is a number in files, and a text on the canvas of newer front ends
        "() => app.graph._nodes.map(node => [Number(node.id), [...node.computeSize()], node.has_errors])"
    )
    for number, (width, height), errors in least:
        assert not errors
        assert shown[number]["size"][0] >= width - 1, shown[number]["type"]
        assert shown[number]["size"][1] >= height - 1, shown[number]["type"]
    boxes = {box["id"]: box for box in graph.get("definitions", {}).get("subgraphs", ())}
    for node in graph["nodes"]:
        assert shown[node["id"]]["size"] == node["size"], node["type"]
        values = shown[node["id"]].get("widgets_values") or []
        if values and node["type"] in boxes:  # newer front ends keep with a box what its fields show
            assert values == fields_of(node, boxes[node["type"]]), node["title"]
        else:
            assert values == node["widgets_values"], node["type"]


def fields_of(node: dict[str, Any], box: dict[str, Any]) -> list[Any]:
    """The values of the fields on a box's outside, as the nodes inside have them."""
    inside = {}
    for part in box["nodes"]:
        names = [entry["name"] for entry in part["inputs"] if "widget" in entry]
        seeded = [two for name in names for two in ([name, ""] if name.endswith("seed") else [name])]  # and its control
        inside[str(part["id"])] = dict(zip(seeded, part["widgets_values"], strict=False))
    return [inside[number][name] for number, name in node["properties"]["proxyWidgets"]]


def test_there_are_at_least_eight_with_pictures_and_they_are_current() -> None:
    found = {example.name: example for example in examples()}
    assert set(NAMES) == set(found)
    assert len(found) >= 8
    for name, example in found.items():
        assert graph_of(name) == example.ui(), f"{name}: run `python dev/tasks.py example-workflows`"
        assert (FOLDER / f"{name}.jpg").stat().st_size < 60_000


def test_they_are_offered_under_templates(frontend_host: LocalHost) -> None:
    with urllib.request.urlopen(f"{frontend_host.url}/api/workflow_templates", timeout=PATIENCE) as answer:
        offered = json.load(answer)
    assert sorted(offered["comfyui-eridiffusion"]) == NAMES
    address = f"{frontend_host.url}/api/workflow_templates/comfyui-eridiffusion/{urllib.parse.quote(NAMES[0])}.jpg"
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        assert answer.read(3) == b"\xff\xd8\xff"


#: Adds a blueprint as the front end's `addNodeOnGraph` does, wires it, and gives the prompt that would be queued.
#: A cleared graph has no id of its own, and 1.49.6 forgets the values of widgets only of a graph that has one: a node
#: that is added under an old number would show the old node's.
ADD_BLUEPRINT = """async ([id, loaders]) => {
    app.graph.clear()
    app.graph.id = crypto.randomUUID()
    const pinia = document.querySelector("#vue-app").__vue_app__.config.globalProperties.$pinia
    const { nodes, definitions } = pinia._s.get("subgraph").getBlueprint(`SubgraphBlueprint.${id}`)
    const added = app.canvas._deserializeItems({ nodes, subgraphs: definitions.subgraphs }, { position: [500, 200] })
    const [box] = added.nodes.values()
    const make = (type, y) => {
        const node = LiteGraph.createNode(type)
        app.graph.add(node)
        node.pos = [100, y]
        return node
    }
    for (const [type, slot, input] of loaders) make(type, 200 + 150 * slot).connect(slot, box, input)
    const decode = make("VAEDecode", 600), save = make("PreviewImage", 700)
    box.connect(0, decode, 0)
    make("VAELoader", 800).connect(0, decode, 1)
    decode.connect(0, save, 0)
    app.canvas.centerOnNode(box)
    return (await app.graphToPrompt()).output
}"""


def from_class(value: Any, prompt: dict[str, Any]) -> Any:
    """The value of an input; for a link, the class and the output that it comes from; for a config, what it says."""
    if isinstance(value, str) and value.startswith("{"):
        return read_text(value)
    return (prompt[value[0]]["class_type"], value[1]) if isinstance(value, list) else value


#: Trainers by the families that their blueprints are tried with.
BLUEPRINTS = {"flux": "ai-toolkit", "sd35": "kohya", "sdxl": "simpletuner", "chroma": "onetrainer"}


async def same_picture(url: str, found: Prompt, wanted: Prompt, family: str) -> None:
    """Both prompts make the same picture, each in a host that kept nothing of the other."""
    made = []
    async with HostClient(url) as client:
        for prompt in (found, wanted):
            await forget(client)
            small = few_steps(swap(prompt, family))
            (decode,) = (key for key, node in small.items() if node["class_type"] == "VAEDecode")
            savers = [key for key, node in small.items() if node["class_type"] in ("EriSaveSamples", "PreviewImage")]
            for key in savers:
                del small[key]
            small["show"] = {"class_type": "PreviewImage", "inputs": {"images": [decode, 0]}}
            (image,) = (await client.run(small)).images["show"]
            made.append(Image.open(io.BytesIO(await client.view(image))).convert("RGB"))
    assert made[0].size == (64, 64)
    assert made[0].tobytes() == made[1].tobytes(), family
    assert max(high - low for low, high in made[0].getextrema()) > 30  # not black, as pictures of NaN are


def test_blueprints_are_listed_and_sample_as_the_graphs_do(fresh: Canvas, frontend_host: LocalHost) -> None:
    """One of each family, added by hand and wired to the built graph's loaders: what is inside is that graph's, and so
    is the picture that it makes on the small models, for the families that have some.
    """
    with urllib.request.urlopen(f"{frontend_host.url}/global_subgraphs", timeout=PATIENCE) as answer:
        offered = json.load(answer).items()
    ours = {entry["name"]: number for number, entry in offered if "eridiffusion" in entry["info"]["node_pack"]}
    assert sorted(ours) == sorted(path.stem for path in blueprints.FOLDER.glob("*.json"))
    for name, one in BLUEPRINTS.items():
        trainer, family = TRAINERS[one], FAMILIES[name]
        wanted = build(blueprints.everyday(trainer, family)).api()
        boxed = {key: node for key, node in wanted.items() if key not in ("model", "clip", "vae", "decode", "save")}
        ends = [(end, node["inputs"].get(end)) for node in boxed.values() for end in ("clip", "model")]
        sources = {end: link for end, link in ends if link and link[0] not in boxed}
        loaders = [[wanted[source]["class_type"], slot, end] for end, (source, slot) in sources.items()]
        found = fresh.page.evaluate(ADD_BLUEPRINT, [ours[blueprints.name_of(trainer, family)], loaders])
        fresh.screenshot(f"blueprint_{name}")
        assert fresh.dialogs() == []
        inside = {node["_meta"]["title"]: node for key, node in found.items() if ":" in key}
        assert set(inside) == {node["_meta"]["title"] for node in boxed.values()}
        for node in boxed.values():
            other = inside[node["_meta"]["title"]]
            assert other["class_type"] == node["class_type"]
            for end, value in node["inputs"].items():
                assert from_class(other["inputs"][end], found) == from_class(value, wanted), (name, end)
        if (MODELS / f"{name}.yaml").is_file():
            in_thread(partial(same_picture, frontend_host.url, found, wanted, name))
    assert fresh.complaints == []
    fresh.page.evaluate("() => app.graph.clear()")


@pytest.mark.parametrize("name", NAMES)
def test_example_opens_without_a_warning(fresh: Canvas, name: str, info: dict[str, Any]) -> None:
    graph = graph_of(name)
    fresh.load(graph, name)
    fresh.screenshot(name)
    check_canvas(fresh, graph)
    example = next(example for example in examples() if example.name == name)
    same_prompt(fresh.prompt(), example.graph.api(), info)


@pytest.fixture(scope="module")
def inputs(frontend_host: LocalHost) -> None:
    """The files that examples read from the host's input folder."""

    async def make() -> None:
        async with HostClient(frontend_host.url) as client:
            put_inputs(frontend_host.input_dir, await packed_latent(client, frontend_host.output_dir))

    in_thread(make)


@pytest.mark.parametrize("name", NAMES)
def test_queued_example_shows_its_picture(fresh: Canvas, frontend_host: LocalHost, inputs: None, name: str) -> None:
    """The file as it is on the canvas, queued by the button's own function; on its way to the host the prompt gets the
    small models' loaders and few steps, so the saving node shows a picture."""
    example = next(example for example in examples() if example.name == name)
    fresh.load(graph_of(name), name)

    def on_the_small_models(route: Any) -> None:
        body = route.request.post_data_json
        body["prompt"] = few_steps(swap(body["prompt"], example.family))
        route.continue_(post_data=json.dumps(body))

    fresh.page.route("**/api/prompt", on_the_small_models)
    try:
        assert not fresh.page.evaluate(SAVED)
        # pictures are fetched when their node is drawn, so it must be in view
        fresh.page.evaluate("() => app.canvas.centerOnNode(app.graph._nodes.find(node => /Save/.test(node.type)))")
        assert fresh.page.evaluate(RUN) == "execution_success"
        fresh.page.wait_for_function(SAVED)
        fresh.settle()
        fresh.screenshot(f"{name}_queued")
        if fresh.page.evaluate(f"() => ({LOADED})().length"):
            fresh.load(graph_of(name), f"{name} again")  # ComfyUI has kept its result, so that it does not run
            assert fresh.page.evaluate(RUN) == "execution_success"
            fresh.page.wait_for_function(f"() => ({LOADED})().every((told) => told.startsWith('step '))")
        assert fresh.dialogs() == []
        assert fresh.complaints == []
    finally:
        fresh.page.unroute("**/api/prompt")
        fresh.page.evaluate("() => app.graph.clear()")  # its nodes would go on asking for their pictures
        fresh.settle()  # and what they asked for has come


def tricky(family: str, seed: int = 7) -> SampleSpec:
    flux = family == "flux"
    items = [
        SampleItem(
            i, f"{TRICKY} {i}", 64, 64, 4, seed=seed + i, guidance=2.5 if flux else None, cfg_scale=1.0 if flux else 3.0
        )
        for i in range(2)
    ]
    return SampleSpec(family, "native", items, name="tricky")


@pytest.mark.parametrize("style", ["eri", "stock"])
@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_built_graph_survives_the_canvas(fresh: Canvas, family: str, style: str, info: dict[str, Any]) -> None:
    workflow = build(tricky(family), MODELS / f"{family}.yaml", None, None, style)
    graph = workflow.ui(info)
    fresh.load(graph)
    check_canvas(fresh, graph)
    same_prompt(fresh.prompt(), workflow.api(), info)


def test_missing_models_are_offered_for_download(fresh: Canvas) -> None:
    graph = graph_of("Flux dev")
    text = json.dumps(graph).replace("flux1-dev.safetensors", "flux1-not-here.safetensors")
    fresh.load(json.loads(text))
    assert fresh.missing_models() == ["diffusion_models / flux1-not-here.safetensors"]
    fresh.close_dialogs()


def test_queued_from_the_canvas_it_makes_the_images_of_the_api_form(
    fresh: Canvas, frontend_host: LocalHost, info: dict[str, Any]
) -> None:
    """Run from the button's own function, then the API form: byte for byte the same pictures."""
    workflow = build(tricky("sdxl"), MODELS / "sdxl.yaml", None, 0)
    fresh.load(workflow.ui(info), "queued")
    fails_at_the_sampler(fresh)
    assert fresh.page.evaluate(RUN) == "execution_success"
    fresh.page.wait_for_function(SAVED)
    fresh.settle()
    assert fresh.complaints == []
    shown = "() => Object.values(app.nodeOutputs).some((output) => output.images?.length === 2)"
    fresh.page.wait_for_function(shown)  # the node shows all pictures, although it reports one after the other
    first = pictures(frontend_host.output_dir / "tricky")
    for path in first:
        path.unlink()
    run_api(frontend_host.url, workflow.api())
    second = pictures(frontend_host.output_dir / "tricky")
    assert len(first) == len(second) == 2
    assert list(first.values()) == list(second.values())


def fails_at_the_sampler(canvas: Canvas) -> None:
    """An error while a picture is sampled, in a branch that Save Samples added, stands at the sampler in its box."""

    def without_negative(route: Any) -> None:
        body = route.request.post_data_json
        (sampler,) = (node for node in body["prompt"].values() if node["class_type"] == "EriSample")
        del sampler["inputs"]["negative"]
        route.continue_(post_data=json.dumps(body))

    canvas.page.route("**/api/prompt", without_negative)
    assert canvas.page.evaluate(RUN) == "execution_error"
    canvas.page.unroute("**/api/prompt")
    node, kind = canvas.page.evaluate("() => [app.lastExecutionError.node_id, app.lastExecutionError.node_type]")
    box = canvas.page.evaluate("() => app.graph._nodes.find((node) => node.subgraph).id")
    assert (node.split(":")[0], kind) == (str(box), "EriSample")
    message = canvas.page.evaluate("() => app.lastExecutionError.exception_message")
    assert "nothing is connected to negative" in message
    canvas.settle()
    canvas.close_dialogs()
    canvas.clear()


def pictures(folder: Path) -> dict[Path, bytes]:
    """Pixels of every picture below the output folder, by path."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".jpg"))
    return {path: Image.open(path).convert("RGB").tobytes() for path in paths}


def run_api(url: str, prompt: dict[str, Any]) -> None:
    """Run a prompt in a host that has dropped what it keeps of earlier runs: it computes everything anew."""

    async def run() -> None:
        async with HostClient(url) as client:
            await forget(client)
            await client.run({f"api_{key}": node for key, node in relinked(prompt).items()})

    in_thread(run)


def in_thread(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with ThreadPoolExecutor(1) as pool:  # playwright runs an event loop in this thread
        pool.submit(asyncio.run, work()).result()


def relinked(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt under other ids, as an API client may choose them."""
    return {
        key: node
        | {"inputs": {n: [f"api_{v[0]}", v[1]] if isinstance(v, list) else v for n, v in node["inputs"].items()}}
        for key, node in prompt.items()
    }
