"""Reading ranges of a file gives what the safetensors library reads from it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from comfyui_eridiffusion.errors import LoraError
from comfyui_eridiffusion.lora.header import bytes_written, read_header
from comfyui_eridiffusion.lora.tensor_data import read_tensors

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2,
          torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)  # fmt: skip


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 5), max_size=3), st.booleans()),
        min_size=1,
        max_size=9,
    )
)
def test_equals_the_library(tmp_path: Path, kinds: list[tuple[torch.dtype, list[int], bool]]) -> None:
    """Every type and shape, scalars and empty tensors, any subset of the file."""
    path = tmp_path / "a.safetensors"
    tensors = {f"t{n}": torch.ones(shape).mul(n).to(dtype) for n, (dtype, shape, _) in enumerate(kinds)}
    save_file(tensors, path, {"format": "pt"})
    wanted = [f"t{n}" for n, (_, _, take) in enumerate(kinds) if take]
    found, expected = read_tensors(read_header(path), wanted), load_file(path)
    assert list(found) == wanted
    for key in wanted:
        assert found[key].dtype == expected[key].dtype
        assert found[key].shape == expected[key].shape
        assert torch.equal(found[key].float(), expected[key].float())


def test_ranges_far_apart_and_unaligned(tmp_path: Path) -> None:
    """Written by hand: floats on odd offsets, and a large tensor between two wanted ones."""
    first, last = torch.tensor([1.5, -2.5]), torch.tensor([3.25])
    chunks = [first.numpy().tobytes(), bytes(1), bytes(200_000), last.numpy().tobytes()]
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "pad": {"dtype": "U8", "shape": [200_001], "data_offsets": [8, 200_009]},
        "b": {"dtype": "F32", "shape": [1], "data_offsets": [200_009, 200_013]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(chunks))
    found = read_tensors(read_header(path), ["b", "a"])
    assert torch.equal(found["a"], first)
    assert torch.equal(found["b"], last)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e5m2])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_key_with_a_bad_number_is_named(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    tensors = {name: torch.ones(3, 3).to(dtype) for name in "abc"}
    tensors["b"] = torch.tensor([1.0, value]).to(dtype)
    save_file(tensors, tmp_path / "a.safetensors")
    header = read_header(tmp_path / "a.safetensors")
    assert set(read_tensors(header, ["a", "c"])) == {"a", "c"}
    with pytest.raises(LoraError, match=r"NaN|infinite") as caught:
        read_tensors(header, list("abc"))
    assert caught.value.keys == ("b",)


def test_a_file_that_changes_is_worth_another_try(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(64)}, path)
    header = read_header(path)
    os.truncate(path, path.stat().st_size - 4)
    with pytest.raises(LoraError, match="changed while it was read") as caught:
        read_tensors(header, ["a"])
    assert caught.value.retryable
    save_file({"a": torch.zeros(64)}, path)
    with pytest.raises(LoraError) as caught:
        read_tensors(header, ["a"])
    assert caught.value.retryable


def test_what_was_read_outlives_the_file(tmp_path: Path) -> None:
    """A trainer writes the next save over this one, or cuts the file short: under a mapping the numbers would change
    with it, and past its new end the process would be killed."""
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(1 << 20)}, path)
    found = read_tensors(read_header(path), ["a"])["a"]
    whole = path.read_bytes()
    with path.open("r+b") as stream:
        stream.seek(len(whole) // 2)
        stream.write(bytes(len(whole) // 4))
    assert bool((found == 1).all())
    os.truncate(path, 8)
    assert bool((found == 1).all())


def test_damage_is_not_worth_another_try(tmp_path: Path) -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(LoraError, match="do not fit") as caught:
        read_tensors(read_header(path), ["a"])
    assert not caught.value.retryable
    path.write_bytes(path.read_bytes().replace(b"F32", b"F42"))
    with pytest.raises(LoraError, match="type F42"):
        read_tensors(read_header(path), ["a"])


def test_bytes_written(tmp_path: Path) -> None:
    whole = tmp_path / "whole.safetensors"
    save_file({"a": torch.ones(64), "b": torch.ones(2)}, whole)
    data = whole.read_bytes()
    part = tmp_path / "part.safetensors"
    for count in (0, 4, 8, 20, len(data) - 1, len(data)):
        part.write_bytes(data[:count])
        there, promised = bytes_written(part)
        assert there == count
        assert promised == (len(data) if count >= len(data) - 66 * 4 else None)


def with_header(path: Path, text: str) -> Path:
    path.write_bytes(len(text.encode()).to_bytes(8, "little") + text.encode() + bytes(8))
    return path


TENSORS = '"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


@pytest.mark.parametrize("text", [
    f'{{"__metadata__":{{"step":"5","x":"{{\\"a\\":1}}"}},{TENSORS}}}',
    f'{{"__metadata__": {{"step": "5", "x": "{{\\"a\\":1}}"}} , {TENSORS}}}  ',
    f'{{{TENSORS},"__metadata__":{{"step":"5","x":"{{\\"a\\":1}}"}}}}',
    f'{{"__metadata__":{{"step":"4"}},{TENSORS},"__metadata__":{{"step":"5","x":"{{\\"a\\":1}}"}}}}',
])  # fmt: skip
def test_metadata_wherever_it_stands(tmp_path: Path, text: str) -> None:
    """First, as the library writes it, with spaces, last, or twice: as Python's own JSON reader has it."""
    header = read_header(with_header(tmp_path / "a.safetensors", text))
    assert header.metadata == json.loads(text)["__metadata__"]
    assert header.shapes == {"a": (2,)}
    assert header.json_value("x") == {"a": 1}
    assert torch.equal(read_tensors(header, ["a"])["a"], torch.zeros(2))


@pytest.mark.parametrize("text", [
    f'{{"__metadata__":{{"step":"5"}},,{TENSORS}}}', '{"__metadata__":{"step":"5"},}', '{"__metadata__":{"step":"5"',
    f'{{"__metadata__":[1],{TENSORS}}}', '{"__metadata__":{},"a":3}',
])  # fmt: skip
def test_headers_that_are_none(tmp_path: Path, text: str) -> None:
    with pytest.raises(LoraError, match="not a safetensors header"):
        read_header(with_header(tmp_path / "a.safetensors", text))


def test_checkpoints_of_a_run_differ_in_metadata_and_place(tmp_path: Path) -> None:
    """Their metadata differ, in length too, and with it the place of the data."""
    headers = []
    for step in (9, 1000):
        path = tmp_path / f"{step}.safetensors"
        save_file({"a": torch.full((3,), float(step)), "b": torch.ones(2)}, path, {"ss_steps": str(step) * 9})
        headers.append(read_header(path))
    first, second = headers
    assert first.contents is second.contents
    assert first.start != second.start
    assert [header.metadata["ss_steps"] for header in headers] == ["9" * 9, "1000" * 9]
    for header, value in zip(headers, (9.0, 1000.0), strict=True):
        assert torch.equal(read_tensors(header, ["a"])["a"], torch.full((3,), value))
    with pytest.raises(TypeError):
        first.shapes["a"] = (1,)  # type: ignore[index]
