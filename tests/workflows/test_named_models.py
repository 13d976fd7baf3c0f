"""The base model that a config names, found among a host's files by its name, or asked for where the host lacks it.

File and repository names are those under which their publishers have them on Hugging Face.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_eridiffusion.spec import SampleSpec, read_text
from comfyui_eridiffusion.tests.workflows.specs import sample_spec
from comfyui_eridiffusion.workflows import build, choose_models
from comfyui_eridiffusion.workflows.named import same_model
from comfyui_eridiffusion.workflows.parity import explain

#: A host with relatives of the named models in every folder.
OFFERED = {
    "checkpoints": [
        "sd_xl_base_1.0.safetensors", "xl/animagine-xl-3.1.safetensors", "sd3_medium_incl_clips.safetensors",
        "sd3.5_medium.safetensors", "sd3.5_large_fp8_scaled.safetensors", "sd3.5_large_turbo.safetensors",
    ],
    "diffusion_models": [
        "flux1-dev.safetensors", "flux1-krea-dev_fp8_scaled.safetensors", "flux1-dev-kontext_fp8_scaled.safetensors",
        "Flex.1-alpha.safetensors", "flux1-fill-dev.safetensors", "flux1-schnell-Q8_0.gguf", "Chroma1-HD.safetensors",
    ],
    "text_encoders": ["clip_l.safetensors", "clip_g.safetensors", "t5xxl_fp8_e4m3fn.safetensors"],
    "vae": ["ae.safetensors", "sdxl_vae_fp16fix.safetensors", "sdxl_vae.safetensors"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "named", "file"),
    [
        ("flux", "black-forest-labs/FLUX.1-Krea-dev", "flux1-krea-dev_fp8_scaled.safetensors"),
        ("flux", "black-forest-labs/FLUX.1-Kontext-dev", "flux1-dev-kontext_fp8_scaled.safetensors"),
        ("flux", "black-forest-labs/FLUX.1-Fill-dev", "flux1-fill-dev.safetensors"),
        ("flux", "black-forest-labs/FLUX.1-schnell", "flux1-schnell-Q8_0.gguf"),
        ("flux", "ostris/Flex.1-alpha", "Flex.1-alpha.safetensors"),
        ("flux", "/cache/models--black-forest-labs--FLUX.1-dev/snapshots/0ef5fff789c832c5c7f4e127f94c8b54bbcced44",
         "flux1-dev.safetensors"),
        ("flux", "D:\\hub\\FLUX.1-dev\\transformer\\diffusion_pytorch_model.safetensors", "flux1-dev.safetensors"),
        ("flux", "flux_dev-fp8.safetensors", "flux1-dev.safetensors"),
        ("sd35", "stabilityai/stable-diffusion-3.5-medium", "sd3.5_medium.safetensors"),
        ("sd35", "stabilityai/stable-diffusion-3.5-large", "sd3.5_large_fp8_scaled.safetensors"),
        ("sd35", "stabilityai/stable-diffusion-3-medium-diffusers", "sd3_medium_incl_clips.safetensors"),
        ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", "sd_xl_base_1.0.safetensors"),
        ("sdxl", "cagliostrolab/animagine-xl-3.1", "xl/animagine-xl-3.1.safetensors"),
        ("chroma", "lodestones/Chroma1-HD", "Chroma1-HD.safetensors"),
    ],
)  # fmt: skip
def test_the_named_model_is_found(family: str, named: str, file: str) -> None:
    """Whatever key a trainer has for it."""
    for trainer, key in (("kohya", "pretrained_model_name_or_path"), ("onetrainer", "base_model_name")):
        description, notes = choose_models(sample_spec(family, trainer, model_files={key: named}), OFFERED)
        files = description["files"]
        assert files.get("unet", files.get("checkpoint")) == file
        quantised = "fp8" in file or "gguf" in file
        assert notes[0].startswith(f"Base model: {file} is loaded instead of {named}") == quantised


@pytest.mark.parametrize(
    ("named", "file"),
    [
        ("flux1-dev", "flux1-krea-dev.safetensors"),
        ("flux1-dev", "flux1-dev-kontext_fp8_scaled.safetensors"),
        ("sd3.5_medium", "sd3_medium.safetensors"),
        ("sd3.5_large", "sd3.5_large_turbo.safetensors"),
        ("sd_xl_base_1.0", "sd_xl_base_0.9.safetensors"),
        ("sd_xl_base_1.0", "sd_xl_refiner_1.0.safetensors"),
        ("Chroma1-HD", "Chroma1-Base.safetensors"),
        ("FLUX.1-dev", "flux2-dev.safetensors"),
        ("myMerge_v3", "myMerge_v4.safetensors"),
    ],
)
def test_relatives_are_not_taken_for_it(named: str, file: str) -> None:
    assert same_model(named, file) is None


@pytest.mark.parametrize("offered", [OFFERED, None])
@pytest.mark.parametrize(
    ("family", "named", "asked"),
    [
        ("sdxl", "/workspace/myMerge_v3.safetensors", "myMerge_v3.safetensors"),
        ("sdxl", "someone/pony-like-xl", "pony-like-xl.safetensors"),
        ("flux", "/app/flux/unet.safetensors", "unet.safetensors"),
        ("flux", "https://example.org/a/fluxTune.safetensors?download=true", "fluxTune.safetensors"),
        ("sd35", "sd3_medium_mine.safetensors", "sd3_medium_mine.safetensors"),
    ],
)
def test_what_the_host_lacks_stays_in_the_graph(family: str, named: str, asked: str, offered: dict | None) -> None:
    spec = sample_spec(family, "kohya", model_files={"pretrained_model_name_or_path": named})
    workflow = build(spec, offered=offered)
    assert asked in workflow.api()["model"]["inputs"].values()
    assert any(asked in note for note in workflow.notes)
    assert not workflow.instead


def test_a_repository_is_asked_for_as_its_published_file() -> None:
    for named, file in (
        ("stabilityai/stable-diffusion-3-medium-diffusers", "sd3_medium.safetensors"),
        ("stabilityai/stable-diffusion-3.5-large", "sd3.5_large.safetensors"),
    ):
        spec = sample_spec("sd35", "onetrainer", model_files={"base_model_name": named})
        assert build(spec).api()["model"]["inputs"] == {"ckpt_name": file}


def test_the_named_vae_and_encoders() -> None:
    named = {"pretrained_model_name_or_path": "a-xl.safetensors", "vae": "/x/sdxl_vae_fp16fix.safetensors"}
    assert choose_models(sample_spec("sdxl", "kohya", model_files=named), OFFERED)[0]["files"] == {
        "checkpoint": "a-xl.safetensors", "vae": "sdxl_vae_fp16fix.safetensors",
    }  # fmt: skip
    hub = sample_spec("sdxl", "ai-toolkit", model_files={"vae_path": "madebyollin/sdxl-vae-fp16-fix"})
    assert choose_models(hub, OFFERED)[0]["files"]["vae"] == "sdxl_vae_fp16fix.safetensors"
    assert build(hub).api()["vae"]["inputs"] == {"vae_name": "sdxl-vae-fp16-fix.safetensors"}
    whole = sample_spec("flux", "simpletuner", model_files={"vae_path": "black-forest-labs/FLUX.1-dev"})
    assert choose_models(whole, OFFERED)[0]["files"]["vae"] == "ae.safetensors"
    kohya = {"ae": "flux_vae_mine.sft", "vae": "other.safetensors", "t5xxl": "t5xxl_fp16.safetensors"}
    files = choose_models(sample_spec("flux", "kohya", model_files=kohya), OFFERED)[0]["files"]
    assert (files["vae"], files["t5xxl"]) == ("flux_vae_mine.sft", "t5xxl_fp8_e4m3fn.safetensors")
    musubi = {"text_encoder1": "t5xxl_fp16.safetensors", "text_encoder2": "ViT-L-14-mine.safetensors"}
    files = choose_models(sample_spec("flux", "musubi", model_files=musubi), OFFERED)[0]["files"]
    assert (files["t5xxl"], files["clip_l"]) == ("t5xxl_fp8_e4m3fn.safetensors", "ViT-L-14-mine.safetensors")


def test_a_shorter_name_is_no_reason() -> None:
    offered = {**OFFERED, "diffusion_models": ["aflux-dev.safetensors", "flux1-dev.safetensors"]}
    assert choose_models(sample_spec("flux", variant="dev"), offered)[0]["files"]["unet"] == "flux1-dev.safetensors"
    krea = {**OFFERED, "diffusion_models": ["flux1-krea-dev.safetensors"]}
    assert choose_models(sample_spec("flux", variant="dev"), krea)[0]["files"]["unet"] == "flux1-dev.safetensors"


def test_a_persons_choice_is_told_first(tmp_path: Path) -> None:
    spec = sample_spec("flux", "ai-toolkit", notes=["else"], model_files={"name_or_path": "ostris/Flex.1-alpha"})
    files = {"unet": "flux1-dev.safetensors", "clip_l": "l", "t5xxl": "t", "vae": "ae.safetensors"}
    workflow = build(spec, {"files": files})
    told = "Base model: flux1-dev.safetensors is loaded instead of ostris/Flex.1-alpha, as chosen by hand."
    assert workflow.notes[0] == told
    assert list(workflow.instead) == [told]
    assert workflow.ui()["nodes"][-1]["type"] == "MarkdownNote" or told in str(workflow.ui())
    assert [(match.kind, match.detail) for match in explain(spec, [told]) if match.topic == "model"] == [
        ("different", told)
    ]
    same = build(spec, {"files": {**files, "unet": "sub/Flex.1-alpha.safetensors"}})
    assert not same.instead
    loaders = {
        part: {"class_type": "Any", "inputs": {"name": "flux1-dev.safetensors"}} for part in ("model", "clip", "vae")
    }
    assert build(spec, {"loaders": loaders}).instead == [told]


@pytest.mark.parametrize(
    ("text", "variant", "named"),
    [
        ('{"model_family": "flux", "validation_prompt": "x"}', "krea", "black-forest-labs/FLUX.1-Krea-dev"),
        ('{"model_family": "flux", "model_flavour": "kontext", "validation_prompt": "x"}', "kontext",
         "black-forest-labs/FLUX.1-Kontext-dev"),
        ('{"model_family": "sd3", "validation_prompt": "x"}', "medium", "stabilityai/stable-diffusion-3.5-medium"),
        ('{"model_family": "sdxl", "validation_prompt": "x"}', None, "stabilityai/stable-diffusion-xl-base-1.0"),
        ('{"model_family": "chroma", "validation_prompt": "x"}', "base", "lodestones/Chroma1-Base"),
    ],
)  # fmt: skip
def test_simpletuners_defaults(text: str, variant: str | None, named: str) -> None:
    """bghira/SimpleTuner@bc8e6ab helpers/models/*/model.py: DEFAULT_MODEL_FLAVOUR and HUGGINGFACE_PATHS."""
    spec: SampleSpec = read_text(text)
    assert (spec.variant, spec.model_files["pretrained_model_name_or_path"]) == (variant, named)


def test_onetrainers_own_files() -> None:
    """Nerogar/OneTrainer@23df383 modules/util/config/TrainConfig.py `model_names`."""
    spec = read_text(
        '{"training_method": "LORA", "model_type": "FLUX_DEV_1", "base_model_name": "black-forest-labs/FLUX.1-dev",'
        ' "transformer": {"model_name": "D:/tune.safetensors"}, "vae": {"model_name": "my/vae-tuned"},'
        ' "samples": [{"prompt": "x", "enabled": true}]}'
    )
    files = build(spec).api()
    assert files["model"]["inputs"]["unet_name"] == "tune.safetensors"
    assert files["vae"]["inputs"]["vae_name"] == "vae-tuned.safetensors"
    assert not {"transformer", "transformer.model_name", "vae"} & set(spec.ignored)
