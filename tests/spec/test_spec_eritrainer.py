"""What EriTrainer, its launch lines and the Mojo trainers write for EriDiffusion V2's programs.

Forms: CodeAlexx/EriTrainer@c2c7ac9 src/config.rs (L270-479), src/runtime.rs (L660-814), EriDiffusion-v2/configs/
sd35_smoke.json; CodeAlexx/mojodiffusion@f8beba4 serenitymojo/configs/sample_prompts.example.json, flux.json (3542022).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.spec import SpecError, read_spec, read_text

ASSETS = {
    f"sample_{name}_path": f"/m/{name}"
    for name in ("encoder", "tokenizer", "clip_g", "clip_g_tokenizer", "t5", "t5_tokenizer")
}
SAMPLES = [
    {"prompt": " a fox ", "negative_prompt": "blurry", "seed": 7},
    {"prompt": "an owl", "negative_prompt": " ", "seed": -3},
]
WINDOW = {
    "run_name": "fox", "backend_target": "sd35", "training_method_index": 0, "workspace_dir": "/t/fox_run",
    "samples": SAMPLES, "sample_after": 250.0, "sample_cfg": 4.5, "sample_steps": 20.0, "sample_size": 1024.0,
    "sample_sampler": "FlowMatch Euler", "sampler_preset": "SD35_20", "sample_output_dir": "/t/out", **ASSETS,
}
SERENITY = {
    "schema": "serenity.sample_prompts.v1",
    "defaults": {"width": 768, "height": 512, "steps": 20, "cfg": 4.0, "seed": 42, "negative": "blurry", "fps": 24},
    "prompts": [
        {"id": "a", "prompt": "a fox", "caps": {"positive": "/p/a.bin"}},
        {"id": "b", "prompt": "an owl", "seed": 43, "negative": ""},
    ],
}
RUNNER = {"training_method": "LORA", "peft_type": "LORA", "lora_rank": 16, "lora_alpha": 16.0, "timestep_shift": 3.0}


def test_the_windows_sd35_config_samples_its_first_prompt_as_the_trainer_is_told_to() -> None:
    spec = read_text(json.dumps({**WINDOW, "model_type": "sd35"}))
    assert (spec.trainer, spec.family, spec.name, spec.layout) == ("eridiffusion-v2", "sd35", "fox", "eritrainer")
    assert (spec.sample_every, spec.sampling) == (250, {})  # the LoRA has the scale that it is trained with
    (item,) = spec.items
    assert (item.prompt, item.negative_prompt, item.seed) == ("a fox", "blurry", 7)
    assert (item.steps, item.cfg_scale, item.width) == (20, 4.5, 1024)
    assert any("first of its 2 samples" in note for note in spec.notes)
    assert not any(name.startswith("sample") for name in spec.ignored if name != "sample_output_dir")


@pytest.mark.parametrize(("family", "guided"), [("sdxl", (4.5, None)), ("flux", (1.0, 4.5))])
def test_the_windows_other_configs_are_sampled_as_the_programs_do(
    family: str, guided: tuple[float, float | None]
) -> None:
    spec = read_text(json.dumps({**WINDOW, "model_type": family, "sample_size": 512.0}))
    assert [(item.prompt, item.negative_prompt, item.seed) for item in spec.items] == [
        ("a fox", "blurry", 7),
        ("an owl", "", 0),
    ]
    assert {(item.cfg_scale, item.guidance) for item in spec.items} == {guided}
    assert {(item.width, item.steps) for item in spec.items} == {(512, 20)}
    assert spec.layout == "eridiffusion-v2"
    assert any(f"sample_{family} does" in note for note in spec.notes)


def test_what_is_wrong_in_a_windows_config_is_named() -> None:
    for change, problem in (
        ({"sample_size": 512.0}, "field sample_size: train_sd35 takes 1024 only"),
        ({"model_type": "klein"}, "field model_type: the model family 'klein' is not supported"),
        ({"samples": [{"prompt": " "}]}, r"field samples\[0\].prompt: this field is missing"),
        ({"samples": []}, "there is no prompt"),
    ):
        with pytest.raises(SpecError, match=problem):
            read_text(json.dumps({**WINDOW, "model_type": "sd35", **change}))
    silent = read_text(json.dumps({**WINDOW, "model_type": "sd35", "sample_t5_path": ""}))
    assert any("makes no samples" in note for note in silent.notes)


@pytest.mark.parametrize(
    "start",
    [
        "train --model sd35 --",
        "/opt/edv2/train --model=sd35 --",
        "cargo run --release -p eridiffusion-cli --bin train -- --model sd35 --",
        "train_sd35",
    ],
)
def test_launch_lines_name_the_model(start: str) -> None:
    spec = read_text(f"{start} --sample-every 250 --sample-prompt 'a train --model' --sample-seed 5 --sample-steps 9")
    (item,) = spec.items
    assert (spec.family, spec.sample_every, spec.layout) == ("sd35", 250, "eritrainer")
    assert (item.prompt, item.seed, item.steps) == ("a train --model", 5, 9)
    assert "model" not in spec.ignored


def test_launch_lines_of_other_models_are_refused() -> None:
    with pytest.raises(SpecError, match="train_klein is for another model"):
        read_text("train --model klein -- --sample-every 5")


def test_the_trainer_takes_a_librarys_prompts_at_its_own_seed_and_size() -> None:
    """Every prompt with its own negative; `size` and `seeds` do nothing (train_sd35.rs L1093-1131, L1707-1719)."""
    library = {"prompts": [{"prompt": "a", "negative": "n", "seeds": [1, 2], "size": 512}, {"prompt": "b"}]}
    line = "train_sd35 --sample-every 9 --sample-neg-prompt other --validation-prompts-file l.json"
    spec = read_text(line, files={"l.json": json.dumps(library)})
    assert [(item.prompt, item.negative_prompt, item.seed, item.width) for item in spec.items] == [
        ("a", "n", 42, 1024),
        ("b", "", 42, 1024),
    ]
    assert any("not the library's" in note for note in spec.notes)


def seen(spec: Any) -> list[tuple[Any, ...]]:
    return [
        (item.prompt, item.negative_prompt, item.seed, item.width, item.height, item.steps, item.cfg_scale)
        for item in spec.items
    ]


def test_serenity_prompts_have_their_defaults_and_their_own() -> None:
    expected = [("a fox", "blurry", 42, 768, 512, 20, 4.0), ("an owl", "", 43, 768, 512, 20, 4.0)]
    alone = read_text(json.dumps(SERENITY), family="sdxl")
    assert seen(alone) == expected
    config = {"model_type": "sdxl", "checkpoint": "m.sft", "validation_prompts_file": "p.json", "sample_every": 500}
    named = read_text(json.dumps(config), files={"p.json": json.dumps(SERENITY)})
    assert seen(named) == expected
    assert (named.sample_every, named.trainer) == (500, "eridiffusion-v2")
    flux = read_text(json.dumps(SERENITY), family="flux")
    assert {(item.cfg_scale, item.guidance) for item in flux.items} == {(1.0, 4.0)}
    with pytest.raises(SpecError, match="does not tell the model family"):
        read_text(json.dumps(SERENITY))


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({**RUNNER, "base_model_name": "/m/sd3.5_medium.safetensors"}, "sd35"),
        ({**RUNNER, "base_model_name": "/m/sd_xl_base_1.0.safetensors"}, "sdxl"),
        ({**RUNNER, "model_type": "flux"}, "flux"),
        ({**RUNNER, "model_type": "sd35"}, "sd35"),
        ({"model_type": "chroma", "validation_prompts_file": "p"}, "chroma"),
        ({"model_type": "flux_dev", "validation_prompts_file": "p"}, "flux"),
    ],
)
def test_runner_configs_tell_the_family(tmp_path: Path, config: dict[str, Any], family: str) -> None:
    for name, text in (("config.json", json.dumps(config)), ("p", "a fox")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    spec = read_spec(tmp_path / "config.json", prompts=tmp_path / "p")
    assert (spec.trainer, spec.family) == ("eridiffusion-v2", family)


def test_a_runner_config_of_an_unknown_base_asks_for_the_family() -> None:
    with pytest.raises(SpecError, match="field model_type: this field is missing"):
        read_text(json.dumps({**RUNNER, "base_model_name": "/m/mine.safetensors"}))


@pytest.mark.parametrize(
    ("kind", "family"),
    [("sdxl_10_base", "sdxl"), ("sd3", "sd35"), ("flux_dev", "flux"), ("chroma_1", "chroma"), ("sd3.5", "sd35")],
)
def test_onetrainer_webuis_names_of_models(kind: str, family: str) -> None:
    """serenity/core/config.py's table; such a config has OneTrainer's form."""
    config = {"model_type": kind, "training_method": "LORA", "sample_every": 200, "samples": [{"prompt": "a fox"}]}
    spec = read_text(json.dumps(config))
    assert (spec.trainer, spec.family, spec.sample_every) == ("onetrainer", family, 200)
