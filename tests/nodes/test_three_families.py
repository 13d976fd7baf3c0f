"""One graph with all three families, on a device with room for a single model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.nodes.memory_helpers import FAMILIES, loaded_names, same_weights, weights
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import run
from comfyui_eridiffusion.tests.nodes.test_memory_loads import HELD, Loads, graph_nodes, images_of, models, prompts  # noqa: F401


def three_families() -> dict[str, Any]:
    """The three families' graphs of two prompts each, side by side in one."""
    whole: dict[str, Any] = {}
    for family in FAMILIES:
        part = prompts(family, 0, 2)
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

    expected = {family: images_of(family, models(family, torch.device("cpu")), 0, 2) for family in FAMILIES}
    management.unload_all_models()
    monkeypatch.setattr(management, "EXTRA_RESERVED_VRAM", 1 << 50)
    device = torch.device("cpu:0")
    made = {family: models(family, device) for family in FAMILIES}
    HELD.update(models=made, images={})
    before = {family: weights(made[family][0]) for family in FAMILIES}
    loads = Loads([one for model, clip, vae in made.values() for one in (model, clip.patcher, vae.patcher)])
    try:
        run(three_families())
        assert all(beside == set() for beside in loads.beside)
        assert len(loads.order) >= 9
        assert len(loaded_names()) == 1
        for family in FAMILIES:
            assert all(torch.equal(a, b) for a, b in zip(HELD["images"][family], expected[family], strict=True)), family
        management.free_memory(1e30, device)
        assert loaded_names() == []
        assert all(same_weights(made[family][0], before[family]) for family in FAMILIES)
    finally:
        management.free_memory(1e30, device)
