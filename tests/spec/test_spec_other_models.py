"""Models that are none of the families here: refused by their names, and no other family is offered in their place."""

from __future__ import annotations

import json

import pytest

from comfyui_eridiffusion.spec import SpecError, read_text

#: kohya-ss/musubi-tuner@30c658c and kohya-ss/sd-scripts@48d368f: training scripts in the repository's root.
SCRIPTS = {
    "zimage_train_network": "Z-Image",
    "zimage_train": "Z-Image",
    "wan_train_network": "Wan",
    "hv_train_network": "HunyuanVideo",
    "hv_1_5_train_network": "HunyuanVideo",
    "fpack_train_network": "HunyuanVideo",
    "qwen_image_train_network": "Qwen-Image",
    "flux_2_train_network": "Flux.2",
    "flux_2_train_network_self_flow": "Flux.2",
    "kandinsky5_train_network": "Kandinsky",
    "krea2_train_network": "Krea 2",
    "ideogram4_train_network": "Ideogram",
    "hidream_o1_train_network": "HiDream",
    "ltx2_train_network": "LTX-Video",
    "lumina_train_network": "Lumina",
    "anima_train_network": "Anima",
    "hunyuan_image_train_network": "HunyuanImage",
    "somethingnew_train_network": "not known",
}
PROMPTS = {"p.txt": "a pier in fog --w 512 --h 512 --d 1"}


@pytest.mark.parametrize("family", [None, "flux"])
@pytest.mark.parametrize(("script", "model"), SCRIPTS.items())
def test_training_scripts(script: str, model: str, family: str | None) -> None:
    line = f"accelerate launch src/musubi_tuner/{script}.py --dit d.safetensors --sample_prompts p.txt --output_name x"
    with pytest.raises(SpecError, match=rf"{script}\.py.*{model}") as caught:
        read_text(line, family=family, files=PROMPTS)
    assert "--" not in str(caught.value.told_to("canvas"))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("MODEL='m.safetensors'\nnetwork_module='networks.lora_flux'\nmodel_type='krea2'", "krea2"),
        ("MODEL='qwen_image_bf16.safetensors'\nnetwork_module='networks.lora'", "qwen"),
        ("MODEL='z_image_turbo.safetensors'\nresolution='1024,1024'\nclip_l=''", "z_image"),
        ("MODEL='m_turbo.safetensors'\nclip_l=''\nt5xxl=''\nvae=''", "does not tell which model"),
        ("dit='m.safetensors'\nnetwork_module='networks.lora_zimage'", "Z-Image"),
        ("MODEL='m-xl.safetensors'\nmodel_train_type='anima-lora'\nnetwork_module='networks.lora'", "Anima"),
        ("dit='m.safetensors'\nnetwork_module='networks.lora_flux_2'\nmodel_version='klein-base-4b'", r"Flux\.2"),
        ("MODEL='m.safetensors'\nnetwork_module='networks.lora_anima'", "Anima"),
    ],
)  # fmt: skip
def test_tomls(config: str, said: str) -> None:
    text = config.replace("MODEL", "pretrained_model_name_or_path")
    with pytest.raises(SpecError, match=said) as caught:
        read_text(f"{text}\nsample_prompts='p.txt'\n", files=PROMPTS)
    assert "family=" not in str(caught.value.told_to("canvas"))


def test_the_config_of_another_trainer_names_its_model() -> None:
    """diffusion-pipe's form: a TOML with `[model] type`."""
    with pytest.raises(SpecError, match="no known trainer's config for the model 'anima'"):
        read_text("output_dir = '/o'\nepochs = 9\nmicro_batch_size_per_gpu = 1\n[model]\ntype = 'anima'\n")


def test_a_merge_whose_name_only_looks_like_another_model() -> None:
    config = "pretrained_model_name_or_path='illuminaXL_v2.safetensors'\nsample_prompts='p.txt'\n"
    assert read_text(config, files=PROMPTS).family == "sdxl"


def test_the_command_line_names_its_option(capsys: pytest.CaptureFixture[str], tmp_path) -> None:  # type: ignore[no-untyped-def]
    from comfyui_eridiffusion.tests.client.test_cli import eri

    path = tmp_path / "prompts.txt"
    path.write_text("a cat --w 512\n", encoding="utf-8")
    assert eri("spec", path) == 2
    assert "--family" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "family", "said"),
    [
        ({"name_or_path": "Qwen/Qwen-Image", "arch": "qwen_image"}, "flux", "'qwen_image' is not supported"),
        ({"name_or_path": "Tongyi-MAI/Z-Image-Turbo"}, "flux", "'z-image' is not supported"),
        ({"name_or_path": "black-forest-labs/FLUX.1-dev", "is_flux": True}, "sdxl", "it is for flux"),
        ({"name_or_path": "black-forest-labs/FLUX.1-dev", "is_flux": True}, "flux", ""),
    ],
)
def test_another_family_than_the_configs_is_counted(model: dict[str, object], family: str, said: str) -> None:
    """The caller's word counts; what the config says of itself is a difference, not silence."""
    sample = {"prompts": ["a pier"], "sampler": "flowmatch" if family == "flux" else "ddpm"}
    process = {"type": "sd_trainer", "train": {"dtype": "bf16"}, "model": model, "sample": sample}
    spec = read_text(json.dumps({"job": "extension", "config": {"name": "x", "process": [process]}}), family=family)
    found = [text for text in spec.differences.get("model", ()) if said in text]
    assert bool(found) is bool(said)
    assert spec.family == family


@pytest.mark.parametrize("text", ["a pier in fog --w 512 --d 1", "VALIDATION_PROMPT=a\nMODEL_TYPE=lora\n"])
def test_a_family_that_the_config_leaves_open_is_no_difference(text: str) -> None:
    assert not read_text(text, family="sdxl").differences
