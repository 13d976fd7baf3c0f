"""The cache's files: what comes back is what went in, to the bit; shared by threads and processes; bounded in size."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.tests.nodes.cache_graphs import equal
from comfyui_eridiffusion.tests.waiting import PATIENCE

FLOATS = ["float32", "float16", "bfloat16", "float64", "float8_e4m3fn", "float8_e5m2"]
DTYPES = [*FLOATS, "int64", "int32", "int16", "int8", "uint8", "bool"]

texts = st.text(alphabet='a\u00e9 \n"\\{}\x00\U0001f600\ud800', max_size=6)
numbers = st.integers() | st.floats() | st.sampled_from([0.1, math.inf, -0.0, 1e-320])
plain = st.none() | st.booleans() | numbers | texts


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    dtype = getattr(torch, draw(st.sampled_from(DTYPES)))
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    raw = torch.randint(
        0, 2 if dtype is torch.bool else 256, (math.prod(shape) * dtype.itemsize,), dtype=torch.uint8
    ).view(dtype)
    tensor = raw.reshape(shape)
    return tensor.transpose(0, 1) if len(shape) > 1 and draw(st.booleans()) else tensor


values = st.recursive(
    plain | tensors(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(texts | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def module(comfy_host: Any) -> Any:
    return comfy_host.pack("host.text.cache_store")


@settings(max_examples=75, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(value=values)
def test_round_trip(module: Any, value: Any) -> None:
    assert equal(module.unpack(module.pack(value, "k"), "k"), value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(position=st.integers(0, 10**6), bit=st.integers(0, 7), cut=st.booleans())
def test_no_damage_goes_unseen(module: Any, position: int, bit: int, cut: bool) -> None:
    value = [[torch.arange(6.0), {"pooled_output": torch.ones(3, dtype=torch.bfloat16), "guidance": 3.5}]]
    data = bytearray(module.pack(value, "k"))
    position %= len(data)
    if cut:
        del data[position:]
    else:
        data[position] ^= 1 << bit
    try:
        back = module.unpack(bytes(data), "k")
    except ValueError:
        return
    assert equal(back, value)  # a change of what means nothing, such as a space behind the header


def test_equal_tensors_are_stored_once(module: Any) -> None:
    one = torch.randn(1, 64, 64)
    alone, ten = len(module.pack([[one, {}]])), len(module.pack([[one.clone(), {}] for _ in range(10)]))
    assert ten < alone + 2000


def test_the_given_value_is_left_alone(module: Any) -> None:
    tensor = torch.randn(4, 4).transpose(0, 1)
    value = [[tensor, {"a": [1, (2.0,)]}]]
    module.pack(value)
    assert value[0][0] is tensor
    assert not tensor.is_contiguous()


class Hooks:
    pass


@pytest.mark.parametrize(
    ("bad", "kind"),
    [
        (Hooks(), "Hooks"),
        (torch.nn.Parameter(torch.ones(1)), "Parameter"),
        (torch.ones(2, 2).to_sparse(), "Tensor"),
        (torch.ones(1, dtype=torch.complex64), "Tensor"),
        (torch.float32, "dtype"),
        ({1, 2}, "set"),
    ],
)
def test_what_cannot_be_stored_is_named(module: Any, bad: Any, kind: str) -> None:
    with pytest.raises(module.NotStorableError, match=rf"conditioning\[0\]\[1\]\['control'\] is .*{kind}"):
        module.pack([[torch.ones(1), {"control": bad}]])


def entry(number: int, size: int = 1000) -> list[Any]:
    return [[torch.full((size,), float(number)), {"number": number}]]


def test_the_least_recently_used_goes_first(module: Any, tmp_path: Path) -> None:
    store = module.Store(tmp_path)
    size = store.save("e0", entry(0), 10**9)
    for number in range(1, 4):
        store.save(f"e{number}", entry(number), 10**9)
    for number, age in ((0, 40), (1, 30), (2, 20), (3, 10)):
        os.utime(store.path(f"e{number}"), (time.time() - age,) * 2)
    assert equal(store.load("e0"), entry(0))  # used now
    store.save("e4", entry(4), 3 * size + 100)
    assert {path.stem for path in tmp_path.iterdir()} == {"e0", "e3", "e4"}
    assert store.load("e1") is None
    with pytest.raises(module.NotStorableError, match="more than the size limit"):
        store.save("e5", entry(5), size - 1)
    assert {path.stem for path in tmp_path.iterdir()} == {"e0", "e3", "e4"}


def test_what_a_dead_process_left_goes_too(module: Any, tmp_path: Path) -> None:
    store = module.Store(tmp_path)
    for name, age in ((".old.tmp", 7200), (".new.tmp", 5), ("notes.txt", 7200)):
        (tmp_path / name).write_text("x")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    store.save("e0", entry(0), 10**9)
    assert {path.name for path in tmp_path.iterdir()} == {".new.tmp", "notes.txt", "e0.safetensors"}


def test_a_failed_write_keeps_the_old_entry(module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = module.Store(tmp_path)
    store.save("e0", entry(0), 10**9)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        store.save("e0", entry(1), 10**9)
    assert equal(store.load("e0"), entry(0))
    assert [path.name for path in tmp_path.iterdir()] == ["e0.safetensors"]


def test_threads_share_a_folder(module: Any, tmp_path: Path) -> None:
    store = module.Store(tmp_path)
    limit = 4 * store.save("e0", entry(0), 10**9)

    def work(seed: int) -> int:
        for turn in range(30):
            number = (seed + turn) % 8
            found = store.load(f"e{number}")
            assert found is None or equal(found, entry(number))
            store.save(f"e{number}", entry(number), limit)
        return seed

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(work, range(6))) == list(range(6))
    store.evict(limit)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= limit


_PROCESS = """
import pathlib, sys, torch
from comfyui_eridiffusion.host.text.cache_store import Store
store = Store(pathlib.Path(sys.argv[1]))
for turn in range(40):
    number = turn % 4
    value = [[torch.full((20000,), float(number)), {"number": number}]]
    found = store.load(f"e{number}")
    assert found is None or torch.equal(found[0][0], value[0][0])
    store.save(f"e{number}", value, 3 * 81000)
"""


def test_processes_share_a_folder(module: Any, tmp_path: Path) -> None:
    command = [sys.executable, "-c", _PROCESS, str(tmp_path)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=PATIENCE)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0], errors
    for path in tmp_path.iterdir():
        assert equal(module.Store(tmp_path).load(path.stem)[0][1], {"number": int(path.stem[1:])})
