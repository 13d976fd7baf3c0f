"""A checkpoint's fingerprint: the same for the same content, another for another, whatever name and time say."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from comfyui_eridiffusion.lora import LoraError
from comfyui_eridiffusion.lora.fingerprint import WHOLE, fingerprint

RUNS = Path(__file__).parents[2] / "examples" / "runs"


def test_every_checkpoint_of_the_examples_has_its_own() -> None:
    """Same tensors of the same shapes, hence files of the same size, trained further."""
    files = sorted(RUNS.rglob("*.safetensors"))
    assert len({fingerprint(path) for path in files}) == len(files) > 10


def test_name_and_time_do_not_count(tmp_path: Path) -> None:
    file = next(RUNS.rglob("*.safetensors"))
    other = shutil.copy(file, tmp_path / "other.safetensors")
    os.utime(other, (1, 1))
    assert fingerprint(other) == fingerprint(file)


def test_a_small_file_counts_whole(tmp_path: Path) -> None:
    """As described: SHA-256 of the size in 8 bytes and of what there is."""
    content = bytes(range(256)) * 10
    (tmp_path / "a").write_bytes(content)
    whole = hashlib.sha256(len(content).to_bytes(8, "little") + content).hexdigest()
    assert fingerprint(tmp_path / "a") == whole


@pytest.mark.parametrize("change", ["one tensor", "the last byte", "metadata", "longer"])
def test_a_large_file_that_changed(tmp_path: Path, change: str) -> None:
    generator = torch.Generator().manual_seed(1)
    tensors = {f"block.{n}": torch.randn(256, 256, generator=generator) for n in range(80)}
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file(tensors, first, {"step": "100"})
    assert first.stat().st_size > WHOLE
    if change == "metadata":
        save_file(load_file(first), second, {"step": "101"})
    elif change == "one tensor":
        save_file({**tensors, "block.37": torch.randn(256, 256, generator=generator)}, second, {"step": "100"})
    else:
        content = first.read_bytes()
        content = content + b"\0" if change == "longer" else content[:-1] + bytes([content[-1] ^ 1])
        second.write_bytes(content)
    assert fingerprint(second) != fingerprint(first)


def test_a_huge_file_is_not_read_whole(tmp_path: Path) -> None:
    """A terabyte of nothing, which takes no place on the disk."""
    file = tmp_path / "huge"
    try:
        with file.open("wb") as stream:
            stream.truncate(1 << 40)
    except OSError:
        pytest.skip("no file of holes on this disk")
    before = fingerprint(file)
    with file.open("r+b") as stream:
        stream.write(b"x")
    assert fingerprint(file) != before


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match=r"gone\.safetensors: no such file"):
        fingerprint(tmp_path / "gone.safetensors")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(LoraError, match="a pipe"):
        fingerprint(tmp_path / "a.safetensors")
