"""Built graphs against the host's own validator and schemas."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.graph import OUTPUTS

FILES = {
    "flux": {"unet": "u.safetensors", "clip_l": "l.safetensors", "t5xxl": "t.safetensors", "vae": "v.safetensors"},
    "sd35": {
        "checkpoint": "c.safetensors",
        "clip_l": "l.safetensors",
        "clip_g": "g.safetensors",
        "t5xxl": "t.safetensors",
    },
    "sdxl": {"checkpoint": "c.safetensors"},
    "chroma": {"unet": "u.safetensors", "t5xxl": "t.safetensors", "vae": "v.safetensors"},
}
#: Loader nodes every host has, written as a user would; slots as documented by the host.
LOADERS = {
    "model": {"class_type": "UNETLoader", "inputs": {"unet_name": "u.safetensors", "weight_dtype": "default"}},
    "clip": {
        "class_type": "DualCLIPLoader",
        "inputs": {"clip_name1": "l.safetensors", "clip_name2": "t.safetensors", "type": "flux"},
        "output": 0,
    },
    "vae": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "c.safetensors"}, "output": 2},
}
FAMILIES = ("flux", "sd35", "sdxl", "chroma")
TYPES = {"model": "MODEL", "clip": "CLIP", "vae": "VAE", "image": "IMAGE", "latent": "LATENT"} | {
    "conditioning": "CONDITIONING", "sigmas": "SIGMAS", "sampler": "SAMPLER", "noise": "NOISE", "spec": "ERI_SPEC",
    "width": "INT", "height": "INT", "seed": "INT", "steps": "INT", "found_step": "INT", "cfg": "FLOAT",
    "guidance": "FLOAT", "prompt": "STRING", "prompt_2": "STRING", "prompt_3": "STRING", "negative": "STRING",
    "name": "STRING", "report": "STRING", "details": "STRING", "mask": "MASK", "step": "INT",
    "label": "STRING", "strength": "FLOAT", "strength_label": "STRING",
}  # fmt: skip


def make_spec(family: str, count: int = 2, **changes: Any) -> SampleSpec:
    guidance = 3.5 if family == "flux" else None
    cfg = 1.0 if family == "flux" else 4.5
    items = [
        SampleItem(
            i, f"prompt {i} (word:1.2)", 512 + 64 * i, 768, 20 + i, seed=42 + i, guidance=guidance, cfg_scale=cfg
        )
        for i in range(count)
    ]
    return SampleSpec(**({"family": family, "trainer": "eridiffusion", "items": items, "name": "run_a"} | changes))


@pytest.fixture(scope="module")
def offered(comfy_host: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Files of the names used here, in the host's model folders (the validator looks at names only)."""
    import folder_paths

    base = tmp_path_factory.mktemp("models")
    for kind in ("checkpoints", "diffusion_models", "text_encoders", "vae", "loras"):
        (base / kind).mkdir()
        folder_paths.add_model_folder_path(kind, str(base / kind))
        for stem in "cultgv":
            save_file({"x": torch.zeros(1)}, base / kind / f"{stem}.safetensors")
    run = base / "loras" / "run_a"
    run.mkdir()
    for step in (250, 500):
        save_file({"x": torch.zeros(1)}, run / f"flux_lora_step{step}.safetensors")
    folder_paths.filename_list_cache.clear()


def validate(api: dict[str, Any]) -> tuple[bool, Any, list[str], dict[str, Any]]:
    import execution

    return asyncio.run(execution.validate_prompt("test", api, None))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("run", "step"), [(None, None), (None, 0), ("run_a", 500), ("run_a", 0), ("run_a", None)])
@pytest.mark.parametrize("form", ["files", "loaders"])
def test_host_accepts_graph(offered: None, family: str, run: str | None, step: int | None, form: str) -> None:
    models = {"family": family, form: FILES[family] if form == "files" else LOADERS}
    workflow = build(make_spec(family), models, run, step)
    valid, error, outputs, node_errors = validate(workflow.api())
    assert valid, (error, node_errors)
    assert node_errors == {}
    assert outputs == ["save"]
    assert list(workflow.saves) == ["save"]
    assert ("lora" in workflow.api()) == (run is not None)


def test_host_rejects_step_without_checkpoint(offered: None) -> None:
    """The validator sees through to the run folder: guards the test above against accepting anything."""
    api = build(make_spec("flux"), {"files": FILES["flux"]}, "run_a", 300).api()
    valid, _, _, node_errors = validate(api)
    assert not valid
    assert "lora" in node_errors


@pytest.mark.parametrize("family", FAMILIES)
def test_graph_of_several_groups_is_accepted(offered: None, family: str) -> None:
    spec = make_spec(family, 3)
    items = [spec.items[0], *(SampleItem(**{**vars(item), "lora_scale": 0.5}) for item in spec.items[1:])]
    workflow = build(make_spec(family, items=items), {"files": FILES[family]}, "run_a", 250)
    valid, error, outputs, node_errors = validate(workflow.api())
    assert valid, (error, node_errors)
    assert sorted(outputs) == ["save", "save_2"]
    assert workflow.saves == {"save": (0,), "save_2": (1, 2)}
    assert workflow.api()["lora_2"]["inputs"]["strength_model"] == 0.5


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("cfg", [1.0, 3.0])
def test_every_input_is_one_of_the_nodes_and_none_is_left_to_a_default(
    comfy_host: Any, offered: None, family: str, cfg: float
) -> None:
    """`validate_prompt` overlooks unknown inputs, so a renamed one would silently fall back to its default."""
    items = [SampleItem(0, "a", 512, 512, 4, "b", "c", "n", 1, cfg, 2.0 if family == "flux" else None)]
    workflow = build(make_spec(family, items=items), {"files": FILES[family]}, "run_a", 250)
    for node in workflow.graph.nodes.values():
        known = schema_of(comfy_host, node.class_type)
        assert set(node.inputs) - set(known) == set(), node.id
        required = set(comfy_host.nodes[node.class_type].INPUT_TYPES().get("required", {}))
        needed = set(known) if node.class_type.startswith("Eri") else required
        left_out = {"negative"} if (node.id, family, cfg) == ("sample", "flux", 1.0) else set()  # it would not be run
        assert needed - set(node.inputs) == left_out, node.id


def schema_of(comfy_host: Any, class_type: str) -> dict[str, Any]:
    schema = comfy_host.nodes[class_type].INPUT_TYPES()
    return {**schema.get("required", {}), **schema.get("optional", {})}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("trainer", ["native", "eridiffusion", "ai-toolkit"])
def test_choices_are_among_those_the_nodes_offer(comfy_host: Any, offered: None, family: str, trainer: str) -> None:
    """The host does not check the choices of V3 nodes when it validates a graph."""
    spec = make_spec(family, trainer=trainer, layout=trainer, precision="bfloat16")
    checked = 0
    for node in build(spec, {"files": FILES[family]}, "run_a", 250).graph.nodes.values():
        for name, entry in schema_of(comfy_host, node.class_type).items():
            if entry[0] == "COMBO" and node.class_type.startswith("Eri") and name != "run":
                assert node.inputs[name] in entry[1]["options"], (node.id, name)
                checked += 1
    assert checked >= 10


def test_output_names_are_the_hosts(comfy_host: Any) -> None:
    for class_type, names in OUTPUTS.items():
        node = comfy_host.nodes[class_type]
        types = list(node.RETURN_TYPES)
        if not class_type.startswith("Eri"):
            types = types[: len(names)]  # newer hosts append some (SaveImage hands its images on)
        assert [TYPES[name] for name in names] == types, class_type
        if class_type in ("EriSampleSpec", "EriLoraAtStep"):  # several outputs of one type: names decide
            ids = [output.id for output in node.GET_SCHEMA().outputs]
            assert all(name == id_ or id_.startswith("_") for name, id_ in zip(names, ids, strict=True)), ids


@pytest.mark.parametrize("family", FAMILIES)
def test_config_in_graph_gives_the_spec_back_in_the_host(comfy_host: Any, family: str) -> None:
    tricky = 'line one\nline "two" \\ {a|b} [trigger] (x:1.3) é漢 😀 \u2028 --no flags'
    items = [
        SampleItem(3, tricky, 512, 768, 7, None, None, "bad", 2**63, 2.5, None, "ddim"),
        SampleItem(5, "", 1024, 64, 30, "second", None, "", 0, 2.5, None, "ddim"),
    ]
    workflow = build(make_spec(family, items=items))
    inputs = workflow.api()["spec"]["inputs"]
    output = comfy_host.nodes["EriSampleSpec"].execute(**inputs).result
    names = OUTPUTS["EriSampleSpec"]
    columns = dict(zip(names, output, strict=True))
    assert columns["prompt"] == [tricky, ""]
    assert columns["negative"] == ["bad", ""]
    assert columns["prompt_2"] == ["", "second"]
    assert columns["width"] == [512, 1024]
    assert columns["height"] == [768, 64]
    assert columns["seed"] == [2**63, 0]
    assert columns["steps"] == [7, 30]
    assert columns["cfg"] == [2.5, 2.5]
    assert columns["spec"].to_dict()["items"] == [vars(item) for item in items]


def test_example_models_are_accepted(comfy_host: Any) -> None:
    """The descriptions shipped with the examples fit the example loaders, and name files that are there."""
    folder = Path(__file__).parents[2] / "examples" / "models"
    for family in ("flux", "sd35", "sdxl"):
        workflow = build(make_spec(family), folder / f"{family}.yaml")
        valid, error, _, node_errors = validate(workflow.api())
        assert valid, (error, node_errors)
        for node in ("model", "clip", "vae"):
            inputs = workflow.graph.nodes[node].inputs
            assert (folder / str(inputs["name"])).is_file()
            assert {inputs.get("family"), inputs.get("type")} == {family, None}
