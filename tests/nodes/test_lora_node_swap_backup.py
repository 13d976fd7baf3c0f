"""The first change of a weight on a loaded model: its backup and the patched weight, beside the host's own method."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.lora_runs import same, weights

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
LAYERS = ("double_blocks.0.img_attn.qkv", "single_blocks.0.linear1", "final_layer.linear")


def patches(model: Any, seed: int) -> dict[Any, Any]:
    """The host's patches of a LoRA on LAYERS, with a slice of the first, and of a change of its bias."""
    import comfy.lora

    generator = torch.Generator().manual_seed(seed)
    shapes = {name: value.shape for name, value in model.model.state_dict().items()}
    keys = {}
    for layer in LAYERS:
        rows, columns = shapes[f"diffusion_model.{layer}.weight"]
        keys[f"diffusion_model.{layer}.lora_up.weight"] = torch.randn(rows, 4, generator=generator)
        keys[f"diffusion_model.{layer}.lora_down.weight"] = 0.1 * torch.randn(4, columns, generator=generator)
    bias = f"diffusion_model.{LAYERS[0]}"
    keys[f"{bias}.diff_b"] = torch.randn(shapes[f"{bias}.bias"], generator=generator)
    query = "transformer.transformer_blocks.0.attn.to_q"
    keys[f"{query}.lora_up.weight"] = torch.randn(shapes[f"{bias}.bias"][0] // 3, 4, generator=generator)
    keys[f"{query}.lora_down.weight"] = torch.randn(4, shapes[f"{bias}.weight"][1], generator=generator)
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    found: dict[Any, Any] = comfy.lora.load_lora(keys, names, log_missing=False)
    assert len(found) == len(LAYERS) + 2
    return found


def scaled_fp8(model: Any) -> Any:
    """MODEL with its first layer as the host's scaled fp8 checkpoints have it: a form of its own."""
    import comfy.ops

    if not hasattr(comfy.ops, "scaled_fp8_ops"):
        pytest.skip("newer hosts have no layers of scaled fp8 weights, their tensors know their scale themselves")
    layer = comfy.ops.scaled_fp8_ops(override_dtype=torch.float8_e4m3fn).Linear(128, 384)
    plain = model.model.get_submodule(f"diffusion_model.{LAYERS[0]}")
    layer.scale_weight = torch.nn.Parameter(torch.tensor(0.01), requires_grad=False)
    layer.weight = torch.nn.Parameter((plain.weight.data / 0.01).to(torch.float8_e4m3fn), requires_grad=False)
    layer.bias = torch.nn.Parameter(plain.bias.data, requires_grad=False)
    model.model.set_submodule(f"diffusion_model.{LAYERS[0]}", layer)
    return model


def kept(patcher: Any) -> dict[str, Tensor]:
    return {key: saved.weight for key, saved in patcher.backup.items()}


@pytest.mark.parametrize("make", [small_models.flux_model, lambda: scaled_fp8(small_models.flux_model())])
@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_first_and_second_change_of_a_weight_as_the_host_makes_them(
    comfy_host: Any, make: Any, in_place: bool, dtype: torch.dtype
) -> None:
    import comfy.model_management

    module, models = comfy_host.pack("host.lora.swap"), [make(), make()]
    for model in models:
        model.weight_inplace_update = in_place
        for parameter in model.model.diffusion_model.parameters():
            parameter.requires_grad_(False)  # the host runs without gradients
            if parameter.element_size() > 1:  # the fp8 layer stays what it is
                parameter.data = parameter.data.to(dtype)
        comfy.model_management.load_models_gpu([model])
    base = weights(models[0])
    for seed in (1, 2):
        ours, theirs = (model.clone() for model in models)
        for clone in (ours, theirs):
            clone.add_patches(patches(clone, seed), 0.7)
        models[1].unpatch_model()  # the host starts from the base each time
        scratch = module._Scratch(ours.load_device)
        for key in ours.patches:
            module._patch(ours, key, scratch)
            theirs.patch_weight_to_device(key, device_to=theirs.load_device)
        assert same(weights(models[0]), weights(models[1]))
        assert not same(weights(models[0]), base)
        assert ours.backup.keys() == theirs.backup.keys() == ours.patches.keys()
        assert same(kept(ours), {key: base[key] for key in ours.patches})
        assert all(saved.weight.dtype == base[key].dtype for key, saved in ours.backup.items())
        assert all(saved.inplace_update is in_place for saved in ours.backup.values())
        assert all(saved.weight.device == ours.offload_device for saved in ours.backup.values())
    models[0].unpatch_model()
    assert same(weights(models[0]), base)
    assert models[0].backup == {}


def test_a_backup_made_at_a_swap_is_the_hosts_to_restore(comfy_host: Any) -> None:
    """Weights that only the second step changes: backed up by the swap, restored by the host's own unloading."""
    import comfy.model_management

    model = small_models.flux_model()
    base, swap = weights(model), comfy_host.pack("host.lora.swap").swap
    first, second = model.clone(), model.clone()
    found = patches(model, 1)
    rest = {key: patch for key, patch in found.items() if key != f"diffusion_model.{LAYERS[1]}.weight"}
    first.add_patches({key: patch for key, patch in found.items() if key not in rest})
    second.add_patches(rest)
    assert first.patches
    assert not first.patches.keys() & second.patches.keys()
    comfy.model_management.load_models_gpu([first])
    assert swap(second)
    assert second.backup.keys() == second.patches.keys()
    comfy.model_management.load_models_gpu([second])
    expected = small_models.flux_model()
    other = expected.clone()
    other.add_patches(rest)
    comfy.model_management.load_models_gpu([other])
    assert same(weights(model), weights(expected))
    comfy.model_management.unload_all_models()
    assert same(weights(model), base)


@pytest.mark.parametrize("inference", [(True, True), (True, False), (False, True), (False, False)])
def test_a_patched_weight_is_overwritten_where_torch_allows_it(comfy_host: Any, inference: tuple[bool, bool]) -> None:
    """The host executes nodes in inference mode, scripts and training nodes do not; either may find the other's."""
    import comfy.model_management

    model, expected = small_models.flux_model(), small_models.flux_model()
    base, swap = weights(model), comfy_host.pack("host.lora.swap").swap
    steps, key = [model.clone() for _ in range(3)], f"diffusion_model.{LAYERS[1]}.weight"
    for seed, step in enumerate(steps):
        step.add_patches(patches(model, seed))
    with torch.inference_mode(inference[0]):
        comfy.model_management.load_models_gpu([steps[0]])
        assert swap(steps[1])
    there = model.model.get_parameter(key)
    with torch.inference_mode(inference[1]):
        assert swap(steps[2])
    assert (model.model.get_parameter(key) is there) == (inference[0] == inference[1])
    other = expected.clone()
    other.add_patches(patches(expected, 2))
    comfy.model_management.load_models_gpu([other])
    assert same(weights(model), weights(expected))
    comfy.model_management.unload_all_models()
    assert same(weights(model), base)
