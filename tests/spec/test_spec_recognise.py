"""Which trainer a config is taken for, and what reading it as the other one changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from comfyui_eridiffusion.spec import SpecError, read_spec, read_text

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
        ('{"model_family": "flux", "validation_prompt": "a"}', "simpletuner"),
        ('{"--model_family": "flux", "--validation_prompt": "a"}', "simpletuner"),
        ("model_family = 'flux'\nvalidation_prompt = 'a'\n", "simpletuner"),
        ("# options\nexport MODEL_FAMILY='flux'\nVALIDATION_PROMPT='a'\n", "simpletuner"),
        ('{"training_method": "LORA", "model_type": "FLUX_DEV_1", "samples": [{"prompt": "a"}]}', "onetrainer"),
        ("sample_sd35 --prompt 'a lake' --transformer sd35.safetensors", "eridiffusion-v2"),
        ("./target/release/train_sd35 \\\n  --sample-every 50 --sample-prompt 'a lake'", "eridiffusion-v2"),
    ],
)
def test_one_file_configs_in_every_notation(text: str, trainer: str) -> None:
    assert read_spec(text).trainer == trainer


@pytest.mark.parametrize(
    ("config", "trainer"),
    [
        ('{"model_type": "StableDiffusion35", "validation_prompts_file": "p.txt"}', "eridiffusion-v2"),
        (
            '{"model_type": "FluxDev1", "training_method": "Lora", "validation_prompts_file": "p.txt"}',
            "eridiffusion-v2",
        ),
        ("[model]\nae = 'ae.sft'\n[samples]\nsample_prompts = 'p.txt'\n", "kohya"),
        ("dit = 'kontext.sft'\nnetwork_module = 'networks.lora_flux'\nsample_prompts = 'p.txt'\n", "musubi"),
    ],
)
def test_configs_that_name_their_prompts(config: str, trainer: str) -> None:
    spec = read_text(config, files={"p.txt": "a fox\n"})
    assert (spec.trainer, spec.layout, [item.prompt for item in spec.items]) == (trainer, trainer, ["a fox"])


@pytest.mark.parametrize(
    ("text", "trainer"),
    [
        ('["a fox --w 512"]', "kohya"),
        ('[{"prompt": "a fox", "sample_steps": 4}]', "kohya"),
        ("[prompt]\n[[prompt.subset]]\nprompt = 'a fox'\n", "kohya"),
        ("a fox --w 512 --h 640\nan owl --d 3\n", "kohya"),
        ('[{"prompt": "a fox", "diffusion_steps": 4}]', "onetrainer"),
        ('{"prompts": [{"prompt": "a fox", "seeds": [1, 2]}]}', "eridiffusion-v2"),
    ],
)
def test_prompt_files_need_the_family(text: str, trainer: str) -> None:
    assert read_spec(text, family="flux").trainer == trainer
    with pytest.raises(SpecError, match="does not tell the model family") as caught:
        read_spec(text)
    error = caught.value
    assert "with family=" in str(error)
    assert "--family" not in str(error)
    assert "with --family" in str(error.told_to("cli"))
    for caller in ("canvas", "node", "http"):
        assert "amily" in str(error.told_to(caller).remedy)
        assert not {"family=", "--family"} & set(str(error).replace(",", " ").split())


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
