"""How often models are loaded, by the host's own callback; with room for all of them, and with room for one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.memory_helpers import FAMILIES, loaded_names, same_weights, small_vae, weights
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import SPEC, graph, node, run

PROMPTS = 10

#: What the graph's nodes work with: "models" (MODEL, CLIP, VAE) and the "images" that came out, each by family.
HELD: dict[str, Any] = {}


class GiveModels:
    """A loader of the models that the test made, in the host's older node form."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"family": ("STRING", {})}}

    def load(self, family: str) -> tuple[Any, ...]:
        return tuple(HELD["models"][family])


class KeepImages:
    """The end of the graph."""

    RETURN_TYPES = ()
    FUNCTION = "keep"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",), "family": ("STRING", {})}}

    def keep(self, images: Tensor, family: str) -> dict[str, Any]:
        HELD["images"].setdefault(family, []).append(images)
        return {}


@pytest.fixture
def graph_nodes(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import comfy.model_management as management
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "GiveModels", GiveModels)
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "KeepImages", KeepImages)
    management.unload_all_models()
    yield
    HELD.clear()
    management.unload_all_models()


class Loads:
    """Counts a model's loads, and notes which models were on a device at each of them."""

    def __init__(self, models: list[Any]) -> None:
        from comfy.patcher_extension import CallbacksMP

        self.order: list[str] = []
        self.beside: list[set[str]] = []
        for patcher in models:
            patcher.add_callback(CallbacksMP.ON_LOAD, self._loaded)

    def _loaded(self, patcher: Any, *_: Any) -> None:
        name = type(patcher.model).__name__
        self.order.append(name)
        self.beside.append(set(loaded_names()) - {name})


def models(family: str, device: torch.device) -> list[Any]:
    """MODEL, CLIP and VAE of a family, to be loaded on `device`."""
    model = small_models.inputs_for(family)[0]
    clip, vae = getattr(small_models, f"{family}_clip")(), small_vae(4 if family == "sdxl" else 16)
    for patcher in (model, clip.patcher, vae.patcher):
        patcher.load_device = device
    vae.device = device
    return [model, clip, vae]


def prompts(family: str, first: int, count: int) -> dict[str, Any]:
    """The graph of a config with `count` prompts, from the loaders to the images."""
    sizes = {"width": 64, "height": 64, "steps": 2, "seed": 1}
    items = [{"index": i, "prompt": f"picture {first + i}", **sizes} for i in range(count)]
    made = graph(family)
    for name in ("save", "sheet", "show"):
        del made[name]
    made["load"] = node("GiveModels", family=family)
    made["spec"]["inputs"]["config"] = json.dumps({**SPEC, "family": family, "items": items})
    made["decode"] = node("VAEDecode", samples=["sample", 0], vae=["load", 2])
    made["keep"] = node("KeepImages", images=["decode", 0], family=family)
    return made


def images_of(family: str, made: list[Any], first: int = 0, count: int = PROMPTS) -> list[Tensor]:
    HELD.update(models={family: made}, images={})
    run(prompts(family, first, count))
    images: list[Tensor] = HELD["images"][family]
    return images


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_prompts_load_each_model_once(comfy_host: Any, graph_nodes: None, family: str) -> None:
    made = models(family, torch.device("cpu"))
    loads = Loads([made[0], made[1].patcher, made[2].patcher])
    assert len(images_of(family, made)) == PROMPTS
    assert loads.order == [type(made[1].patcher.model).__name__, type(made[0].model).__name__, "AutoencoderKL"]


@pytest.mark.parametrize("family", FAMILIES)
def test_ten_prompts_with_room_for_one_model(
    comfy_host: Any, graph_nodes: None, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's own budget (--reserve-vram) leaves no room beside the model that runs: the others are moved off, each
    model is still loaded once, and the images are those of a machine with room. The device is the CPU by its other
    name, to which the host does not give the CPU's exemption from moving models.
    """
    import comfy.model_management as management

    roomy = models(family, torch.device("cpu"))
    expected = images_of(family, roomy)
    management.unload_all_models()
    monkeypatch.setattr(management, "EXTRA_RESERVED_VRAM", 1 << 50)
    made = models(family, torch.device("cpu:0"))
    before = weights(made[0])
    loads = Loads([made[0], made[1].patcher, made[2].patcher])
    images = images_of(family, made)
    assert all(torch.equal(a, b) for a, b in zip(images, expected, strict=True))
    assert len(loads.order) == 3
    assert loads.beside == [set()] * 3
    assert loaded_names() == ["AutoencoderKL"]
    assert same_weights(made[0], before)
    management.free_memory(1e30, torch.device("cpu:0"))


def test_prompts_one_by_one_load_the_models_again(
    comfy_host: Any, graph_nodes: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the lists save, and that the count above would notice: two prompts in two graphs are six loads."""
    import comfy.model_management as management

    monkeypatch.setattr(management, "EXTRA_RESERVED_VRAM", 1 << 50)
    made = models("flux", torch.device("cpu:0"))
    loads = Loads([made[0], made[1].patcher, made[2].patcher])
    for number in range(2):
        images_of("flux", made, first=number, count=1)
    assert len(loads.order) == 6
    management.free_memory(1e30, torch.device("cpu:0"))
