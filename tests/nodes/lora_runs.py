"""Runs for tests of the LoRA nodes: a host that looks for LoRAs in a folder of the test, files with known changes.

Import inside tests only: the host must be importable (fixture `comfy_host`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
