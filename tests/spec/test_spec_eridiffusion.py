"""EriDiffusion V1 configs against what the sheet of its rules says, worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from comfyui_eridiffusion.spec import SpecError, read_spec

DATA = Path(__file__).parent / "data"
SAMPLE: dict[str, Any] = {
    "sampler": "euler",
    "sample_every": 10,
    "width": 512,
    "height": 512,
    "prompts": ["a", "b", "c"],
    "guidance_scale": 4.0,
    "sample_steps": 20,
}


def config(sample: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **process: Any) -> str:
    """A layout A config; a value of ... removes the field."""
    fields = {**SAMPLE, **(sample or {})}
    fields = {key: value for key, value in fields.items() if value is not ...}
    body = {"type": "sd_trainer", "model": model or {"is_flux": True, "name_or_path": "x.safetensors"}, **process}
    return yaml.safe_dump({"job": "extension", "config": {"name": "run", "process": [{**body, "sample": fields}]}})


def test_layout_a_flux() -> None:
    spec = read_spec(DATA / "eri_flux.yaml")
    assert (spec.trainer, spec.family, spec.variant, spec.layout) == ("eridiffusion", "flux", "dev", "eridiffusion")
    assert (spec.name, spec.trigger_word, spec.sample_every) == ("kestrel_v1", "k3strel", 250)
    assert (spec.t5_length, spec.precision) == (256, "bfloat16")
    assert [item.prompt for item in spec.items] == [
        " k3strel over a barley field, 35mm",
        "a sign that says 'no: (really:1.2)' --w 512",
        "no",
        "k3strel k3strel",
    ]
    assert [item.seed for item in spec.items] == [42, 43, 44, 45]
    assert {(item.width, item.height, item.steps) for item in spec.items} == {(1024, 768, 25)}
    assert {(item.cfg_scale, item.guidance, item.negative_prompt) for item in spec.items} == {(1.0, 4.0, "blurry")}
    assert {(item.sampler, item.lora_scale, item.prompt_2) for item in spec.items} == {("euler", 1.0, None)}
    assert spec.model_files == {
        "name_or_path": "/models/flux1-dev.safetensors",
        "vae_path": "/models/ae.safetensors",
        "t5_path": "/models/t5xxl_fp16.safetensors",
    }
    assert any("trigger" in note for note in spec.notes)


def test_every_unused_field_is_listed_and_no_used_one() -> None:
    spec = read_spec(DATA / "eri_flux.yaml")
    process = "config.process[0]"
    assert set(spec.ignored) == {
        *(f"{process}.{key}" for key in ("training_folder", "device", "network", "save", "datasets")),
        *(f"{process}.train.{key}" for key in ("batch_size", "steps", "noise_scheduler", "lr")),
        f"{process}.train.bypass_guidance_embedding",
        f"{process}.sample.neg",
        "meta",
    }


def test_only_the_first_process_is_used_and_said_so() -> None:
    spec = read_spec(DATA / "eri_three_families.yaml")
    assert (spec.family, [item.prompt for item in spec.items]) == ("sdxl", ["a mountain", "a lake"])
    assert [(item.width, item.height) for item in spec.items] == [(512, 512)] * 2
    assert [(item.cfg_scale, item.guidance) for item in spec.items] == [(7.5, None)] * 2
    assert [item.seed for item in spec.items] == [42, 42]
    assert {"config.process[1]", "config.process[2]"} <= set(spec.ignored)
    assert any("config.process[0]" in note for note in spec.notes)
    assert any("42" in note for note in spec.notes)


def test_layout_b() -> None:
    spec = read_spec(DATA / "eri_sd35_flat.yaml")
    assert (spec.trainer, spec.family, spec.variant, spec.name) == (
        "eridiffusion",
        "sd35",
        "large-turbo",
        "harbour_lora",
    )
    assert spec.sample_every == 100
    assert [(item.prompt, item.seed) for item in spec.items] == [
        ("a harbour at dawn", 7),
        ("a lighthouse, oil on canvas", 7),
    ]
    assert {(item.width, item.height, item.steps, item.cfg_scale) for item in spec.items} == {(1024, 1024, 8, 1.5)}
    assert "training.cfg_scale" in spec.ignored
    assert "training.seed" not in spec.ignored
    assert spec.model_files["model.path"] == "/models/sd3.5_large_turbo.safetensors"


def test_layout_c_has_nothing_to_sample() -> None:
    with pytest.raises(SpecError, match="no sample section") as caught:
        read_spec(DATA / "eri_template.yaml")
    assert caught.value.field == "model_kind"
    assert caught.value.line == 1


@pytest.mark.parametrize("wrapping", ["job", "bare config", "config itself"])
def test_fallback_shapes(wrapping: str) -> None:
    document = yaml.safe_load(config())
    if wrapping != "job":
        del document["job"]
    if wrapping == "config itself":
        document = document["config"]
    spec = read_spec(yaml.safe_dump(document))
    assert [item.prompt for item in spec.items] == ["a", "b", "c"]
    assert spec.name == "run"


@pytest.mark.parametrize(
    ("model", "train", "family"),
    [
        ({"arch": "sd3.5", "is_flux": True}, {}, "sd35"),
        ({"arch": "SD_XL", "is_v3": True}, {}, "sdxl"),
        ({"arch": "flux", "is_v3": True}, {}, "flux"),
        ({"arch": "sd3", "is_v3": True, "is_flux": True}, {}, "sd35"),
        ({"is_flux": True, "name_or_path": "sdxl.safetensors"}, {}, "flux"),
        ({"name_or_path": "/m/SD3.5_flux_sdxl.safetensors"}, {}, "sd35"),
        ({"name_or_path": "/m/sdxl_flux.safetensors"}, {}, "flux"),
        ({"name_or_path": "/m/sd_xl_base_1.0.safetensors"}, {}, "sdxl"),
        ({"name_or_path": "/m/mystery.safetensors"}, {"linear_timesteps": True}, "sd35"),
        ({"name_or_path": "/m/mystery.safetensors"}, {"bypass_guidance_embedding": True}, "flux"),
        ({"name_or_path": "/m/mystery.safetensors"}, {"bypass_guidance_embedding": False}, "sdxl"),
        ({"name_or_path": "/m/mystery.safetensors"}, {}, "flux"),
        ({"name_or_path": "/m/juggernautXL_v2.safetensors", "is_sdxl": True}, {}, "sdxl"),
        ({"name_or_path": "stabilityai/stable-diffusion-3.5-large"}, {}, "sd35"),
    ],
)
def test_family(model: dict[str, Any], train: dict[str, Any], family: str) -> None:
    assert read_spec(config(model=model, train=train), trainer="eridiffusion").family == family


def test_a_guessed_family_is_said_to_be_one() -> None:
    notes = read_spec(config(model={"name_or_path": "mystery.safetensors"})).notes
    assert any("guessed" in note for note in notes)


@pytest.mark.parametrize(
    ("model", "field", "named"),
    [
        ({"arch": "sd15"}, "model.arch", "sd15"),
        ({"arch": "wan22", "name_or_path": "a.safetensors"}, "model.arch", "wan22"),
        ({"name_or_path": "v1-5-pruned.safetensors"}, "model.name_or_path", "sd15"),
        ({"name_or_path": "hunyuan.safetensors"}, "model.name_or_path", "hunyuan"),
    ],
)
def test_unsupported_family(model: dict[str, Any], field: str, named: str) -> None:
    with pytest.raises(SpecError, match=named) as caught:
        read_spec(config(model=model), trainer="eridiffusion")
    assert caught.value.field == f"config.process[0].{field}"
    assert read_spec(config(model=model), trainer="eridiffusion", family="flux").family == "flux"


@pytest.mark.parametrize(
    ("name", "family", "variant"),
    [
        ("flux1-dev.safetensors", "flux", "dev"),
        ("FLUX.1-schnell", "flux", "schnell"),
        ("my_flux.safetensors", "flux", None),
        ("/x/sd3.5_large.safetensors", "sd35", "large"),
        ("sd3.5_large_turbo.safetensors", "sd35", "large-turbo"),
        ("sd3.5_medium.safetensors", "sd35", "medium"),
        ("/large/sd3.5.safetensors", "sd35", None),
        ("sd_xl_base_1.0.safetensors", "sdxl", None),
    ],
)
def test_variant(name: str, family: str, variant: str | None) -> None:
    assert read_spec(config(model={"name_or_path": name}), trainer="eridiffusion", family=family).variant == variant


def test_schnell_keeps_the_number_and_reports_it() -> None:
    spec = read_spec(config(model={"name_or_path": "flux1-schnell.safetensors"}))
    assert (spec.items[0].cfg_scale, spec.items[0].guidance) == (1.0, 4.0)
    assert "config.process[0].sample.guidance_scale" in spec.ignored


@pytest.mark.parametrize(("walk", "seeds"), [(True, [9, 10, 11]), (False, [9, 9, 9])], ids=["walk_seed", "one seed"])
def test_seeds(walk: bool, seeds: list[int]) -> None:
    assert [item.seed for item in read_spec(config({"seed": 9, "walk_seed": walk})).items] == seeds


@pytest.mark.parametrize(
    ("family", "size", "result"),
    [("sdxl", 1023, 1016), ("sd35", 1023, 1008), ("flux", 1023, 1008), ("flux", 96, 96), ("sdxl", 72, 72)],
)
def test_rounding(family: str, size: int, result: int) -> None:
    item = read_spec(config({"width": size}), family=family).items[0]
    assert (item.width, item.height) == (result, 512)


def test_trigger_stays_without_a_trigger_word() -> None:
    spec = read_spec(config({"prompts": ["[trigger] there", "{trigger_word}"]}))
    assert [item.prompt for item in spec.items] == ["[trigger] there", "{trigger_word}"]
    assert any("no trigger_word" in note for note in spec.notes)


@pytest.mark.parametrize(
    ("sample", "field", "message"),
    [
        ({"seed": -1}, "seed", "unsigned"),
        ({"seed": 2**64}, "seed", "out of range"),
        ({"seed": 2**64 - 2, "walk_seed": True}, "seed", "beyond"),
        ({"width": "512"}, "width", "in quotes"),
        ({"width": 512.0}, "width", "no whole number"),
        ({"width": 7}, "width", "latent cell"),
        ({"height": None}, "height", "empty"),
        ({"sample_steps": 0}, "sample_steps", "out of range"),
        ({"guidance_scale": float("nan")}, "guidance_scale", "finite"),
        ({"walk_seed": "true"}, "walk_seed", "in quotes"),
        ({"prompts": []}, "prompts", "no prompt"),
        ({"prompts": ...}, "prompts", "no prompt"),
        ({"prompts": ["a", None]}, "prompts[1]", "nothing"),
        ({"prompts": ["a", {"prompt": "b"}]}, "prompts[1]", "section"),
        ({"prompts": "a"}, "prompts", "list"),
        ({"neg": ["a"]}, "neg", "text"),
    ],
)
def test_bad_sample_fields(sample: dict[str, Any], field: str, message: str) -> None:
    text = config(sample)
    with pytest.raises(SpecError, match=message) as caught:
        read_spec(text, trainer="eridiffusion")
    error = caught.value
    assert error.field == f"config.process[0].sample.{field}"
    assert error.remedy
    if sample[field.split("[")[0]] is not ...:
        assert error.line is not None
        key = field.split("[")[0]
        lines = text.splitlines()
        first = next(number for number, line in enumerate(lines, 1) if line.strip().startswith(f"{key}:"))
        assert first <= error.line <= first + 2


def test_no_sample_section() -> None:
    document = yaml.safe_load(config())
    del document["config"]["process"][0]["sample"]
    with pytest.raises(SpecError, match="nothing to sample") as caught:
        read_spec(yaml.safe_dump(document))
    assert caught.value.field == "config.process[0].sample"


def test_no_trainable_process() -> None:
    text = config(type="lora_extract")
    with pytest.raises(SpecError, match="lora_extract"):
        read_spec(text)


def test_rust_reads_yaml_1_2() -> None:
    """`yes` is text there, `010` and `1_000` are no numbers, and `<<` is an ordinary unknown key."""
    text = config({"prompts": "LIST"}).replace("LIST", "[yes, 12:30, 0x10]")
    assert [item.prompt for item in read_spec(text).items] == ["yes", "12:30", "0x10"]
    for value in ("010", "1_000", "yes"):
        with pytest.raises(SpecError, match="no whole number"):
            read_spec(config().replace("width: 512", f"width: {value}"))
    with pytest.raises(SpecError, match="neither true nor false"):
        read_spec(config({"walk_seed": True}).replace("walk_seed: true", "walk_seed: yes"))


def test_t5_length_has_no_meaning_for_sdxl() -> None:
    spec = read_spec(config(model={"is_sdxl": True, "t5_max_length": 154}))
    assert spec.t5_length is None
    assert "config.process[0].model.t5_max_length" in spec.ignored


def test_merge_keys_are_not_applied_but_reported() -> None:
    text = "common: &common {neg: grey}\n" + config().replace("sampler: euler", "sampler: euler\n      <<: *common")
    spec = read_spec(text)
    assert spec.items[0].negative_prompt == ""
    assert "config.process[0].sample.<<" in spec.ignored


TOP_LEVEL = """
name: zorp
trigger_word: zo
model: {arch: sdxl, name_or_path: sd_xl_base.safetensors}
train: {dtype: bf16}
sample:
  prompts: ["[trigger] at noon", "a hill"]
  neg: grey
  seed: 9
  walk_seed: true
  width: 836
  height: 1024
  sample_steps: 25
  guidance_scale: 6
  sample_every: 100
"""


def test_sample_at_the_top_level_is_read_like_that_of_a_process() -> None:
    spec = read_spec(TOP_LEVEL)
    nested = read_spec(
        "config:\n  name: zorp\n  process:\n  - type: sd_trainer\n"
        + "".join(f"    {line}\n" for line in TOP_LEVEL.strip().splitlines() if not line.startswith("name"))
    )
    assert (spec.trainer, spec.family, spec.name, spec.sample_every) == ("eridiffusion", "sdxl", "zorp", 100)
    assert spec.items == nested.items
    assert [(item.prompt, item.seed, item.width) for item in spec.items] == [
        ("zo at noon", 9, 832),
        ("a hill", 10, 832),
    ]


def test_validation_in_a_process() -> None:
    spec = read_spec("""
config:
  name: zorp
  process:
  - type: sd_trainer
    model: {is_v3: true, name_or_path: sd3.5_large.safetensors}
    validation: {prompts: [a fox], num_inference_steps: 28, guidance_scale: 4.5, width: 768, height: 1000, seed: 3}
""")
    (item,) = spec.items
    assert (spec.family, spec.variant, spec.name) == ("sd35", "large", "zorp")
    assert (item.width, item.height, item.steps, item.cfg_scale, item.seed) == (768, 992, 28, 4.5, 3)


def test_top_level_sample_with_the_flat_models_names() -> None:
    text = TOP_LEVEL.replace("arch: sdxl, name_or_path: sd_xl_base.safetensors", "type: sd35, path: sd3.5_medium.sft")
    assert (read_spec(text).family, read_spec(text).variant) == ("sd35", "medium")
    with pytest.raises(SpecError, match="not supported"):
        read_spec(text.replace("type: sd35", "type: sd15"))
