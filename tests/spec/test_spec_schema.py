"""The published JSON Schema of the native form: in step with the model, and of one mind with the reader."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, read_spec, read_text
from comfyui_eridiffusion.spec.model import SAMPLING
from comfyui_eridiffusion.spec.readers import TRAINERS
from comfyui_eridiffusion.spec.schema import native_schema

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
    assert native_schema() == SCHEMA, "write it again: python -m comfyui_eridiffusion.spec.schema > docs/…"


def test_it_has_every_field_and_no_other() -> None:
    assert set(SCHEMA["properties"]) == {"eri_spec", *(field.name for field in fields(SampleSpec))}
    assert set(SCHEMA["$defs"]["item"]["properties"]) == {field.name for field in fields(SampleItem)}
    assert set(SCHEMA["properties"]["sampling"]["properties"]) == set(SAMPLING)
    assert SCHEMA["properties"]["trainer"]["enum"] == [
        "native",
        *(name for name in SCHEMA["properties"]["layout"]["enum"] if name != "native"),
    ]
    assert set(SCHEMA["properties"]["trainer"]["enum"]) == {entry.id for entry in TRAINERS}


@pytest.mark.parametrize("path", sorted(DATA.glob("*.*")), ids=lambda path: path.name)
def test_what_the_readers_give_is_valid(path: Path) -> None:
    try:
        spec = read_spec(path)
    except SpecError:
        assert path.name == "eri_template.yaml"
        return
    VALIDATOR.validate(spec.to_dict())


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
    assert SampleSpec.from_json(spec.to_json()) == spec


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
