"""Files under a LoRA's name that are none, or are damaged: each is refused with what it is and what to do.

What counts as damaged is the safetensors library's judgement, asked beside ours.
"""

from __future__ import annotations

import json
import os
import pickle
import stat
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from comfyui_eridiffusion.lora import LoraError, find_checkpoints, read_lora
from comfyui_eridiffusion.lora.header import bytes_written, read_header
from comfyui_eridiffusion.lora.tensor_data import read_tensors

A, B = "double_blocks.0.img_attn.proj.lora_A.weight", "double_blocks.0.img_attn.proj.lora_B.weight"
DATA = torch.arange(32, dtype=torch.float32).numpy().tobytes()
GOOD = {
    A: {"dtype": "F32", "shape": [2, 8], "data_offsets": [0, 64]},
    B: {"dtype": "F32", "shape": [8, 2], "data_offsets": [64, 128]},
}


def put(path: Path, header: Any, data: bytes = DATA) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def library_reads(path: Path) -> bool:
    """Whether the safetensors library takes the file."""
    try:
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                file.get_tensor(name)
    except SafetensorError:
        return False
    return True


def refused(path: Path, *words: str, retryable: bool = False) -> LoraError:
    with pytest.raises(LoraError) as caught:
        read_lora(path)
    text = str(caught.value)
    assert str(path) in text
    assert caught.value.remedy
    for word in words:
        assert word in text
    assert caught.value.retryable is retryable
    return caught.value


def changed(name: str = A, **fields: Any) -> dict[str, Any]:
    return {**GOOD, name: {**GOOD[name], **fields}}


TEXT = json.dumps(GOOD).encode()
DAMAGED: dict[str, tuple[Any, bytes, str]] = {
    "overlap": (changed(B, data_offsets=[32, 96]), DATA, "overlaps"),
    "the same bytes twice": (changed(B, shape=[8, 2], data_offsets=[0, 64]), DATA, "overlaps"),
    "hole": (changed(B, data_offsets=[72, 136]), DATA + bytes(8), "does not begin where"),
    "hole at the start": ({B: GOOD[B]}, DATA, "does not begin where"),
    "end before start": (changed(data_offsets=[64, 0]), DATA, "ends before it begins"),
    "negative offset": (changed(data_offsets=[-64, 0]), DATA, "whole numbers"),
    "offset beyond 64 bits": (changed(data_offsets=[0, 2**70]), DATA, "overlaps"),
    "offset true": (changed(data_offsets=[False, 64]), DATA, "whole numbers"),
    "offset as text": (changed(data_offsets=["0", "64"]), DATA, "whole numbers"),
    "offset NaN": (changed(data_offsets=[float("nan"), 64]), DATA, "whole numbers"),
    "three offsets": (changed(data_offsets=[0, 64, 128]), DATA, "header"),
    "shape 2.5": (changed(shape=[2.5, 8]), DATA, "whole numbers"),
    "shape as text": (changed(shape="28"), DATA, "whole numbers"),
    "negative shape": (changed(shape=[-2, -8]), DATA, "whole numbers"),
    "huge shape": (changed(shape=[2**62, 8]), DATA, "do not fit"),
    "no shape": ({**GOOD, A: {"dtype": "F32", "data_offsets": [0, 64]}}, DATA, "header"),
    "a name twice": (TEXT[:-1] + b", " + json.dumps({A: GOOD[B]}).encode()[1:], DATA, "does not begin where"),
    "not UTF-8": (TEXT.replace(b"proj", b"pr\xffj"), DATA, "header"),
    "half a character": (TEXT.replace(b"proj", b"pr\\ud800j"), DATA, "header"),
    "half a character in the metadata": (b'{"__metadata__":{"a":"\\ud800"},' + TEXT[1:], DATA, "header"),
    "a number in the metadata": ({"__metadata__": {"step": 5}, **GOOD}, DATA, "something else than texts"),
    "metadata of metadata": ({**GOOD, "__metadata__": {"a": {"b": "c"}}}, DATA, "something else than texts"),
    "nothing in the metadata": (b'{"__metadata__":{"a":null},' + TEXT[1:], DATA, "something else than texts"),
    "deep nesting": (b'{"a":' + b"[" * 99999 + b"]" * 99999 + b"}", DATA, "header"),
    "a number of 5000 digits": (TEXT.replace(b"[0, 64]", b"[0, 1" + b"0" * 5000 + b"]"), DATA, "header"),
    "a list": ([1, 2], DATA, "not a safetensors file"),
    "byte order mark": (b"\xef\xbb\xbf" + TEXT, DATA, "not a safetensors file"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_headers(tmp_path: Path, kind: str) -> None:
    header, data, word = DAMAGED[kind]
    path = put(tmp_path / "flux_lora_step5.safetensors", header, data)
    assert not library_reads(path)
    refused(path, word)
    assert [entry.step for entry in find_checkpoints(tmp_path)] == [5]


def test_entries_may_stand_in_any_order(tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", dict(reversed(GOOD.items())))
    assert library_reads(path)
    assert torch.equal(read_lora(path).tensors[B], torch.arange(16.0, 32.0).view(8, 2))


def test_more_data_than_the_header_says_may_be_an_overwritten_file(tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", GOOD, DATA + bytes(10))
    assert not library_reads(path)
    refused(path, "longer than its header says", "138 of 128", retryable=True)
    assert bytes_written(path) == (8 + len(TEXT) + 138, 8 + len(TEXT) + 128)


@pytest.mark.parametrize("length", [2**63, 2**64 - 1, 100_000_001, 0, 1])
def test_header_lengths_that_no_header_has(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + TEXT + DATA)
    assert not library_reads(path)
    refused(path, "not a safetensors file")


def test_a_header_longer_than_the_file_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((99_000_000).to_bytes(8, "little") + TEXT + DATA)
    refused(path, "of 99000000 bytes", "wait a moment", retryable=True)
    assert bytes_written(path)[1] is None


OFFSETS = st.sampled_from([-8, 0, 8, 32, 64, 72, 128, 136])
SHAPES = st.lists(st.integers(-1, 8), max_size=3)
ENTRIES = st.builds(
    lambda dtype, shape, first, last: {"dtype": dtype, "shape": shape, "data_offsets": [first, last]},
    st.sampled_from(["F32", "F16"]),
    SHAPES | st.just([2, 8]),
    OFFSETS,
    OFFSETS,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from("abc"), ENTRIES, max_size=3) | st.just(GOOD), st.sampled_from([0, 64, 128]))
def test_what_the_library_refuses_is_refused(tmp_path: Path, header: dict[str, Any], size: int) -> None:
    path = put(tmp_path / "a.safetensors", header, bytes(size))
    try:
        read = read_header(path)
        read_tensors(read, list(read.shapes))
    except LoraError:
        assert not library_reads(path)
    else:
        assert library_reads(path)


def saved_by_torch(path: Path, **options: Any) -> bytes:
    torch.save({"a": torch.ones(2)}, path, **options)
    return path.read_bytes()


def zipped(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("lora.safetensors", b"x")
    return path.read_bytes()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 12345\n"
OTHERS: dict[str, tuple[Any, str, str]] = {
    "torch zip": (saved_by_torch, "pickled", "Save the LoRA as .safetensors"),
    "torch legacy": (
        lambda path: saved_by_torch(path, _use_new_zipfile_serialization=False),
        "pickled",
        "Save the LoRA as .safetensors",
    ),
    "pickle": (lambda path: pickle.dumps({"a": 1}), "pickled", "Save the LoRA as .safetensors"),
    "zip": (zipped, "zip archive", "Unpack"),
    "gzip": (lambda path: b"\x1f\x8b\x08\0" + bytes(40), "compressed archive", "Unpack"),
    "LFS pointer": (lambda path: LFS, "Git LFS pointer", "git lfs pull"),
    "annex pointer": (lambda path: b"/annex/objects/MD5E-s123--abc.safetensors\n", "git-annex", "git annex get"),
    "web page": (lambda path: b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "web page", "Download"),
    "XML error": (lambda path: b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "web page", "log in"),
    "JSON error": (lambda path: b'{"error":"Repository not found"}', "Repository not found", "log in"),
    "text": (lambda path: "Zugriff verweigert für héron".encode() * 9, "Zugriff verweigert", "Download"),
    "GGUF": (lambda path: b"GGUF\x03\0\0\0" + bytes(99), "GGUF", ".safetensors"),
    "zeros": (lambda path: bytes(4096), "zeros", "again"),
    "picture": (lambda path: b"\x89PNG\r\n\x1a\n" + bytes(50), "another format", ".safetensors"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_under_this_name_are_called_what_they_are(tmp_path: Path, kind: str) -> None:
    make, word, remedy = OTHERS[kind]
    content = make(tmp_path / "made")
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    assert not library_reads(path)
    error = refused(path, word)
    assert remedy in error.remedy


def test_links_that_lead_nowhere(tmp_path: Path) -> None:
    link, loop = tmp_path / "a.safetensors", tmp_path / "loop.safetensors"
    link.symlink_to(tmp_path / "gone.safetensors")
    loop.symlink_to(loop)
    refused(link, "is a link to", "gone.safetensors, which is not there")
    refused(loop, "cannot be read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    refused(tmp_path / "a.safetensors", "a pipe")


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    refused(tmp_path / "a\0b.safetensors", "no such file")
    refused(tmp_path / ("x" * 300 + ".safetensors"), "cannot be read")
    put(tmp_path / "a.safetensors", GOOD)
    refused(tmp_path / "a.safetensors" / "b.safetensors", "cannot be read")


@contextmanager
def without_rights() -> Iterator[None]:
    """A superuser reads everything, so be nobody for a moment."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="rights are not modes there")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = put(tmp_path / "a.safetensors", GOOD)
    path.chmod(stat.S_IWUSR)
    with without_rights():
        refused(path, "Permission denied", "right to read")


@pytest.mark.parametrize("content", ["", '{"r": 4, "lora_alpha"', "[]", "null", "\xff"])
def test_a_broken_adapter_config_does_not_pass_for_none(tmp_path: Path, content: str) -> None:
    """PEFT's alpha stands only there: without it the LoRA would load with another strength."""
    names = {A: "base_model.model.x_embedder.lora_A.weight", B: "base_model.model.x_embedder.lora_B.weight"}
    path = put(tmp_path / "adapter_model.safetensors", {names[key]: entry for key, entry in GOOD.items()})
    (tmp_path / "adapter_config.json").write_bytes(content.encode("latin-1"))
    refused(path, "adapter_config.json", retryable=True)


@pytest.mark.skipif(sys.platform == "win32", reason="making links needs a privilege there")
def test_what_lies_beside_is_not_read_from_elsewhere(tmp_path: Path) -> None:
    """A link to another folder is none; links from one folder of files to another, as Hugging Face's cache has, are."""
    names = {A: "base_model.model.x_embedder.lora_A.weight", B: "base_model.model.x_embedder.lora_B.weight"}
    run, blobs, elsewhere = (tmp_path / name for name in ("run", "blobs", "elsewhere"))
    for folder in (run, blobs, elsewhere):
        folder.mkdir()
        (folder / "config").write_text('{"r": 4, "lora_alpha": 2}', encoding="utf-8")
    put(blobs / "weights", {names[key]: entry for key, entry in GOOD.items()})
    path, config = run / "adapter_model.safetensors", run / "adapter_config.json"
    path.symlink_to(blobs / "weights")
    for target in (blobs, run):
        config.symlink_to(target / "config")
        assert read_lora(path, family="flux").alpha == 2
        config.unlink()
    config.symlink_to(elsewhere / "config")
    refused(path, "a link to another folder", retryable=True)


@pytest.mark.parametrize("value", ["", "{", "[1]", "3"])
@pytest.mark.parametrize("key", ["__eridiffusion_ckpt__", "lora_adapter_metadata"])
def test_broken_metadata_does_not_pass_for_none(tmp_path: Path, key: str, value: str) -> None:
    names = {
        A: "transformer.single_transformer_blocks.0.proj_out.lora_A.weight",
        B: "transformer.single_transformer_blocks.0.proj_out.lora_B.weight",
    }
    header = {"__metadata__": {key: value}, **{names[name]: entry for name, entry in GOOD.items()}}
    refused(put(tmp_path / "a.safetensors", header), key, "not a JSON object")
