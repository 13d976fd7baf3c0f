"""The files of `subgraphs/`, which ComfyUI offers as subgraph blueprints: for each trainer and family, one node that
samples as that trainer does, for a person who wires by hand. It is the box of the graphs that a config opens as.

    python -m comfyui_eridiffusion.dev.blueprints

writes them anew. Source of the form: ComfyUI's own `blueprints/*.json` (0.33.0), and what front end 1.58.1 reads of
them (`registerNodeDef` of its subgraph store): one node without links, its definition, and texts in `extra`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from ..families import FAMILIES
from ..families.family import Family
from ..spec import SampleItem, SampleSpec
from ..trainers import LISTED, TRAINERS, Trainer
from ..trainers.native.sampling import ID as NATIVE
from ..workflows import build
from ..workflows.parity import explain
from ..workflows.verdict import verdict

FOLDER: Final = Path(__file__).parents[1] / "subgraphs"
#: Where the front end lists them, below "Subgraph Blueprints".
CATEGORY: Final = "eridiffusion"
#: What people change of a sample.
_SHOWN: Final = ("prompt", "negative_prompt", "width", "height", "steps", "seed", "cfg_scale", "guidance")


def blueprints() -> dict[str, dict[str, Any]]:
    """Every blueprint by its name, which is its file's, too."""
    listed = [TRAINERS[name] for name in LISTED if name != NATIVE]
    pairs = [(trainer, FAMILIES[family]) for trainer in listed for family in trainer.families]
    return {name_of(trainer, family): _blueprint(trainer, family) for trainer, family in pairs}


def name_of(trainer: Trainer, family: Family) -> str:
    """What a person reads in the list, and on the node."""
    return f"Sample as {trainer.title} does ({family.title})"


def write(folder: Path) -> None:
    """Write them into `folder`, and remove what is none any more."""
    folder.mkdir(exist_ok=True)
    found = blueprints()
    for path in folder.glob("*.json"):
        if path.stem not in found:
            path.unlink()
    for name, blueprint in found.items():
        (folder / f"{name}.json").write_text(text_of(blueprint), encoding="ascii")


def text_of(blueprint: dict[str, Any]) -> str:
    """The file's text, in ASCII: ComfyUI 0.3.75 reads it in the machine's own encoding."""
    return json.dumps(blueprint, separators=(",", ":")) + "\n"


def _blueprint(trainer: Trainer, family: Family) -> dict[str, Any]:
    spec = everyday(trainer, family)
    canvas = build(spec).ui()
    (definition,) = canvas["definitions"]["subgraphs"]
    node = next(node for node in canvas["nodes"] if node["type"] == definition["id"])
    source = next(inner for inner in definition["nodes"] if inner["type"] == "EriSampleSpec")
    source["widgets_values"][0] = _short(spec)
    name = name_of(trainer, family)
    description = (
        f"Samples {family.title} with {trainer.title}'s noise, schedule, sampler and handling of prompts. In: the "
        "model and its text encoders, behind LoRA at Step where there is a LoRA. Out: latents for VAE Decode, and what "
        f"Save Samples needs. Paste your config into config. {verdict(spec, explain(spec)).text}."
    )
    return {
        "revision": 0,
        "last_node_id": node["id"],
        "last_link_id": 0,
        "nodes": [_alone(node, name)],
        "links": [],
        "version": 0.4,
        "definitions": {
            "subgraphs": [definition | {"name": name, "category": CATEGORY, "description": description}]
        },
        "extra": {
            "BlueprintDescription": description,
            "BlueprintSearchAliases": [trainer.id, family.id, "training config", "sample prompts", "eridiffusion"],
        },
    }


def everyday(trainer: Trainer, family: Family) -> SampleSpec:
    """One sample with an everyday prompt, 20 steps and usual guidance."""
    embedded = family.embedded_guidance
    item = SampleItem(
        0, "a red circle on a blue background", 1024, 1024, 20, seed=42,
        guidance=3.5 if embedded else None, cfg_scale=1.0 if embedded else 4.5,
    )  # fmt: skip
    return SampleSpec(family.id, trainer.id, [item], name="my_run", layout=trainer.id)


def _short(spec: SampleSpec) -> str:
    """The spec without what the native form has by itself: for a person who writes prompts into it."""
    document = spec.to_dict()
    item = {key: value for key, value in document["items"][0].items() if key in _SHOWN and value is not None}
    if spec.items[0].cfg_scale == 1.0:  # the box has no negative prompt
        del item["cfg_scale"], item["negative_prompt"]
    head = {key: document[key] for key in ("eri_spec", "family", "trainer", "name")}
    return json.dumps({**head, "items": [item]}, indent=1)


def _alone(node: dict[str, Any], name: str) -> dict[str, Any]:
    """The node without its links, at the canvas's origin."""
    inputs = [slot | {"link": None} for slot in node["inputs"]]
    outputs = [slot | {"links": []} for slot in node["outputs"]]
    return node | {"title": name, "pos": [0, 0], "order": 0, "inputs": inputs, "outputs": outputs}


if __name__ == "__main__":
    write(FOLDER)
