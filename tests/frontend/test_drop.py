"""Training configs dropped on the canvas, or chosen from the menu, in the host's real front end."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from mimetypes import guess_type
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

from comfyui_eridiffusion.dev.example_pictures import FOLDER
from comfyui_eridiffusion.families import FAMILIES
from comfyui_eridiffusion.tests.frontend.conftest import COVERED, Canvas
from comfyui_eridiffusion.tests.frontend.drop_configs import CONFIGS, RED_CAT, SPEC_DATA
from comfyui_eridiffusion.tests.workflows.test_ui import every_node

DROP = """async ([files, place]) => {
    const dataTransfer = new DataTransfer();
    for (const [name, data, type] of files) {
        const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
        dataTransfer.items.add(new File([bytes], name, { type }));
    }
    document.querySelector(place).dispatchEvent(
        new DragEvent('drop', { bubbles: true, cancelable: true, composed: true, clientX: 8, clientY: 8, dataTransfer })
    );
}"""
TOASTS = "() => [...document.querySelectorAll('.p-toast-message')].map(x => x.innerText)"
EMPTY = """() => {
    app.graph.clear();
    const { toast } = app.extensionManager;
    toast.removeAll();
    window.ownAdd ??= toast.add;
    toast.add = message => window.ownAdd.call(toast, { ...message, life: undefined });
}"""
MISSING = """() => app.graph._nodes.flatMap(n => n.subgraph?.nodes ?? [n])
    .filter(n => n.has_errors || !LiteGraph.registered_node_types[n.type]).map(n => n.type)"""
LORA_AT_STEP = "app.graph._nodes.find(node => node.type === 'EriLoraAtStep')"


def drop(canvas: Canvas, files: dict[str, str | bytes]) -> None:
    """Let go of these files over the canvas."""
    listed = [
        [name, base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode(), guess_type(name)[0] or ""]
        for name, text in files.items()
    ]
    canvas.page.evaluate(DROP, [listed, "#graph-canvas"])


def toast(canvas: Canvas, part: str) -> str:
    """The text of the toast that says this."""
    canvas.page.wait_for_function(f"part => ({TOASTS})().some(text => text.includes(part))", arg=part)
    return next(text for text in canvas.page.evaluate(TOASTS) if part in text)


def types(canvas: Canvas) -> list[str]:
    return [node["type"] for node in every_node(canvas.serialized())]


def opened(canvas: Canvas, name: str) -> None:
    """Wait until a graph of this name is shown."""
    canvas.page.wait_for_function(
        "name => app.extensionManager.workflow.activeWorkflow?.filename.startsWith(name) && app.graph._nodes.length",
        arg=name,
    )
    canvas.settle()


@pytest.fixture
def handled(canvas: Canvas) -> Iterator[Callable[[], list[str]]]:
    """Names of the files that came to the front end's own handling, which goes on as it is."""
    canvas.page.evaluate(
        """() => {
            window.handled = [];
            window.ownHandleFile = app.handleFile;
            app.handleFile = function (file, ...rest) {
                window.handled.push(file.name);
                return window.ownHandleFile.call(app, file, ...rest);
            };
        }"""
    )
    yield lambda: canvas.page.evaluate("() => window.handled")
    canvas.page.evaluate("() => { app.handleFile = window.ownHandleFile; }")


@pytest.fixture
def empty(fresh: Canvas) -> Canvas:
    """The canvas without nodes and toasts; those that come stay, however slow the machine is."""
    fresh.page.evaluate(EMPTY)
    fresh.page.wait_for_function(f"() => ({TOASTS})().length === 0")
    return fresh


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_every_trainers_config_becomes_a_graph(empty: Canvas, name: str) -> None:
    drop(empty, {name: CONFIGS[name]})
    opened(empty, Path(name).stem)
    toast(empty, "Samples: ")
    empty.settle()
    empty.screenshot(f"drop_{name}")
    assert empty.page.evaluate(COVERED) == []
    assert empty.page.evaluate(MISSING) == []
    assert {"EriSampleSpec", "EriSaveSamples"} <= set(types(empty))
    assert empty.complaints == []


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (
            "kohya.toml",
            'pretrained_model_name_or_path = "sd_xl_base_1.0.safetensors"\nsample_prompts = "p.txt"\n',
        ),
        (
            "musubi.toml",
            'dit = "flux1-kontext-dev.safetensors"\nvae = "ae.safetensors"\nnetwork_module = "networks.lora_flux"\n'
            'sample_prompts = "p.txt"\n',
        ),
        (
            "eri_v2.json",
            '{"model_type": "StableDiffusion35", "training_method": "Lora", "workspace_dir": "workspace/zorp",'
            ' "validation_prompts_file": "p.txt"}',
        ),
    ],
)
def test_a_config_brings_the_prompts_that_it_names(empty: Canvas, name: str, config: str) -> None:
    drop(empty, {"p.txt": f"{RED_CAT}\n", name: config})
    opened(empty, Path(name).stem)
    assert empty.page.evaluate(MISSING) == []
    assert RED_CAT in json.dumps(empty.serialized())


def test_the_run_that_a_config_names_is_loaded(empty: Canvas, runs_dir: Path) -> None:
    """Its newest checkpoint, wherever below the loras folders the run lies; without such a run the message says so."""
    text, name = CONFIGS["aitk_flux.yaml"], "otter_v2"
    drop(empty, {"aitk_flux.yaml": text})
    assert f"no run called {name}" in toast(empty, "as ai-toolkit makes them")
    assert "EriLoraAtStep" not in types(empty)
    empty.page.evaluate("() => { app.graph.clear(); app.extensionManager.toast.removeAll(); }")
    folder = runs_dir / "deeper" / name
    folder.mkdir(parents=True)
    try:
        for step in (250, 500):
            save_file({"x": torch.zeros(1)}, folder / f"{name}_{step:09}.safetensors")
        drop(empty, {"aitk_flux.yaml": text})
        toast(empty, f"the newest checkpoint of deeper/{name}")
        node = next(node for node in empty.serialized()["nodes"] if node["type"] == "EriLoraAtStep")
        assert node["widgets_values"][0] == f"deeper/{name}"
        assert "latest" in node["widgets_values"]
        # the node lists the run's steps, and a choice is kept as the step and mode that a person would set
        press = f"() => {LORA_AT_STEP}.widgets.find(entry => entry.type === 'button').callback()"
        once = f"addEventListener('click', {press}, {{ once: true }})"
        empty.page.evaluate(f"() => {{ {once}; document.body.click() }}")
        offered = empty.page.locator(".litecontextmenu .litemenu-entry:not(.litemenu-title)")
        offered.first.wait_for()
        names = ["newest checkpoint", "step 500", "step 250", "no LoRA (step 0)"]
        assert [name.strip() for name in offered.all_inner_texts() ][-4:] == names
        offered.get_by_text("step 250").click()
        assert empty.page.evaluate(f"() => {LORA_AT_STEP}.serialize().widgets_values.slice(1, 3)") == [250, "exact"]
        # what was loaded is said on the node, and neither saved nor queued
        line = "step 250: 2 of 2 modules"
        empty.page.evaluate(f"line => {LORA_AT_STEP}.onExecuted({{ text: [line] }})", f"{line}\nmore")
        assert empty.page.evaluate(f"() => {LORA_AT_STEP}.widgets.at(-1).value") == line
        kept = empty.page.evaluate(f"() => {LORA_AT_STEP}.serialize().widgets_values")
        assert len(kept) == len(node["widgets_values"])
        assert (folder / "eridiffusion.json").is_file(), "kept with the run, for the sidebar"
        assert empty.complaints == []
    finally:
        shutil.rmtree(folder.parent)


def test_a_list_of_prompts_asks_for_its_family(empty: Canvas) -> None:
    drop(empty, {"prompts.txt": f"{RED_CAT} --w 1024 --h 1024 --d 7 --s 20\n"})
    question = empty.page.get_by_role("dialog", name="Model of prompts.txt")
    question.wait_for()
    empty.screenshot("drop_family")
    titles = [family.title for family in FAMILIES.values()]
    assert question.get_by_role("button").all_inner_texts() == [*titles, "Cancel"]
    question.get_by_role("button", name="SDXL").click()
    opened(empty, "prompts")
    assert "CheckpointLoaderSimple" in types(empty)


def test_a_config_that_leaves_its_family_open_asks_for_it(empty: Canvas) -> None:
    toml = 'pretrained_model_name_or_path = "my_merge.safetensors"\nsample_prompts = "p.txt"\n'
    empty.page.on("response", lambda answer: asked.append(answer) if "eridiffusion/graph" in answer.url else None)
    asked: list[Any] = []
    drop(empty, {"p.txt": f"{RED_CAT} --w 512\n", "merge.toml": toml})
    question = empty.page.get_by_role("dialog", name="Model of merge.toml")
    question.get_by_role("button", name="SDXL").click()
    opened(empty, "merge")
    assert RED_CAT in json.dumps(empty.serialized())
    sources = {answer.request.post_data_json["source"] for answer in asked}
    assert sources == {"merge.toml"}  # what a config names is not tried as a config


def test_a_family_that_is_not_chosen_opens_nothing(empty: Canvas) -> None:
    drop(empty, {"prompts.txt": f"{RED_CAT} --w 1024 --h 1024 --d 7 --s 20\n"})
    empty.page.get_by_role("dialog", name="Model of prompts.txt").wait_for()
    empty.page.keyboard.press("Escape")
    empty.page.get_by_role("dialog", name="Model of prompts.txt").wait_for(state="detached")
    assert types(empty) == []


def test_broken_yaml_is_shown_with_its_place(empty: Canvas) -> None:
    drop(empty, {"broken.yaml": "job: extension\nconfig: [1,\nprocess: }\n"})
    message = toast(empty, "broken.yaml could not be read")
    empty.screenshot("drop_broken")
    assert "line 3, column" in message
    assert types(empty) == []


def test_a_workflow_is_left_to_comfyui(empty: Canvas, handled: Callable[[], list[str]]) -> None:
    graph: dict[str, Any] = json.loads((FOLDER / "Flux dev.json").read_text(encoding="utf-8"))
    asked: list[str] = []
    empty.page.on("request", lambda request: asked.append(request.url))
    drop(empty, {"some_flow.json": json.dumps(graph)})
    opened(empty, "some_flow")
    assert sorted(types(empty)) == sorted(node["type"] for node in graph["nodes"])
    assert handled() == ["some_flow.json"]
    assert not [url for url in asked if "eridiffusion/graph" in url]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("letter.txt", "Dear all,\nthe meeting is at noon.\n"),
        ("compose.yaml", "services:\n  web: 1\n"),
        ("empty.txt", ""),
    ],
)
def test_other_files_get_comfyuis_own_answer(
    empty: Canvas, handled: Callable[[], list[str]], name: str, text: str
) -> None:
    drop(empty, {name: text})
    assert "Unable to find workflow" in toast(empty, name)
    assert handled() == [name]
    assert types(empty) == []


def test_other_json_goes_to_comfyui(empty: Canvas, handled: Callable[[], list[str]]) -> None:
    drop(empty, {"package.json": '{"name": "x", "version": "1"}'})
    empty.page.wait_for_function("() => window.handled.length > 0")
    assert handled() == ["package.json"]
    assert "could not be read" not in str(empty.page.evaluate(TOASTS))


def png_with(graph: dict[str, Any]) -> bytes:
    """A picture as ComfyUI saves it, with its workflow."""
    buffer, info = io.BytesIO(), PngInfo()
    info.add_text("workflow", json.dumps(graph))
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def test_prompts_and_pictures_of_comfyui_are_left_to_it(empty: Canvas, handled: Callable[[], list[str]]) -> None:
    prompt = {
        "3": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
        "4": {"class_type": "SaveLatent", "inputs": {"samples": ["3", 0], "filename_prefix": "x"}},
    }
    drop(empty, {"api_prompt.json": json.dumps(prompt)})
    opened(empty, "api_prompt")
    assert sorted(types(empty)) == ["EmptyLatentImage", "SaveLatent"]
    drop(empty, {"picture.png": png_with(json.loads((FOLDER / "SDXL with DDIM.json").read_text(encoding="utf-8")))})
    opened(empty, "picture")
    assert "EriDDIMSampler" in types(empty)
    assert handled() == ["api_prompt.json", "picture.png"]


def test_two_configs_open_in_two_tabs_and_the_rest_goes_on(empty: Canvas, handled: Callable[[], list[str]]) -> None:
    kohya = 'pretrained_model_name_or_path = "sd_xl_base_1.0.safetensors"\nsample_prompts = "p.txt"\n'
    graph = json.loads((FOLDER / "SDXL with DDIM.json").read_text(encoding="utf-8"))
    files = {
        "p.txt": f"{RED_CAT} --w 512 --h 512\n",
        "first of two.toml": kohya,
        "second of two.yaml": CONFIGS["native.yaml"],
        "with them.png": png_with(graph),
    }
    drop(empty, files)
    opened(empty, "with them")
    assert handled() == ["with them.png"]
    tabs = tabs_of(empty)
    assert [name for name in tabs if name.endswith(" of two")] == ["first of two", "second of two"]
    assert empty.page.locator(".p-dialog").count() == 0  # the prompts belong to the config, so their family is known
    for name in ("first of two", "second of two"):
        toast(empty, name)
    assert len([text for text in empty.page.evaluate(TOASTS) if " of two" in text]) == 2


def test_a_launch_script_opens_with_what_it_names(empty: Canvas) -> None:
    script = "accelerate launch sdxl_train_network.py --config_file=lists/train --sample_prompts=p.txt\n"
    drop(empty, {"start of one.sh": script})
    assert "Drop train.toml together with it." in toast(empty, "start of one.sh could not be read")
    toml = 'pretrained_model_name_or_path = "sd_xl_base_1.0.safetensors"\noutput_name = "zorp"\n'
    drop(empty, {"train.toml": toml, "p.txt": f"{RED_CAT}\n", "start of one.sh": script})
    opened(empty, "start of one")
    assert "Samples of zorp" in json.dumps(empty.serialized())
    assert "train" not in tabs_of(empty)


def test_a_config_beside_a_broken_one_opens_and_the_broken_one_is_told(empty: Canvas) -> None:
    drop(empty, {"broken too.json": '{"job": "extension",\n "config": [}\n', "whole.yaml": CONFIGS["native.yaml"]})
    opened(empty, "whole")
    assert "line 2, column" in toast(empty, "broken too.json could not be read")


def test_a_huge_file_is_refused_with_its_size(empty: Canvas, handled: Callable[[], list[str]]) -> None:
    asked: list[str] = []
    empty.page.on("request", lambda request: asked.append(request.url))
    empty.page.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([new Uint8Array(100 << 20)], "huge.yaml"));
            const drop = new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer });
            document.querySelector("#graph-canvas").dispatchEvent(drop);
        }"""
    )
    assert "It has 100.0 MiB; a training config has at most 4 MiB." in toast(empty, "huge.yaml could not be read")
    assert (handled(), types(empty)) == ([], [])
    assert not [url for url in asked if "eridiffusion/graph" in url]


def tabs_of(canvas: Canvas) -> list[str]:
    names: list[str] = canvas.page.evaluate("() => app.extensionManager.workflow.openWorkflows.map(x => x.filename)")
    return names


def test_what_is_open_stays_as_it_is(empty: Canvas) -> None:
    """An unsaved graph, and unsaved changes of a saved one that is named as the config."""
    page = empty.page
    saved = (
        "async () => { await app.extensionManager.workflow.saveWorkflow(app.extensionManager.workflow.activeWorkflow) }"
    )
    empty.load({"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0}, "kept")
    page.evaluate(saved)
    page.evaluate(
        """() => {
            app.graph.add(LiteGraph.createNode("EmptyImage"));
            app.extensionManager.workflow.activeWorkflow.changeTracker.checkState();
        }"""
    )
    page.evaluate("() => { window.keptTab = app.extensionManager.workflow.activeWorkflow; }")
    assert page.evaluate("() => [keptTab.isPersisted, keptTab.isModified]") == [True, True]
    drop(empty, {"kept.yaml": CONFIGS["native.yaml"]})
    opened(empty, "kept (2)")
    assert "EriSampleSpec" in types(empty)
    drop(empty, {"kept.yaml": CONFIGS["native.yaml"]})
    opened(empty, "kept (2) (2)")
    assert page.evaluate("() => [keptTab.isModified, keptTab.activeState.nodes.map(x => x.type)]") == [
        True,
        ["EmptyImage"],
    ]
    file = page.evaluate("async () => (await app.api.getUserData('workflows/kept.json')).json()")
    assert file["nodes"] == []
    page.evaluate("async () => { await app.extensionManager.workflow.deleteWorkflow(keptTab); }")


def test_the_menu_command_opens_a_chosen_file(empty: Canvas, tmp_path: Path) -> None:
    command = "() => { app.extensionManager.command.execute('eridiffusion.OpenTrainingConfig'); }"
    path = Path(shutil.copy(SPEC_DATA / "eri_flux.yaml", tmp_path / "chosen.yaml"))
    with empty.page.expect_file_chooser() as chooser:
        empty.page.evaluate(command)
    chooser.value.set_files(str(path))
    opened(empty, "chosen")
    assert "EriSampleSpec" in types(empty)
    other = tmp_path / "letter.yaml"
    other.write_text("services:\n  web: 1\n", encoding="utf-8")
    with empty.page.expect_file_chooser() as chooser:
        empty.page.evaluate(command)
    chooser.value.set_files(str(other))
    assert "no known trainer's config" in toast(empty, "letter.yaml could not be read")


def test_the_command_stands_in_the_file_menu(empty: Canvas) -> None:
    page = empty.page
    if page.locator(".p-blockui-mask").count():  # the front end's, of a loading before; it may stay on a busy machine
        empty.reload()
    entry = page.get_by_text("Open training config…")
    file = page.locator(".comfy-command-menu").get_by_text("File", exact=True)
    for _ in range(400):  # a busy page does not notice the button, a menu that still unfolds not the pointer
        if file.is_visible():
            file.hover(force=True)
        else:
            page.locator(".comfyui-logo").first.click()
        page.wait_for_timeout(250)
        if entry.is_visible():
            break
        page.mouse.move(800, 600)
    assert entry.is_visible()
    empty.screenshot("drop_menu")
