"""Which trainer a config is taken for, and what reading it as the other one changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfyui_eridiffusion.spec import SpecError, read_spec

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("name", "trainer"),
    [
        ("eri_flux.yaml", "eridiffusion"),
        ("eri_three_families.yaml", "eridiffusion"),
        ("eri_sd35_flat.yaml", "eridiffusion"),
        ("aitk_flux.yaml", "ai-toolkit"),
        ("aitk_sdxl.json", "ai-toolkit"),
        ("neutral.yaml", "eridiffusion"),
        ("native.yaml", "native"),
    ],
)
def test_by_content(name: str, trainer: str) -> None:
    text = (DATA / name).read_text(encoding="utf-8")
    assert read_spec(DATA / name).trainer == trainer
    assert read_spec(text).trainer == trainer
    assert read_spec(text.encode()).trainer == trainer


def test_a_config_valid_for_both_differs_only_where_the_trainers_do() -> None:
    eri, aitk = (read_spec(DATA / "neutral.yaml", trainer=name) for name in ("eridiffusion", "ai-toolkit"))
    assert eri.items == aitk.items
    for spec in (eri, aitk):
        assert spec.layout == spec.trainer
    same: dict[str, Any] = {"trainer": "", "layout": "", "notes": [], "ignored": [], "image_format": None}
    assert replace(eri, **same) == replace(aitk, **same)
    assert set(eri.ignored) - set(aitk.ignored) == {"config.process[0].sample.sampler"}
    assert set(aitk.ignored) <= set(eri.ignored)
    assert any("ai-toolkit would read" in note for note in read_spec(DATA / "neutral.yaml").notes)


def variation(**changes: Any) -> str:
    document = yaml.safe_load((DATA / "neutral.yaml").read_text())
    process = document["config"]["process"][0]
    for path, value in changes.items():
        section, _, key = path.rpartition("__")
        (process[section] if section else process)[key] = value
    return yaml.safe_dump(document)


@pytest.mark.parametrize(
    ("changes", "trainer"),
    [
        ({"sample__samples": [{"prompt": "a"}]}, "ai-toolkit"),
        ({"sample__seed": -1}, "ai-toolkit"),
        ({"sample__prompts": ["a fox --w 512 --h 640"]}, "ai-toolkit"),
        ({"model__name_or_path": "stabilityai/stable-diffusion-3.5-medium"}, "ai-toolkit"),
        ({"model__name_or_path": "models/sd3.5_medium.safetensors"}, "eridiffusion"),
        ({"type": "diffusion_trainer"}, "ai-toolkit"),
        ({"type": "flux_trainer"}, "eridiffusion"),
        ({"sample__prompts": ["{trigger_word} in a tree"]}, "eridiffusion"),
        ({"model__t5_max_length": 154}, "eridiffusion"),
        ({"model__t5_max_length": 154, "sample__samples": [{"prompt": "a"}]}, "eridiffusion"),
        ({"model__t5_max_length": 154, "sample__samples": [{"prompt": "a"}], "sample__format": "png"}, "ai-toolkit"),
    ],
)
def test_fields_that_tell(changes: dict[str, Any], trainer: str) -> None:
    assert read_spec(variation(**changes)).trainer == trainer


@pytest.mark.parametrize(
    ("text", "trainer"),
    [
        ('{"model_family": "flux", "validation_prompt": "a"}', "SimpleTuner"),
        ('{"--model_family": "flux"}', "SimpleTuner"),
        ('{"training_method": "LORA", "model_type": "FLUX_DEV_1", "samples": []}', "OneTrainer"),
        ('{"model_type": "StableDiffusion35", "validation_prompts_file": null}', "EriDiffusion V2"),
        ("sample_prompts: prompts.txt\n", "kohya"),
    ],
)
def test_known_but_unread_trainers_are_named(text: str, trainer: str) -> None:
    with pytest.raises(SpecError, match=trainer) as caught:
        read_spec(text)
    assert "EriDiffusion V1" in str(caught.value.remedy)


def test_toml_and_prompt_files(tmp_path: Path) -> None:
    for name in ("train.toml", "prompts.txt"):
        path = tmp_path / name
        path.write_text("sample_prompts = 'x'\n")
        with pytest.raises(SpecError, match="kohya") as caught:
            read_spec(path)
        assert caught.value.source == str(path)


def test_unknown_documents() -> None:
    with pytest.raises(SpecError, match="colour, taste"):
        read_spec("colour: red\ntaste: sweet\n")
    with pytest.raises(SpecError, match="no training config"):
        read_spec("just some words")
    with pytest.raises(SpecError, match="no training config"):
        read_spec("- a\n- list\n")


def test_bad_arguments() -> None:
    with pytest.raises(SpecError, match="no trainer 'kohia'"):
        read_spec(DATA / "neutral.yaml", trainer="kohia")
    with pytest.raises(SpecError, match="no model family 'sd3'"):
        read_spec(DATA / "neutral.yaml", family="sd3")
    assert read_spec(DATA / "neutral.yaml", trainer="auto", family="auto") == read_spec(DATA / "neutral.yaml")


def test_family_override() -> None:
    spec = read_spec(DATA / "neutral.yaml", family="flux")
    assert (spec.family, spec.items[0].cfg_scale, spec.items[0].guidance) == ("flux", 1.0, 4.5)


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DATA / "neutral.yaml").read_text()
    (tmp_path / "a config").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert read_spec("a config").source == "a config"
    assert read_spec(text).source == "<text>"
    with pytest.raises(SpecError, match="no such file") as caught:
        read_spec("missing.yaml")
    assert str(tmp_path) in str(caught.value.remedy)
    with pytest.raises(SpecError, match="folder"):
        read_spec(tmp_path)
