"""Axes of a sweep: variants, what they change, and the names of their folders."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from comfyui_eridiffusion.compare.axes import PLAIN, Value, Variant, variants
from comfyui_eridiffusion.images.template import problem_with, render
from comfyui_eridiffusion.spec import read_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
SPEC = read_spec(EXAMPLES / "configs" / "flux.yaml")


def test_no_axes_are_the_samples_as_they_are() -> None:
    assert variants({}) == [PLAIN]
    assert PLAIN.key == PLAIN.title == ""
    assert PLAIN.of(SPEC) is SPEC


def test_every_choice_of_values_once_the_run_slowest() -> None:
    every = variants({"cfg": [1.0, 4.5], "strength": [0.8], "run": ["a", "b"]})
    assert [variant.key for variant in every] == [
        f"run={run},strength=0.8,cfg={cfg}" for run in "ab" for cfg in ("1", "4.5")
    ]
    assert every[1].title == "run a, strength 0.8, cfg 4.5"
    assert [variant.without_lora().key for variant in every] == ["cfg=1", "cfg=4.5"] * 2


def test_values_are_put_into_every_item() -> None:
    changed = Variant({"run": "a", "strength": 0.5, "seed": 7, "guidance": 2.0, "sampler": "euler"}).of(SPEC)
    for before, after in zip(SPEC.items, changed.items, strict=True):
        assert after == replace(before, lora_scale=0.5, seed=7, guidance=2.0, sampler="euler")


@pytest.mark.parametrize(
    "value", ["DPM++ 2M Karras", "DPM++_2M Karras", "a/b", "..", "x" * 300, "ü{}[]", 0.1 + 0.2, 1e-9, -1.0, 2**63]
)
def test_folders_names_are_safe_and_their_own(value: Value) -> None:
    key = Variant({"sampler": value}).key
    assert problem_with(key) is None
    assert render(f"{{run}}/{key}/x", {"run": "r"}) == f"r/{key}/x"
    assert key not in {Variant({"sampler": other}).key for other in ("DPM++ 2M_Karras", "a_b", "x" * 299, 0.3)}
