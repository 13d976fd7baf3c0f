"""Runs for tests of the LoRA nodes: a host that looks for LoRAs in a folder of the test, files with known changes.

Import inside tests only: the host must be importable (fixture `comfy_host`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

RANK = 4


@contextmanager
def folders(**kinds: Path) -> Iterator[None]:
    """Let the host's folders of these kinds be these and no others."""
    import folder_paths

    known = folder_paths.folder_names_and_paths
    before = {kind: known.get(kind) for kind in kinds}
    for kind, path in kinds.items():
        known[kind] = ([str(path)], known["loras"][1])
        folder_paths.filename_list_cache.pop(kind, None)
    yield
    for kind, value in before.items():
        known.pop(kind)
        if value is not None:
            known[kind] = value
        folder_paths.filename_list_cache.pop(kind, None)


def linear_weights(model: Any) -> dict[str, tuple[int, int]]:
    """Shapes of the matrices inside the blocks of a MODEL, by the host's name."""
    shapes = {name: tuple(value.shape) for name, value in model.model.state_dict().items()}
    blocks = ("double_blocks", "single_blocks", "joint_blocks", "input_blocks", "middle_block", "output_blocks")
    return {
        name: shape  # type: ignore[misc]
        for name, shape in shapes.items()
        if name.startswith(tuple(f"diffusion_model.{block}" for block in blocks)) and len(shape) == 2
    }


def write_kohya(path: Path, model: Any, step: int, rank: int = RANK, spread: float = 0.3) -> dict[str, Tensor]:
    """A LoRA of sd-scripts for every matrix of MODEL's blocks, which the stock loader reads too.

    Returns the change of each weight, alpha / rank · up @ down, alpha being twice the rank.
    """
    generator = torch.Generator().manual_seed(step)
    tensors, changes = {}, {}
    for name, (rows, columns) in linear_weights(model).items():
        module = "lora_unet_" + name.removeprefix("diffusion_model.").removesuffix(".weight").replace(".", "_")
        down = torch.randn(rank, columns, generator=generator) / columns**0.5
        up = spread * torch.randn(rows, rank, generator=generator)
        tensors |= {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}
        tensors[f"{module}.alpha"] = torch.tensor(2.0 * rank)
        changes[name] = 2.0 * (up @ down)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"ss_steps": str(step), "ss_network_dim": str(rank)})
    return changes


def weights(model: Any) -> dict[str, Tensor]:
    """Copies of a model's weights as they are at this moment."""
    return {name: value.clone() for name, value in model.model.state_dict().items()}


def text_weights(clip: Any) -> dict[str, tuple[int, int]]:
    """Shapes of the matrices in the layers of a CLIP's encoders, by the host's name."""
    return {
        name: tuple(value.shape)
        for name, value in clip.cond_stage_model.state_dict().items()
        if (".encoder.layers." in name or ".encoder.block." in name)
        and name.endswith(".weight")
        and value.ndim == 2
        and "relative_attention_bias" not in name
    }


def write_text_kohya(path: Path, clip: Any, step: int, spread: float = 0.3, only: str = "") -> None:
    """A LoRA of sd-scripts for the matrices of every text encoder of CLIP, or those with `only` in their name."""
    encoders = {"clip_l": "lora_te1_", "clip_g": "lora_te2_", "t5xxl": "lora_te3_"}
    generator = torch.Generator().manual_seed(step)
    tensors = {}
    for name, (rows, columns) in text_weights(clip).items():
        encoder, _, module = name.removesuffix(".weight").partition(".transformer.")
        stem = encoders[encoder] + module.replace(".", "_")
        down = torch.randn(RANK, columns, generator=generator) / columns**0.5
        up = spread * torch.randn(rows, RANK, generator=generator)
        if only in name:
            tensors |= {f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}
            tensors[f"{stem}.alpha"] = torch.tensor(2.0 * RANK)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"ss_steps": str(step), "ss_network_dim": str(RANK)})


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    """Whether two sets of weights are equal bit for bit, 8-bit ones included."""
    assert found.keys() == expected.keys()
    return all(torch.equal(found[name].float(), expected[name].float()) for name in expected)


def scaled_fp8(model: Any) -> Any:
    """MODEL with a first layer as the host's scaled fp8 checkpoints have it: a form of its own."""
    import comfy.ops

    name = "diffusion_model.double_blocks.0.img_attn.qkv"

    if not hasattr(comfy.ops, "scaled_fp8_ops"):
        pytest.skip("newer hosts have no layers of scaled fp8 weights, their tensors know their scale themselves")
    layer = comfy.ops.scaled_fp8_ops(override_dtype=torch.float8_e4m3fn).Linear(128, 384)
    plain = model.model.get_submodule(name)
    layer.scale_weight = torch.nn.Parameter(torch.tensor(0.01), requires_grad=False)
    layer.weight = torch.nn.Parameter((plain.weight.data / 0.01).to(torch.float8_e4m3fn), requires_grad=False)
    layer.bias = torch.nn.Parameter(plain.bias.data, requires_grad=False)
    model.model.set_submodule(name, layer)
    return model
