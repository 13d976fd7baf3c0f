"""The files of `subgraphs/`: current, and of the form that ComfyUI's own blueprints have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.dev.blueprints import FOLDER, blueprints, text_of
from comfyui_eridiffusion.families import FAMILIES
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.workflows.canvas.schemas import node_schema

FILES = sorted(FOLDER.glob("*.json"))
#: What each of ComfyUI 0.33.0's own `blueprints/*.json` has, and each definition in them.
ROOT_KEYS = {"revision", "last_node_id", "last_link_id", "nodes", "links", "version", "definitions"}
DEFINITION_KEYS = {
    "id", "version", "state", "revision", "config", "name", "inputNode", "outputNode", "inputs", "outputs", "widgets",
    "nodes", "groups", "links", "extra", "category", "description",
}  # fmt: skip


def test_they_are_current() -> None:
    found = {path.stem: path.read_text(encoding="ascii") for path in FILES}
    wanted = {name: text_of(blueprint) for name, blueprint in blueprints().items()}
    assert found == wanted, "run `python -m comfyui_eridiffusion.dev.blueprints`"


def test_there_is_one_for_each_trainer_and_family() -> None:
    trainers = [trainer for trainer in TRAINERS.values() if trainer.id != "native"]
    names = {f"Sample as {one.title} does ({FAMILIES[family].title})" for one in trainers for family in one.families}
    assert {path.stem for path in FILES} == names
    assert not [name for name in names if set(name) & set('<>:"/\\|?*')]  # what Windows takes in no file's name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_they_have_the_form_of_comfyuis_own(path: Path) -> None:
    document = json.loads(path.read_text(encoding="ascii"))
    assert document.keys() >= ROOT_KEYS
    assert document["links"] == []
    (node,), (box,) = document["nodes"], document["definitions"]["subgraphs"]
    assert box.keys() == DEFINITION_KEYS
    assert (node["type"], node["title"], box["name"]) == (box["id"], path.stem, path.stem)
    for side, link in (("inputs", "link"), ("outputs", "links")):
        assert [(one["name"], one["type"]) for one in node[side]] == [(one["name"], one["type"]) for one in box[side]]
        assert not [one for one in node[side] if one[link]]
    inside = {one["id"]: one for one in box["nodes"]}
    assert all(node_schema(one["type"]) for one in inside.values())
    for number, widget in node["properties"]["proxyWidgets"]:
        assert widget in [slot["name"] for slot in inside[int(number)]["inputs"] if "widget" in slot]
    check_links(box, inside)


def check_links(box: dict[str, Any], inside: dict[int, dict[str, Any]]) -> None:
    """Each link is in the slots at both of its ends, and no slot has another."""
    links = {link["id"]: link for link in box["links"]}
    ends = {entry["id"]: box[side] for entry, side in ((box["inputNode"], "inputs"), (box["outputNode"], "outputs"))}
    found = []
    for number, link in links.items():
        source, target = link["origin_id"], link["target_id"]
        slot = ends[source][link["origin_slot"]] if source in ends else inside[source]["outputs"][link["origin_slot"]]
        assert number in slot["linkIds" if source in ends else "links"]
        slot = ends[target][link["target_slot"]] if target in ends else inside[target]["inputs"][link["target_slot"]]
        assert number in (slot["linkIds"] if target in ends else [slot["link"]])
    for one in inside.values():
        found += [slot["link"] for slot in one["inputs"] if slot["link"] is not None]
        found += [number for slot in one["outputs"] for number in slot["links"] or ()]
    assert set(found) == set(links)
