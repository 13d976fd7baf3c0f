"""Checkpoints of one run, with the same names and shapes: each is read for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.lora import LoraError, change_norms, read_lora
from comfyui_eridiffusion.tests.lora.lora_files import write

BLOCKS = range(6)


def tensors(seed: int, dtype: torch.dtype = torch.float32, rank: int = 2, width: int = 8) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for block in BLOCKS:
        for module, rows in (("img_attn.proj", width), ("img_mlp.0", 4 * width), ("txt_attn.proj", width)):
            name = f"double_blocks.{block}.{module}"
            found[f"{name}.lora_A.weight"] = torch.randn(rank, width, generator=generator).to(dtype)
            found[f"{name}.lora_B.weight"] = torch.randn(rows, rank, generator=generator).to(dtype)
            found[f"{name}.alpha"] = torch.tensor(float(rank + block))
    return found


def norm(values: dict[str, Tensor]) -> float:
    """Of all changes of a file, by the products themselves, in float64."""
    square = 0.0
    for name in values:
        if name.endswith(".lora_A.weight"):
            module = name.removesuffix(".lora_A.weight")
            down, up = values[name].double(), values[f"{module}.lora_B.weight"].double()
            square += float((values[f"{module}.alpha"].double() / down.shape[0] * up @ down).square().sum())
    return square**0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_of_many_pairs(tmp_path: Path, dtype: torch.dtype) -> None:
    values = tensors(1, dtype)
    found = change_norms(read_lora(write(tmp_path / "a.safetensors", values), family="flux"))
    assert found == {"double_blocks": pytest.approx(norm(values), rel=1e-5)}


def test_each_file_gives_its_own_numbers(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        values = tensors(step)
        lora = read_lora(write(tmp_path / f"a_step{step}.safetensors", values), family="flux")
        assert lora.path.name == f"a_step{step}.safetensors"
        assert lora.step == step
        assert all(torch.equal(lora.tensors[name], values[name]) for name in values)


def test_what_one_caller_changes_does_not_reach_the_next(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors", tensors(1))
    read_lora(path, family="flux").ignored["x"] = "y"
    assert read_lora(path, family="flux").ignored == {}


def test_a_good_file_does_not_vouch_for_the_next(tmp_path: Path) -> None:
    """Same names, but a bad number, another shape, or a module that is missing a factor."""
    read_lora(write(tmp_path / "a.safetensors", tensors(1)), family="flux")
    name = "double_blocks.3.img_attn.proj.lora_B.weight"
    bad_number, bad_shape, missing = tensors(2), tensors(2), tensors(2)
    bad_number[name][0, 0] = torch.nan
    bad_shape[name] = torch.ones(8, 3)
    del missing[name]
    for values, word in ((bad_number, "NaN"), (bad_shape, "do not fit together"), (missing, "without its up matrix")):
        for _ in range(2):  # nor is a refusal forgotten
            with pytest.raises(LoraError, match=word) as caught:
                read_lora(write(tmp_path / "b.safetensors", values), family="flux")
            assert "double_blocks.3.img_attn.proj" in str(caught.value)
            assert "b.safetensors" in str(caught.value)
    assert read_lora(write(tmp_path / "c.safetensors", tensors(3, rank=4)), family="flux").rank == 4


def test_a_whole_file_does_not_vouch_for_a_half_written_one(tmp_path: Path) -> None:
    """The next save has the same header text and is cut short: refused each time, and read once it is whole."""
    read_lora(write(tmp_path / "a_step1.safetensors", tensors(1)), family="flux")
    whole = write(tmp_path / "a_step2.safetensors", tensors(2))
    data = whole.read_bytes()
    for size in (len(data) - 1, len(data) // 2, len(data) // 2):
        whole.write_bytes(data[:size])
        with pytest.raises(LoraError, match=r"incomplete|cut off") as caught:
            read_lora(whole, family="flux")
        assert caught.value.retryable
    whole.write_bytes(data)
    values = read_lora(whole, family="flux").tensors
    assert all(torch.equal(values[name], value) for name, value in tensors(2).items())
