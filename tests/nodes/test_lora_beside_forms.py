"""EriLoraAtStep beside weights that are stored in another form (quantised, packed), and LoRAs that widen a weight."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from comfyui_eridiffusion.tests.nodes.lora_runs import RANK
from comfyui_eridiffusion.tests.nodes.test_lora_node_beside import INTO, Scene, as_kohya, loras

__all__ = ["loras"]


def quantised(scene: Scene) -> None:
    """The scene's layers as ComfyUI loads a quantised checkpoint: fp8 numbers and their scale, in one tensor."""
    import comfy.ops

    operations = comfy.ops.mixed_precision_ops({}, compute_dtype=torch.bfloat16)
    network = scene.model.model.diffusion_model
    conf = torch.tensor(list(json.dumps({"format": "float8_e4m3fn", "full_precision_matrix_mult": True}).encode()))
    for name, module in list(network.named_modules()):
        if isinstance(module, nn.Linear):
            scale = module.weight.abs().max().float() / 448
            state = {
                "weight": (module.weight / scale).to(torch.float8_e4m3fn), "weight_scale": scale, "bias": module.bias,
                "comfy_quant": conf.to(torch.uint8),
            }  # fmt: skip
            layer = operations.Linear(module.in_features, module.out_features, module.bias is not None)
            layer.load_state_dict({key: value for key, value in state.items() if value is not None})
            network.set_submodule(name, layer.requires_grad_(False))


def test_quantised_layers(comfy_host: Any, loras: Path) -> None:
    """A LoRA gives kohya's forward. A DoRA is merged and named, because its norm is not the trainer's."""
    import comfy.ops

    if not hasattr(comfy.ops, "_load_quantized_module"):
        pytest.skip("older hosts load no such layers without their own loader")
    ours, theirs = (Scene(comfy_host, loras, dtype=torch.bfloat16) for _ in range(2))
    ours.write(1)
    for scene in (ours, theirs):
        quantised(scene)
    as_kohya(theirs, 1)
    found = ours.sample(ours.at(1))
    assert torch.equal(found, theirs.sample(theirs.model))
    assert not torch.equal(found, ours.sample(ours.model))
    tensors = load_file(ours.file(1))
    width = tensors["lora_unet_single_blocks_0_linear2.lora_up.weight"].shape[0]
    save_file({**tensors, "lora_unet_single_blocks_0_linear2.dora_scale": torch.ones(width, 1)}, ours.file(2))
    chosen = {"run": "run", "step": 2, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    report = comfy_host.nodes["EriLoraAtStep"].execute(model=ours.model, **chosen).args[3]
    assert "merged into the weights, a DoRA on a quantised weight: 1 (" in report


@pytest.mark.parametrize("bytes_of_32", [34, 16], ids=["Q8_0", "NVFP4"])
def test_layers_that_store_packed_bytes(comfy_host: Any, loras: Path, bytes_of_32: int) -> None:
    """What state_dict shows of GGUF's and of NVFP4's weights are bytes; the LoRA fits the layer's own sizes.

    Source: city96/ComfyUI-GGUF@795e451 ops.py `ggml_save_to_state_dict` (a block of Q8_0 is 34 bytes for 32 numbers).
    """

    def packed(module: nn.Module, destination: dict[str, Tensor], prefix: str, keep: dict[str, Any]) -> None:
        shape = (module.out_features, module.in_features * bytes_of_32 // 32)
        destination[f"{prefix}weight"] = torch.zeros(shape, dtype=torch.uint8, device="meta")
        if module.bias is not None:
            destination[f"{prefix}bias"] = module.bias

    ours, theirs = (Scene(comfy_host, loras) for _ in range(2))
    ours.write(1)
    as_kohya(theirs, 1)
    for module in ours.model.model.diffusion_model.modules():
        if isinstance(module, nn.Linear):
            module.register_state_dict_post_hook(packed)
    assert torch.equal(ours.sample(ours.at(1)), theirs.sample(theirs.model))


def test_control_loras(comfy_host: Any, loras: Path) -> None:
    """Black Forest Labs' form: a wider first layer, norms that replace the model's, biases. Merged: ComfyUI's loader.

    Beside the weights only the first layer and the norms are merged.
    """
    import comfy.sd
    import node_helpers

    scene = Scene(comfy_host, loras)
    network, drawn = scene.model.model.diffusion_model, torch.Generator().manual_seed(3)
    tensors = {}
    for name, module in network.named_modules():
        if isinstance(module, nn.Linear):
            columns = 128 if name == "img_in" else module.in_features
            tensors[f"{name}.lora_A.weight"] = 0.2 * torch.randn(RANK, columns, generator=drawn)
            tensors[f"{name}.lora_B.weight"] = 0.2 * torch.randn(module.out_features, RANK, generator=drawn)
            tensors[f"{name}.lora_B.bias"] = 0.1 * torch.randn(module.out_features, generator=drawn)
        elif name.endswith(("query_norm", "key_norm")):
            width = network.state_dict()[f"{name}.{'scale' if hasattr(module, 'scale') else 'weight'}"].shape[0]
            tensors[f"{name}.scale"] = 1.0 + 0.1 * torch.randn(width, generator=drawn)
    scene.file(1).parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, scene.file(1))
    control = torch.randn(scene.latent.shape, generator=drawn)
    scene.positive, scene.negative = (
        node_helpers.conditioning_set_values(one, {"concat_latent_image": control})
        for one in (scene.positive, scene.negative)
    )
    stock = scene.sample(comfy.sd.load_lora_for_models(scene.model, None, dict(tensors), 1.0, 1.0)[0])
    assert torch.equal(scene.sample(scene.at(1, apply=INTO)), stock)
    found = scene.sample(scene.at(1))
    assert (found - stock).abs().max() < 1e-4 * stock.abs().max()
    assert (scene.sample(scene.model) - stock).abs().max() > 0.05 * stock.abs().max()
    chosen = {"run": "run", "step": 1, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    report = comfy_host.nodes["EriLoraAtStep"].execute(model=scene.model, **chosen).args[3]
    assert "merged into the weights, widens its weight: 1 (img_in)" in report
    assert "merged into the weights, a whole weight: " in report
