"""The published JSON Schema of the native form: in step with the model, and of one mind with the reader."""

from __future__ import annotations

import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from comfyui_eridiffusion.dev.native_schema import native_schema
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, from_json, read_spec, read_text
from comfyui_eridiffusion.spec.model import SAMPLING
from comfyui_eridiffusion.tests.spec.forms import FORMS
from comfyui_eridiffusion.trainers import LISTED

ROOT = Path(__file__).parents[2]
DATA = Path(__file__).parent / "data"
SCHEMA = json.loads((ROOT / "docs" / "native-spec.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
GOOD: dict[str, Any] = {
    "eri_spec": 1,
    "family": "flux",
    "items": [{"prompt": "a fox", "width": 1024, "height": 768, "steps": 20}],
}


def test_the_published_file_is_the_one_the_model_gives() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert native_schema() == SCHEMA, "write it again: python -m comfyui_eridiffusion.dev.trainer_tables"


def test_it_has_every_field_and_no_other() -> None:
    assert set(SCHEMA["properties"]) == {"eri_spec", *(field.name for field in fields(SampleSpec))}
    assert set(SCHEMA["$defs"]["item"]["properties"]) == {field.name for field in fields(SampleItem)}
    assert set(SCHEMA["properties"]["sampling"]["properties"]) == set(SAMPLING)
    assert SCHEMA["properties"]["trainer"]["enum"] == list(LISTED)
    assert SCHEMA["properties"]["layout"]["enum"] == [*LISTED, "eritrainer"]


@pytest.mark.parametrize("name", FORMS)
def test_what_every_reader_gives_is_valid(name: str) -> None:
    VALIDATOR.validate(read_text(FORMS[name].text(), **FORMS[name].arguments()).to_dict())


EXAMPLES = [*sorted(DATA.glob("*.*")), *sorted((ROOT / "examples" / "configs").glob("*.*"))]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_what_the_readers_give_is_valid(path: Path) -> None:
    try:
        spec = read_spec(path)
    except SpecError:
        assert path.name == "eri_template.yaml"
        return
    VALIDATOR.validate(spec.to_dict())


def test_the_documented_example_is_valid_and_read() -> None:
    text = (ROOT / "docs" / "native-spec.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    VALIDATOR.validate(json.loads(example))
    assert json.loads(example)["$schema"] == SCHEMA["$id"]
    spec = read_text(example)
    assert (len(spec.items), spec.ignored, spec.items[1].lora_scale) == (2, [], 0.8)


@pytest.mark.parametrize("path", sorted((ROOT / "example_workflows").glob("*.json")), ids=lambda path: path.name)
def test_specs_in_the_example_graphs_are_valid_and_read(path: Path) -> None:
    graph = json.loads(path.read_text(encoding="utf-8"))
    texts = [
        text
        for node in graph["nodes"]
        if node["type"] == "EriSampleSpec"
        for text in node["widgets_values"]
        if isinstance(text, str) and "eri_spec" in text
    ]
    for text in texts:
        VALIDATOR.validate(json.loads(text))
        assert read_text(text).trainer in SCHEMA["properties"]["trainer"]["enum"]


def test_a_filled_in_form_is_valid_and_read() -> None:
    item = GOOD["items"][0] | {"seed": 3, "guidance": 3.5, "lora_scale": 0.5, "prompt_2": "a", "label": "x", "index": 4}
    document = GOOD | {
        "items": [item],
        "trainer": "kohya",
        "sampling": {"shift": 2.0, "zero_snr": True, "offset": 0, "noise": "torch-cuda/packed/bfloat16"},
        "model_files": {"ae": "ae.sft"},
    }
    VALIDATOR.validate(document)
    spec = read_text(json.dumps({"$schema": SCHEMA["$id"]} | document))
    assert spec.ignored == []
    assert (spec.trainer, spec.layout, spec.sampling) == ("kohya", "kohya", document["sampling"])
    assert (spec.items[0].index, spec.items[0].label, spec.items[0].lora_scale) == (4, "x", 0.5)
    assert from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    "changes",
    [
        {"eri_spec": 2},
        {"family": "sd1"},
        {"items": []},
        {"items": [{"prompt": "a", "width": 64, "height": 64}]},
        {"items": [GOOD["items"][0] | {"width": 0}]},
        {"items": [GOOD["items"][0] | {"steps": "20"}]},
        {"items": [GOOD["items"][0] | {"seed": -1}]},
        {"items": [GOOD["items"][0] | {"seed": 2**64}]},
        {"items": [GOOD["items"][0] | {"cfg_scale": "4"}]},
        {"items": ["a fox"]},
        {"sampling": {"shfit": 3.0}},
        {"sampling": {"shift": "3"}},
        {"sampling": {"zero_snr": 1}},
        {"sampling": {"noise": ["torch-cpu"]}},
        {"t5_length": 0},
        {"trainer": "kohia"},
        {"layout": "mine"},
        {"precision": "fp16"},
        {"sampling": {"offset": -1}},
        {"sampling": {"offset": 1001}},
        {"items": [GOOD["items"][0] | {"index": 2**31 + 1}]},
        {"items": [GOOD["items"][0] | {"steps": 20.5}]},
        {"items": [GOOD["items"][0] | {"height": 16385}]},
        {"items": [GOOD["items"][0] | {"prompt": None}]},
        {"sample_every": 0},
        {"notes": [3, {}]},
        {"model_files": ["a"]},
    ],
)
def test_schema_and_reader_refuse_the_same(changes: dict[str, Any]) -> None:
    document = GOOD | changes
    assert not VALIDATOR.is_valid(document)
    with pytest.raises(SpecError) as caught:
        read_text(json.dumps(document, indent=1))
    assert caught.value.line is not None
    assert caught.value.field
    assert caught.value.remedy


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 20000) | st.sampled_from([2**31, 2**31 + 1, 2**64 - 1, 2**64]),
    st.sampled_from([3.0, 20.5, 0.0, -1.0]),
    st.sampled_from(["", "flux", "native", "kohya", "float32", "fp16", "png"]) | st.text(max_size=5),
    st.lists(st.text(max_size=3) | st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers(), max_size=2),
)


@settings(max_examples=200, deadline=None)
@given(st.data(), VALUES)
def test_what_an_editor_finds_valid_is_read(data: st.DataObject, value: Any) -> None:
    """The other way round, the reader is milder: null stands for an absent field, a number for its text."""
    document = json.loads(json.dumps(GOOD))
    place = data.draw(st.sampled_from(["spec", "item", "sampling"]))
    if place == "spec":
        document[data.draw(st.sampled_from(sorted(SCHEMA["properties"])))] = value
    elif place == "item":
        document["items"][0][data.draw(st.sampled_from(sorted(SCHEMA["$defs"]["item"]["properties"])))] = value
    else:
        document["sampling"] = {data.draw(st.sampled_from(sorted(SAMPLING))): value}
    if VALIDATOR.is_valid(document):
        VALIDATOR.validate(read_text(json.dumps(document)).to_dict())
        return
    try:
        spec = read_text(json.dumps(document))
    except SpecError:
        return
    assert value is None or isinstance(value, int | float | list | dict)
    VALIDATOR.validate(spec.to_dict())
