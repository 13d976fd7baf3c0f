"""Chroma's LoRAs beside Flux's, whose blocks have the same names: what tells the two apart.

Sources of what trainers state: kohya-ss/sd-scripts `train_network.py`, EriDiffusion V2 (header of its files).
"""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_eridiffusion.lora import LoraError, read_lora
from comfyui_eridiffusion.tests.lora.lora_files import eridiffusion_header, write
from comfyui_eridiffusion.tests.lora.test_lora_not_ours import pairs

BOTH = "double_blocks.0.img_attn.proj"


@pytest.mark.parametrize(
    ("modules", "metadata", "asked", "family"),
    [
        ((BOTH, "distilled_guidance_layer.layers.0.in_layer"), {}, None, "chroma"),
        ((BOTH,), {"ss_base_model_version": "chroma"}, None, "chroma"),
        ((BOTH,), {"modelspec.architecture": "chroma/lora"}, None, "chroma"),
        (("transformer_blocks.0.attn.to_q",), eridiffusion_header("train_chroma", 5, 2, 2.0), None, "chroma"),
        ((BOTH,), {}, "chroma", "chroma"),
        ((BOTH,), {}, None, "flux"),  # nothing tells: Flux' LoRAs are far more
        ((BOTH, "double_blocks.0.img_mod.lin"), {}, None, "flux"),
        ((BOTH,), {"ss_base_model_version": "flux1"}, "flux", "flux"),
    ],
)
def test_the_family(
    tmp_path: Path, modules: tuple[str, ...], metadata: dict[str, str], asked: str | None, family: str
) -> None:
    path = write(tmp_path / "a.safetensors", pairs(*modules), metadata)
    assert read_lora(path, family=asked).family == family


@pytest.mark.parametrize(
    ("modules", "metadata", "asked", "message"),
    [
        ((BOTH, "double_blocks.0.img_mod.lin"), {}, "chroma", "is for flux, not for chroma"),
        ((BOTH, "distilled_guidance_layer.in_proj"), {}, "flux", "is for chroma, not for flux"),
        ((BOTH,), {"ss_base_model_version": "flux1"}, "chroma", "is for flux, not for chroma"),
        (("double_blocks.0.img_mod.lin", "distilled_guidance_layer.in_proj"), {}, None, "several families"),
    ],
)
def test_the_other_familys_file_is_refused(
    tmp_path: Path, modules: tuple[str, ...], metadata: dict[str, str], asked: str | None, message: str
) -> None:
    path = write(tmp_path / "a.safetensors", pairs(*modules), metadata)
    with pytest.raises(LoraError, match=message):
        read_lora(path, family=asked)
