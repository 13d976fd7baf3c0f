"""SimpleTuner's config in its three notations, with its prompt library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleSpec, SpecError, from_json, read_spec, read_text
from comfyui_eridiffusion.workflows import build

BASE: dict[str, Any] = {"model_family": "sdxl", "validation_prompt": "a fox", "output_dir": "output/zorp"}


def spec_of(files: dict[str, str] | None = None, **options: Any) -> SampleSpec:
    return read_text(json.dumps(BASE | options), files=files)


def test_defaults() -> None:
    spec = spec_of()
    assert (spec.trainer, spec.family, spec.name, spec.sample_every) == ("simpletuner", "sdxl", "zorp", 100)
    empty, fox = spec.items
    assert (empty.prompt, fox.prompt) == ("", "a fox")
    assert (empty.label, fox.label) == ("unconditional_0_256x256", "validation_0_256x256")
    for item in spec.items:
        assert (item.width, item.height, item.steps, item.seed) == (256, 256, 30, 0)
        assert (item.cfg_scale, item.negative_prompt, item.guidance) == (7.5, "blurry, cropped, ugly", None)


def test_the_three_notations_say_the_same() -> None:
    options = {
        "model_family": "sd3",
        "model_flavour": "large",
        "validation_prompt": "a fox in fog",
        "validation_seed": 7,
        "validation_guidance": 4.5,
        "validation_num_inference_steps": 28,
        "validation_resolution": "1024x768",
        "output_dir": "output/zorp",
        "validation_step_interval": 50,
    }
    dashed = {f"--{key}": str(value) for key, value in options.items()}
    toml = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    env = "".join(f"{key.upper()}='{value}'\n" for key, value in options.items() if "flavour" not in key)
    env = env.replace("VALIDATION_STEP_INTERVAL", "VALIDATION_STEPS") + "TRAINER_EXTRA_ARGS='--model_flavour=large'\n"
    specs = [read_text(text) for text in (json.dumps(options), json.dumps(dashed), toml, "export " + env)]
    for spec in specs:
        assert (spec.trainer, spec.family, spec.variant, spec.sample_every) == ("simpletuner", "sd35", "large", 50)
        assert spec.items == specs[0].items
        item = spec.items[1]
        assert (item.width, item.height, item.steps, item.seed, item.cfg_scale) == (1024, 768, 28, 7, 4.5)


@pytest.mark.parametrize(
    ("start", "family"),
    [
        ("accelerate launch --num_processes=1 train_sdxl.py", "sdxl"),
        ("accelerate launch train.py --flux --pretrained_model_name_or_path=black-forest-labs/FLUX.1-dev", "flux"),
        ("python train.py --model_type=lora --sd3", "sd35"),
        ("python train.py --model_type=lora", "sdxl"),
        ("simpletuner train --model_family flux", "flux"),
        ("simpletuner-train --model_family=sd3", "sd35"),
    ],
)
def test_command_lines(start: str, family: str) -> None:
    """bghira/SimpleTuner of 2024 train.sh and helpers/arguments.py; simpletuner/cli/train.py hands flags on."""
    text = f"{start} --validation_prompt 'a fox' --validation_num_inference_steps=20 --seed=7 --mixed_precision bf16"
    spec = read_text(text)
    assert (spec.trainer, spec.family, spec.precision) == ("simpletuner", family, "bfloat16")
    assert [(item.prompt, item.steps, item.seed) for item in spec.items] == [("", 20, 7), ("a fox", 20, 7)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("simpletuner train --env my-flux", "config/my-flux/config.json"),
        ("python train.py --kolors --validation_guidance 3", "kolors"),
        ("python train_sd21.py --validation_guidance 3", "sd2x"),
        ("python train_sdxl.py --images folder --epoch 3", "no known trainer"),
        ("accelerate launch train_network.py --sample_prompts p.txt", "train_network.py trains Stable Diffusion 1"),
    ],
)
def test_other_command_lines(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        read_text(text)


def test_both_weights_are_one_model_before_training() -> None:
    """`ema_validation` comparison: without a run there is nothing to average."""
    spec = spec_of(use_ema=True)
    assert [item.ema for item in spec.items] == [False, False, True, True]
    assert [item.ema for item in build(spec).spec.items] == [False, False]
    assert [item.ema for item in build(spec, run="zorp", step=100).spec.items] == [False, False, True, True]
    averaged = spec_of(use_ema=True, ema_validation="ema_only")
    assert len(build(averaged).spec.items) == 2


@pytest.mark.parametrize(
    ("written", "sizes"),
    [
        ("1024", [(1024, 1024)]),
        (1024, [(1024, 1024)]),
        ("1024x768", [(1024, 768)]),
        ("1024x768,512", [(1024, 768), (512, 512)]),
        ("1000x760", [(992, 768)]),  # 62.5 and 47.5 cells of 16: halves go to the even one
        ("1016", [(1024, 1024)]),
        ("1", [(1024, 1024)]),  # megapixels
        ("1.0", [(1024, 1024)]),
        ("2", [(2000, 2000)]),
    ],
)
def test_resolution(written: str | int, sizes: list[tuple[int, int]]) -> None:
    spec = spec_of(validation_resolution=written, validation_disable_unconditional=True)
    assert [(item.width, item.height) for item in spec.items] == sizes


def test_every_prompt_at_every_resolution() -> None:
    library = {"owl": "an owl", "hill": {"prompt": "a hill", "adapter_strength": 0.5}, "sea": {"caption": "the sea"}}
    spec = spec_of(
        {"lib.json": json.dumps(library)},
        user_prompt_library="config/lib.json",
        validation_resolution="512,1024x768",
        lora_type="lycoris",
        validation_adapter_strength=0.7,  # acts on standard LoRAs alone: validation.py::_baseline_adapter_strength
        validation_lycoris_strength=0.8,
    )
    assert [item.label for item in spec.items] == [
        f"{name}_{number}_{size}"
        for name in ("unconditional", "owl", "hill", "sea", "validation")
        for number, size in enumerate(("512x512", "1024x768"))
    ]
    assert [item.prompt for item in spec.items][::2] == ["", "an owl", "a hill", "the sea", "a fox"]
    assert [item.lora_scale for item in spec.items][::2] == [0.8, 0.8, 0.5, 0.8, 0.8]
    assert [item.index for item in spec.items] == list(range(10))


@pytest.mark.parametrize(
    ("options", "seed"),
    [
        ({"validation_seed": 5, "seed": 9}, 5),
        ({"validation_seed": 0, "seed": 9}, 9),
        ({"seed": 9}, 9),
        ({"validation_seed": "12"}, 12),
        ({"validation_seed": 5, "validation_randomize": True}, None),
        ({"validation_seed": 5, "validation_randomize": "false"}, 5),
        ({}, 0),
    ],
)
def test_seed(options: dict[str, Any], seed: int | None) -> None:
    assert {item.seed for item in spec_of(**options).items} == {seed}


@pytest.mark.parametrize(
    ("options", "cfg", "guidance", "late"),
    [
        ({"validation_guidance": 3.0}, 1.0, 3.0, None),
        ({"validation_guidance": 3.0, "validation_guidance_real": 4.0}, 4.0, 3.0, 2),
        ({"validation_guidance_real": 2.0, "validation_no_cfg_until_timestep": 5}, 2.0, 7.5, 5),
        ({"validation_guidance_real": 2.0, "validation_no_cfg_until_timestep": 0}, 2.0, 7.5, None),
        ({"validation_guidance_real": 2.0, "validation_no_cfg_until_timestep": -3}, 2.0, 7.5, None),
        ({"validation_guidance_real": 0.5}, 1.0, 7.5, None),
    ],
)
def test_flux_guidance(options: dict[str, Any], cfg: float, guidance: float, late: int | None) -> None:
    spec = spec_of(model_family="flux", **options)
    assert {(item.cfg_scale, item.guidance) for item in spec.items} == {(cfg, guidance)}
    guided = build(spec).api().get("guided")
    assert (guided and guided["inputs"]["cfg_from_step"]) == late


@pytest.mark.parametrize(
    ("options", "variant"),
    [
        ({"model_family": "flux"}, "krea"),
        ({"model_family": "flux", "model_flavour": "schnell"}, "schnell"),
        ({"model_family": "sd3"}, "medium"),
        ({"model_family": "sd3", "pretrained_model_name_or_path": "stabilityai/stable-diffusion-3.5-large"}, "large"),
        ({"model_family": "sdxl"}, None),
    ],
)
def test_variant(options: dict[str, Any], variant: str | None) -> None:
    assert spec_of(**options).variant == variant


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ({"inference_scheduler_timestep_spacing": "leading"}, {"spacing": "leading"}),
        ({"rescale_betas_zero_snr": True}, {"zero_snr": True}),
        ({"validation_seed_source": "gpu", "mixed_precision": "fp16"}, {"noise": "torch-cuda/nchw/float16"}),
        ({"model_family": "sd3", "flow_schedule_shift": 1.5}, {"shift": 1.5}),
        ({"model_family": "flux", "flow_schedule_shift": 1.5}, {}),
        (
            {"model_family": "sd3", "validation_guidance_skip_layers": "[7, 8,9]"},
            {"skip_layers": "7, 8, 9", "skip_scale": 2.8, "skip_start": 0.01, "skip_end": 0.2},
        ),
    ],
)
def test_what_changes_the_sampling(options: dict[str, Any], sampling: dict[str, Any]) -> None:
    assert spec_of(**options).sampling == sampling


def test_sd3_takes_at_most_154_tokens() -> None:
    assert spec_of(model_family="sd3", tokenizer_max_length=256).t5_length == 154
    assert spec_of(model_family="sd3", tokenizer_max_length=77).t5_length == 77
    spec = spec_of(model_family="flux", tokenizer_max_length=77)
    assert spec.t5_length is None
    assert "tokenizer_max_length" in spec.ignored


def test_unused_options_are_named() -> None:
    assert spec_of(learning_rate=1e-4, lora_rank="16").ignored == ["learning_rate", "lora_rank"]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"validation_num_inference_steps": "many"}, "validation_num_inference_steps"),
        ({"validation_num_inference_steps": 0}, "validation_num_inference_steps"),
        ({"validation_guidance": "high"}, "validation_guidance"),
        ({"validation_guidance": float("inf")}, "validation_guidance"),
        ({"validation_resolution": "wide"}, "validation_resolution"),
        ({"validation_resolution": "0.5"}, "validation_resolution"),
        ({"validation_resolution": -1e300}, "validation_resolution"),
        ({"validation_resolution": "1024x99999"}, "validation_resolution"),
        ({"validation_seed": -3}, "validation_seed"),
        ({"validation_guidance_skip_layers": "[7]"}, "validation_guidance_skip_layers"),
        ({"validation_randomize": "maybe"}, "validation_randomize"),
        ({"model_family": "wan"}, "model_family"),
        ({"validation_prompt": ["a"]}, "validation_prompt"),
        ({"output_dir": "{env:HOME}/x"}, "output_dir"),
        ({"inference_scheduler_timestep_spacing": "odd"}, "inference_scheduler_timestep_spacing"),
    ],
)
def test_wrong_values(options: dict[str, Any], field: str | None) -> None:
    with pytest.raises(SpecError) as caught:
        spec_of(**options)
    assert caught.value.field == field
    assert caught.value.line == 1
    assert caught.value.remedy


def test_nothing_to_sample() -> None:
    with pytest.raises(SpecError, match="no prompt"):
        read_text('{"model_family": "flux", "validation_disable_unconditional": true}')


def test_library_errors_name_the_library(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(BASE | {"user_prompt_library": "lib.json"}))
    (tmp_path / "lib.json").write_text('{"owl": {"adapter_strength": 1}}')
    with pytest.raises(SpecError, match="missing") as caught:
        read_spec(tmp_path / "config.json")
    assert caught.value.source == str(tmp_path / "lib.json")


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text(max_size=20), min_size=1, max_size=4))
def test_any_library_is_kept_verbatim_and_in_order(library: dict[str, str]) -> None:
    spec = spec_of({"l.json": json.dumps(library)}, user_prompt_library="l.json", validation_prompt=None)
    assert [item.prompt for item in spec.items[1:]] == list(library.values())
    assert from_json(spec.to_json()) == spec


def test_a_scheduler_that_simpletuner_does_not_know_is_refused() -> None:
    with pytest.raises(SpecError, match=r"no scheduler 'eular'.*ddim, ddpm, euler, euler-a, unipc") as caught:
        spec_of(validation_noise_scheduler="eular")
    assert caught.value.field == "validation_noise_scheduler"
    assert spec_of(validation_noise_scheduler="dpm++").items[0].sampler == "dpm++"
    with pytest.raises(SpecError, match="stops at the scheduler perflow with 'v_prediction'"):
        spec_of(model_family="sdxl", validation_noise_scheduler="perflow", prediction_type="v_prediction")


@pytest.mark.parametrize(
    ("options", "counted"),
    [
        ({"validation_adapter_path": "org/lora:x.safetensors"}, True),
        ({"validation_adapter_config": [{"path": "a"}]}, True),
        ({"validation_adapter_path": "org/lora", "validation_adapter_mode": "none"}, False),
        ({}, False),
    ],
)
def test_loras_of_the_validation_alone_are_counted(options: dict[str, Any], counted: bool) -> None:
    """`validation_adapters.py::build_validation_adapter_runs`."""
    spec = spec_of(**options)
    assert any("validation's own" in text for text in spec.differences.get("model", ())) is counted


def test_how_often_is_a_note_where_the_shell_says_it() -> None:
    text = "FLUX=true\nMODEL_NAME=a/FLUX.1-dev\nVALIDATION_PROMPT=x\nVALIDATION_STEPS=$STEPS\n"
    spec = read_text(text + "TRAINER_EXTRA_ARGS='--lr_end=1 --flux_guidance_value=1 --validation_guidance_real=2'\n")
    assert spec.items[0].cfg_scale == 2.0
    assert spec.ignored == ["TRAINER_EXTRA_ARGS: --lr_end", "TRAINER_EXTRA_ARGS: --flux_guidance_value"]
    assert spec.sample_every is None
    assert any("$STEPS" in note for note in spec.notes)
