"""Files that look like LoRAs and cannot work here: refused with the reason, which names what the file is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.lora import LoraError, read_lora, to_host_keys
from comfyui_eridiffusion.tests.lora.lora_files import eridiffusion_header, write

PROJ = "double_blocks.0.img_attn.proj"


def pairs(*modules: str, down: str = ".lora_A.weight", up: str = ".lora_B.weight", width: int = 8) -> dict[str, Tensor]:
    tensors = {}
    for module in modules:
        tensors |= {module + down: torch.ones(2, width), module + up: torch.ones(8, 2)}
    return tensors


KOHYA = {"down": ".lora_down.weight", "up": ".lora_up.weight"}
REFUSED = {
    "EriDiffusion V1's Flux without block numbers": (
        pairs("img_attn", "txt_attn", "img_mlp.lin1", "txt_mlp.lin2", **KOHYA),
        "no block number",
    ),
    "EMA shadow": (pairs("ema.lora.block00.attn.q", down=".lora.A", up=".lora.B"), "EMA shadow"),
    "numbered tensors": ({"lora_param_0": torch.ones(2), "lora_param_1": torch.ones(2)}, "without module names"),
    "optimizer": ({f"__opt__/adamw/m/{PROJ}.lora_A.weight": torch.ones(2, 8)}, "optimizer state"),
    "Adam": ({"state.0.exp_avg": torch.ones(2), "state.0.exp_avg_sq": torch.ones(2)}, "optimizer state"),
    "checkpoint": ({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(1)}, "whole model"),
    "diffusion model": ({"double_blocks.0.img_attn.qkv.weight": torch.ones(1)}, "whole model"),
    "diffusers' model": ({"transformer_blocks.0.attn.to_q.weight": torch.ones(1)}, "whole model"),
    "embedding": ({"clip_l": torch.ones(2, 8), "clip_g": torch.ones(2, 8)}, "embedding"),
    "VAE": ({"decoder.conv_in.weight": torch.ones(1)}, "VAE"),
    "PEFT's OFT": ({"transformer.x_embedder.oft_R.weight": torch.ones(2, 8)}, "oft_R"),
    "sd-scripts' OFT": ({f"oft_unet_{PROJ.replace('.', '_')}.oft_blocks": torch.ones(2, 4, 4)}, "oft_unet_"),
    "old OFT": ({f"lora_unet_{PROJ.replace('.', '_')}.oft_diag": torch.ones(2, 4, 4)}, "oft_diag"),
    "Nunchaku": (
        pairs("transformer_blocks.0.qkv_proj", "transformer_blocks.0.norm1.linear", down=".lora_down", up=".lora_up"),
        "Nunchaku",
    ),
    "Control-LoRA": (
        {"lora_controlnet": torch.ones(1)}
        | {f"input_blocks.4.1.transformer_blocks.0.attn1.to_q.{end}": torch.ones(2, 2) for end in ("down", "up")},
        "Control-LoRA",
    ),
    "LLLite": ({"lllite_unet_input_blocks_7_1_transformer_blocks_0_attn1_to_k.down.0.weight": torch.ones(2)}, "LLLite"),
    **{kind: ({f"base_model.model.{PROJ}.{end}": torch.ones(2, 2)}, kind) for kind, end in {
        "VeRA": "vera_lambda_b", "BOFT": "boft_R", "HRA": "hra_u", "FourierFT": "fourierft_spectrum",
        "VB-LoRA": "vblora_logits_A", "MiSS": "miss_block", "RandLora": "randlora_gamma", "SHiRA": "shira_weight",
        "T-LoRA": "lora.q_layer.weight"}.items()},
    "EasyControl": (pairs("transformer_blocks.0.attn.processor.q_loras.0", down=".down.weight", up=".up.weight"),
                    "EasyControl"),
    "IP-Adapter": ({"image_proj.proj.weight": torch.ones(2), "ip_adapter.1.to_k_ip.weight": torch.ones(2)},
                   "IP-Adapter"),
    "PuLID": ({"pulid_ca.0.to_q.weight": torch.ones(2)}, "PuLID"),
    "ControlNet": ({"controlnet_blocks.0.weight": torch.ones(2)}, "ControlNet"),
    "nothing": ({}, "no tensors"),
}


#: Pairs with something beside them without which they mean another change.
HALF = {
    "AdaLoRA": pairs(PROJ) | {f"{PROJ}.lora_E": torch.ones(2, 1)},
    "fp8 with scales": pairs(PROJ) | {f"{PROJ}.lora_A.scale_weight": torch.tensor(0.5)},
}


@pytest.mark.parametrize("kind", HALF)
def test_half_an_adapter_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(LoraError, match=kind):
        read_lora(write(tmp_path / "lora.safetensors", HALF[kind]))


@pytest.mark.parametrize("kind", REFUSED)
def test_unusable_files(tmp_path: Path, kind: str) -> None:
    tensors, reason = REFUSED[kind]
    path = write(tmp_path / "lora.safetensors", tensors)
    with pytest.raises(LoraError) as caught:
        read_lora(path, family="flux")
    assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert set(caught.value.keys) == set(tensors)
    assert caught.value.remedy


# modules as the trainers of those models name them
OTHER_MODELS = {
    "Wan": pairs("diffusion_model.blocks.0.self_attn.q", "diffusion_model.blocks.0.ffn.0"),
    "Wan ": pairs("lora_unet_blocks_0_cross_attn_k", **KOHYA),
    "Wan  ": pairs("diffusion_model.blocks.35.cross_attn.k_img", "diffusion_model.blocks.35.cross_attn.v_img"),
    "HunyuanVideo": pairs("transformer.double_blocks.0.img_attn_qkv", "transformer.double_blocks.0.img_mlp.fc1"),
    "HunyuanVideo ": pairs("lora_unet_double_blocks_0_img_mlp_fc1", **KOHYA),
    "Qwen-Image": pairs("transformer.transformer_blocks.0.attn.to_q", "transformer.transformer_blocks.0.img_mod.1"),
    "Flux.2": pairs("transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj"),
    "Flux.2 ": pairs("diffusion_model.double_blocks.0.img_attn_proj"),
    "Flux.2  ": {"lora_unet_single_blocks_0_linear1.lora_down.weight": torch.ones(2, 8),
                 "lora_unet_single_blocks_0_linear1.lora_up.weight": torch.ones(72, 2)},
    "Chroma Radiance": pairs(PROJ, "distilled_guidance_layer.layers.0.in_layer", "nerf_blocks.0.param_generator"),
    "Z-Image": pairs("diffusion_model.layers.0.attention.qkv"),
    "PixArt": pairs("transformer.transformer_blocks.0.attn1.to_q"),
    "AuraFlow": pairs("transformer.joint_transformer_blocks.0.attn.to_q"),
    "Cascade": pairs("lora_prior_unet_down_blocks_0_2_attention_to_q", **KOHYA),
    "Stable Diffusion 1.5": pairs("lora_unet_input_blocks_1_1_transformer_blocks_0_attn2_to_k", width=768, **KOHYA),
    "Stable Diffusion 2": pairs("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", width=1024),
    "refiner": pairs("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k", width=1280, **KOHYA),
}


@pytest.mark.parametrize("asked", [None, "flux", "sdxl"])
@pytest.mark.parametrize("model", OTHER_MODELS)
def test_another_models_lora_says_which(tmp_path: Path, model: str, asked: str | None) -> None:
    """Also when the node asks for a family: the file says what it is, not only what it is not."""
    path = write(tmp_path / "lora.safetensors", OTHER_MODELS[model])
    with pytest.raises(LoraError) as caught:
        read_lora(path, family=asked)
    assert model.strip() in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ss_base_model_version", "chroma_radiance"),
        ("modelspec.architecture", "Flux.2-dev/lora"),
        ("ss_base_model_version", "sd_1.5"),
    ],
)
def test_metadata_of_another_model(tmp_path: Path, key: str, value: str) -> None:
    path = write(tmp_path / "a.safetensors", pairs(PROJ), {key: value})
    with pytest.raises(LoraError, match="metadata says"):
        read_lora(path)


@pytest.mark.parametrize(("width", "asked", "is_for"), [(3072, "sd35", "flux"), (1536, "flux", "sd35")])
def test_the_width_settles_what_names_leave_open(tmp_path: Path, width: int, asked: str, is_for: str) -> None:
    path = write(tmp_path / "a.safetensors", pairs("transformer.transformer_blocks.0.attn.to_q", width=width))
    with pytest.raises(LoraError, match=f"is for {is_for}, not for {asked}"):
        read_lora(path, family=asked)
    assert read_lora(path, family=is_for).family == is_for


ALGORITHMS = {
    "loha": {"hada_w1_a": (8, 2), "hada_w1_b": (2, 8), "hada_w2_a": (8, 2), "hada_w2_b": (2, 8)},
    "lokr": {"lokr_w1": (2, 2), "lokr_w2_a": (4, 2), "lokr_w2_b": (2, 4)},
    "oft": {"oft_blocks": (2, 4, 4)},
    "full": {"diff.weight": (8, 8)},
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_eridiffusion_v2_algorithms(tmp_path: Path, algorithm: str) -> None:
    """`--algo` of V2 under its hybrid names: the host's endings, slices left to the host, alpha from the header."""
    module = "double_blocks.0.img_attn.to_k"
    tensors = {f"{module}.{kind}": torch.ones(shape) for kind, shape in ALGORITHMS[algorithm].items()}
    path = write(tmp_path / "flux_lora_step5.safetensors", tensors, eridiffusion_header("train_flux", 5, 2, 6.0))
    lora = read_lora(path)
    assert (lora.dialect, lora.step) == ("eridiffusion-v2", 5)
    state = to_host_keys(lora)
    stem = "transformer.transformer_blocks.0.attn.to_k"
    expected = {f"{stem}.{kind.removesuffix('.weight')}" for kind in ALGORITHMS[algorithm]}
    assert set(state) - {f"{stem}.alpha"} == expected
    if algorithm in ("loha", "lokr"):
        assert state[f"{stem}.alpha"].item() == 6.0
