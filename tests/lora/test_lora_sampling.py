"""Sampling with a converted file through the host equals sampling with weights merged by hand, text encoders included.

The models are small instances of the host's own classes; which weight a module names is spelt out here, and the merge
is strength · alpha / rank · up @ down in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.lora import read_lora, to_host_keys
from comfyui_eridiffusion.tests.lora.lora_files import (
    Place,
    eridiffusion_header,
    expected_changes,
    pairs_for,
    tensors_of,
    with_moments,
    write,
)
from comfyui_eridiffusion.tests.nodes import small_models

pytestmark = pytest.mark.usefixtures("comfy_host")

FAMILIES = ("flux", "sd35", "sdxl")
RANK, SPREAD = 4, 0.05
_M = "diffusion_model."
LAYERS = {
    "flux": ("double_blocks.", "single_blocks."),
    "sd35": ("joint_blocks.",),
    "sdxl": ("input_blocks.", "middle_block.", "output_blocks."),
}


class File:
    """A LoRA file and what it must add to each weight at strength 1."""

    def __init__(
        self, path: Path, places: Sequence[Place], alpha: float, endings: tuple[str, str], header: bool
    ) -> None:
        pairs = {
            key: type(pair)(SPREAD * pair.down, pair.up, alpha) for key, pair in pairs_for(places, alpha, RANK).items()
        }
        tensors = tensors_of(pairs, *endings, alpha_tensors=not header)
        metadata = eridiffusion_header("train_flux", 5, RANK, alpha) if header else None
        self.path = write(path, with_moments(tensors) if header else tensors, metadata)
        self.places, self.pairs = places, pairs

    def changes(self, strength: float) -> dict[str, Tensor]:
        return expected_changes(self.places, self.pairs, strength)


def layers(target: Any, family: str) -> list[tuple[str, tuple[int, ...]]]:
    """Native name and shape of every matrix and convolution in the blocks of a small model."""
    state = target.model.state_dict()
    named = [(name.removeprefix(_M).removesuffix(".weight"), tuple(value.shape)) for name, value in state.items()
             if name.endswith(".weight") and value.ndim > 1]  # fmt: skip
    return [(name, shape) for name, shape in named if name.startswith(LAYERS[family])]


def kohya_file(path: Path, target: Any, family: str, alpha: float = 2.0) -> File:
    places = [Place(f"lora_unet_{n.replace('.', '_')}", _M + n, shape) for n, shape in layers(target, family)]
    return File(path, places, alpha, (".lora_down.weight", ".lora_up.weight"), header=False)


def hybrid_file(path: Path, target: Any, width: int = 128) -> File:
    """EriDiffusion V2's Flux: split projections, alpha in the header only, optimizer moments beside."""
    places = []
    for name, shape in layers(target, "flux"):
        stem, _, last = name.rpartition(".")
        parts = {"qkv": [("to_q", 1), ("to_k", 1), ("to_v", 1)],
                 "linear1": [("attn.to_q", 1), ("attn.to_k", 1), ("attn.to_v", 1), ("proj_mlp", 4)],
                 "linear2": [("proj_out", shape[0] // width)]}.get(last, [(last, shape[0] // width)])  # fmt: skip
        if last == "lin":
            continue
        row = 0
        for part, count in parts:
            places.append(Place(f"{stem}.{part}", _M + name, shape, row, count * width))
            row += count * width
    return File(path, places, 1.0, (".lora_A.weight", ".lora_B.weight"), header=True)


def add(target: Any, file: File, strength: float, key_map: Callable[[Any], dict[str, Any]]) -> Any:
    """A clone with the file's patches, made by the host's own functions from our keys."""
    import comfy.lora

    clone = target.clone()
    patches = comfy.lora.load_lora(to_host_keys(read_lora(file.path)), key_map(target), log_missing=False)
    assert set(clone.add_patches(patches, strength)) == set(patches)
    return clone


def model_names(model: Any) -> dict[str, Any]:
    import comfy.lora

    return comfy.lora.model_lora_keys_unet(model.model, {})


def clip_names(clip: Any) -> dict[str, Any]:
    import comfy.lora

    return comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {})


def merge(module: torch.nn.Module, *changes: dict[str, Tensor]) -> None:
    """Add changes to a module's parameters in place, float64 rounded once."""
    parameters = dict(module.named_parameters())
    with torch.no_grad():
        for change in changes:
            for name, value in change.items():
                parameters[name].copy_((parameters[name].double() + value).float())


def sample(model: Any, inputs: tuple[Any, list[Any], list[Any], Tensor]) -> Tensor:
    import comfy.sample

    _, positive, negative, latent = inputs
    noise = torch.randn(latent.shape, generator=torch.Generator().manual_seed(6))
    return comfy.sample.sample(model, noise, 3, 2.0, "euler", "simple", positive, negative, latent, disable_pbar=True)


def assert_same_pictures(found: Tensor, expected: Tensor, without: Tensor, bound: float = 2e-5) -> None:
    """Equal within float32's rounding, which sampling carries on; and the LoRA is no small thing here."""
    spread = expected.std().item()
    assert (found - expected).abs().max().item() < bound * spread
    assert (without - expected).abs().max().item() > 0.05 * spread


@pytest.mark.parametrize("strength", [1.0, -0.6])
@pytest.mark.parametrize("family", FAMILIES)
def test_converted_equals_merged(tmp_path: Path, family: str, strength: float) -> None:
    inputs = small_models.inputs_for(family)
    file = kohya_file(tmp_path / "a.safetensors", inputs[0], family)
    plain = sample(inputs[0], inputs)
    found = sample(add(inputs[0], file, strength, model_names), inputs)
    merged = small_models.inputs_for(family)[0]  # a model of its own: the host keeps the patched one loaded
    merge(merged.model, file.changes(strength))
    assert_same_pictures(found, sample(merged, inputs), plain)


def test_stacked_loras_of_two_dialects_add_up(tmp_path: Path) -> None:
    inputs = small_models.inputs_for("flux")
    first = hybrid_file(tmp_path / "flux_lora_step5.safetensors", inputs[0])
    second = kohya_file(tmp_path / "b.safetensors", inputs[0], "flux")
    plain = sample(inputs[0], inputs)
    stacked = add(add(inputs[0], first, 0.8, model_names), second, -0.4, model_names)
    found = sample(stacked, inputs)
    merged = small_models.inputs_for("flux")[0]
    merge(merged.model, first.changes(0.8), second.changes(-0.4))
    assert_same_pictures(found, sample(merged, inputs), plain)


def test_a_trainers_multiplier_is_the_strength(tmp_path: Path) -> None:
    """network_multiplier m in a prompt file scales the whole change: strength m, bit for bit alpha · m where m is 2."""
    inputs = small_models.inputs_for("sd35")
    multiplied = sample(
        add(inputs[0], kohya_file(tmp_path / "a.safetensors", inputs[0], "sd35"), 2.0, model_names), inputs
    )
    doubled = kohya_file(tmp_path / "b.safetensors", inputs[0], "sd35", alpha=4.0)
    assert torch.equal(multiplied, sample(add(inputs[0], doubled, 1.0, model_names), inputs))


CLIPS = {
    "flux": (small_models.flux_clip, {"clip_l": "lora_te1_", "t5xxl": "lora_te3_"}),
    "sd35": (small_models.sd35_clip, {"clip_l": "lora_te1_", "clip_g": "lora_te2_", "t5xxl": "lora_te3_"}),
    "sdxl": (small_models.sdxl_clip, {"clip_l": "lora_te1_", "clip_g": "lora_te2_"}),
}


def text_places(clip: Any, prefixes: dict[str, str]) -> list[Place]:
    """The attention and feed-forward matrices of each encoder under kohya's names."""
    places = []
    for name, value in clip.cond_stage_model.state_dict().items():
        encoder, _, rest = name.partition(".transformer.")
        layer = rest.startswith(("text_model.encoder.layers.", "encoder.block.")) and "bias" not in rest
        if layer and value.ndim == 2 and rest.endswith(".weight"):
            module = rest.removesuffix(".weight")
            places.append(Place(prefixes[encoder] + module.replace(".", "_"), name.removesuffix(".weight"),
                                tuple(value.shape)))  # fmt: skip
    return [place for place in places if "relative_attention_bias" not in place.key]


@pytest.mark.parametrize("family", FAMILIES)
def test_text_encoders_converted_equal_merged(tmp_path: Path, family: str) -> None:
    make, prefixes = CLIPS[family]
    clip = make()
    file = File(tmp_path / "a.safetensors", text_places(clip, prefixes), 2.0,
                (".lora_down.weight", ".lora_up.weight"), header=False)  # fmt: skip
    tokens = clip.tokenize("a red circle on a blue ground")
    plain = clip.encode_from_tokens(tokens)
    found = add(clip, file, 0.7, clip_names).encode_from_tokens(tokens)
    clip.patcher.unpatch_model()
    merge(clip.cond_stage_model, file.changes(0.7))
    # 4096 wide weights and unnormalised random layers: measured 7e-5 for SD 3.5, 4e-6 for the others
    assert_same_pictures(found, clip.encode_from_tokens(tokens), plain, bound=3e-4 if family == "sd35" else 2e-5)
