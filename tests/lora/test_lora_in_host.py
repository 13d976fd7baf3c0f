"""What reading must get right beyond a dialect's names: alphas and their sources, text encoders, every module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

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


def test_eridiffusion_v2_full_save_reads_a_third_of_itself(tmp_path: Path) -> None:
    """Two moments of the optimizer per tensor lie in the same file; the step stands in its name and in its header."""
    pairs = pairs_for(V2_PLACES["flux"], alpha=1.0)
    tensors = tensors_of(pairs, ".lora_A.weight", ".lora_B.weight")
    header = eridiffusion_header("train_flux", 250, RANK, 1.0)
    lora = read_lora(write(tmp_path / "flux_lora_step250.safetensors", with_moments(tensors), header))
    assert (lora.dialect, lora.family, lora.rank, lora.alpha) == ("eridiffusion-v2", "flux", RANK, 1.0)
    assert (lora.step, lora.alpha_source) == (250, "header")
    assert set(lora.tensors) == set(tensors)
    assert set(lora.ignored.values()) == {"optimizer state"}
    assert len(lora.ignored) == 2 * len(tensors)


def test_alpha_of_one_element(tmp_path: Path) -> None:
    """The writer's 0-d tensor may arrive as [1]."""
    pairs = pairs_for(V2_PLACES["sd35"], alpha=2.0)
    tensors = tensors_of(pairs, ".lora_A.weight", ".lora_B.weight", alpha_tensors=True, alpha_shape=(1,))
    check(write(tmp_path / "sd35_lora_1000steps.safetensors", tensors), "sd35", V2_PLACES["sd35"], pairs)


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


def test_text_encoders_alone_need_no_family(tmp_path: Path) -> None:
    places = tables.text_encoder("clip_l", "lora_te1_", "_") + tables.text_encoder("clip_g", "lora_te2_", "_")
    pairs = pairs_for(places, alpha=1.0)
    tensors = tensors_of(pairs, ".lora_down.weight", ".lora_up.weight", alpha_tensors=True)
    lora = read_lora(write(tmp_path / "te.safetensors", tensors))
    assert lora.family is None
    assert_same_changes(host_changes("sdxl", to_host_keys(lora)), expected_changes(places, pairs))


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
    from comfyui_eridiffusion.families import FAMILIES as KNOWN

    for family in FAMILIES:
        weights = {name: tensor for name, tensor in host_base(family).items() if name.startswith("diffusion_model.")}
        modules = [n.removeprefix("diffusion_model.").removesuffix(".weight") for n, t in weights.items()
                   if n.endswith(".weight") and t.ndim > 1]  # fmt: skip
        unknown = [module for module in modules if KNOWN[family].names.native(module) is None]
        assert unknown == []
        for module in modules:
            target = KNOWN[family].names.native(module.replace(".", "_"), "_")
            assert target is not None
            assert target.weight == f"diffusion_model.{module}"
