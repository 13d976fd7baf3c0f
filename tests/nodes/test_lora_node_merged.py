"""Merged, from step to step on a loaded model: the same weights as the stock loader makes, and the base untouched."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, same, weights, write_kohya

MODELS = {"flux": small_models.flux_model, "sd35": small_models.sd35_model, "sdxl": small_models.sdxl_model}


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    with folders(loras=tmp_path / "loras"):
        yield tmp_path / "loras"


def at_step(comfy_host: Any, model: Any, step: int, **inputs: Any) -> Any:
    chosen = {"run": "run", "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    chosen |= {"apply": "into the weights", **inputs}
    return comfy_host.nodes["EriLoraAtStep"].execute(model=model, **chosen).args[0]


def prepare(model: Any, sampler: Any = None) -> dict[str, Tensor]:
    """Let the host prepare MODEL as every sampler node does; the weights that a step would then find."""
    import comfy.samplers

    seen: dict[str, Tensor] = {}

    def look(wrapped: Any, x: Tensor, sigmas: Tensor, **_: Any) -> Tensor:
        seen.update(weights(model))
        if sampler is not None:
            sampler()
        return x

    guider = comfy.samplers.CFGGuider(model)
    latent = torch.zeros(1, 16, 8, 8)
    guider.sample(latent, latent, comfy.samplers.KSAMPLER(look), torch.tensor([1.0, 0.0]), disable_pbar=True)
    return seen


@pytest.mark.parametrize("family", MODELS)
def test_weights_equal_the_stock_loaders_bit_for_bit(comfy_host: Any, loras: Path, family: str) -> None:
    """Steps in a row, against the stock LoraLoader on a model of its own."""
    import nodes

    model, other = MODELS[family](), MODELS[family]()
    base = weights(model)
    steps = range(1, 21 if family == "flux" else 4)
    for step in steps:
        write_kohya(loras / "run" / f"a-step{step:08d}.safetensors", model, step)
    for step in steps:
        found = prepare(at_step(comfy_host, model, step))
        stock = nodes.LoraLoader().load_lora(other, None, f"run/a-step{step:08d}.safetensors", 1.0, 1.0)[0]
        assert same(found, prepare(stock))
        assert not same(found, base)
    assert same(prepare(model), base)


class StoppedError(Exception):
    """Stands for an interrupt in the middle of sampling."""


def test_base_weights_come_back_after_an_exception(comfy_host: Any, loras: Path) -> None:
    model = small_models.flux_model()
    base = weights(model)
    for step in (1, 2):
        write_kohya(loras / "run" / f"a-step{step:08d}.safetensors", model, step)

    def stop() -> None:
        raise StoppedError

    prepare(at_step(comfy_host, model, 1))
    with pytest.raises(StoppedError):
        prepare(at_step(comfy_host, model, 2), stop)
    assert same(prepare(model), base)


def test_stacked_loras_add_up(comfy_host: Any, loras: Path) -> None:
    """Two runs on one model, with a negative strength, as the stock loaders in a chain."""
    import nodes

    model, other = small_models.flux_model(), small_models.flux_model()
    for step in (1, 2, 3):
        write_kohya(loras / "run" / f"a-step{step:08d}.safetensors", model, step)
    prepare(at_step(comfy_host, model, 3))
    both = at_step(comfy_host, at_step(comfy_host, model, 1), 2, strength_model=-0.5)
    stock = nodes.LoraLoader().load_lora(other, None, "run/a-step00000001.safetensors", 1.0, 0.0)[0]
    stock = nodes.LoraLoader().load_lora(stock, None, "run/a-step00000002.safetensors", -0.5, 0.0)[0]
    assert same(prepare(both), prepare(stock))


def test_what_the_lora_does_not_change_is_handed_on(comfy_host: Any, loras: Path) -> None:
    """No new CLIP object, so that the host keeps it loaded as it is; nor a new model at strength 0."""
    model, clip = small_models.flux_model(), small_models.flux_clip()
    write_kohya(loras / "run" / "a-step00000001.safetensors", model, 1)
    execute = comfy_host.nodes["EriLoraAtStep"].execute
    chosen = {"run": "run", "step": 1, "mode": "exact", "strength_clip": 1.0, "model": model, "clip": clip}
    patched, same_clip, *_ = execute(**chosen, strength_model=1.0).args
    assert same_clip is clip
    assert patched is not model
    unchanged, _, _, report, _ = execute(**chosen, strength_model=0.0).args
    assert unchanged is model
    assert "strength_model is 0" in report


def test_nothing_is_kept_alive(comfy_host: Any, loras: Path) -> None:
    """After many steps only the model itself is left: no patcher, no LoRA tensor, not the model once it is dropped."""
    import comfy.model_management

    model = small_models.flux_model()
    for step in range(1, 6):
        write_kohya(loras / "run" / f"a-step{step:08d}.safetensors", model, step)
    left = []
    for step in range(1, 6):
        patched = at_step(comfy_host, model, step)
        prepare(patched)
        left.append(weakref.ref(patched))
        left.append(weakref.ref(next(iter(patched.patches.values()))[0][1]))
        del patched
    gc.collect()
    assert [ref() for ref in left] == [None] * len(left)
    module = weakref.ref(model.model)
    comfy.model_management.unload_all_models()
    del model
    gc.collect()
    assert module() is None
