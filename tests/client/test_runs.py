"""Which steps are shown, and how a local folder is matched with what the host offers."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.runs import host_run_name, possible_names, select_steps_in, steps_in
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.lora import LoraError
from comfyui_eridiffusion.lora.step_lists import spread


@given(st.sets(st.integers(0, 10**6), min_size=1, max_size=60), st.integers(2, 20))
def test_spread(steps: set[int], count: int) -> None:
    ordered = sorted(steps)
    chosen = spread(ordered, count)
    assert len(chosen) == min(count, len(ordered))
    assert chosen == sorted(set(chosen))
    assert {chosen[0], chosen[-1]} == {ordered[0], ordered[-1]}
    gaps = [ordered.index(b) - ordered.index(a) for a, b in pairwise(chosen)]
    assert max(gaps, default=0) - min(gaps, default=0) <= 1 or len(ordered) <= count


def test_spread_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="count"):
        spread([1, 2], 1)


def test_steps_in_a_run(tmp_path: Path) -> None:
    for step in (1000, 250, 500):
        down, up = torch.zeros(2, 192), torch.zeros(768, 2)
        tensors = {"double_blocks.0.img_mlp.0.lora_A.weight": down, "double_blocks.0.img_mlp.0.lora_B.weight": up}
        save_file(tensors, tmp_path / f"flux_lora_step{step}.safetensors")
    assert steps_in(tmp_path) == [250, 500, 1000]
    assert select_steps_in(tmp_path, "0, 300-") == [0, 500, 1000]


def test_steps_in_nothing(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="no checkpoint"):
        steps_in(tmp_path)
    with pytest.raises(LoraError, match="no run folder"):
        steps_in(tmp_path / "missing")
    with pytest.raises(LoraError, match="no run folder"):
        select_steps_in(tmp_path / "missing", "all")


class Offering(HostClient):
    """A client whose host offers these runs."""

    def __init__(self, offered: list[str] | None) -> None:
        super().__init__("http://host")
        self.offered = offered

    async def choices(self, class_type: str, name: str) -> list[str] | None:
        assert (class_type, name) == ("EriLoraAtStep", "run")
        return self.offered


@pytest.mark.parametrize(
    ("offered", "run", "expected"),
    [
        (["a", "b"], "b", "b"),
        (["a", "deep/a"], "/data/deep/a", "deep/a"),
        (["a", "b"], Path("/data/runs/b"), "b"),
        (["a/x.safetensors"], "/data/a/x.safetensors", "a/x.safetensors"),
        (["shared"], "shared/one_run", "shared/one_run"),
        (None, "typed", "typed"),
    ],
)
async def test_run_names(offered: list[str] | None, run: Any, expected: str) -> None:
    assert await host_run_name(Offering(offered), run) == expected
    assert expected in possible_names(run)


@pytest.mark.parametrize("offered", [[], ["a", "b"]])
async def test_unknown_run_lists_what_there_is(offered: list[str]) -> None:
    with pytest.raises(HostError, match="a, b" if offered else "no run at all"):
        await host_run_name(Offering(offered), "/data/c")
