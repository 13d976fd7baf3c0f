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


def spy_on_swaps(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record whether each preparation was taken over (True) or left to the host."""
    module, taken = comfy_host.pack("host.lora.swap"), []
    real = module.swap
    monkeypatch.setattr(module, "swap", lambda patcher: taken.append(real(patcher)))
    return taken


@contextmanager
def fails_at_fifth_weight(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The host cannot patch the fifth weight: what is inside must end with its MemoryError, and get that far."""
    import comfy.lora

    real, calls = comfy.lora.calculate_weight, []

    def calculate(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 5:
            raise MemoryError
        return real(*args, **kwargs)

    with patch.context() as context:
        context.setattr(comfy.lora, "calculate_weight", calculate)
        with pytest.raises(MemoryError):
            yield
    assert len(calls) == 5
