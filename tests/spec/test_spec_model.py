"""The spec itself: its JSON form, item selection and what an error says."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, from_json, read_spec
from comfyui_eridiffusion.spec.model import DTYPES
from comfyui_eridiffusion.trainers import LISTED

DATA = Path(__file__).parent / "data"
TEXT = st.text(max_size=20)
SMALL = st.integers(1, 10000)
NUMBERS = st.floats(-1e6, 1e6)
ITEMS = st.builds(
    SampleItem,
    index=st.integers(0, 10**6),
    prompt=TEXT,
    width=SMALL,
    height=SMALL,
    steps=SMALL,
    prompt_2=st.none() | TEXT,
    prompt_3=st.none() | TEXT,
    negative_prompt=TEXT,
    seed=st.none() | st.integers(0, 2**64 - 1),
    cfg_scale=NUMBERS,
    guidance=st.none() | NUMBERS,
    sampler=st.none() | TEXT,
    lora_scale=NUMBERS,
    label=st.none() | TEXT,
)
SPECS = st.builds(
    SampleSpec,
    family=st.sampled_from(["flux", "sd35", "sdxl"]),
    trainer=st.sampled_from(LISTED),
    items=st.lists(ITEMS, min_size=1, max_size=4),
    variant=st.none() | TEXT,
    name=TEXT,
    trigger_word=st.none() | TEXT,
    sample_every=st.none() | SMALL,
    layout=st.sampled_from(LISTED),
    t5_length=st.none() | st.integers(1, 512),
    precision=st.none() | st.sampled_from(DTYPES),
    image_format=st.none() | TEXT,
    source=TEXT,
    model_files=st.dictionaries(TEXT, TEXT, max_size=3),
    sampling=st.fixed_dictionaries(
        {}, optional={"shift": NUMBERS, "noise": TEXT, "zero_snr": st.booleans(), "offset": st.integers(0, 1000)}
    ),
    ignored=st.lists(TEXT, max_size=3),
    notes=st.lists(TEXT, max_size=3),
)


@settings(max_examples=50, deadline=None)
@given(SPECS, st.sampled_from([None, 0, 1, 2]))
def test_json_round_trip(spec: SampleSpec, indent: int | None) -> None:
    text = spec.to_json(indent)
    assert from_json(text) == spec
    assert read_spec(text) == spec
    plain = json.loads(text)
    assert plain["eri_spec"] == 1
    assert [item["prompt"] for item in plain["items"]] == [item.prompt for item in spec.items]


def test_written_by_hand() -> None:
    spec = read_spec(DATA / "native.yaml")
    assert (spec.trainer, spec.layout, spec.family, spec.name) == ("native", "native", "sdxl", "by hand")
    assert spec.items == [
        SampleItem(index=0, prompt="a heron", width=1024, height=1024, steps=30, cfg_scale=7.0, seed=3),
        SampleItem(index=1, prompt="", width=832, height=1216, steps=20, sampler="ddim"),
    ]
    assert spec.source == str(DATA / "native.yaml")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"items": []}, "items"),
        ({"family": "sd1"}, "family"),
        ({"eri_spec": 2}, "eri_spec"),
        ({"trainer": "kohia"}, "trainer"),
        ({"layout": ""}, "layout"),
        ({"precision": "fp16"}, "precision"),
        ({"items": [{"prompt": "a", "width": 64, "height": 64}]}, "items[0].steps"),
        ({"items": [{"width": 64, "height": 64, "steps": 1}]}, "items[0].prompt"),
        ({"items": [{"prompt": "a", "width": 0, "height": 64, "steps": 1}]}, "items[0].width"),
        ({"items": [{"prompt": "a", "width": 64, "height": 64, "steps": 1, "seed": -1}]}, "items[0].seed"),
        ({"items": ["a"]}, "items[0]"),
        ({"notes": [["a"]]}, "notes[0]"),
    ],
)
def test_bad_native_fields(changes: dict[str, Any], field: str) -> None:
    good = read_spec(DATA / "native.yaml").to_dict()
    with pytest.raises(SpecError) as caught:
        from_json(json.dumps({**good, **changes}))
    assert caught.value.field == field
    assert caught.value.remedy


def test_unknown_native_fields_are_reported() -> None:
    spec = read_spec((DATA / "native.yaml").read_text() + "colour: red\n")
    assert spec.ignored == ["colour"]


def test_a_resolved_spec_is_not_read_again_as_a_trainers_config() -> None:
    text = read_spec(DATA / "neutral.yaml").to_json()
    assert read_spec(text).trainer == "eridiffusion"
    with pytest.raises(SpecError, match="resolved spec"):
        read_spec(text, trainer="ai-toolkit")
    with pytest.raises(SpecError, match="not 'flux'"):
        read_spec(text, family="flux")


def test_from_json_refuses_a_trainers_config() -> None:
    with pytest.raises(SpecError, match="missing") as caught:
        from_json((DATA / "neutral.yaml").read_text())
    assert caught.value.field == "eri_spec"


@pytest.mark.parametrize(
    ("which", "indices"),
    [("", [0, 1, 2, 3]), ("2", [2]), ("0, 2-3", [0, 2, 3]), ("3,1", [1, 3]), ("1-1,1", [1]), (" 0 - 1 ", [0, 1])],
)
def test_select(which: str, indices: list[int]) -> None:
    spec = read_spec(DATA / "eri_flux.yaml")
    chosen = spec.select(which)
    assert [item.index for item in chosen.items] == indices
    total = 4 if which else None
    assert chosen == replace(spec, items=[spec.items[index] for index in indices], total=total)
    assert chosen.select(str(indices[0])).total == 4, "a part of a part is still one of the whole"
    assert from_json(chosen.to_json()) == chosen


@pytest.mark.parametrize("which", ["4", "2-9", "a", "-1", "1-", ",", "1,,2", "3-1", "0x1", "²"])
def test_select_refuses(which: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(DATA / "eri_flux.yaml").select(which)
    assert caught.value.field == "items"


def test_error_text() -> None:
    error = SpecError("it is wrong", remedy="Do this.", source="c.yaml", line=3, column=7, field="a.b")
    assert str(error) == "c.yaml, line 3, column 7, field a.b: it is wrong. Do this."
    assert str(SpecError("it is wrong")) == "it is wrong"
    assert isinstance(error, ValueError)


def test_import_brings_neither_torch_nor_yaml() -> None:
    code = (
        "import sys, comfyui_eridiffusion.spec as s; print([m for m in ('torch', 'comfy', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
