"""A loaded model's family goes by ComfyUI's exact class; a derived class is another model, and is named."""

from __future__ import annotations

import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from comfyui_eridiffusion.families import FAMILIES
from comfyui_eridiffusion.tests.nodes import chroma_models, small_models
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, write_kohya

MODELS = {
    "flux": small_models.flux_model,
    "sd35": small_models.sd35_model,
    "sdxl": small_models.sdxl_model,
    "chroma": lambda: chroma_models.comfy_model(
        chroma_models.chroma_names(chroma_models.diffusers_model().state_dict())
    ),
}


def family_of(comfy_host: Any, model: Any) -> str | None:
    family = comfy_host.pack("host.family").family_of(model)
    return family and family.id


def derived(kind: type) -> list[type]:
    return [below for child in kind.__subclasses__() for below in (child, *derived(child))]


@pytest.mark.parametrize("family", MODELS)
def test_a_familys_model(comfy_host: Any, family: str) -> None:
    assert family_of(comfy_host, MODELS[family]()) == family


def test_flux_schnell_is_flux(comfy_host: Any) -> None:
    """ComfyUI tells dev and schnell apart by their configuration, not by their class."""
    import comfy.model_base
    import comfy.supported_models

    for config in (comfy.supported_models.Flux, comfy.supported_models.FluxSchnell):
        assert "model_base.Flux(" in inspect.getsource(config.get_model)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_derived_class_is_another_model(comfy_host: Any, family: str) -> None:
    """ComfyUI's own (Flux2, Chroma, SDXL_instructpix2pix, … as its version has them) and any other."""
    import comfy.model_base

    supported = {getattr(comfy.model_base, name) for known in FAMILIES.values() for name in known.model_classes}
    for name in FAMILIES[family].model_classes:
        kind = getattr(comfy.model_base, name)
        for other in {*derived(kind), type("Derived", (kind,), {})} - supported:
            assert family_of(comfy_host, SimpleNamespace(model=object.__new__(other))) is None


def test_lora_at_step_names_the_class_of_another_model(
    comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flux.2 has Flux's block names in ComfyUI, so that a Flux LoRA would seem to fit."""
    import comfy.model_base

    if not hasattr(comfy.model_base, "Flux2"):
        pytest.skip("this ComfyUI does not know Flux.2")
    model = small_models.flux_model()
    write_kohya(tmp_path / "run" / "flux_lora_step5.safetensors", model, 5)
    monkeypatch.setattr(model.model, "__class__", comfy.model_base.Flux2)
    at_step = comfy_host.nodes["EriLoraAtStep"].execute
    inputs = {"clip": None, "run": "run", "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    with folders(loras=tmp_path):
        with pytest.raises(ValueError, match="model is a Flux2 in ComfyUI, none of the supported families"):
            at_step(model=model, step=5, **inputs)
        assert at_step(model=model, step=0, **inputs).args[0] is model
