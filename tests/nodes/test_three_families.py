"""One graph with all three families, on a device with room for a single model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes.memory_helpers import FAMILIES, loaded_names, same_weights, weights
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import run
from comfyui_eridiffusion.tests.nodes.test_memory_loads import Loads, graph_nodes, images_of, models, prompts  # noqa: F401

MADE: dict[str, Any] = {}
KEPT: dict[str, list[Any]] = {}


class GiveFamily:
    """A loader of the models that the test made for a family."""

    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"family": ("STRING", {})}}

    def load(self, family: str) -> tuple[Any, ...]:
        return tuple(MADE[family])


class KeepFamily:
    """The end of a family's part."""

    RETURN_TYPES = ()
    FUNCTION = "keep"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"images": ("IMAGE",), "family": ("STRING", {})}}

    def keep(self, images: Any, family: str) -> dict[str, Any]:
        KEPT.setdefault(family, []).append(images)
        return {}


def three_families() -> dict[str, Any]:
    """The three families' graphs of two prompts each, side by side in one."""
    whole: dict[str, Any] = {}
    for family in FAMILIES:
        part = prompts(family, 0, 2)
        part["load"]["class_type"] = "GiveFamily"
        part["keep"] = {"class_type": "KeepFamily", "inputs": {**part["keep"]["inputs"], "family": family}}
        for name, made in part.items():
            inputs = {
                key: [f"{family}_{value[0]}", value[1]] if isinstance(value, list) else value
                for key, value in made["inputs"].items()
            }
            whole[f"{family}_{name}"] = {**made, "inputs": inputs}
    return whole


def test_three_families_with_room_for_one_model(
    comfy_host: Any,
    monkeypatch: pytest.MonkeyPatch,
    graph_nodes: None,  # noqa: F811
) -> None:
    import comfy.model_management as management
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "GiveFamily", GiveFamily)
    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "KeepFamily", KeepFamily)
    expected = {family: images_of(family, models(family, torch.device("cpu")), 0, 2) for family in FAMILIES}
    management.unload_all_models()
    monkeypatch.setattr(management, "EXTRA_RESERVED_VRAM", 1 << 50)
    device = torch.device("cpu:0")
    MADE.update({family: models(family, device) for family in FAMILIES})
    before = {family: weights(MADE[family][0]) for family in FAMILIES}
    loads = Loads([one for model, clip, vae in MADE.values() for one in (model, clip.patcher, vae.patcher)])
    try:
        run(three_families())
        assert all(beside == set() for beside in loads.beside)
        assert len(loads.order) >= 9
        assert len(loaded_names()) == 1
        for family in FAMILIES:
            assert all(torch.equal(a, b) for a, b in zip(KEPT[family], expected[family], strict=True)), family
        management.free_memory(1e30, device)
        assert loaded_names() == []
        assert all(same_weights(MADE[family][0], before[family]) for family in FAMILIES)
    finally:
        management.free_memory(1e30, device)
        MADE.clear()
        KEPT.clear()
