"""musubi-tuner's Kontext configs and prompt files."""

from __future__ import annotations

import math

import pytest

from comfyui_eridiffusion.spec import SampleSpec, SpecError, read_text

CONFIG = """
dit = "models/flux1-kontext-dev.safetensors"
vae = "models/ae.safetensors"
network_module = "networks.lora_flux"
output_name = "zorp"
sample_prompts = "p.txt"
sample_every_n_steps = 100
"""


def lines(text: str) -> SampleSpec:
    return read_text(text, trainer="musubi")


def test_defaults_and_flags() -> None:
    first, second = lines("a fox\nan owl --w 1000 --h 760 --d 3 --s 8 --g 4 --l 6 --n grey --f 25\n").items
    assert (first.width, first.height, first.steps, first.guidance, first.seed) == (256, 256, 20, 2.5, None)
    assert (second.width, second.height) == (992, 752)  # floored to 8, then packed in pairs
    assert (second.seed, second.steps, second.guidance, second.cfg_scale) == (3, 8, 4.0, 1.0)
    assert second.negative_prompt == "grey"


def test_what_has_no_effect_is_named() -> None:
    notes = lines("a --l 6 --n grey --ci image.png --f 4\n").notes
    for word in ("cfg_scale", "negative_prompt", "control_image_path", "frame_count"):
        assert any(word in note for note in notes)


@pytest.mark.parametrize(
    ("flag", "mu"), [("", None), (" --fs 14.5", None), (" --fs 0", (0.5, 1.15)), (" --fs 3", (math.log(3),) * 2)]
)
def test_flow_shift(flag: str, mu: tuple[float, float] | None) -> None:
    sampling = lines(f"a{flag}\nb{flag}\n").sampling
    assert sampling == ({} if mu is None else {"base_shift": mu[0], "max_shift": mu[1]})


def test_prompts_with_different_shifts_are_refused() -> None:
    with pytest.raises(SpecError, match="different flow shifts"):
        lines("a\nb --fs 3\n")


def test_command_line() -> None:
    text = (
        "accelerate launch src/musubi_tuner/flux_kontext_train_network.py --dit k.sft --sample_prompts p.txt --fp8_t5"
    )
    spec = read_text(text, files={"p.txt": "a fox\n"})
    assert (spec.trainer, [item.prompt for item in spec.items]) == ("musubi", ["a fox"])


def test_config() -> None:
    spec = read_text(CONFIG, files={"p.txt": "a fox --fs 2\n"})
    assert (spec.trainer, spec.family, spec.variant, spec.name) == ("musubi", "flux", "kontext", "zorp")
    assert (spec.sample_every, spec.precision) == (100, "bfloat16")
    assert spec.sampling == {"base_shift": math.log(2), "max_shift": math.log(2)}
    both = read_text(CONFIG + "sample_every_n_epochs = 1\n", files={"p.txt": "a\n"})
    assert both.sample_every == 100  # steps and epochs both count here


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("networks.lora_flux", "networks.lora_wan"),
        ("networks.lora_flux", "networks.lora_qwen_image"),
        ("dit =", "model_version = 'klein-4b'\ndit ="),
    ],
)
def test_other_models_are_refused(old: str, new: str) -> None:
    with pytest.raises(SpecError, match=r"no FLUX\.1 Kontext"):
        read_text(CONFIG.replace(old, new), files={"p.txt": "a\n"})
    assert read_text(CONFIG.replace(old, new), family="flux", files={"p.txt": "a\n"}).family == "flux"
    with pytest.raises(SpecError, match="does not train sdxl"):
        read_text(CONFIG, family="sdxl", files={"p.txt": "a\n"})


@pytest.mark.parametrize("text", ["a --w 8", "a --w 99999", "a --d 99999999999999999999999"])
def test_out_of_range(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        lines(text)
    assert caught.value.line == 1
