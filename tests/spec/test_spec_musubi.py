"""musubi-tuner's Kontext configs and prompt files."""

from __future__ import annotations

import math

import pytest
import torch

from comfyui_eridiffusion.errors import WorkflowError
from comfyui_eridiffusion.samplers.schedules import flux_sigmas, shifted_sigmoid_sigmas
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, read_text
from comfyui_eridiffusion.spec.readers import from_json
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import explain

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
    for word in ("cfg_scale", "negative_prompt", "frame_count"):
        assert any(word in note for note in notes)


@pytest.mark.parametrize(
    ("flag", "mu"), [("", None), (" --fs 14.5", None), (" --fs 0", (0.5, 1.15)), (" --fs 3", (math.log(3),) * 2)]
)
def test_flow_shift(flag: str, mu: tuple[float, float] | None) -> None:
    sampling = lines(f"a{flag}\nb{flag}\n").sampling
    assert sampling == ({} if mu is None else {"base_shift": mu[0], "max_shift": mu[1]})


def test_prompts_with_different_shifts_have_each_its_own() -> None:
    spec = lines("a\nb --fs 3\nc --fs 0\nd --fs 14.5")
    assert ([item.shift for item in spec.items], spec.sampling) == ([None, 3.0, 0.0, None], {})
    assert [item.shift for item in from_json(spec.to_json()).items] == [None, 3.0, 0.0, None]
    with pytest.raises(SpecError, match="shift -1 is negative"):
        read_text('[{"prompt": "a", "discrete_flow_shift": -1.0}]', trainer="musubi")


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
    with pytest.raises(SpecError, match=r"(Wan|Qwen-Image|klein).* not supported.* only FLUX\.1 Kontext"):
        read_text(CONFIG.replace(old, new), files={"p.txt": "a\n"})
    assert read_text(CONFIG.replace(old, new), family="flux", files={"p.txt": "a\n"}).family == "flux"
    with pytest.raises(SpecError, match="does not train sdxl"):
        read_text(CONFIG, family="sdxl", files={"p.txt": "a\n"})


@pytest.mark.parametrize("text", ["a --w 8", "a --w 99999", "a --d 99999999999999999999999"])
def test_out_of_range(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        lines(text)
    assert caught.value.line == 1


def test_the_first_control_image_is_followed() -> None:
    spec = lines("a --d 1 --ci  x/fox.png --ci owl.png\nb --d 2\n")
    assert [item.control_image for item in spec.items] == ["x/fox.png", None]
    told = {match.topic: match for match in explain(spec)}
    assert (told["model"].kind, told["noise"].kind) == ("as its source says", "as its source says")
    assert "Control Images draws the same" in told["model"].detail
    listed = read_text('[{"prompt": "a", "control_image_path": ["y.png", "z.png"]}]', trainer="musubi")
    assert from_json(listed.to_json()).items[0].control_image == "y.png"
    other = SampleSpec("sdxl", "native", [SampleItem(0, "a", 64, 64, 2, seed=1, control_image="x.png")])
    with pytest.raises(WorkflowError, match="only Flux Kontext"):
        build(other)


def test_a_graph_has_a_schedule_for_each_shift() -> None:
    """Beside the trainer's formula (flux/flux_utils.py::get_schedule): s σ / (1 + (s - 1) σ), or Flux's mu where 0."""
    spec = lines("a\nb --fs 3\nc --fs 0\nd")
    nodes = build(spec).api()
    found = {}
    for suffix, shift in (("", 14.5), ("_2", 3.0), ("_3", None)):
        given = nodes[f"sigmas{suffix}"]["inputs"]
        times = torch.linspace(1, 0, 21)
        mu = 0.5 + (1.15 - 0.5) / (4096 - 256) * (256 - 256)  # of 16 × 16 tokens
        factor = math.exp(mu) if shift is None else shift
        found[suffix] = (
            shifted_sigmoid_sigmas(20, given["shift"])
            if given["shift"]
            else flux_sigmas(20, 256, given["base_shift"], given["max_shift"], shifted=given["shifted"])
        )
        assert torch.allclose(found[suffix], factor * times / (1 + (factor - 1) * times), atol=2e-7)
    assert build(spec).saves == {"save": (0, 3), "save_2": (1,), "save_3": (2,)}
    told = [match.detail for match in explain(spec) if match.topic == "sigmas"]
    assert [text[:17] for text in told] == ["linear, shift 14.", "linear, shift 3 f", "linear, mu 0.5 to"]
    stock = [node["inputs"] for node in build(spec, style="stock").api().values() if "max_shift" in node["inputs"]]
    assert sorted(given["max_shift"] for given in stock) == pytest.approx([math.log(3), 1.15, math.log(14.5)])


@pytest.mark.parametrize(("family", "shift"), [("sdxl", 3.0), ("sd35", 0.0), ("flux", -1.0), ("flux", math.inf)])
def test_a_shift_that_no_schedule_has_is_refused(family: str, shift: float) -> None:
    spec = SampleSpec(family, "native", [SampleItem(0, "a", 64, 64, 2, seed=1, shift=shift)])
    with pytest.raises(WorkflowError, match=r"items\.shift"):
        build(spec)
