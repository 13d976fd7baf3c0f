"""Every dialect and family: the host adds strength · alpha / rank · up @ down, as computed here, to its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from comfyui_eridiffusion.lora import load_report, merged_delta, read_lora, to_host_keys
from comfyui_eridiffusion.tests.lora import module_tables as tables
from comfyui_eridiffusion.tests.lora.host_models import host_base, host_changes, host_key_map
from comfyui_eridiffusion.tests.lora.lora_files import (
    RANK,
    Place,
    assert_same_changes,
    eridiffusion_header,
    expected_changes,
    pairs_for,
    tensors_of,
    with_moments,
    write,
)

pytestmark = pytest.mark.usefixtures("comfy_host")

STRENGTH = 0.75
V2_PLACES = {"flux": tables.flux_hybrid(), "sd35": tables.sd35_native(), "sdxl": tables.sdxl("native")}
FAMILIES = tuple(V2_PLACES)


def check(path: Path, family: str, places: list[Place], pairs: dict[str, Any], asked: str | None = None) -> None:
    """The host's change, our own merged change, and the expectation are one and the same."""
    lora = read_lora(path, family=asked)
    assert lora.family == family
    assert lora.unmatched == ()
    expected = expected_changes(places, pairs, STRENGTH)
    state = to_host_keys(lora)
    assert_same_changes(host_changes(family, state, STRENGTH), expected)
    assert_same_changes(merged_delta(lora, STRENGTH), expected)
    report = load_report(lora, host_key_map(family).keys())
    assert report.unmatched == ()
    assert report.matched == len(lora.tensors)


@pytest.mark.parametrize(("family", "ending"), [*((family, ".weight") for family in FAMILIES), ("flux", "")])
def test_eridiffusion_v2_full_save(tmp_path: Path, family: str, ending: str) -> None:
    """Alpha only in the header, optimizer moments in the same file; older files end in bare lora_A/lora_B."""
    places = V2_PLACES[family]
    pairs = pairs_for(places, alpha=1.0)
    tensors = tensors_of(pairs, f".lora_A{ending}", f".lora_B{ending}")
    header = eridiffusion_header(f"train_{family}", 250, RANK, 1.0)
    path = write(tmp_path / f"{family}_lora_step250.safetensors", with_moments(tensors), header)

    lora = read_lora(path)
    assert (lora.dialect, lora.family, lora.rank, lora.alpha) == ("eridiffusion-v2", family, RANK, 1.0)
    assert (lora.step, lora.alpha_source) == (250, "header")
    assert set(lora.tensors) == set(tensors)
    assert len(lora.ignored) == 2 * len(tensors)
    check(path, family, places, pairs)


@pytest.mark.parametrize(("family", "alpha_shape"), [("flux", ()), ("sd35", (1,)), ("sdxl", ())])
def test_eridiffusion_v2_weights_save(tmp_path: Path, family: str, alpha_shape: tuple[int, ...]) -> None:
    """Alpha as a scalar per module, no header."""
    places = V2_PLACES[family]
    pairs = pairs_for(places, alpha=2.0)
    tensors = tensors_of(pairs, ".lora_A.weight", ".lora_B.weight", alpha_tensors=True, alpha_shape=alpha_shape)
    path = write(tmp_path / f"{family}_lora_1000steps.safetensors", tensors)
    lora = read_lora(path)
    assert (lora.dialect, lora.alpha, lora.step, lora.alpha_source) == ("eridiffusion-v2", 2.0, 1000, "tensors")
    check(path, family, places, pairs)


@pytest.mark.parametrize(("family", "encoder"), [("flux", "clip_l"), ("sd35", "clip_g"), ("sdxl", "clip_l")])
def test_eridiffusion_v2_with_text_encoder(tmp_path: Path, family: str, encoder: str) -> None:
    """The text encoder's pairs lie beside the model's, under the host's own names."""
    places = V2_PLACES[family] + tables.text_encoder(encoder, f"text_encoders.{encoder}.transformer.")
    pairs = pairs_for(places, alpha=8.0)
    tensors = with_moments(tensors_of(pairs, ".lora_A.weight", ".lora_B.weight"))
    path = write(tmp_path / "run.safetensors", tensors, eridiffusion_header(f"train_{family}", 10, RANK, 8.0))
    check(path, family, places, pairs)
    report = load_report(read_lora(path), host_key_map(family).keys())
    assert report.parts[encoder].matched == 2 * 12
    assert report.parts["model"].matched == 2 * len(V2_PLACES[family])


KOHYA = {
    "flux": tables.flux_native(),
    "sd35": tables.sd35_native() + tables.sd35_modulation(),
    "sdxl": tables.sdxl("native", convolutions=True),
}


@pytest.mark.parametrize(
    ("family", "dtype"), [("flux", torch.float32), ("sd35", torch.bfloat16), ("sdxl", torch.float16)]
)
def test_kohya(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    """Native names with underscores, fused projections, convolutions, alpha tensors, half precision."""
    places = tables.renamed(KOHYA[family], "lora_unet_", "_")
    pairs = pairs_for(places, alpha=2.0, dtype=dtype)
    tensors = tensors_of(pairs, ".lora_down.weight", ".lora_up.weight", alpha_tensors=True)
    path = write(tmp_path / "char-step00000400.safetensors", tensors, {"ss_steps": "400"})
    lora = read_lora(path)
    assert (lora.dialect, lora.alpha, lora.rank, lora.step) == ("kohya", 2.0, RANK, 400)
    check(path, family, places, pairs)


KOHYA_TEXT = {
    "flux": tables.text_encoder("clip_l", "lora_te1_", "_") + tables.t5("lora_te3_", "_"),
    "sd35": (
        tables.text_encoder("clip_l", "lora_te1_", "_")
        + tables.text_encoder("clip_g", "lora_te2_", "_")
        + tables.t5("lora_te3_", "_")
    ),
    "sdxl": tables.text_encoder("clip_l", "lora_te1_", "_") + tables.text_encoder("clip_g", "lora_te2_", "_"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_kohya_text_encoders(tmp_path: Path, family: str) -> None:
    places = tables.renamed(KOHYA[family], "lora_unet_", "_") + KOHYA_TEXT[family]
    pairs = pairs_for(places, alpha=1.0)
    tensors = tensors_of(pairs, ".lora_down.weight", ".lora_up.weight", alpha_tensors=True)
    check(write(tmp_path / "last.safetensors", tensors), family, places, pairs)


def test_text_encoders_alone_need_no_family(tmp_path: Path) -> None:
    places = KOHYA_TEXT["sdxl"]
    pairs = pairs_for(places, alpha=1.0)
    tensors = tensors_of(pairs, ".lora_down.weight", ".lora_up.weight", alpha_tensors=True)
    lora = read_lora(write(tmp_path / "te.safetensors", tensors))
    assert lora.family is None
    assert_same_changes(host_changes("sdxl", to_host_keys(lora)), expected_changes(places, pairs))


def test_onetrainer_t5_number_of_flux(tmp_path: Path) -> None:
    """OneTrainer's T5 of Flux is te2, where SDXL and SD 3.5 have CLIP-G; the names below tell them apart."""
    places = tables.renamed(KOHYA["flux"], "lora_unet_", "_") + tables.t5("lora_te2_", "_")
    pairs = pairs_for(places, alpha=1.0)
    tensors = tensors_of(pairs, ".lora_down.weight", ".lora_up.weight", alpha_tensors=True)
    check(write(tmp_path / "a.safetensors", tensors), "flux", places, pairs)


def test_eridiffusion_comfyui_companion(tmp_path: Path) -> None:
    """SDXL's companion of every save has kohya's names; it says the same as the primary."""
    places = tables.renamed(V2_PLACES["sdxl"], "lora_unet_", "_")
    pairs = pairs_for(places, alpha=1.0)
    tensors = tensors_of(pairs, ".lora_down.weight", ".lora_up.weight", alpha_tensors=True)
    path = write(tmp_path / "sdxl_lora_step500_comfyui.safetensors", tensors)
    assert read_lora(path).step == 500
    check(path, "sdxl", places, pairs)


PEFT_PLACES = {
    "flux": tables.flux_diffusers(),
    "sd35": tables.sd35_diffusers(),
    "sdxl": tables.sdxl("diffusers", convolutions=True),
}
PEFT_PREFIXES = {
    "flux": ("transformer.", "base_model.model.", "base_model.model.transformer.", ""),
    "sd35": ("transformer.", "base_model.model.", "transformer.base_model.model.", ""),
    "sdxl": ("unet.", "base_model.model.", "unet.base_model.model.", ""),
}
PEFT_CASES = [(family, prefix) for family, prefixes in PEFT_PREFIXES.items() for prefix in prefixes]


@pytest.mark.parametrize(("family", "prefix"), PEFT_CASES)
def test_peft_prefixes(tmp_path: Path, family: str, prefix: str) -> None:
    """diffusers' names behind every prefix, without any alpha: scale 1. A wrapped file may name its adapter."""
    ending = ".default.weight" if prefix == "base_model.model." else ".weight"
    places = tables.renamed(PEFT_PLACES[family], prefix)
    pairs = pairs_for(places, alpha=None)
    tensors = tensors_of(pairs, f".lora_A{ending}", f".lora_B{ending}")
    path = write(tmp_path / "pytorch_lora_weights.safetensors", tensors)
    lora = read_lora(path, family=family)
    assert (lora.dialect, lora.alpha, lora.alpha_source) == ("peft", float(RANK), "none")
    assert any("no alpha" in note for note in lora.notes)
    check(path, family, places, pairs, asked=family)


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_text_encoders(tmp_path: Path, family: str) -> None:
    prefix = PEFT_PREFIXES[family][0]
    places = tables.renamed(PEFT_PLACES[family], prefix) + tables.text_encoder("clip_l", "text_encoder.")
    if family != "flux":
        places += tables.text_encoder("clip_g", "text_encoder_2.")
    pairs = pairs_for(places, alpha=None)
    tensors = tensors_of(pairs, ".lora_A.weight", ".lora_B.weight")
    check(write(tmp_path / "a.safetensors", tensors), family, places, pairs, asked=family)


@pytest.mark.parametrize("rslora", [False, True])
def test_adapter_config_beside_the_file(tmp_path: Path, rslora: bool) -> None:
    """PEFT's alpha, alpha pattern and rsLoRA: alpha / rank, or alpha / sqrt(rank)."""
    places = tables.renamed(tables.flux_diffusers(), "base_model.model.")
    special = "single_transformer_blocks.1.attn.to_k"
    alphas = {place.key: 32.0 if place.key.endswith(special) else 6.0 for place in places}
    plain = pairs_for(places, alpha=None)
    to_host = RANK**0.5 if rslora else 1.0
    pairs = {key: type(pair)(pair.down, pair.up, alphas[key] * to_host) for key, pair in plain.items()}
    path = write(tmp_path / "adapter_model.safetensors", tensors_of(pairs, ".lora_A.weight", ".lora_B.weight"))
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 6, "use_rslora": rslora, "alpha_pattern": {special: 32}}
    path.with_name("adapter_config.json").write_text(json.dumps(config))

    lora = read_lora(path)
    assert (lora.alpha, lora.alpha_source) == (6.0, "adapter_config.json")
    check(path, "flux", places, pairs)
    doubled = {key: type(pair)(pair.down, pair.up, 12.0 * to_host) for key, pair in plain.items()}
    assert_same_changes(merged_delta(read_lora(path, alpha=12.0)), expected_changes(places, doubled))


def test_argument_overrides_every_alpha(tmp_path: Path) -> None:
    places = tables.sd35_native()
    pairs = pairs_for(places, alpha=2.0)
    tensors = tensors_of(pairs, ".lora_A.weight", ".lora_B.weight", alpha_tensors=True)
    lora = read_lora(write(tmp_path / "a.safetensors", tensors), alpha=5.0)
    assert (lora.alpha, lora.alpha_source) == (5.0, "argument")
    asked = {key: type(pair)(pair.down, pair.up, 5.0) for key, pair in pairs.items()}
    assert_same_changes(host_changes("sd35", to_host_keys(lora)), expected_changes(places, asked))


def test_stock_host_without_us_gets_it_wrong(tmp_path: Path) -> None:
    """Why the dialects exist: the host alone finds nothing in an EriDiffusion V2 file."""
    import comfy.lora

    pairs = pairs_for(tables.flux_hybrid(), alpha=1.0)
    raw = tensors_of(pairs, ".lora_A.weight", ".lora_B.weight")
    assert comfy.lora.load_lora(raw, host_key_map("flux"), log_missing=False) == {}


def test_every_model_module_of_the_host_is_reachable() -> None:
    """Each linear or convolution weight of the small host models has a native name in our tables."""
    from comfyui_eridiffusion.lora.names import TABLES

    for family in FAMILIES:
        weights = {name: tensor for name, tensor in host_base(family).items() if name.startswith("diffusion_model.")}
        modules = [n.removeprefix("diffusion_model.").removesuffix(".weight") for n, t in weights.items()
                   if n.endswith(".weight") and t.ndim > 1]  # fmt: skip
        unknown = [module for module in modules if TABLES[family].native(module) is None]
        assert unknown == []
        for module in modules:
            target = TABLES[family].native(module.replace(".", "_"), "_")
            assert target is not None
            assert target.weight == f"diffusion_model.{module}"
