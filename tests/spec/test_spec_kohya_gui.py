"""The form that kohya's GUI saves (JSON), and the scripts that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.errors import UnknownConfigError
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, from_json, read_spec, read_text

#: A form as the GUI writes it: every field, most of them empty or at their default.
FORM: dict[str, Any] = {
    "LoRA_type": "Flux1",
    "LyCORIS_preset": "full",
    "additional_parameters": "",
    "ae": "models/ae.sft",
    "apply_t5_attn_mask": False,
    "clip_g": "",
    "clip_l": "models/clip_l.safetensors",
    "flux1_checkbox": True,
    "fp8_base": True,
    "guidance_scale": 1,
    "learning_rate": 0.0003,
    "max_resolution": "512,512",
    "max_token_length": 75,
    "mixed_precision": "bf16",
    "network_dim": 16,
    "network_weights": "",
    "output_name": "zorp",
    "pretrained_model_name_or_path": "models/flux1-dev.safetensors",
    "sample_every_n_epochs": 0,
    "sample_every_n_steps": 250,
    "sample_prompts": "a zorp in fog --w 832 --h 1216 --s 20 --l 4 --d 42\n# not this one\n\na field --n grey\n",
    "sample_sampler": "euler_a",
    "sd3_checkbox": False,
    "sd3_clip_l": "",
    "sd3_t5xxl": "",
    "sdxl": False,
    "sdxl_no_half_vae": True,
    "seed": 42,
    "t5xxl": "models/t5xxl_fp16.safetensors",
    "t5xxl_max_token_length": 512,
    "v2": False,
    "v_parameterization": False,
    "vae": "",
}
SDXL = {"flux1_checkbox": False, "sdxl": True, "pretrained_model_name_or_path": "xl.safetensors"}
SD35 = {
    "flux1_checkbox": False,
    "sd3_checkbox": True,
    "sd3_clip_l": "l.sft",
    "clip_g": "g.sft",
    "sd3_t5xxl": "t5.sft",
}


def spec_of(**changes: Any) -> SampleSpec:
    return read_text(json.dumps(FORM | changes, indent=2))


def test_every_field_about_sampling_is_read() -> None:
    spec = spec_of()
    assert (spec.trainer, spec.family, spec.variant, spec.name) == ("kohya", "flux", "dev", "zorp")
    assert (spec.sample_every, spec.precision, spec.t5_length, spec.layout) == (250, "bfloat16", 512, "kohya")
    first, second = spec.items
    assert first == SampleItem(
        0, "a zorp in fog", 832, 1216, 20, seed=42, cfg_scale=4.0, guidance=3.5, negative_prompt=""
    )
    assert (second.prompt, second.negative_prompt, second.width, second.seed) == ("a field", "grey", 512, None)
    assert spec.model_files == {
        "pretrained_model_name_or_path": "models/flux1-dev.safetensors",
        "ae": "models/ae.sft",
        "clip_l": "models/clip_l.safetensors",
        "t5xxl": "models/t5xxl_fp16.safetensors",
    }


def test_every_other_field_is_named_once() -> None:
    spec = spec_of()
    read = {
        *("ae", "clip_l", "t5xxl", "flux1_checkbox", "sd3_checkbox", "sdxl", "fp8_base", "mixed_precision"),
        *("output_name", "pretrained_model_name_or_path", "sample_every_n_epochs", "sample_every_n_steps", "vae"),
        *("sample_prompts", "t5xxl_max_token_length", "apply_t5_attn_mask", "v_parameterization", "network_weights"),
        *("additional_parameters", "clip_g"),
    }
    # the trainer samples Flux without a choice of sampler
    assert set(spec.ignored) == FORM.keys() - read | {"sample_sampler", "max_token_length"}
    assert len(spec.ignored) == len(set(spec.ignored))


def test_sdxl() -> None:
    spec = spec_of(**SDXL, max_token_length="225", fp8_base=False)  # numbers are texts in older forms
    assert (spec.family, spec.precision, spec.t5_length) == ("sdxl", "bfloat16", None)
    assert [(item.sampler, item.cfg_scale) for item in spec.items] == [("euler_a", 4.0), ("euler_a", 7.5)]
    assert spec.sampling == {"long_prompt": "225"}
    assert {"ae", "clip_l", "t5xxl", "t5xxl_max_token_length"} <= set(spec.ignored)
    assert spec.model_files == {"pretrained_model_name_or_path": "xl.safetensors"}
    assert spec_of(**SDXL).precision == "float16"  # fp8_base


def test_sd35_has_text_encoder_fields_of_its_own() -> None:
    spec = spec_of(**SD35)
    assert (spec.family, spec.t5_length) == ("sd35", None)
    assert {key: spec.model_files[key] for key in ("clip_l", "clip_g", "t5xxl")} == {
        "clip_l": "l.sft",
        "clip_g": "g.sft",
        "t5xxl": "t5.sft",
    }
    assert {"ae", "clip_l", "t5xxl"} <= set(spec.ignored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flux1_checkbox": False}, "Stable Diffusion 1 or 2"),
        ({"flux1_checkbox": False, "anima_checkbox": True}, "Anima is not supported"),
        ({"flux1_checkbox": False, "lumina_checkbox": True}, "Lumina is not supported"),
        ({"flux1_checkbox": "yes"}, "neither true nor false"),
        ({"sample_prompts": ""}, "no sample_prompts"),
        ({"sample_prompts": "\n# nothing\n"}, "no sample_prompts"),
        ({"sample_prompts": 3}, "text is expected"),
        ({"sample_prompts": ["a"]}, "text is expected"),
        ({"sample_prompts": "a fox --w 99999"}, "too large"),
        ({"sample_every_n_steps": "often"}, "no whole number"),
        ({"max_token_length": 1000, **SDXL}, "out of range"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        spec_of(**changes)
    assert caught.value.remedy


def test_the_family_may_be_given() -> None:
    text = json.dumps(FORM | {"flux1_checkbox": False})
    assert read_text(text, family="sdxl").family == "sdxl"


def test_a_place_in_the_prompts() -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(sample_prompts="a\nb --d 99999999999999999999999")
    assert caught.value.field == "sample_prompts, its line 2.seed"
    assert caught.value.line == list(FORM).index("sample_prompts") + 2


def test_additional_parameters_win() -> None:
    words = '--output_name other --sample_every_n_steps="50" --max_grad_norm=1 --no_half_vae'
    spec = spec_of(additional_parameters=words)
    assert (spec.name, spec.sample_every, spec.precision) == ("other", 50, "float32")
    assert "additional_parameters --max_grad_norm" in spec.ignored
    assert {"output_name", "sample_every_n_steps"} <= set(spec.ignored)


def test_prompts_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "form.json").write_text(json.dumps(FORM))
    (tmp_path / "p.txt").write_text("an owl --d 7\n")
    assert [item.prompt for item in read_spec(tmp_path / "form.json", prompts=tmp_path / "p.txt").items] == ["an owl"]


def test_no_interval_is_noted() -> None:
    assert not any("makes no samples" in note for note in spec_of().notes)
    assert any("makes no samples" in note for note in spec_of(sample_every_n_steps=0).notes)


@example("false")
@example("null")
@example("\ufeffa fox")
@example("{}")
@example("[]")
@example('["red", "blue"] cats')
@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_prompts_are_those_of_the_file_that_the_gui_writes(text: str) -> None:
    with_file = "ae = 'ae.sft'\nsample_prompts = 'p.txt'\n"
    if "\x00" in text:
        return
    try:
        want: Any = read_text(with_file, files={"p.txt": text}).items
    except SpecError:
        want = None
    try:
        found: Any = spec_of(sample_prompts=text).items
    except SpecError:
        found = None
    assert found == want


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(FORM)),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({"a": 1}),
)
def test_any_value_in_any_field_is_read_or_refused(key: str, value: Any) -> None:
    try:
        spec = spec_of(**{key: value})
    except SpecError:
        return
    assert from_json(spec.to_json()) == spec


@pytest.mark.parametrize("name", ["train.bat", "train.cmd", "train.ps1", "train.sh"])
def test_scripts_say_what_to_give_instead(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("@echo off\r\ncall venv\\Scripts\\activate\r\npython run.py %1\r\n")
    with pytest.raises(SpecError, match="script") as caught:
        read_spec(path)
    assert "--config_file" in str(caught.value.remedy)
    assert "YAML" in str(caught.value.remedy)


@pytest.mark.parametrize("end", ["^", "`", ""])
def test_a_pasted_windows_command_goes_on_in_the_next_line(end: str) -> None:
    text = f"accelerate launch flux_train_network.py --sample_prompts p.txt {end}\n  --output_name zorp\n"
    if end:
        assert read_text(text, files={"p.txt": "a fox"}).name == "zorp"
    for wrong in (text.replace(end, f"{end} ") if end else text,):  # a blank behind the sign takes its meaning away
        with pytest.raises(SpecError, match="ends before --output_name") as caught:
            read_text(wrong, files={"p.txt": "a fox"})
        assert caught.value.line == 2


def test_shell_variables_are_told_from_dollars() -> None:
    text = "sample_flux --transformer $MODELS/flux.sft --prompt 'a $5 bill' --steps 9"
    spec = read_text(text)
    assert spec.items[0].prompt == "a $5 bill"
    assert any("$MODELS/flux.sft" in note and "shell" in note for note in spec.notes)
    for prompt in ('"$PROMPT"', '"a ${WORD} fox"', '"a $(date) fox"', "`cat p.txt`"):
        with pytest.raises(SpecError, match="shell would replace") as caught:
            read_text(f"sample_flux --steps 9 --prompt {prompt}")
        assert caught.value.field == "prompt"
    assert read_text('sample_flux --prompt "a \\$HOME"').items[0].prompt == "a $HOME"


def test_lists_that_hold_no_prompts_are_not_taken_for_them() -> None:
    data_sets = [{"id": "images", "type": "local", "resolution": 1024, "caption_strategy": "filename"}]
    with pytest.raises(UnknownConfigError):
        read_text(json.dumps(data_sets), family="flux")
    assert read_text(json.dumps(data_sets), trainer="kohya", family="flux").items[0].prompt == ""
