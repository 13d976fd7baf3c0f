"""The canvas's form of built graphs: geometry as the front end draws it, links, widgets, download metadata."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest

from comfyui_eridiffusion.tests.counting import calls
from comfyui_eridiffusion.tests.workflows.canvas import TITLE, group_rect, inside, node_rect, overlap
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.workflows import Workflow, WorkflowError, build

FAMILIES = ("flux", "sd35", "sdxl", "chroma")


def several(family: str, count: int = 6, chains: int = 1) -> Any:
    spec = sample_spec(family)
    items = [
        replace(spec.items[0], index=i, prompt=f"prompt {i}", seed=i, lora_scale=1.0 - i % chains / 16)
        for i in range(count)
    ]
    return replace(spec, items=items)


CASES = {
    **{
        f"{family}-{kind}": (family, 1, run, "eri")
        for family in FAMILIES
        for kind, run in (("base", None), ("lora", "r"))
    },
    **{f"{family}-chains": (family, 3, "r", "eri") for family in FAMILIES},
    **{f"{family}-stock": (family, 1, "r/flux_lora_step500.safetensors", "stock") for family in FAMILIES},
}


@pytest.fixture(scope="module", params=CASES)
def workflow(request: pytest.FixtureRequest) -> Workflow:
    family, chains, run, style = CASES[request.param]
    return build(several(family, chains=chains), None, run, 500 if run else None, style)


def test_nodes_stand_apart_in_groups_that_stand_apart(workflow: Workflow) -> None:
    ui = workflow.ui()
    for one, other in combinations(ui["nodes"], 2):
        assert not overlap(node_rect(one), node_rect(other)), (one["type"], other["type"])
    for one, other in combinations(ui["groups"], 2):
        assert not overlap(group_rect(one), group_rect(other)), (one["title"], other["title"])
    for node in ui["nodes"]:
        homes = [group for group in ui["groups"] if inside(node_rect(node), group_rect(group))]
        assert len(homes) == 1, node["type"]
        assert node["pos"][1] - TITLE >= homes[0]["bounding"][1] + 24, "the group's title is covered"


def test_a_badge_is_clear_of_the_node_above(workflow: Workflow) -> None:
    """The front end writes a node's pack, unless it is its own, 20 pixels high above the node."""
    ui = workflow.ui()
    for node in ui["nodes"]:
        if node["properties"].get("cnr_id", "comfy-core") != "comfy-core":
            left, top, right, _ = node_rect(node)
            badge = (left, top - 20 - 12, right, top)
            assert not any(overlap(badge, node_rect(other)) for other in ui["nodes"] if other is not node), node["type"]


def test_links_run_from_left_to_right(workflow: Workflow) -> None:
    ui = workflow.ui()
    nodes = {node["id"]: node for node in ui["nodes"]}
    for link in ui["links"]:
        source, target = nodes[link[1]], nodes[link[3]]
        assert source["pos"][0] + source["size"][0] < target["pos"][0], (source["type"], target["type"])


#: What a browser window of 1280 x 800 shows of the canvas between the front end's bars: left, top, right, bottom.
WINDOW = (58, 100, 1285, 800)
#: The front end (1.32.9) leaves texts out where a letter of 14 pixels would be shown smaller than 8.
LEGIBLE = 8 / 14


def shown(ui: dict[str, Any], bounds: list[float]) -> list[float]:
    """Where the front end draws a rectangle of the canvas at first open."""
    scale, (x, y) = ui["extra"]["ds"]["scale"], ui["extra"]["ds"]["offset"]
    left, top, width, height = bounds
    return [(left + x) * scale, (top + y) * scale, (left + width + x) * scale, (top + height + y) * scale]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize(("style", "count"), [("eri", 1), ("eri", 12), ("stock", 1), ("stock", 4), ("stock", 12)])
def test_first_open_can_be_read(family: str, lora: bool, style: str, count: int) -> None:
    run = None if not lora else "r" if style == "eri" else "r/lora_step500.safetensors"
    ui = build(several(family, count), None, run, 500 if lora else None, style).ui()
    assert ui["extra"]["ds"]["scale"] > LEGIBLE
    for number, group in enumerate(ui["groups"]):
        box = shown(ui, group["bounding"])
        if style == "eri" or number == 0:  # what is too large for it shows its beginning
            assert WINDOW[0] <= box[0] < box[2] <= WINDOW[2], group["title"]
            assert WINDOW[1] <= box[1] < box[3] <= WINDOW[3], group["title"]
        title = 0.5 * group["font_size"] * len(group["title"])
        assert title <= group["bounding"][2], f"{group['title']}: the title does not fit"
    for group in ui["groups"]:
        # the front end draws a title 1.4 times its size high, and the badge of a node's pack 20 above the node
        words = 0.5 * group["font_size"] * len(group["title"])
        for node in ui["nodes"]:
            if inside(node_rect(node), group_rect(group)) and node["pos"][0] < group["bounding"][0] + words:
                assert node["pos"][1] - TITLE - 20 >= group["bounding"][1] + 1.4 * group["font_size"]


def test_a_sample_of_many_is_a_group_with_its_prompts_beginning() -> None:
    """One titled group per sample, of one size, in rows; what all use stands once, on their left."""
    spec = several("sd35", 7)
    ui = build(spec, style="stock").ui()
    blocks = [group for group in ui["groups"] if group["title"].startswith("Sample ")]
    assert [group["title"] for group in blocks] == [f"Sample {i}: prompt {i}" for i in range(7)]
    assert len({tuple(group["bounding"][2:]) for group in blocks}) == 1
    corners = [(group["bounding"][1], group["bounding"][0]) for group in blocks]
    assert corners == sorted(corners), "row by row"
    for group in blocks:
        kinds = [node["type"] for node in ui["nodes"] if inside(node_rect(node), group_rect(group))]
        assert sorted(kinds) == ["CLIPTextEncode", "KSampler", "SaveImage", "VAEDecode"]
    (shared,) = [group for group in ui["groups"] if group["title"] == "For all samples"]
    assert group_rect(shared)[2] < min(group_rect(group)[0] for group in blocks)
    inner = {node["type"] for node in ui["nodes"] if inside(node_rect(node), group_rect(shared))}
    assert inner == {"CheckpointLoaderSimple", "TripleCLIPLoader", "CLIPTextEncode", "EmptySD3LatentImage"} | {
        "ModelSamplingSD3", "T5TokenizerOptions"
    }  # fmt: skip


@pytest.mark.parametrize("count", [2, 5, 40])
def test_samples_that_need_more_nodes_have_their_own_groups(count: int) -> None:
    """Negatives, texts and sizes of their own, LoRA strengths that some share: still nothing on top of anything."""
    spec = several("flux", count, chains=2)
    items = [
        replace(item, prompt="a {b}" * (i % 3 == 1) or item.prompt, prompt_2="c" if i % 4 == 3 else None, cfg_scale=2.0,
                negative_prompt=f"not {i // 2}", width=512 + 64 * (i % 2), guidance=None if i % 5 == 4 else 3.5)
        for i, item in enumerate(spec.items)
    ]  # fmt: skip
    ui = build(replace(spec, items=items), None, "r/flux_lora_step500.safetensors", 500, "stock").ui()
    rects = sorted((node_rect(node) for node in ui["nodes"]), key=lambda rect: rect[0])
    for index, one in enumerate(rects):
        for other in rects[index + 1 :]:
            if other[0] >= one[2]:
                break
            assert not overlap(one, other)


def test_links_agree_on_both_ends(workflow: Workflow) -> None:
    ui = workflow.ui()
    assert ui["last_node_id"] == max(node["id"] for node in ui["nodes"])
    _agree(ui["nodes"], ui["links"])
    assert ui["last_link_id"] == max(link[0] for link in ui["links"])
    for box in ui.get("definitions", {}).get("subgraphs", ()):
        keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
        ends = [
            {"id": -10, "inputs": [], "outputs": [{**slot, "links": slot["linkIds"]} for slot in box["inputs"]]},
            {"id": -20, "inputs": [{**slot, "link": slot["linkIds"][0]} for slot in box["outputs"]], "outputs": []},
        ]
        assert all(len(slot["linkIds"]) == 1 for slot in box["outputs"])
        _agree([*box["nodes"], *ends], [[link[key] for key in keys] for link in box["links"]])


def _agree(nodes: list[dict[str, Any]], links: list[list[Any]]) -> None:
    """Every link is known by the two slots that it joins, and every slot's link is there."""
    by_id = {node["id"]: node for node in nodes}
    assert len({link[0] for link in links}) == len(links)
    for number, source, slot, target, input_slot, kind in links:
        assert number in by_id[source]["outputs"][slot]["links"]
        assert by_id[target]["inputs"][input_slot]["link"] == number
        assert kind in (by_id[source]["outputs"][slot]["type"], "*")
    ends = [entry["link"] for node in nodes for entry in node["inputs"] if entry["link"] is not None]
    starts = [link for node in nodes for entry in node["outputs"] for link in entry["links"] or ()]
    assert sorted(ends) == sorted(starts) == sorted(link[0] for link in links)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("run", [None, "r"])
@pytest.mark.parametrize(("chains", "loras"), [(1, 0), (1, 5), (2, 0), (3, 1), (5, 0), (12, 2)])
def test_a_config_is_at_most_nine_boxes(family: str, run: str | None, chains: int, loras: int) -> None:
    """And fifteen links, however many samplers, strengths and further LoRAs it has; what the trainer does is in boxes
    that can be opened.
    """
    spec = replace(several(family, 12, chains), loras={f"lora {i}.safetensors": 0.5 for i in range(loras)})
    ui = build(spec, None, run, 500 if run else None).ui()
    assert len(ui["nodes"]) <= 9
    assert len(ui["links"]) <= 15
    boxes = ui["definitions"]["subgraphs"]
    inside = {node["type"] for node in every_node(ui)} - {node["type"] for node in ui["nodes"]}
    assert {"EriSampleSpec", "EriTripleTextEncode", "EriTrainerNoise", "EriSample"} <= inside
    ids = [node["id"] for node in every_node(ui)]
    assert len(ids) == len(set(ids))
    for box in boxes:
        for one, other in combinations(box["nodes"], 2):
            assert not overlap(node_rect(one), node_rect(other)), (one["type"], other["type"])


def test_same_graph_same_file(workflow: Workflow) -> None:
    assert workflow.ui() == workflow.ui()


def every_node(ui: dict[str, Any]) -> list[dict[str, Any]]:
    """Those inside of boxes, too."""
    boxes = (ui.get("definitions") or {}).get("subgraphs", ())
    return [*ui["nodes"], *(node for box in boxes for node in box["nodes"])]


def node_of(ui: dict[str, Any], kind: str) -> dict[str, Any]:
    found: dict[str, Any] = next(node for node in every_node(ui) if node["type"] == kind)
    return found


def test_widgets_are_complete() -> None:
    """Positions as the front end fills them: a linked widget keeps its place, a seed is followed by its control."""
    ui = build(several("flux"), None, "r", 250).ui()
    noise = node_of(ui, "EriTrainerNoise")
    assert noise["widgets_values"][:4] == [0, "fixed", "torch-cpu/nchw/float32", "flux"]
    assert noise["inputs"][0]["widget"] == {"name": "seed"}
    assert noise["inputs"][0]["link"] is not None
    assert node_of(ui, "EriLoraAtStep")["widgets_values"][:5] == ["r", 250, "exact", 1.0, 1.0]
    assert node_of(ui, "DualCLIPLoader")["widgets_values"] == [
        "clip_l.safetensors", "t5xxl_fp16.safetensors", "flux", "default",
    ]  # fmt: skip
    stock = build(several("sdxl", 1), style="stock").ui()
    assert node_of(stock, "KSampler")["widgets_values"] == [0, "fixed", 20, 5.0, "ddim", "ddim_uniform", 1.0]


def test_model_files_come_with_their_download() -> None:
    entries = node_of(build(several("flux")).ui(), "DualCLIPLoader")["properties"]["models"]
    assert [entry["name"] for entry in entries] == ["clip_l.safetensors", "t5xxl_fp16.safetensors"]
    assert {entry["directory"] for entry in entries} == {"text_encoders"}
    assert all(entry["url"].startswith("https://huggingface.co/") for entry in entries)
    assert all(entry["url"].endswith(entry["name"]) for entry in entries)


def test_notes_are_on_the_canvas() -> None:
    workflow = build(replace(several("flux"), trainer="native", ignored=["train.lr"]))
    notes = [node for node in workflow.ui()["nodes"] if node["type"] == "MarkdownNote"]
    assert [bool(node["flags"].get("collapsed")) for node in notes] == [False, True]
    text = "".join(node["widgets_values"][0] for node in notes)
    assert all(note in text for note in workflow.notes)
    assert "train.lr" in text


def test_numbers_too_large_for_the_canvas() -> None:
    big = several("flux", 1)
    big = replace(big, items=[replace(big.items[0], seed=2**63)])
    assert build(big).ui()["nodes"]  # travels as text
    with pytest.raises(WorkflowError, match="2\\^53"):
        build(big, style="stock")


def test_unknown_nodes_are_named_and_known_with_the_hosts_description() -> None:
    loaders = {
        "model": {"class_type": "MyLoader", "inputs": {"file": "x"}, "output": 0},
        "clip": {"class_type": "MyLoader", "inputs": {"file": "x"}, "output": 1},
        "vae": {"class_type": "VAELoader", "inputs": {"vae_name": "ae.safetensors"}},
    }
    workflow = build(several("flux"), {"loaders": loaders})
    with pytest.raises(WorkflowError, match="MyLoader"):
        workflow.ui()
    info = {
        "MyLoader": {
            "input": {
                "required": {"file": [["x", "y"]]},
                "optional": {"seed": ["INT", {"default": 7, "control_after_generate": True}]},
            },
            "output": ["MODEL", "CLIP"],
            "output_name": ["MODEL", "CLIP"],
        }
    }  # fmt: skip
    node = node_of(workflow.ui(info), "MyLoader")
    assert node["widgets_values"] == ["x", 7, "fixed"]
    assert [output["type"] for output in node["outputs"]] == ["MODEL", "CLIP"]


@pytest.mark.parametrize("style", ["eri", "stock"])
def test_the_work_grows_as_the_prompts_do(style: str) -> None:
    """Of a stock graph's four nodes per prompt, too, which stand beside each other."""

    def work(prompts: int) -> int:
        workflow = build(several("sd35", prompts), style=style)
        workflow.ui()
        return calls(workflow.ui)

    assert work(400) < 2.2 * work(200)
