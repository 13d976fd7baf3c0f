"""kohya sd-scripts' prompt files and training configs."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, from_json, read_spec, read_text
from comfyui_eridiffusion.tests.spec.kohya_rules import expected_image, expected_line

CONFIG = """
[model]
pretrained_model_name_or_path = "models/flux1-dev.safetensors"
ae = "models/ae.safetensors"
t5xxl = "models/t5xxl_fp16.safetensors"
[network]
network_module = "networks.lora_flux"
network_dim = 16
[training]
mixed_precision = "bf16"
learning_rate = 1e-4
output_name = "zorp"
[sampling]
sample_prompts = "prompts.txt"
sample_every_n_steps = 250
"""


def lines(text: str, family: str = "flux") -> SampleSpec:
    return read_text(text, trainer="kohya", family=family)


def one(text: str, family: str = "flux") -> SampleItem:
    (item,) = lines(text, family).items
    return item


def test_a_line_with_every_flag() -> None:
    item = one("a zorp in fog --w 1000 --h 760 --d 42 --s 28 --l 2.5 --g 3 --n blurry, grey", "flux")
    assert (item.prompt, item.negative_prompt) == ("a zorp in fog", "blurry, grey")
    assert (item.width, item.height) == (992, 752)  # floored to 16
    assert (item.seed, item.steps, item.cfg_scale, item.guidance) == (42, 28, 2.5, 3.0)
    item = one("a zorp in fog --w 1000 --h 764 --ss euler_a --l 9", "sdxl")
    assert (item.width, item.height, item.steps, item.seed) == (1000, 760, 30, None)  # floored to 8
    assert (item.cfg_scale, item.guidance, item.sampler) == (9.0, None, "euler_a")


@pytest.mark.parametrize(
    ("line", "prompt", "steps", "seed"),
    [
        ("s 4 cats", "s 4 cats", 4, None),  # the prompt itself is looked at
        ("D 7 rooms --s 0", "D 7 rooms", 1, 7),  # any case; steps are at least 1
        ("a --s 5000", "a", 1000, None),  # ... and at most 1000
        ("a --d -1", "a", 20, None),  # a negative number is none
        ("a --d 1 --d 2", "a", 20, 2),  # the last one counts
        ("a --steps 9 --seed 3", "a", 20, None),  # not kohya's flags
        ("--d 3", "--d 3", 20, None),  # no blank before it
        ("well--lit --s 3", "well--lit", 3, None),
        ("a  --d 3", "a ", 20, 3),
        ("a --d 3px", "a", 20, 3),
    ],
)
def test_odd_lines(line: str, prompt: str, steps: int, seed: int | None) -> None:
    item = one(line)
    assert (item.prompt, item.steps, item.seed) == (prompt, steps, seed)


def test_what_is_dropped_is_named() -> None:
    notes = lines("a fox --x 3 --d 12abc --steps 9").notes
    assert any("line 1" in note and "'--x 3'" in note for note in notes)
    assert any("'abc'" in note for note in notes)
    assert any("'--steps 9'" in note for note in notes)
    assert any("starts like the flag --s" in note for note in lines("s 4 cats").notes)


def test_which_lines_are_prompts() -> None:
    text = "# a comment\n\n  # a prompt\r\n\t a fox \t\r\n   \nan owl # not a comment"
    assert [item.prompt for item in lines(text).items] == ["# a prompt", "a fox", "an owl # not a comment"]


FLAG = st.sampled_from(["w", "h", "d", "s", "l", "g", "n", "ss", "x", "W", "N", "wh", ""])
VALUE = st.one_of(
    st.integers(1, 9999).map(str), st.sampled_from(["1.5", ".5", "1.2.3", ".", "-3", "4x", "", "a b", "7 8"])
)
PIECE = st.tuples(FLAG, VALUE).map(lambda pair: f"{pair[0]} {pair[1]}")
LINE = st.lists(PIECE, max_size=5).flatmap(
    lambda pieces: st.sampled_from(["a fox", "n", "s 4 foxes", "W 3", "x--y", ""]).map(
        lambda prompt: " --".join([prompt, *pieces])
    )
)


@settings(max_examples=100, deadline=None)
@given(LINE, st.sampled_from(["flux", "sd35", "sdxl"]))
def test_lines_are_read_by_the_trainers_rules(line: str, family: str) -> None:
    text = line.strip()
    if not text or text.startswith("#"):
        return
    prompt, found = expected_line(text)
    item = one(line, family)
    assert item.prompt == prompt
    assert {key: getattr(item, key) for key in expected_image(found, family)} == expected_image(found, family)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=1, max_size=4))
def test_json_prompts_are_looked_through_and_kept(prompts: list[str]) -> None:
    texts = [prompt for prompt in prompts if " --" not in prompt]
    if texts:
        assert [item.prompt for item in lines(json.dumps(texts)).items] == texts


def test_json_entries() -> None:
    entries: list[Any] = [
        "a fox --d 3",
        {"prompt": "an owl --d 3", "width": 640, "scale": 4, "seed": None, "steps": 9, "enum": 1},
        {"negative_prompt": "grey"},
    ]
    spec = lines(json.dumps(entries), "sd35")
    assert [item.prompt for item in spec.items] == ["a fox", "an owl --d 3", ""]
    assert [item.seed for item in spec.items] == [3, None, None]
    assert (spec.items[1].width, spec.items[1].cfg_scale, spec.items[1].steps) == (640, 4.0, 30)
    assert spec.items[2].negative_prompt == "grey"
    assert spec.ignored == ["[1].steps", "[1].enum"]


def test_toml_subsets_inherit() -> None:
    text = """
[prompt]
width = 768
negative_prompt = "grey"
note = "unused"
[[prompt.subset]]
prompt = "a fox --d 3"
[[prompt.subset]]
prompt = "an owl"
seed = 5
cfg = 3
"""
    spec = read_text(text, family="flux")
    assert spec.trainer == "kohya"
    assert [(item.prompt, item.width, item.height, item.seed) for item in spec.items] == [
        ("a fox --d 3", 768, 512, None),
        ("an owl", 768, 512, 5),
    ]
    assert {item.negative_prompt for item in spec.items} == {"grey"}
    assert sorted(spec.ignored) == ["prompt.note", "prompt.subset[1].cfg"]
    with pytest.raises(SpecError, match="stops the trainer") as caught:
        read_text(text + 'width = 4\n[[prompt.subset]]\nprompt = "b"\n', family="flux")
    assert (caught.value.field, caught.value.line) == ("prompt.subset[1].width", 12)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ('[{"prompt": "a", "width": "640"}]', "[0].width"),
        ('[{"prompt": "a", "width": null}]', "[0].width"),
        ('[{"prompt": "a", "width": 99999}]', "[0].width"),
        ('[{"prompt": "a", "seed": 1e3}]', "[0].seed"),
        ('[{"prompt": "a", "seed": 36893488147419103232}]', "[0].seed"),
        ('[{"prompt": "a", "sample_steps": 0}]', "[0].sample_steps"),
        ('[{"prompt": "a", "scale": "3"}]', "[0].scale"),
        ('[{"prompt": null}]', "[0].prompt"),
        ('[{"prompt": ["a"]}]', "[0].prompt"),
        ("[{}, 3]", "[1]"),
    ],
)
def test_wrong_values(text: str, field: str) -> None:
    with pytest.raises(SpecError) as caught:
        lines(text)
    assert caught.value.field == field
    assert caught.value.line == 1
    assert caught.value.remedy


@pytest.mark.parametrize("text", ["[]", "# only comments\n\n", "[prompt]\nsubset = []\n"])
def test_no_prompt(text: str) -> None:
    with pytest.raises(SpecError, match="no prompt"):
        lines(text)


def test_config_with_its_prompt_file(tmp_path: Path) -> None:
    (tmp_path / "train.toml").write_text(CONFIG)
    (tmp_path / "prompts.txt").write_text("a zorp --d 1 --w 640\na field\n")
    spec = read_spec(tmp_path / "train.toml")
    assert (spec.trainer, spec.family, spec.variant, spec.name) == ("kohya", "flux", "dev", "zorp")
    assert (spec.sample_every, spec.precision, spec.layout) == (250, "bfloat16", "kohya")
    assert [(item.prompt, item.width, item.seed) for item in spec.items] == [("a zorp", 640, 1), ("a field", 512, None)]
    assert spec.model_files["t5xxl"] == "models/t5xxl_fp16.safetensors"
    assert spec.ignored == ["network.network_dim", "training.learning_rate"]
    assert from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("flux", 250, "bfloat16", None)),
        ({"no_half_vae = true": None}, ("flux", 250, "float32", None)),
        ({"sample_every_n_epochs = 2": None}, ("flux", None, "bfloat16", None)),
        ({"t5xxl_max_token_length = 256": None}, ("flux", 250, "bfloat16", 256)),
    ],
)
def test_training_arguments(changes: dict[str, None], expected: tuple[Any, ...]) -> None:
    text = CONFIG + "\n".join(changes) + "\n"
    spec = read_text(text, files={"prompts.txt": "a\n"})
    assert (spec.family, spec.sample_every, spec.precision, spec.t5_length) == expected


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ("network_module = 'networks.lora_sd3'", "sd35"),
        ("clip_g = 'clip_g.safetensors'", "sd35"),
        ("ae = 'ae.sft'", "flux"),
        ("pretrained_model_name_or_path = 'a/sd_xl_base_1.0.safetensors'", "sdxl"),
        ("pretrained_model_name_or_path = 'illustriousXL_v01.safetensors'", "sdxl"),
        ("network_module = 'networks.lora'\nresolution = '1024,1024'", "sdxl"),
        ("network_module = 'networks.lora'\nresolution = 512", None),
        ("network_module = 'networks.lora_lumina'", None),
        ("v2 = true\nnetwork_module = 'networks.lora'", None),
    ],
)
def test_family(config: str, family: str | None) -> None:
    text = config + "\nsample_prompts = 'p.txt'\n"
    if family is None:
        with pytest.raises(SpecError, match=r"not tell|not supported"):
            read_text(text, files={"p.txt": "a"})
        assert read_text(text, family="sdxl", files={"p.txt": "a"}).family == "sdxl"
    else:
        assert read_text(text, files={"p.txt": "a"}).family == family


@pytest.mark.parametrize(
    ("script", "family"),
    [("flux_train_network.py", "flux"), ("sd3_train_network.py", "sd35"), ("sdxl_train.py", "sdxl")],
)
def test_command_line(script: str, family: str) -> None:
    text = f"""#!/bin/bash
accelerate launch --num_cpu_threads_per_process 1 {script} \\
  --pretrained_model_name_or_path "my model.safetensors" --mixed_precision bf16 \\
  --sample_prompts=prompts.txt --sample_every_n_steps 250 --output_name zorp --no_half_vae \\
  --network_args "a=1" "b=2" --learning_rate 1e-4
"""
    spec = read_text(text, files={"prompts.txt": "a fox --d 3\n"})
    assert (spec.trainer, spec.family, spec.name, spec.sample_every) == ("kohya", family, "zorp", 250)
    assert spec.precision == ("bfloat16" if family == "sdxl" else "float32")
    assert [(item.prompt, item.seed) for item in spec.items] == [("a fox", 3)]
    assert "learning_rate" in spec.ignored
    assert spec.model_files["pretrained_model_name_or_path"] == "my model.safetensors"


def test_command_line_of_stable_diffusion_1() -> None:
    with pytest.raises(SpecError, match="Stable Diffusion 1") as caught:
        read_text("accelerate launch train_network.py --sample_prompts p.txt", files={"p.txt": "a"})
    assert caught.value.field == "program"


def test_sdxl_config() -> None:
    text = "pretrained_model_name_or_path = 'xl.ckpt'\nsample_sampler = 'euler'\nmax_token_length = 225\n"
    spec = read_text(text + "sample_prompts = 'p.txt'\nfp8_base = true\n", files={"p.txt": "a\nb --ss ddim"})
    assert [item.sampler for item in spec.items] == ["euler", "ddim"]
    assert (spec.sampling, spec.precision) == ({"long_prompt": "225"}, "float16")


def test_later_sections_win() -> None:
    text = "[a]\noutput_name = 'first'\nae = 'x'\n[b]\noutput_name = 'second'\nsample_prompts = 'p.txt'\n"
    spec = read_text(text, files={"p.txt": "a"})
    assert spec.name == "second"
    assert spec.ignored == ["a.output_name"]
    assert any("given twice" in note for note in spec.notes)


def test_unused_fields_of_the_prompt_file_are_named_with_it() -> None:
    spec = read_text(CONFIG.replace("prompts.txt", "p.json"), files={"p.json": '[{"prompt": "a", "steps": 4}]'})
    assert spec.ignored[-1] == "p.json: [0].steps"


@pytest.mark.parametrize("written", ['"a fox --w 512"', '"""a fox\nan owl"""', '["a fox", "an owl"]'])
def test_prompts_in_place_of_their_files_name(written: str) -> None:
    with pytest.raises(SpecError, match=r"the name of a prompt file is expected.*\.txt file") as caught:
        read_text(f"ae = 'ae.sft'\nnetwork_module = 'networks.lora_flux'\nsample_prompts = {written}\n")
    assert (caught.value.line, caught.value.field) == (3, "sample_prompts")


def test_no_prompts_in_the_config() -> None:
    with pytest.raises(SpecError, match="no sample_prompts"):
        read_text("ae = 'ae.sft'\nnetwork_module = 'networks.lora_flux'\n")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.builds(dict, prompt=st.text(max_size=20), seed=st.integers(0, 2**64 - 1)), min_size=1, max_size=5))
def test_the_spec_of_any_list_survives_its_own_form(entries: list[dict[str, Any]]) -> None:
    spec = lines(json.dumps(entries))
    again = from_json(spec.to_json())
    assert [asdict(item) for item in again.items] == [asdict(item) for item in spec.items]
    assert [item.seed for item in spec.items] == [entry["seed"] for entry in entries]


def test_a_sampler_that_kohya_does_not_know_is_said_to_be_ddim() -> None:
    """get_my_scheduler's last branch."""
    spec = read_text("a cat --ss eular --d 1", trainer="kohya", family="sdxl")
    assert any("'eular'" in note and "DDIM" in note and "euler_a" in note for note in spec.notes)
    known = read_text("a cat --ss euler_a --d 1", trainer="kohya", family="sdxl")
    assert not any("does not know" in note for note in known.notes)
