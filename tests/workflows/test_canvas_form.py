"""What the front end would queue from the canvas's form is the API form: node by node, for many kinds of specs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.tests.workflows.graph_to_prompt import BYPASS, NEVER, graph_to_prompt, object_info
from comfyui_eridiffusion.workflows import Workflow, build

TRICKY = 'a {red|blue} (on:1.2) [b] // no comment /* this too */ "quoted" \\n \\{ embedding:x é漢😀\nsecond line'
LORA = "run/sd35_lora_step500.safetensors"
FAMILIES = ("flux", "sd35", "sdxl", "chroma")


def item(family: str, index: int, **changes: Any) -> SampleItem:
    flux = family == "flux"
    made = SampleItem(
        index, f"picture {index}", 512 + 64 * (index % 3), 768, 20 + index % 2, seed=index * 7919,
        guidance=3.5 if flux else None, cfg_scale=1.0 if flux else 4.5, negative_prompt="" if flux else "blurry",
    )  # fmt: skip
    return replace(made, **changes)


def specs(family: str) -> dict[str, SampleSpec]:
    word = "ddpm" if family == "sdxl" else None
    second = {} if family == "sdxl" else {"prompt_2": "other words"}
    lists = {
        "one": [item(family, 0)],
        "twelve": [item(family, i) for i in range(12)],
        "tricky": [item(family, 0, prompt=TRICKY, negative_prompt=TRICKY, cfg_scale=2.0), item(family, 1, prompt="")],
        "mixed": [item(family, i, lora_scale=1 - i / 4, sampler=word if i % 2 else None, **second) for i in range(4)],
        "cfg one": [item(family, i, cfg_scale=1.0, guidance=None) for i in range(2)],
        "largest seed": [item(family, 0, seed=2**53 - 1)],
    }
    found = {name: SampleSpec(family, "native", items, name="run") for name, items in lists.items()}
    found["trainer"] = SampleSpec(family, "kohya", lists["twelve"], name="run", t5_length=None)
    if family == "sd35":
        found["skipped layers"] = replace(found["one"], sampling={"skip_layers": "7, 8, 9"})
    if family == "flux":
        found["schnell"] = replace(found["cfg one"], variant="schnell")
    return found


CASES = [(family, name) for family in FAMILIES for name in specs(family)]


@pytest.fixture(scope="module")
def info(comfy_host: Any) -> dict[str, Any]:
    return object_info(comfy_host.nodes)


def same_graph(found: dict[str, Any], wanted: dict[str, Any], info: dict[str, Any]) -> None:
    """Equal but for the ids, which the canvas numbers, and for inputs that the API form leaves to their defaults."""
    found = plain(found)
    number = {node_id: str(index + 1) for index, node_id in enumerate(wanted)}
    assert list(found) == list(number.values())
    for node_id, node in wanted.items():
        other = found[number[node_id]]
        assert other["class_type"] == node["class_type"]
        assert other["_meta"]["title"] == node["_meta"]["title"]
        for name, value in node["inputs"].items():
            ours = [number[value[0]], value[1]] if isinstance(value, list) else value
            assert other["inputs"][name] == ours, (node_id, name)
            assert type(other["inputs"][name]) is type(ours), (node_id, name)
        for name in set(other["inputs"]) - set(node["inputs"]):
            spec = info[node["class_type"]]["input"]["optional"][name]
            choices = spec[0] if isinstance(spec[0], list) else spec[1].get("options", [None])
            assert other["inputs"][name] == spec[1].get("default", choices[0]), (node_id, name)


def plain(prompt: dict[str, Any]) -> dict[str, Any]:
    """The prompt without the numbers of the subgraphs that its nodes are in."""

    def short(node_id: str) -> str:
        return node_id.rpartition(":")[2]

    return {
        short(key): node
        | {"inputs": {n: [short(v[0]), v[1]] if isinstance(v, list) else v for n, v in node["inputs"].items()}}
        for key, node in prompt.items()
    }


def made(family: str, name: str, style: str, run: str | None) -> Workflow:
    return build(specs(family)[name], None, run, 500 if run else None, style)


@pytest.mark.parametrize(("family", "name"), CASES)
@pytest.mark.parametrize(("style", "run"), [("eri", None), ("eri", "run"), ("stock", None), ("stock", LORA)])
def test_canvas_form_queues_the_api_form(info: dict[str, Any], family: str, name: str, style: str, run: str) -> None:
    workflow = made(family, name, style, run)
    same_graph(graph_to_prompt(workflow.ui(), info), workflow.api(), info)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_bypassed_lora_leaves_the_base_models_graph(info: dict[str, Any], family: str) -> None:
    """The canvas's Bypass on the one LoRA node is the graph that is built without a run."""
    ui = made(family, "twelve", "stock", LORA).ui()
    (lora,) = [node for node in ui["nodes"] if node["type"] == "LoraLoader"]
    lora["mode"] = BYPASS
    prompt = graph_to_prompt(ui, info)
    names = {old: str(new + 1) for new, old in enumerate(prompt)}
    renamed = {
        names[key]: node
        | {"inputs": {n: [names[v[0]], v[1]] if isinstance(v, list) else v for n, v in node["inputs"].items()}}
        for key, node in prompt.items()
    }
    same_graph(renamed, made(family, "twelve", "stock", None).api(), info)


def test_a_muted_saver_is_not_queued(info: dict[str, Any]) -> None:
    ui = made("sdxl", "twelve", "stock", None).ui()
    muted = [node for node in ui["nodes"] if node["type"] == "SaveImage"][3:]
    for node in muted:
        node["mode"] = NEVER
    kept = graph_to_prompt(ui, info)
    assert [node["class_type"] for node in kept.values()].count("SaveImage") == 3
    assert not {str(node["id"]) for node in muted} & set(kept)
