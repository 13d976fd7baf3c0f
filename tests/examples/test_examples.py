"""The examples: the checker tells truth from mismatch, the models are what their card says, the runs are whole."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from comfyui_eridiffusion.lora import find_checkpoints, read_lora, select_checkpoint
from comfyui_eridiffusion.spec import read_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
FAMILIES = ("flux", "sd35", "sdxl")
SEEDS = (5, 6)


@pytest.fixture(scope="module")
def training() -> Iterator[dict[str, ModuleType]]:
    """The drawing and checking modules, which need neither the host nor a trained model."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield {name: importlib.import_module(f"training.{name}") for name in ("domain", "checker")}
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.mark.parametrize("seed", SEEDS)
def test_checker_is_right_about_drawn_pictures(training: dict[str, ModuleType], seed: int) -> None:
    rates = training["checker"].validate(count=300, seed=seed)
    assert rates["truth"] >= 0.99
    assert rates["mismatched"] <= 0.02


def test_checker_sees_no_shape_where_there_is_none(training: dict[str, ModuleType]) -> None:
    look = training["checker"].look
    plain = torch.full((3, 64, 64), 0.5)
    noise = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert look(plain).shape == ""
    assert look(noise).shape == ""


def test_held_out_combinations_are_never_drawn_for_training(training: dict[str, ModuleType]) -> None:
    domain = training["domain"]
    trained = {(s.colour, s.shape, s.background) for s in domain.training_scenes()}
    held_out = {(s.colour, s.shape, s.background) for s in domain.held_out_scenes()}
    assert len(domain.held_out_scenes()) >= 96
    assert trained.isdisjoint(held_out)
    assert {c for c, _, _ in trained} == set(domain.COLOURS)
    assert {s for _, s, _ in trained} == set(domain.SHAPES)


@pytest.mark.parametrize("family", FAMILIES)
def test_config_names_its_run_and_the_run_has_its_steps(family: str) -> None:
    spec = read_spec(EXAMPLES / "configs" / f"{family}.yaml")
    assert (spec.family, spec.trainer) == (family, "eridiffusion")
    assert not any("[trigger]" in item.prompt for item in spec.items)
    checkpoints = find_checkpoints(EXAMPLES / "runs" / spec.name)
    steps = [checkpoint.step for checkpoint in checkpoints]
    assert len(steps) >= 6
    assert steps == sorted(steps)
    lora = read_lora(select_checkpoint(checkpoints, 0, mode="latest").path)
    assert lora.family == family
    assert lora.step in (None, steps[-1])


def test_one_run_trains_a_text_encoder_and_keeps_alpha_in_its_header() -> None:
    run = EXAMPLES / "runs" / read_spec(EXAMPLES / "configs" / "sdxl.yaml").name
    path = select_checkpoint(find_checkpoints(run), 0, mode="latest").path
    with safe_open(path, framework="pt") as file:
        names, header = list(file.keys()), file.metadata()
    assert any(name.startswith("text_encoders.clip_l.") for name in names)
    assert any(name.startswith("__opt__/adamw/m/") for name in names)
    assert not any(name.endswith(".alpha") for name in names)
    assert "__eridiffusion_ckpt__" in header


@pytest.mark.parametrize(("channels", "family"), [(16, "flux"), (16, "sd35"), (4, "sdxl")])
def test_widened_autoencoder_is_the_trained_one(
    comfy_host: Any, training: dict[str, ModuleType], channels: int, family: str
) -> None:
    """The narrow network, run by itself, against the host's VAE object with the widened weights."""
    narrow = importlib.import_module("loaders.autoencoder")
    state = load_file(EXAMPLES / "models" / f"vae{channels}_small.safetensors")
    decoder = narrow.decoder(channels)
    decoder.load_state_dict({k[len("decoder.") :]: v.float() for k, v in state.items() if k.startswith("decoder.")})
    (vae,) = comfy_host.nodes["EriExampleVAELoader"].execute(f"vae{channels}_small.safetensors", family).args
    raw = torch.randn(2, channels, 8, 12, generator=torch.Generator().manual_seed(3))
    latent = raw / state[f"scale_{family}"] + state[f"shift_{family}"]
    with torch.no_grad():
        expected = decoder(raw).clamp(0, 1).movedim(1, -1)
    assert torch.allclose(vae.decode(latent).float(), expected, atol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_loaders_give_the_hosts_own_classes(comfy_host: Any, family: str) -> None:
    classes = {"flux": "Flux", "sd35": "SD3", "sdxl": "SDXL"}
    (model,) = comfy_host.nodes["EriExampleModelLoader"].execute(f"{family}_small.safetensors", family).args
    assert type(model.model).__module__ == "comfy.model_base"
    assert type(model.model).__name__ == classes[family]
    wrong = next(other for other in FAMILIES if other != family)
    with pytest.raises(ValueError, match=f"expected {wrong}"):
        comfy_host.nodes["EriExampleModelLoader"].execute(f"{family}_small.safetensors", wrong)


def test_examples_stay_small() -> None:
    assert sum(path.stat().st_size for path in EXAMPLES.rglob("*") if path.is_file()) <= 40_000_000
