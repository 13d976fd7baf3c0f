"""LoRAs beside the weights together with others: stacked, cloned, within and around other wrappers, and gone."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes.lora_runs import folders
from comfyui_eridiffusion.tests.nodes.test_lora_node_beside import INTO, Scene, assert_same, modules_of


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    with folders(loras=tmp_path / "loras"):
        yield tmp_path / "loras"


def test_stacked_loras_with_strengths_of_either_sign(comfy_host: Any, loras: Path) -> None:
    """Two of ours, one stock LoRA below or above: as all of them merged by the stock loader, in float32."""
    import nodes

    scene = Scene(comfy_host, loras)
    scene.write(1, 2, 3)

    def stock(model: Any, step: int, strength: float) -> Any:
        return nodes.LoraLoader().load_lora(model, None, f"run/{scene.file(step).name}", strength, 0.0)[0]

    expected = scene.sample(stock(stock(stock(scene.model, 1, 1.0), 2, -0.5), 3, 0.7))
    for order in ("below", "above"):
        model = stock(scene.model, 3, 0.7) if order == "below" else scene.model
        model = scene.at(2, scene.at(1, model), strength_model=-0.5)
        model = stock(model, 3, 0.7) if order == "above" else model
        for _ in range(2):  # the second time from the loaded one
            found = scene.sample(model)
            assert (found - expected).abs().max() < 5e-5 * expected.abs().max()
    assert scene.sample(scene.at(1, strength_model=0.0)).equal(scene.sample(scene.model))
    assert_same(scene)


def test_a_lora_that_follows_a_loaded_one_leaves_it_alone(comfy_host: Any, loras: Path) -> None:
    """Clones of a loaded model say that they are injected: patching one, or its end, must not touch what is loaded."""
    import nodes

    scene = Scene(comfy_host, loras)
    scene.write(1, 2)
    first = scene.at(1)
    expected = scene.sample(first)

    def disturb() -> None:
        both = scene.at(2, first)
        nodes.LoraLoader().load_lora(both, None, f"run/{scene.file(2).name}", 1.0, 0.0)
        del both
        gc.collect()

    assert torch.equal(scene.sample(first, look=disturb), expected)
    both = nodes.LoraLoader().load_lora(scene.at(2, first), None, f"run/{scene.file(2).name}", 1.0, 0.0)[0]
    alone = scene.sample(scene.model)
    assert not torch.equal(alone, expected)
    assert torch.equal(scene.sample(first), expected)
    del both
    gc.collect()
    assert torch.equal(scene.sample(first), expected)
    assert torch.equal(scene.sample(scene.model), alone)


class NaiveHook:
    """What ComfyUI's own bypass hook does to a module (comfy/weight_adapter/bypass.py), for hosts without it."""

    def __init__(self, module: Any) -> None:
        self.module, self.original = module, None

    def inject(self) -> None:
        self.original = self.module.forward
        self.module.forward = self._forward

    def _forward(self, x: Tensor) -> Any:
        return 1.1 * self.original(x)  # type: ignore[misc]

    def eject(self) -> None:
        self.module.forward, self.original = self.original, None


@pytest.mark.parametrize("theirs_first", [True, False])
def test_another_packs_wrapper_around_the_same_layers(comfy_host: Any, loras: Path, theirs_first: bool) -> None:
    """ComfyUI ejects in the order in which it injects, so whoever restores a forward may restore another's wrapper."""
    from comfy.patcher_extension import PatcherInjection

    scene = Scene(comfy_host, loras)
    scene.write(1)
    alone, with_lora = scene.sample(scene.model), scene.sample(scene.at(1))
    hooks = [NaiveHook(module) for _, module, *_ in modules_of(scene, 1)]

    def wrapped(model: Any) -> Any:
        clone = model.clone()
        inject, eject = (lambda _: [h.inject() for h in hooks]), (lambda _: [h.eject() for h in hooks])
        clone.set_injections("theirs", [PatcherInjection(inject, eject)])
        return clone

    both = scene.at(1, wrapped(scene.model)) if theirs_first else wrapped(scene.at(1))
    first = scene.sample(both)
    assert not torch.equal(first, with_lora)
    assert torch.equal(scene.sample(both), first)
    assert torch.equal(scene.sample(scene.at(1)), with_lora)
    assert torch.equal(scene.sample(both), first)
    assert torch.equal(scene.sample(scene.model), alone)


@pytest.mark.parametrize("theirs_first", [True, False])
def test_comfyuis_own_bypass_loader_on_the_same_layers(comfy_host: Any, loras: Path, theirs_first: bool) -> None:
    """As both merged, in float32; the stock one drops text encoders and slices, so fused native names it is."""
    import nodes

    loader = nodes.NODE_CLASS_MAPPINGS.get("LoraLoaderBypass")
    if loader is None:
        pytest.skip("this host has no bypass loader")
    scene = Scene(comfy_host, loras)
    scene.write(1, 2)

    def stock(model: Any, kind: Any) -> Any:
        return kind().load_lora(model, None, f"run/{scene.file(2).name}", 0.5, 0.0)[0]

    expected = scene.sample(stock(scene.at(1, apply=INTO), nodes.LoraLoader))
    both = scene.at(1, stock(scene.model, loader)) if theirs_first else stock(scene.at(1), loader)
    for _ in range(3):
        assert (scene.sample(both) - expected).abs().max() < 5e-5 * expected.abs().max()
    assert_same(scene)


def test_a_loaded_lora_that_goes_with_a_cycle_is_taken_out(comfy_host: Any, loras: Path) -> None:
    """As an executor's outputs go: Python's collector ends the patcher, whose injections must still know its model."""
    scene = Scene(comfy_host, loras)
    scene.write(1)
    alone = scene.sample(scene.model)
    patched = scene.at(1)
    scene.sample(patched)
    patched.itself = patched
    del patched
    gc.collect()
    assert scene.base_is_untouched()
    assert torch.equal(scene.sample(scene.model), alone)


def test_nothing_is_kept_alive(comfy_host: Any, loras: Path) -> None:
    import comfy.model_management

    scene = Scene(comfy_host, loras)
    scene.write(1, 2)
    left = []
    for step in (1, 2, 1):
        patched = scene.at(step)
        scene.sample(patched)
        left += [weakref.ref(patched), weakref.ref(next(iter(patched.injections.values()))[0])]
        del patched
    gc.collect()
    assert [ref() for ref in left] == [None] * len(left)
    assert not any("forward" in vars(module) for module in scene.model.model.modules())
    model = weakref.ref(scene.model.model)
    comfy.model_management.unload_all_models()
    del scene
    gc.collect()
    assert model() is None
