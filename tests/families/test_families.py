"""The registry of model families: what is derived from it, and a made-up family that nothing else knows of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from comfyui_eridiffusion.errors import SpecError
from comfyui_eridiffusion.families import FAMILIES, Family
from comfyui_eridiffusion.families.encoders import T5XXL
from comfyui_eridiffusion.families.others import OTHERS, other_by_name
from comfyui_eridiffusion.lora import LoraError, read_lora
from comfyui_eridiffusion.lora.family import _told
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.lora.lora_files import write
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.workflows.graph import Graph
from comfyui_eridiffusion.workflows.models import add_loaders

SCHEMAS = Path(__file__).parents[1] / "nodes" / "schemas.json"
CLIP_LOADER_FILES = {"unet": "m.safetensors", "t5xxl": "t5.safetensors", "vae": "v.safetensors"}


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """A family with Flux's block names and T5 alone, as some of today's models are."""
    flux = FAMILIES["flux"]
    traits = replace(flux.lora, modules=r"(?:^|_)double_blocks_\d+_(?!img_mod|txt_mod)", stated="made-up")
    family = replace(flux, id="made-up", title="Made Up", lora=traits, encoders=(T5XXL,), fewest_encoders=1)
    monkeypatch.setitem(FAMILIES, family.id, replace(family, clip_type="made_up"))
    _told.cache_clear()
    yield FAMILIES[family.id]
    _told.cache_clear()


def test_every_family_stands_under_its_id() -> None:
    assert [family.id for family in FAMILIES.values()] == list(FAMILIES)


def test_the_packs_own_form_is_for_all_of_them() -> None:
    assert set(TRAINERS["native"].families) == set(FAMILIES)


def test_nodes_offer_the_families_in_their_order() -> None:
    """The snapshot of the nodes' schemas was written before there was a registry."""
    schemas = SCHEMAS.read_text(encoding="utf-8")
    for node in ("EriSampleSpec", "EriTrainerNoise"):
        assert json.dumps(["auto", *FAMILIES]) in json.dumps(json.loads(schemas)[node])


# names of repositories on Hugging Face and of files in them
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("black-forest-labs/FLUX.2-dev", "flux.2"),
        ("black-forest-labs/FLUX.2-klein-4B", "flux.2"),
        ("black-forest-labs/FLUX.1-Kontext-dev", "kontext"),
        ("ostris/Flex.2-preview", "flex.2"),
        ("Qwen/Qwen-Image", "qwen"),
        ("Wan-AI/Wan2.1-T2V-14B", "wan2"),
        ("HiDream-ai/HiDream-I1-Full", "hidream"),
        ("Tongyi-MAI/Z-Image-Turbo", "z-image"),
        ("Alpha-VLLM/Lumina-Image-2.0", "lumina"),
        ("tencent/HunyuanVideo", "hunyuan"),
        ("black-forest-labs/FLUX.1-dev", None),
        ("black-forest-labs/FLUX.1-schnell", None),
        ("stabilityai/stable-diffusion-3.5-large-turbo", None),
        ("stabilityai/stable-diffusion-xl-base-1.0", None),
        ("/home/klein/models/flux1-dev.safetensors", None),
        ("flux1_2000_steps.safetensors", None),
    ],
)
def test_an_unsupported_model_is_told_by_its_name(name: str, other: str | None) -> None:
    assert other_by_name(name) == other


def test_no_family_is_among_the_unsupported() -> None:
    titles = {other.title.lower() for other in OTHERS}
    assert not titles & {word.lower() for family in FAMILIES.values() for word in (family.id, family.title)}


@pytest.mark.parametrize(
    ("family", "name", "variant"),
    [
        ("flux", "black-forest-labs/FLUX.1-dev", "dev"),
        ("flux", "black-forest-labs/FLUX.1-schnell", "schnell"),
        ("flux", "C:\\models\\flux_developer.safetensors", None),
        ("sd35", "stabilityai/stable-diffusion-3.5-large-turbo", "large-turbo"),
        ("sd35", "stabilityai/stable-diffusion-3.5-large", "large"),
        ("sd35", "/large/turbo/sd3.5_medium.safetensors", "medium"),
        ("sdxl", "stabilityai/stable-diffusion-xl-base-1.0", None),
    ],
)
def test_a_variant_is_told_by_its_name(family: str, name: str, variant: str | None) -> None:
    assert FAMILIES[family].variant_of(name) == variant


def test_one_encoder_has_a_loader(made_up: Family) -> None:
    graph = Graph()
    add_loaders(graph, {"files": CLIP_LOADER_FILES}, made_up.id)
    node = graph.api()["clip"]
    assert node["class_type"] == "CLIPLoader"
    assert node["inputs"] == {"clip_name": "t5.safetensors", "type": "made_up"}


def lora(path: Path, module: str, **metadata: str) -> Path:
    tensors = {f"{module}.lora_A.weight": torch.ones(2, 8), f"{module}.lora_B.weight": torch.ones(8, 2)}
    return write(path / "lora.safetensors", tensors, metadata)


@pytest.mark.parametrize(
    ("stated", "asked", "found"),
    [("made-up", None, "made-up"), ("flux1", None, "flux"), ("", "made-up", "made-up"), ("", None, "flux")],
)
def test_two_families_may_have_the_same_module_names(
    made_up: Family, tmp_path: Path, stated: str, asked: str | None, found: str
) -> None:
    """The metadata tells which, then who asks; else the family that has more of the names comes first."""
    path = lora(tmp_path, "double_blocks.0.img_attn.proj", ss_base_model_version=stated)
    assert read_lora(path, family=asked).family == found


def test_a_name_of_one_family_settles_it(made_up: Family, tmp_path: Path) -> None:
    path = lora(tmp_path, "double_blocks.0.img_mod.lin")
    with pytest.raises(LoraError, match="is for flux, not for made-up"):
        read_lora(path, family=made_up.id)


UNKNOWN = {
    "ai-toolkit": "job: extension\nconfig:\n  name: a\n  process:\n  - type: sd_trainer\n"
    "    model: {arch: qwen_image, name_or_path: Qwen/Qwen-Image}\n    sample: {prompts: [a], sampler: flowmatch}\n",
    "eridiffusion": "config:\n  name: a\n  process:\n  - type: sd_trainer\n    model: {name_or_path: Qwen/Qwen-Image}\n"
    "    sample: {prompts: [a]}\n",
    "onetrainer": '{"model_type": "QWEN", "samples": []}',
    "simpletuner": '{"model_family": "qwen_image", "validation_prompt": "a"}',
}


@pytest.mark.parametrize("trainer", UNKNOWN)
def test_a_config_of_another_model_is_refused_by_its_name(trainer: str) -> None:
    """No family is offered in its place: sampled as one of them, the pictures would be wrong."""
    with pytest.raises(SpecError, match=r"(?i)the model family '?qwen.*not supported") as caught:
        read_spec(UNKNOWN[trainer], trainer=trainer)
    assert "family=" not in str(caught.value)
