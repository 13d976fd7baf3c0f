"""OneTrainer's configs and samples files."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleSpec, SpecError, from_json, read_text

CONFIG: dict[str, Any] = {
    "training_method": "LORA",
    "model_type": "FLUX_DEV_1",
    "base_model_name": "black-forest-labs/FLUX.1-dev",
    "workspace_dir": "workspace/zorp",
    "train_dtype": "BFLOAT_16",
    "sample_after": 50,
    "sample_after_unit": "STEP",
}


def inline(*samples: dict[str, Any], **config: Any) -> SampleSpec:
    return read_text(json.dumps(CONFIG | {"samples": list(samples)} | config))


def from_file(*samples: dict[str, Any], **config: Any) -> SampleSpec:
    named = CONFIG | {"sample_definition_file_name": "training_samples/samples.json"} | config
    return read_text(json.dumps(named), files={"samples.json": json.dumps(samples)})


KINDS = {"flux": "FLUX_DEV_1", "sd35": "STABLE_DIFFUSION_35", "sdxl": "STABLE_DIFFUSION_XL_10_BASE"}


@pytest.mark.parametrize(
    ("family", "size", "steps", "scale", "sampler"),
    [("flux", 1024, 30, 3.5, None), ("sd35", 1024, 28, 7.0, None), ("sdxl", 1024, 30, 7.5, "EULER_A")],
)
def test_defaults_of_a_samples_file_depend_on_the_model(
    family: str, size: int, steps: int, scale: float, sampler: str | None
) -> None:
    spec = from_file({"prompt": "a fox"}, model_type=KINDS[family])
    (item,) = spec.items
    assert (spec.family, item.width, item.height, item.steps, item.seed) == (family, size, size, steps, 42)
    assert item.sampler == sampler
    assert (item.cfg_scale, item.guidance) == ((1.0, scale) if family == "flux" else (scale, None))


@pytest.mark.parametrize("family", list(KINDS))
def test_defaults_inside_the_config_do_not(family: str) -> None:
    (item,) = inline({"prompt": "a fox"}, model_type=KINDS[family]).items
    assert (item.width, item.height, item.steps, item.seed) == (512, 512, 30, 42)
    assert (item.guidance if family == "flux" else item.cfg_scale) == 7.0
    assert item.sampler == ("DDIM" if family == "sdxl" else None)


@pytest.mark.parametrize(
    ("family", "written", "made"),
    [
        ("flux", 992, 1024),  # 15.5 cells of 64: halves go to the even one
        ("flux", 1056, 1024),  # 16.5
        ("sdxl", 1000, 1024),
        ("sd35", 1000, 992),  # 62.5 cells of 16
        ("sd35", 1016, 1024),
        ("flux", "768", 768),
    ],
)
def test_sizes_are_rounded_to_the_nearest(family: str, written: int | str, made: int) -> None:
    (item,) = inline({"prompt": "a", "width": written, "height": 512}, model_type=KINDS[family]).items
    assert (item.width, item.height) == (made, 512)


def test_disabled_samples_keep_their_number() -> None:
    spec = inline({"prompt": "a", "enabled": False}, {"prompt": "b"}, {"prompt": "c", "random_seed": True, "seed": 3})
    assert [(item.index, item.prompt, item.seed) for item in spec.items] == [(1, "b", 42), (2, "c", None)]
    assert "random_seed means a new random seed for each image." in spec.notes
    assert any("is disabled" in note for note in spec.notes)
    with pytest.raises(SpecError, match="no sample is enabled"):
        inline({"prompt": "a", "enabled": False})


def test_config_fields() -> None:
    spec = inline({"prompt": "a"}, sample_image_format="PNG", optimizer={"weight_decay": 0.1})
    assert (spec.trainer, spec.layout, spec.name, spec.variant) == ("onetrainer", "onetrainer", "zorp", "dev")
    assert (spec.sample_every, spec.precision, spec.image_format, spec.t5_length) == (50, "bfloat16", "png", 77)
    assert spec.model_files == {"base_model_name": "black-forest-labs/FLUX.1-dev"}
    assert spec.ignored == ["training_method", "optimizer"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"text_encoder_2_sequence_length": 256}, 256),
        ({"text_encoder_2_sequence_length": None}, 512),
        ({"model_type": "STABLE_DIFFUSION_35", "text_encoder_2_sequence_length": 256}, None),
    ],
)
def test_t5_length(config: dict[str, Any], expected: int | None) -> None:
    assert inline({"prompt": "a"}, **config).t5_length == expected


@pytest.mark.parametrize(
    ("config", "every"),
    [
        ({"sample_after_unit": "EPOCH"}, None),
        ({"sample_after_unit": "NEVER"}, None),
        ({"sample_after_unit": "STEP", "sample_after": 7}, 7),
        ({"sample_after_unit": "MINUTE"}, None),
    ],
)
def test_interval(config: dict[str, Any], every: int | None) -> None:
    assert inline({"prompt": "a"}, **config).sample_every == every


@pytest.mark.parametrize(("method", "predicts"), [("FINE_TUNE", "v_prediction"), ("LORA", None)])
def test_a_forced_prediction_is_a_fine_tunes(method: str, predicts: str | None) -> None:
    """modules/modelSetup/StableDiffusionXLFineTuneSetup.py:70-75; StableDiffusionXLLoRASetup.py has no such switch."""
    spec = inline({"prompt": "a"}, model_type=KINDS["sdxl"], training_method=method, force_v_prediction=True)
    assert spec.sampling.get("prediction") == predicts
    assert ("force_v_prediction" in spec.ignored) is (predicts is None)


def test_zero_terminal_snr() -> None:
    config = {"model_type": KINDS["sdxl"], "rescale_noise_scheduler_to_zero_terminal_snr": True}
    spec = inline({"prompt": "a", "diffusion_steps": 20}, {"prompt": "b", "noise_scheduler": "EULER_A"}, **config)
    assert spec.sampling == {"last_first": True, "rescale": 0.7, "prediction": "v_prediction"}
    assert [(item.sampler, item.steps) for item in spec.items] == [("DDIM", 21), ("EULER_A", 30)]
    assert any("rescale 0.7" in note for note in spec.notes)


@pytest.mark.parametrize(
    ("value", "steps"), [("20", 20), (20.7, 20), (True, 1), ("many", 30), (None, 30), ([1], 30), ("20.7", 30)]
)
def test_values_are_converted_as_python_does_or_left_at_the_default(value: Any, steps: int) -> None:
    spec = inline({"prompt": "a", "diffusion_steps": value})
    assert spec.items[0].steps == steps
    assert any("keeps 30" in note for note in spec.notes) == (value in ("many", None, "20.7") or value == [1])


def test_unused_fields_of_many_samples_are_named_once() -> None:
    spec = inline(*({"prompt": str(n), "frames": 1, "length": 10.0} for n in range(20)))
    assert [name for name in spec.ignored if name.startswith("samples")] == ["samples[*].frames", "samples[*].length"]


@pytest.mark.parametrize(
    ("sample", "field"),
    [
        ({"prompt": "a", "width": 10**6}, "samples[0].width"),
        ({"prompt": "a", "width": 20}, "samples[0].width"),
        ({"prompt": "a", "diffusion_steps": 0}, "samples[0].diffusion_steps"),
        ({"prompt": "a", "seed": 2**64}, "samples[0].seed"),
        ({"prompt": None}, "samples[0].prompt"),
        ({"prompt": {"a": 1}}, "samples[0].prompt"),
        ("a", "samples[0]"),
    ],
)
def test_wrong_values(sample: Any, field: str) -> None:
    with pytest.raises(SpecError) as caught:
        inline(sample)
    assert caught.value.field == field
    assert caught.value.line == 1
    assert caught.value.remedy


@pytest.mark.parametrize("kind", ["STABLE_DIFFUSION_15", "WUERSTCHEN_2", None])
def test_other_models_are_refused(kind: str | None) -> None:
    with pytest.raises(SpecError, match=r"not supported|missing") as caught:
        inline({"prompt": "a"}, model_type=kind)
    assert caught.value.field == "model_type"


def test_a_samples_file_on_its_own() -> None:
    text = json.dumps([{"prompt": "a", "cfg_scale": 4.0, "diffusion_steps": 20}])
    spec = read_text(text, family="sd35")
    assert (spec.trainer, spec.items[0].cfg_scale, spec.items[0].steps) == ("onetrainer", 4.0, 20)


SAMPLES = st.fixed_dictionaries(
    {"prompt": st.text(max_size=20)},
    optional={
        "negative_prompt": st.text(max_size=10),
        "width": st.integers(64, 4096),
        "seed": st.integers(0, 2**63),
        "diffusion_steps": st.integers(1, 100),
        "cfg_scale": st.floats(0, 30),
        "random_seed": st.booleans(),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(SAMPLES, min_size=1, max_size=4), st.sampled_from(list(KINDS)))
def test_any_sample_is_read_as_the_trainer_does(samples: list[dict[str, Any]], family: str) -> None:
    spec = inline(*samples, model_type=KINDS[family])
    cell = 16 if family == "sd35" else 64
    for item, sample in zip(spec.items, samples, strict=True):
        assert item.prompt == sample["prompt"]
        assert item.negative_prompt == sample.get("negative_prompt", "")
        assert item.width == round(sample.get("width", 512) / cell) * cell
        assert item.seed == (None if sample.get("random_seed") else sample.get("seed", 42))
        assert item.steps == sample.get("diffusion_steps", 30)
        assert (item.guidance if family == "flux" else item.cfg_scale) == sample.get("cfg_scale", 7.0)
    assert from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("version", "family", "said"),
    [
        (0, "flux", "prior"),
        (8, "sd35", "prior"),
        (9, "flux", "transformer"),
        (11, "sd35", "transformer"),
        (8, "sdxl", "unet"),
    ],
)
def test_the_transformer_stood_in_a_section_prior(version: int, family: str, said: str) -> None:
    """TrainConfig.py __migration_8; sections of other kinds of model say nothing of this one."""
    part = {"weight_dtype": "NFLOAT_4", "attention_mask": True, "model_name": "m/x.safetensors"}
    parts = {name: part if name == said else {"weight_dtype": "BFLOAT_16"} for name in ("prior", "transformer", "unet")}
    spec = inline({"prompt": "a"}, model_type=KINDS[family], __version=version, **parts)
    assert spec.differences["model"][0].startswith(f"{said}.weight_dtype (NFLOAT_4)")
    assert len(spec.differences["model"]) == 1
    assert ("token lengths" in spec.differences) is (family != "sdxl")
    assert spec.model_files.get(f"{said}.model_name") == ("m/x.safetensors" if family == "flux" else None)
