"""Lists of different length into every node of the pack, through the host's executor.

Five nodes take lists whole and refuse those that do not fit (`bad_inputs.py` holds them to it). The others are run by
the host once per entry, and the host repeats the last entry of a shorter list: as it does beside them for a node that
knows nothing of lists.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image

from comfyui_eridiffusion.spec.readers import from_json
from comfyui_eridiffusion.tests.nodes import bad_input_graphs as graphs
from comfyui_eridiffusion.tests.nodes.bad_input_graphs import Linked, linked
from comfyui_eridiffusion.tests.nodes.test_lora_node import write

DOCS = Path(__file__).parents[2] / "docs" / "errors.md"
SPEC = '{"eri_spec": 1, "family": "flux", "items": [{"prompt": "%s", "width": 64, "height": 64, "steps": 1}]}'


def latents(*shapes: tuple[int, ...]) -> Linked:
    return Linked(lambda: [{"samples": torch.randn(shape)} for shape in shapes])


#: Node -> two of its inputs, the first with three entries, the second with two.
LISTS: dict[str, dict[str, Linked]] = {
    "EriSampleSpec": {"config": linked(*(SPEC % word for word in "abc")), "items": linked("", "0")},
    "EriControlImages": {
        "spec": Linked(lambda: [from_json(SPEC % f'{word}", "control_image": "image.png') for word in "abc"]),
        "fit": linked("the sample's size", "its own size"),
    },
    "EriLoraAtStep": {"step": linked(0, 100, 200), "strength_model": linked(1.0, 0.5)},
    "EriLoraSteps": {"steps": linked("all", "100", "100, 200"), "at_most": linked(0, 1)},
    "EriTrainerNoise": {
        "seed": linked(1, 2, 3),
        "profile": linked("torch-cpu/nchw/float32", "torch-cuda/nchw/float32"),
    },
    "EriFluxSchedule": {"steps": linked(4, 5, 6), "width": linked(64, 128)},
    "EriFlowSchedule": {"steps": linked(4, 5, 6), "shift": linked(3.0, 2.0)},
    "EriDDIMSchedule": {"steps": linked(4, 5, 6), "offset": linked(1, 0)},
    "EriFlowEulerSampler": {"s_churn": linked(0.0, 1.0, 2.0), "s_noise": linked(1.0, 1.5)},
    "EriDDIMSampler": {"eta": linked(0.0, 0.5, 1.0), "clip_range": linked(1.0, 2.0)},
    "EriTrainerSampler": {"steps": linked(4, 5, 6), "offset": linked(0, 1)},
    "EriTrainerModel": {
        "model": Linked(lambda: [graphs.good("flux")["model"]()] * 3),
        "second_attention": linked("as published", "as published"),
    },
    "EriGuidance": {"rescale": linked(0.0, 0.5, 1.0), "threshold_percentile": linked(0.0, 0.9)},
    "EriMemoryPolicy": {"slice_size": linked(256, 512, 1024), "tile_size": linked(256, 512)},
    "EriFluxPatchify": {"latent": latents((1, 16, 8, 8), (1, 16, 8, 6), (2, 16, 8, 8)), "text_length": linked(4, 8)},
    "EriFluxUnpatchify": {"tokens": latents(*[(1, 16, 64)] * 3), "model_space": linked(False, True)},
    "EriImageEmbedding": {
        "name": linked("a", "b", "c"),
        "embedding": Linked(lambda: [{"image_embeds": torch.ones(1, 4)}] * 2),
    },
}


class Beside:
    """A node in the host's older form that takes the same two lists and writes down what it is given."""

    RETURN_TYPES = ()
    FUNCTION = "take"
    OUTPUT_NODE = True
    GIVEN: ClassVar[list[tuple[Any, Any]]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        any_type = graphs.Sink.INPUT_TYPES()["required"]["value"]
        return {"required": {"first": any_type, "second": any_type}}

    def take(self, first: Any, second: Any) -> dict[str, Any]:
        self.GIVEN.append((first, second))
        return {}


@pytest.fixture
def helpers(comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import folder_paths

    for step in (100, 200):
        write(tmp_path / "bad_input" / f"sd35_lora_step{step}.safetensors", step)
    Image.new("RGB", (64, 64)).save(tmp_path / "image.png")
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    folder_paths.filename_list_cache.pop("loras", None)
    before = dict(comfy_host.nodes)
    comfy_host.nodes.update({"Sink": graphs.Sink, "Beside": Beside})
    Beside.GIVEN.clear()
    yield
    comfy_host.nodes.clear()
    comfy_host.nodes.update(before)
    folder_paths.filename_list_cache.pop("loras", None)


def test_the_page_names_the_nodes_that_take_lists_whole(comfy_host: Any) -> None:
    schemas = [node.GET_SCHEMA() for node in comfy_host.pack("extension").NODES]
    whole = {schema.display_name for schema in schemas if schema.is_input_list}
    sentence = re.search(r"## Lists\n\n([^.]*?)\s+take\s+lists whole", DOCS.read_text())
    assert sentence is not None
    assert set(re.split(r",\s+|\s+and\s+", sentence[1])) == whole
    assert LISTS.keys() == {schema.node_id for schema in schemas if not schema.is_input_list}


@pytest.mark.parametrize("name", LISTS)
def test_the_last_entry_of_a_shorter_list_is_repeated(
    comfy_host: Any, helpers: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    families = {"EriDDIMSchedule": "sdxl", "EriTrainerSampler": "sdxl", "EriLoraAtStep": "sd35"}
    family = families.get(name, "flux")
    node, calls, sunk = comfy_host.nodes[name], [], []
    real = node.execute

    def execute(cls: Any, *args: Any, **inputs: Any) -> Any:
        calls.append(tuple(inputs[key] for key in LISTS[name]))
        return real(*args, **inputs)

    monkeypatch.setattr(node, "execute", classmethod(execute))
    monkeypatch.setattr(graphs.Sink, "take", lambda self, value: sunk.append(value) or {})
    given = dict(LISTS[name])
    if name == "EriMemoryPolicy":  # which takes no model, CLIP or VAE for granted
        given["model"] = Linked(lambda: [graphs.good(family)["model"]()])
    graph = graphs.prompt(comfy_host, name, given, family)
    first, second = (graph["bad"]["inputs"][key] for key in LISTS[name])
    graph["beside"] = {"class_type": "Beside", "inputs": {"first": first, "second": second}}
    when, error = graphs.refusal(graph)
    assert not when, error.get("exception_message", error)
    assert len(calls) == len(Beside.GIVEN) == 3
    for ours, beside in zip(calls, Beside.GIVEN, strict=True):
        assert all(one is other or one == other for one, other in zip(ours, beside, strict=True))
    assert len(sunk) >= 3 or not node.RETURN_TYPES
