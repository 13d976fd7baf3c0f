"""The sample sections that EriDiffusion V1's documents show, as they stand, and the fields of their Rust structs.

`data/eri_documents` holds the YAML blocks of "Flux Sampling Implementation", "Sampling Implementation Status", "SD 3.5
Sampling Implementation" and "Inference Integration Plan". What is expected is what the documents say of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from comfyui_eridiffusion.errors import WorkflowError
from comfyui_eridiffusion.spec import SampleSpec, SpecError, read_spec
from comfyui_eridiffusion.spec.readers import read_text
from comfyui_eridiffusion.trainers.profiles import profile_for
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import explain

DOCUMENTS = Path(__file__).parent / "data" / "eri_documents"
MODELS = {"flux": "flux1-dev.safetensors", "sd35": "sd3.5_large.safetensors", "sdxl": "sd_xl_base_1.0.safetensors"}


def read(family: str, _name: str = "", **fields: Any) -> SampleSpec:
    """A spec of a sample section; a value of ... removes a field."""
    section = {"prompts": ["a cat"], **fields}
    section = {key: value for key, value in section.items() if value is not ...}
    model = {"name_or_path": _name or MODELS[family]}
    return read_text(yaml.safe_dump({"name": "run", "model": model, "sample": section}), trainer="eridiffusion")


def nodes(spec: SampleSpec, **options: Any) -> dict[str, dict[str, Any]]:
    """The inputs of a graph's nodes by class; every class that is asked for stands there once."""
    graph = build(spec, **{"run": "run", "step": 100, **options}).api().values()
    return {node["class_type"]: node["inputs"] for node in graph}


@pytest.mark.parametrize(
    ("name", "family", "expected", "every", "prompts"),
    [
        (
            "flux_sampling", "flux",
            {"steps": 28, "cfg_scale": 1.0, "guidance": 3.5, "sampler": "euler", "negative_prompt": ""},
            50, ["a majestic mountain landscape", "a futuristic city at night"],
        ),
        (
            "sampling_status", "sdxl",
            {"steps": 30, "cfg_scale": 7.5, "guidance": None, "sampler": "ddim",
             "negative_prompt": "low quality, blurry"},
            250, ["a photo of {trigger_word}", "a painting of {trigger_word} in the style of Van Gogh"],
        ),
        (
            "sd35_sampling", "sd35",
            {"steps": 50, "cfg_scale": 7.0, "guidance": None, "sampler": "euler",
             "negative_prompt": "blurry, low quality"},
            50, ["a beautiful mountain landscape", "a portrait in dramatic lighting"],
        ),
        (
            "inference_plan", "sdxl",
            {"steps": 30, "cfg_scale": 7.5, "guidance": None, "sampler": "ddim", "seed": 42, "lora_scale": 1.0},
            100, ["a white swan on mars"],
        ),
        (
            "inference_plan", "flux",
            {"steps": 30, "cfg_scale": 1.0, "guidance": 7.5, "sampler": "euler", "seed": 42, "lora_scale": 1.0},
            100, ["a white swan on mars"],
        ),
    ],
)  # fmt: skip
def test_sample_sections_are_read_as_they_stand(
    name: str, family: str, expected: dict[str, Any], every: int, prompts: list[str]
) -> None:
    spec = read_spec(DOCUMENTS / f"{name}.yaml", family=family)
    assert (spec.trainer, spec.family, spec.sample_every, spec.ignored) == ("eridiffusion", family, every, [])
    assert [item.prompt for item in spec.items] == prompts
    for item in spec.items:
        assert {key: getattr(item, key) for key in expected} == expected
        assert (item.width, item.height) == (1024, 1024)
    assert nodes(spec)["EriSample"]


@pytest.mark.parametrize(
    ("family", "model", "expected"),
    [
        ("sdxl", "", (30, 7.5, None, "ddim")),
        ("sd35", "", (30, 7.5, None, "euler")),
        ("flux", "", (30, 1.0, 3.5, "euler")),
        ("flux", "flux1-schnell.safetensors", (30, 1.0, 1.0, "euler")),
    ],
)
def test_defaults_where_a_section_is_silent(family: str, model: str, expected: tuple[Any, ...]) -> None:
    spec = read(family, model)
    (item,) = spec.items
    assert (item.steps, item.cfg_scale, item.guidance, item.sampler) == expected
    assert (item.width, item.height, item.seed, item.lora_scale) == (1024, 1024, 42, 1.0)
    assert all(any(f"sample.{key} is absent" in note for note in spec.notes) for key in ("sample_steps", "width"))


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_the_two_scale_words_are_one_number(family: str) -> None:
    first, second, both = (
        read(family, **fields).items
        for fields in ({"guidance_scale": 4.0}, {"cfg_scale": 4.0}, {"guidance_scale": 4.0, "cfg_scale": 4.0})
    )
    assert first == second == both
    with pytest.raises(SpecError, match=r"5\.0 contradicts sample\.guidance_scale: 4\.0") as caught:
        read(family, guidance_scale=4.0, cfg_scale=5.0)
    assert (caught.value.field, caught.value.line) == ("sample.cfg_scale", 5)


@pytest.mark.parametrize(
    ("fields", "scale"),
    [
        ({}, 1.0),
        ({"use_lora": True, "lora_scale": 0.5}, 0.5),
        ({"use_lora": False, "lora_scale": 0.5}, 0.0),
        ({"use_lora": False}, 0.0),
    ],
)
def test_use_lora_and_lora_scale(fields: dict[str, Any], scale: float) -> None:
    spec = read("sdxl", **fields)
    assert spec.items[0].lora_scale == scale
    assert nodes(spec)["EriLoraAtStep"]["strength_model"] == scale


def test_use_lora_needs_a_checkpoint() -> None:
    spec = read("sdxl", use_lora=True)
    with pytest.raises(WorkflowError, match=r"use_lora is true.*run=.*'run'") as caught:
        build(spec)
    assert caught.value.field == "use_lora"
    assert "--run" in str(caught.value.told_to("cli"))
    assert "EriLoraAtStep" not in nodes(spec, run=None, step=0)
    assert build(read("sdxl")).notes


SDXL_SAMPLERS = {
    "ddim": ("EriDDIMSampler", {"eta": 0.0, "offset": 0}),
    "ddpm": ("EriDDIMSampler", {"eta": 1.0, "offset": 0}),
    "euler": ("EriTrainerSampler", {"sampler": "euler", "spacing": "leading", "offset": 0}),
    "euler_a": ("EriTrainerSampler", {"sampler": "euler_a", "eta": 1.0, "spacing": "leading"}),
    "Euler A": ("EriTrainerSampler", {"sampler": "euler_a"}),
    "dpm++": ("EriTrainerSampler", {"sampler": "dpmsolver++", "spacing": "leading"}),
}


@pytest.mark.parametrize("word", SDXL_SAMPLERS)
def test_the_sampler_acts_on_sdxl(word: str) -> None:
    name, inputs = SDXL_SAMPLERS[word]
    found = nodes(read("sdxl", sampler=word))
    assert inputs.items() <= found[name].items()
    if name == "EriDDIMSampler":
        assert (found["EriDDIMSchedule"]["final_alpha"], found["EriDDIMSchedule"]["offset"]) == ("1", 0)


@pytest.mark.parametrize("family", ["flux", "sd35"])
def test_the_sampler_acts_on_flow_models(family: str) -> None:
    assert "EriFlowEulerSampler" in nodes(read(family, sampler="euler"))
    ddim = nodes(read(family, sampler="ddim", eta=0.5))
    assert ddim["EriDDIMSampler"]["eta"] == 0.5
    assert "EriFlowEulerSampler" not in ddim


def test_schedules() -> None:
    """SD 3.5: linear or cosine; Flux: the shifted sigmoid, of a fixed shift or by size."""
    assert nodes(read("sd35"))["EriFlowSchedule"] | {"steps": 0} == {
        "steps": 0, "shift": 3.0, "spacing": "linear", "denoise": 1.0,
    }  # fmt: skip
    cosine = nodes(read("sd35", schedule="cosine", shift=1.0))["EriFlowSchedule"]
    assert (cosine["spacing"], cosine["shift"]) == ("cosine", 1.0)
    by_size = nodes(read("flux"))["EriFluxSchedule"]
    assert (by_size["shift"], by_size["base_shift"], by_size["max_shift"], by_size["shifted"]) == (0.0, 0.5, 1.15, True)
    fixed = nodes(read("flux", "flux1-schnell.safetensors", shift=3.158))["EriFluxSchedule"]
    assert (fixed["shift"], fixed["shifted"]) == (3.158, True)
    assert nodes(read("flux", "flux1-schnell.safetensors"))["EriFluxSchedule"]["shifted"] is False


def test_token_lengths() -> None:
    for family, length in (("sd35", 154), ("flux", 512), ("sdxl", 0)):
        encoder = nodes(read(family))["EriTripleTextEncode"]
        assert (encoder["t5_length"], encoder["long_prompt"]) == (length, "truncate")


def test_negative() -> None:
    """An empty one is zeros on SDXL and is encoded on SD 3.5; both are guided by two passes."""
    assert {family: profile_for(read(family)).empty for family in MODELS} == {
        "flux": "encode", "sd35": "encode", "sdxl": "zeros",
    }  # fmt: skip
    assert [read(family, neg="blurry").items[0].negative_prompt for family in MODELS] == ["blurry"] * 3
    flux = read("flux", neg="blurry")
    assert "sample.neg" in flux.ignored


ANCESTRAL = {"eta": 0.6, "s_churn": 0.0, "s_tmin": 0.1, "s_tmax": 0.9, "s_noise": 1.05}


@pytest.mark.parametrize("place", ["", "ancestral_sampler_config"])
def test_ancestral_sampler_config_acts_on_both_kinds_of_model(place: str) -> None:
    def given(family: str, **changes: Any) -> dict[str, dict[str, Any]]:
        fields = {**ANCESTRAL, **changes}
        return nodes(read(family, **({place: fields} if place else fields)))

    for family in ("flux", "sd35"):
        assert ANCESTRAL.items() <= given(family)["EriFlowEulerSampler"].items()
        churned = {"eta": 0.0, "s_churn": 2.0}
        assert ({**ANCESTRAL, **churned}).items() <= given(family, **churned)["EriFlowEulerSampler"].items()
    assert given("sdxl")["EriDDIMSampler"]["eta"] == 0.6
    for sampler in ("ddim", "euler"):
        changes = {"eta": 0.0, "s_churn": 2.0, "s_tmax": 10.0}
        spec = read("sdxl", sampler=sampler, **{**ANCESTRAL, **changes})
        assert ({**ANCESTRAL, **changes, "eta": 1.0, "sampler": "euler"}).items() <= nodes(spec)[
            "EriTrainerSampler"
        ].items()
    euler_a = nodes(read("sdxl", sampler="euler", **ANCESTRAL))["EriTrainerSampler"]
    assert (euler_a["sampler"], euler_a["eta"]) == ("euler_a", 0.6)


def test_sampling_and_guidance_config() -> None:
    given = {"num_inference_steps": 50, "guidance_scale": 6.0, "height": 768, "width": 512, "seed": 7}
    flat, nested = read("sd35", **given), read("sd35", sampling_config=given)
    assert flat.items == nested.items
    (item,) = nested.items
    assert (item.steps, item.cfg_scale, item.height, item.width, item.seed) == (50, 6.0, 768, 512, 7)
    with pytest.raises(SpecError, match=r"50 contradicts sample\.sample_steps: 20"):
        read("sd35", sample_steps=20, num_inference_steps=50)
    for family in ("flux", "sdxl"):
        (bypassed,) = read(family, guidance_config={"guidance_scale": 5.0, "bypass_guidance": True}).items
        assert (bypassed.cfg_scale, bypassed.guidance) == (1.0, None)


def test_batch_size_and_memory_switches() -> None:
    switches = {"enable_cpu_offload": True, "enable_attention_slicing": True, "slice_size": 512}
    spec = read("flux", batch_size=4, **switches)
    graph = build(spec, run="run", step=100).api()
    memory = [node["inputs"] for node in graph.values() if node["class_type"] == "EriMemoryPolicy"]
    assert [(one["mode"], one["slice_size"]) for one in memory] == [("offload", 512), ("attention slicing", 512)]
    assert memory[0]["model"] == ["lora", 0]
    assert memory[1]["model"] == ["memory", 0]
    assert graph["decode"]["inputs"]["vae"] == ["memory2", 2]
    assert graph["sample"]["inputs"]["batch_size"] == 4
    both = read("flux", enable_cpu_offload=True, enable_sequential_cpu_offload=True, slice_size=2)
    assert nodes(both)["EriMemoryPolicy"]["mode"] == "sequential"
    assert both.ignored == ["sample.slice_size"]
    assert any("lowvram" in note for note in build(spec, run="a.safetensors", step=100, style="stock").notes)


@pytest.mark.parametrize(
    ("family", "fields", "field", "message"),
    [
        ("sdxl", {"sampler": "warp"}, "sample.sampler", r"no sampler 'warp' for SDXL.*ddim, euler, ddpm, euler_a"),
        ("flux", {"sampler": "dpm++"}, "sample.sampler", r"no sampler 'dpm\+\+' for Flux.*euler.*ddim"),
        ("sdxl", {"schedule": "cosine"}, "sample.schedule", r"'cosine' for SDXL.*leading, trailing, linspace"),
        ("flux", {"schedule": "cosine"}, "sample.schedule", r"'cosine' for Flux.*shifted_sigmoid, linear"),
        ("sd35", {"schedule": "karras"}, "sample.schedule", r"'karras' for SD 3.5.*linear, cosine"),
        ("flux", {"shift": 0.0}, "sample.shift", "0 is no shift.*above 0"),
        ("sdxl", {"lora_scale": "strong"}, "sample.lora_scale", "'strong' is no finite number"),
        ("sdxl", {"use_lora": "maybe"}, "sample.use_lora", "neither true nor false"),
        ("flux", {"eta": -0.1}, "sample.eta", "below 0.*0 or more"),
        ("flux", {"sampler": "ddim", "s_churn": 1.0}, "sample.s_churn", "s_churn does not act on the sampler ddim"),
        ("sdxl", {"sampler": "dpm++", "eta": 1.0}, "sample.eta", r"eta does not act.*dpmsolver\+\+.*euler_a"),
        ("sdxl", {"eta": 0.5, "s_churn": 1.0}, "sample.s_churn", "eta is 0.5 and s_churn 1.*one of them to 0"),
        ("sdxl", {"eta": 1.5}, "sample.eta", "eta is 1.5, with the sampler ddim it is 0 to 1"),
        ("sd35", {"sampler": "ddim", "eta": 2.0}, "sample.eta", "with the sampler ddim it is 0 to 1"),
        ("flux", {"eta": 0.5, "s_noise": 50.0}, "sample.s_noise", "it is 0 to 10"),
        ("flux", {"s_churn": 1.0, "s_tmin": 5.0}, "sample.s_tmin", "it is 0 to 1"),
        ("sdxl", {"s_churn": 1.0, "s_tmin": 3.0, "s_tmax": 2.0}, "sample.s_tmin", "s_churn never acts"),
        ("sdxl", {"batch_size": 0}, "sample.batch_size", "out of range"),
        ("sdxl", {"cfg_scale": "high"}, "sample.cfg_scale", "no finite number"),
    ],
)
def test_bad_input_names_the_field_and_what_is_known(
    family: str, fields: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        read(family, **fields)
    assert caught.value.field == field
    assert caught.value.line


@pytest.mark.parametrize("around", ["{}", "config: {{name: r, process: [{{type: sd_trainer, {}}}]}}"])
def test_a_sample_section_in_another_one_is_named(around: str) -> None:
    text = around.format("model: {name_or_path: sd_xl.safetensors}, train: {steps: 9, sample: {prompts: [a]}}")
    with pytest.raises(SpecError, match=r"below train.*Move it beside train") as caught:
        read_text(text if "config" in text else f"{{{text}}}", trainer="eridiffusion")
    assert caught.value.field.endswith("train.sample")


@pytest.mark.parametrize("family", MODELS)
def test_what_follows_the_documents_is_said_to(family: str) -> None:
    kinds = {match.topic: match.kind for match in explain(read(family, precision=...))}
    documented = {"sigmas", "negative", "size", "guidance", "file layout", "LoRA scale"}
    assert {topic for topic, kind in kinds.items() if kind == "as documented"} >= documented
    assert kinds["noise"] == "different"
