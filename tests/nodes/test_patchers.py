"""What the pack does with a patcher, on both kinds that ComfyUI has (see host/patchers.py).

ComfyUI makes dynamic patchers for a GPU only, and none of its own tests stands in for one, so neither do these.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from comfyui_eridiffusion.tests.dynamic_vram import switch_on
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, same
from comfyui_eridiffusion.tests.nodes.memory_helpers import policy
from comfyui_eridiffusion.tests.nodes.test_lora_node_beside import INTO, Scene
from comfyui_eridiffusion.tests.nodes.test_oom_backoff import out_of_memory

MANAGED = "ComfyUI manages this model's memory itself"
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="ComfyUI has dynamic patchers on a GPU only")


@pytest.fixture(params=["classic", pytest.param("dynamic", marks=needs_gpu)])
def scene(request: pytest.FixtureRequest, comfy_host: Any, tmp_path: Path) -> Iterator[Scene]:
    """A small Flux in bfloat16 with two steps of a run, on a patcher of one kind."""
    import comfy.model_management as management
    import comfy.model_patcher

    kind = comfy.model_patcher.ModelPatcher
    with folders(loras=tmp_path / "loras"):
        made = Scene(comfy_host, tmp_path / "loras", dtype=torch.bfloat16)
        made.write(1, 2)
        if request.param == "dynamic":
            if not switch_on():
                pytest.skip("this ComfyUI has no dynamic patchers, or not on this machine")
            kind = comfy.model_patcher.ModelPatcherDynamic
        made.model = kind(made.model.model, management.get_torch_device(), management.unet_offload_device())
        yield made
        management.unload_all_models()
        assert made.base_is_untouched()


def dynamic(scene: Scene) -> bool:
    return bool(getattr(scene.model, "is_dynamic", bool)())


def test_a_lora_beside_the_weights_changes_no_weight(scene: Scene) -> None:
    """And no switch leaves anything behind; the model's own weights are found while another LoRA is merged."""
    own_weights = scene.host.pack("host.patchers").own_weights
    first = {step: scene.sample(scene.at(step)) for step in (1, 2)}
    alone = scene.sample(scene.model)
    for step in (1, 2, 1):
        assert torch.equal(scene.sample(scene.at(step)), first[step])
    merged = scene.at(1, apply=INTO)
    assert same(own_weights(merged, scene.base), {name: value.cpu() for name, value in scene.base.items()})
    scene.sample(merged)
    assert same(own_weights(merged, scene.base), {name: value.cpu() for name, value in scene.base.items()})
    assert torch.equal(scene.sample(scene.model), alone)
    assert not torch.equal(first[1], alone)


def test_merged_is_what_the_stock_loader_gives(scene: Scene) -> None:
    import nodes

    for step in (1, 2):
        stock = nodes.LoraLoader().load_lora(scene.model, None, f"run/a-step{step:08d}.safetensors", 1.0, 0.0)[0]
        assert torch.equal(scene.sample(scene.at(step, apply=INTO)), scene.sample(stock))


def test_a_part_of_the_denoising(scene: Scene) -> None:
    whole, ranged = scene.at(1), scene.at(1, start=0.0, end=0.5)
    alone, half = scene.sample(scene.model, 4), scene.sample(ranged, 4)
    assert not torch.equal(half, alone)
    assert not torch.equal(half, scene.sample(whole, 4))
    assert torch.equal(scene.sample(ranged, 4), half)


def test_who_manages_the_memory_is_asked_and_told(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """Weights are streamed on a classic patcher; on a dynamic one the node says who moves them."""
    patchers = scene.host.pack("host.patchers")
    assert patchers.manages_itself(scene.model) is dynamic(scene)
    caplog.set_level("INFO")
    sequential = policy(scene.host, "sequential", model=scene.model)[0]
    alone = scene.sample(scene.model)
    assert torch.equal(scene.sample(sequential), alone)
    assert (MANAGED in caplog.text) is dynamic(scene)
    assert patchers.stream_weights(scene.model.clone()) is not dynamic(scene)


def test_out_of_memory_in_the_middle(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """The offloading step: other models leave, and the node says what became of this one's weights."""
    import comfy.samplers

    backoff = scene.host.pack("host.memory.backoff")
    alone, failures = scene.sample(scene.model), iter(range(5))

    def full(apply_model: Any, params: dict[str, Any]) -> Any:
        if next(failures, None) is not None:
            raise out_of_memory()
        return apply_model(params["input"], params["timestep"], **params["c"])

    model = scene.model.clone()
    model.set_model_unet_function_wrapper(full)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(scene.positive, scene.negative)
    guider.set_cfg(2.0)
    noise = torch.randn(scene.latent.shape, generator=torch.Generator().manual_seed(5))
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "normal", 3)
    euler = comfy.samplers.sampler_object("euler")
    found = backoff.sample_with_backoff(guider, noise, scene.latent, euler, sigmas, disable_pbar=True)
    assert (found - alone).abs().max() < 0.02 * alone.abs().max()  # bfloat16, in other sums
    told = f"other models unloaded; {MANAGED}" if dynamic(scene) else "weights streamed layer by layer"
    assert told in caplog.text
