"""Chroma in the configs of the five trainers that have it; expected values are from their sources.

ai-toolkit `extensions_built_in/diffusion_models/chroma/`, `toolkit/config_modules.py`; sd-scripts
`flux_train_network.py`, `library/flux_train_utils.py`, `strategy_flux.py`; SimpleTuner `simpletuner/helpers/models/
chroma/`; OneTrainer `modules/modelSampler/ChromaSampler.py`, `modules/util/config/SampleConfig.py`; EriDiffusion V2
`crates/eridiffusion-cli/src/bin/sample_chroma.rs`.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import pytest

from comfyui_eridiffusion.spec import SampleSpec, SpecError, read_spec, read_text
from comfyui_eridiffusion.trainers.profiles import profile_for

DATA: Final = Path(__file__).parent / "data" / "chroma"
#: What OneTrainer writes into a sample of Chroma that has no negative prompt.
NEGATIVE: Final = (
    "This low-quality, greyscale, unfinished sketch is inaccurate and flawed. The image is very blurred and lacks "
    "detail, with excessive chromatic aberrations and artifacts. The image is overly saturated with excessive bloom."
)
HARBOUR: Final = "a lantern in a harbour at night"
HILL: Final = "a lantern on a hill"
#: File -> trainer, what its items are (prompt, width, height, steps, negative, seed, CFG, guidance), and the profile.
EXPECTED: Final[dict[str, tuple[str, list[tuple[Any, ...]], dict[str, Any]]]] = {
    "ai_toolkit.yaml": (
        "ai-toolkit",
        [
            ("l4ntern in a harbour at night", 1024, 992, 25, "low quality, blurry", 42, 4.0, None),
            ("a horse is a DJ at a night club, fish eye lens", 1024, 992, 25, "low quality, blurry", 43, 4.0, None),
        ],
        {"noise": "torch-cpu/nchw/bfloat16", "t5_padding": "one of all", "shifted": True, "rounding": "round"},
    ),
    "kohya.toml": (
        "kohya",
        [
            (HARBOUR, 1024, 992, 26, "low quality, blurry", 42, 4.0, 0.0),
            (HILL, 512, 512, 20, "", 7, 1.0, 3.5),
        ],
        {"noise": "torch-cuda/packed/bfloat16", "t5_padding": "one unseen", "shifted": True, "rounding": "truncate"},
    ),
    "simpletuner.json": (
        "simpletuner",
        [(HARBOUR, 1024, 992, 16, "ugly, cropped, blurry, low-quality, mediocre average", 7, 4.0, None)],
        {
            "noise": "torch-cpu/nchw/bfloat16",
            "t5_padding": "weighted",
            "rounding": "round",
            "shifted": False,
            "shift": 3.0,
            "spacing": "linear",
        },
    ),
    "onetrainer.json": (
        "onetrainer",
        [(HARBOUR, 1024, 1024, 30, NEGATIVE, 7, 3.5, None), (HILL, 1024, 1024, 26, "blurry", 42, 4.0, None)],
        {
            "noise": "torch-cuda/nchw/float32",
            "t5_padding": "one",
            "rounding": "round",
            "shifted": False,
            "shift": 3.0,
            "spacing": "timesteps",
        },
    ),
    "eridiffusion_v2.sh": (
        "eridiffusion-v2",
        [
            (HARBOUR, 1024, 768, 26, "low quality, blurry", 7, 3.6, None),
            (HILL, 1024, 768, 26, "low quality, blurry", 8, 3.6, None),
        ],
        {
            "noise": "rust-stdrng-box-muller/nchw/bfloat16",
            "t5_padding": "all",
            "rounding": "truncate",
            "shifted": True,
            "base_shift": 0.5,
            "max_shift": 1.15,
        },
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_config(name: str) -> None:
    spec = read_spec(DATA / name)
    trainer, items, profile = EXPECTED[name]
    assert (spec.trainer, spec.family, spec.variant) == (trainer, "chroma", "hd")
    fields = ("prompt", "width", "height", "steps", "negative_prompt", "seed", "cfg_scale", "guidance")
    assert [tuple(getattr(item, field) for field in fields) for item in spec.items] == items
    found = asdict(profile_for(spec))
    assert {key: found[key] for key in profile} == profile
    assert found["t5_length"] == 512


SAMPLE: Final = {"prompt": "a fox", "seed": 3}
SIMPLETUNER: Final = {
    "model_family": "chroma",
    "validation_prompt": "a fox",
    "validation_disable_unconditional": True,
    "output_dir": "o",
}
ONETRAINER: Final = {"model_type": "CHROMA_1", "training_method": "LORA", "samples": [SAMPLE]}


def schedule(spec: SampleSpec) -> tuple[float, str]:
    profile = profile_for(spec)
    assert not profile.shifted
    return profile.shift, profile.spacing


@pytest.mark.parametrize(
    ("options", "variant", "expected"),
    [
        ({}, "base", (3.0, "beta")),
        ({"model_flavour": "base", "flow_schedule_shift": 1}, "base", (1.0, "beta")),
        ({"model_flavour": "hd"}, "hd", (3.0, "linear")),
        ({"model_flavour": "flash"}, "flash", (3.0, "linear")),
        ({"pretrained_model_name_or_path": "lodestones/Chroma1-HD"}, "hd", (3.0, "linear")),
        # a single file goes with the scheduler of Chroma1-Base
        ({"pretrained_model_name_or_path": "/m/Chroma1-HD.safetensors"}, "hd", (3.0, "beta")),
    ],
)
def test_simpletuner_takes_the_flavours_scheduler(
    options: dict[str, Any], variant: str, expected: tuple[float, str]
) -> None:
    spec = read_text(json.dumps(SIMPLETUNER | options))
    assert (spec.variant, schedule(spec)) == (variant, expected)
    item = spec.items[0]
    assert (item.cfg_scale, item.negative_prompt, item.steps) == (7.5, "blurry, cropped, ugly", 30)


def test_simpletuners_options_of_other_families_do_nothing() -> None:
    options = {
        "validation_guidance_real": 3.0,
        "validation_guidance_skip_layers": "[7]",
        "tokenizer_max_length": 256,
        "validation_no_cfg_until_timestep": 2,
    }
    spec = read_text(json.dumps(SIMPLETUNER | options))
    assert (spec.items[0].cfg_scale, spec.t5_length) == (7.5, 256)
    assert "skip_layers" not in spec.sampling
    assert {"validation_guidance_real", "validation_no_cfg_until_timestep"} <= set(spec.ignored)
    assert "validation_guidance_skip_layers" in spec.differences["guidance"][0]
    assert any("skip-layer" in note for note in spec.notes)


@pytest.mark.parametrize(
    ("base", "variant", "expected"),
    [
        ("lodestones/Chroma1-HD", "hd", (3.0, "timesteps")),
        ("lodestones/Chroma1-Base", "base", (1.0, "beta timesteps")),
        ("lodestones/Chroma1-Flash", "flash", (1.0, "timesteps")),
    ],
)
def test_onetrainer_takes_the_base_models_scheduler(base: str, variant: str, expected: tuple[float, str]) -> None:
    spec = read_text(json.dumps(ONETRAINER | {"base_model_name": base}))
    assert (spec.variant, schedule(spec)) == (variant, expected)
    item = spec.items[0]
    assert (item.width, item.height, item.steps, item.cfg_scale) == (512, 512, 30, 7.0)
    assert item.negative_prompt == ""


def test_kohyas_script_and_its_gui_say_chroma_by_the_model_type() -> None:
    command = (
        "accelerate launch flux_train_network.py --model_type {} --ae ae.sft --pretrained_model_name_or_path m.sft "
        "--network_module networks.lora_flux --sample_prompts p.txt"
    )
    form = {"LoRA_type": "Flux1", "flux1_checkbox": True, "model_type": "chroma", "max_resolution": "512,512"}
    form |= {"sample_prompts": "a fox --l 4 --g 0"}
    files = {"p.txt": "a fox --d 3"}
    assert read_text(command.format("flux"), source="a.sh", files=files).family == "flux"
    by_script, by_form = read_text(command.format("chroma"), source="a.sh", files=files), read_text(json.dumps(form))
    assert (by_script.family, by_form.family) == ("chroma", "chroma")
    assert (by_script.items[0].guidance, by_form.items[0].guidance, by_form.items[0].cfg_scale) == (3.5, 0.0, 4.0)
    assert any("apply_t5_attn_mask" in note for note in by_script.notes)
    assert any("--g 0" in note for note in by_script.notes)


def test_the_v2_program_takes_multiples_of_16_and_may_use_another_sampler() -> None:
    command = "sample_chroma --transformer t.sft --prompt 'a fox' {}"
    spec = read_text(command.format(""), source="a.sh")
    item = spec.items[0]
    assert (item.width, item.height, item.steps, item.cfg_scale, item.seed) == (1024, 1024, 20, 4.0, 42)
    two = read_text(command.format("--sampler dpmpp_2m --cfg 0.5"), source="a.sh")
    assert two.items[0].cfg_scale == 0.5
    assert profile_for(two, two.items[0].sampler).sampler == "dpmpp_2m"
    with pytest.raises(SpecError, match=r"there is no sampler 'heun'.*euler or dpmpp_2m"):
        read_text(command.format("--sampler heun"), source="a.sh")
    with pytest.raises(SpecError, match="multiples of 16"):
        read_text(command.format("--height 1000"), source="a.sh")


@pytest.mark.parametrize("size", [(2048, 1024, 1.15), (128, 256, 0.5)])
def test_the_v2_program_keeps_mu_within_its_limits(size: tuple[int, int, float]) -> None:
    width, height, mu = size
    spec = read_text(
        f"sample_chroma --transformer t.sft --prompt 'a fox' --width {width} --height {height}", source="a.sh"
    )
    assert spec.sampling == {"base_shift": mu, "max_shift": mu, "lora_scale": 1.0}


def test_the_native_form() -> None:
    spec = read_text(
        json.dumps(
            {
                "eri_spec": 1,
                "family": "chroma",
                "sampling": {"t5_padding": "one", "spacing": "beta"},
                "items": [{"prompt": "a fox", "width": 512, "height": 512, "steps": 4}],
            }
        )
    )
    profile = profile_for(spec)
    assert (profile.t5_padding, profile.spacing, profile.noise) == ("one", "beta", "torch-cpu/nchw/float32")


RADIANCE: Final = {
    "ai-toolkit": "job: extension\nconfig:\n  name: r\n  process:\n  - type: sd_trainer\n    model: {{name_or_path: a, "
    "arch: {}}}\n    sample: {{prompts: [a fox]}}\n",
    "simpletuner": '{{"model_family": "{}", "validation_prompt": "a fox"}}',
    "onetrainer": '{{"model_type": "{}", "training_method": "LORA", "samples": []}}',
}


@pytest.mark.parametrize("trainer", RADIANCE)
@pytest.mark.parametrize("name", ["chroma_radiance", "zeta_chroma"])
def test_other_models_with_its_name_are_refused_by_theirs(trainer: str, name: str) -> None:
    with pytest.raises(SpecError, match=name) as caught:
        read_text(RADIANCE[trainer].format(name))
    assert caught.value.remedy
