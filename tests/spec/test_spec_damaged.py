"""Configs of every trainer, damaged: each is either refused with a place and a remedy, or read completely."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleSpec, SpecError, from_json, read_spec, read_text

KOHYA_TOML = """# training
[model]
pretrained_model_name_or_path = "flux1-dev.safetensors"
ae = 'ae.sft'
[samples]
sample_prompts = "p.txt"   # a file
sample_every_n_steps = 250
mixed_precision = "bf16"
"""
SUBSETS = """[prompt]
width = 768
[[prompt.subset]]
prompt = "a fox, \\"red\\""
seed = 5
[[prompt.subset]]
prompt = '''an owl'''
scale = 4.5
"""
ENV = "export MODEL_FAMILY=sd3\nVALIDATION_PROMPT='a fox in fog'\nVALIDATION_RESOLUTION=1024x768\n"
COMMAND = "sample_flux --transformer t \\\n  --prompt 'a fox' --steps 28 --seed=7\n"
JSONS: dict[str, Any] = {
    "simpletuner": {
        "model_family": "sdxl",
        "validation_prompt": "a fox",
        "validation_seed": 3,
        "validation_resolution": "1024x768",
        "validation_guidance": 5.0,
    },
    "onetrainer": {
        "training_method": "LORA",
        "model_type": "FLUX_DEV_1",
        "sample_after": 5,
        "samples": [{"prompt": "a fox", "width": 768, "seed": 4, "enabled": True, "cfg_scale": 3.0}],
    },
    "eridiffusion-v2": {"prompts": [{"prompt": "a fox", "negative": "grey", "seeds": [1, 2], "size": 512}]},
    "kohya": ["a fox --d 3", {"prompt": "an owl", "width": 640, "scale": 2.0, "seed": 1}],
}
TEXTS = {
    "kohya config": KOHYA_TOML,
    "kohya subsets": SUBSETS,
    "simpletuner env": ENV,
    "v2 command": COMMAND,
    **{f"{name} json": json.dumps(document, indent=1) for name, document in JSONS.items()},
}
FILES = {"p.txt": "a fox --w 640 --d 3\n# no\nan owl --n grey\n"}


def check_refusal(error: SpecError) -> None:
    """It says what is wrong and what to do."""
    assert error.problem
    assert error.remedy


def attempt(text: str, **options: Any) -> SampleSpec | None:
    """The spec, None when it was refused properly."""
    try:
        spec = read_text(text, files=FILES, **options)
    except SpecError as error:
        check_refusal(error)
        return None
    assert spec.items
    assert from_json(spec.to_json()) == spec
    return spec


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_undamaged(name: str) -> None:
    spec = attempt(TEXTS[name], family=None if "config" in name or "simpletuner" in name else "flux")
    assert spec is not None
    assert {"a fox", "a fox in fog", 'a fox, "red"'} & {item.prompt for item in spec.items}


@settings(max_examples=125, deadline=None)
@given(st.sampled_from(sorted(TEXTS)), st.integers(0), st.integers(0, 10), st.text(max_size=6))
def test_any_damage(name: str, at: int, cut: int, put: str) -> None:
    text = TEXTS[name]
    start = at % len(text)
    attempt(text[:start] + put + text[start + cut :], family="flux")


@settings(max_examples=75, deadline=None)
@given(st.sampled_from(sorted(TEXTS)), st.integers(0))
def test_any_cut(name: str, at: int) -> None:
    """A file that was not written to its end never gives fewer images than it says: it is refused, or still whole."""
    text = TEXTS[name]
    cut = text[: at % len(text)]
    if name.endswith("json"):
        assert attempt(cut, family="flux") is None or cut.strip() == text.strip()


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(JSONS)), st.data())
def test_any_value_in_any_field(name: str, data: st.DataObject) -> None:
    document = json.loads(json.dumps(JSONS[name]))
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    attempt(json.dumps(document), trainer=name, family="flux")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("name", sorted(TEXTS))
def test_line_ends_and_marks_change_nothing(name: str, ending: str) -> None:
    if ending == "\r" and ("kohya config" in name or "subsets" in name or "command" in name):
        return  # no line end in TOML, nor to a shell
    options = {"family": None if "config" in name or "simpletuner" in name else "flux"}
    want = attempt(TEXTS[name], **options)
    for text in (TEXTS[name].replace("\n", ending), "\ufeff" + TEXTS[name]):
        found = attempt(text, **options)
        assert found is not None
        assert want is not None
        assert found.items == want.items


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_other_encodings_and_huge_files_are_refused(name: str) -> None:
    text = TEXTS[name].replace("a fox", "a héron")
    for encoding in ("utf-16", "utf-16-le", "cp1252"):
        with pytest.raises(SpecError) as caught:
            read_spec(text.encode(encoding), family="flux")
        assert caught.value.line is not None
        assert caught.value.remedy
    huge = TEXTS[name].encode() + b"\n" * (5 << 20)
    with pytest.raises(SpecError, match="too large"):
        read_spec(huge, family="flux")
