"""One graph with all three families, on a device with room for a single model: run to its end, and stopped midway."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes.memory_helpers import FAMILIES, loaded_names, same_weights, weights, with_lora
from comfyui_eridiffusion.tests.nodes.test_memory_loads import HELD, Loads, graph_nodes, images_of, models, prompts  # noqa: F401
from comfyui_eridiffusion.tests.nodes.test_memory_weights import EVENTS, sampler_that
from comfyui_eridiffusion.tests.nodes.test_sampling_citizen import run

DEVICE = torch.device("cpu:0")

#: The images of a machine with room, by family; made once.
ROOMY: dict[str, list[Tensor]] = {}


class GiveSampler:
    """A sampler that ends as the test says, in the host's older node form."""

    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "give"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"ending": ("STRING", {})}}

    def give(self, ending: str) -> tuple[Any]:
        return (sampler_that(ending),)


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


def patched(family: str, device: torch.device) -> list[Any]:
    """MODEL, CLIP and VAE; the first two with a LoRA, so that there is something to put back."""
    model, clip, vae = models(family, device)
    generator = torch.Generator().manual_seed(5)
    clip = clip.clone()
    clip.patcher.add_patches(
        {
            key: (0.01 * torch.randn(value.shape, generator=generator),)
            for key, value in clip.patcher.model.state_dict().items()
            if key.endswith("fc1.weight")
        }
    )
    return [with_lora(model, seed=3), clip, vae]


def parts(made: dict[str, list[Any]]) -> dict[str, Any]:
    """Every model of every family as the host's patcher."""
    return {
        f"{family} {kind}": patcher
        for family, (model, clip, vae) in made.items()
        for kind, patcher in (("model", model), ("text encoders", clip.patcher), ("autoencoder", vae.patcher))
    }


@pytest.fixture
def no_room(comfy_host: Any, graph_nodes: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, list[Tensor]]]:  # noqa: F811
    """A device with room for no second model; the images of a machine with room, by family."""
    import comfy.model_management as management
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "GiveSampler", GiveSampler)
    for family in set(FAMILIES) - set(ROOMY):
        ROOMY[family] = images_of(family, patched(family, torch.device("cpu")), 0, 2)
    management.unload_all_models()
    monkeypatch.setattr(management, "EXTRA_RESERVED_VRAM", 1 << 50)
    yield ROOMY
    management.free_memory(1e30, DEVICE)


@pytest.mark.parametrize("ending", EVENTS)
def test_three_families_with_room_for_one_model(no_room: dict[str, list[Tensor]], ending: str) -> None:
    """To its end, or stopped by an error or a person amid the sampling of one family: what was finished is there and
    as on a machine with room, and all weights of all nine models come back bit for bit."""
    import comfy.model_management as management

    made = {family: patched(family, DEVICE) for family in FAMILIES}
    HELD.update(models=made, images={})
    before = {name: weights(patcher) for name, patcher in parts(made).items()}
    loads = Loads(list(parts(made).values()))
    prompt = three_families()
    if ending != "success":
        prompt["sd35_sampler"] = {"class_type": "GiveSampler", "inputs": {"ending": ending}}
    executor = run(prompt)
    assert EVENTS[ending] in [event for event, _ in executor.status_messages]
    assert all(beside == set() for beside in loads.beside)
    assert "SD3" in loads.order
    assert ("sd35" in HELD["images"]) == (ending == "success")
    assert set(HELD["images"]) == set(FAMILIES) - unreached(executor)
    for family, images in HELD["images"].items():
        assert all(torch.equal(a, b) for a, b in zip(images, no_room[family], strict=True)), family
    if ending == "success":
        assert len(loads.order) >= 9
        assert len(loaded_names()) == 1
    management.free_memory(1e30, DEVICE)
    assert loaded_names() == []
    assert [name for name, patcher in parts(made).items() if not same_weights(patcher, before[name])] == []


def unreached(executor: Any) -> set[str]:
    """The families whose last node the host had not run when it stopped, by its own message."""
    stops = [data for event, data in executor.status_messages if event in set(EVENTS.values()) - {"execution_success"}]
    return {family for stop in stops for family in FAMILIES if f"{family}_keep" not in stop["executed"]}
