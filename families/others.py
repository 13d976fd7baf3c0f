"""Models that people train elsewhere and that the pack does not support: one list, for configs and for LoRA files.

A model that becomes a family of its own leaves this list.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Other:
    """An unsupported model, or several that cannot be told apart.

    Args:
        title: its name for people.
        named: pattern in a base model's name in a config (the last part of its path, small letters); "" = not told so.
        stated: pattern in what a LoRA's metadata says of its base model; "" = as `named`.
        program: pattern at the beginning of the name of its training script, or of its network module behind "lora_";
            "" = it has none in sd-scripts and musubi-tuner.
        modules: pattern in a LoRA's module names, with "." also written as "_", so that one serves the dotted and the
            kohya spelling. Where a supported family has the same block names, it holds what that family lacks.
    """

    title: str
    named: str = ""
    stated: str = ""
    modules: str = ""
    program: str = ""


OTHERS: Final[tuple[Other, ...]] = (
    Other(
        "Wan",
        named=r"wan2",
        program=r"wan",
        stated=r"(?<![a-z])wan",
        modules=r"(?:^|_)blocks_\d+_(?:(?:self|cross)_attn_(?:[qkvo]|[kv]_img|norm_[qk](?:_img)?)$|ffn_[02]$)",
    ),
    Other(
        "HunyuanVideo",
        named=r"hunyuan(?!.?image)",
        program=r"hv|hunyuan(?!_?image)|fpack|framepack",
        modules=r"(?:^|_)(?:img|txt)_mlp_fc[12]$|_individual_token_refiner_",
    ),
    Other("HunyuanImage", named=r"hunyuan.?image", program=r"hunyuan_?image"),
    Other(
        "Qwen-Image",
        named=r"qwen",
        program=r"qwen",
        modules=r"(?:^|_)transformer_blocks_\d+_(?:img|txt)_(?:mlp_net|mod_1)",
    ),
    Other(
        "Flux.2",
        named=r"flux[-_.]?2(?![0-9])|klein",
        program=r"flux_?2",
        modules=r"(?:^|_)(?:double|single)_stream_modulation|_attn_to_qkv_mlp_proj$|_ff(?:_context)?_linear_(?:in|out)$",
    ),
    Other(
        "HunyuanVideo or Flux.2",  # which musubi-tuner's conversion spells alike; in kohya's spelling Flux' is the same
        modules=r"\.(?:img|txt)_attn_(?:qkv|proj)$",
    ),
    Other(
        "Chroma Radiance",
        named=r"radiance",
        modules=r"(?:^|_)nerf_(?:blocks|image_embedder|final_layer)|(?:^|_)img_in_patch",
    ),
    Other("Zeta-Chroma", named=r"zeta[-_]?chroma"),
    Other("Krea 2", named=r"krea[-_. ]?2", program=r"krea_?2"),
    Other("Kandinsky", named=r"kandinsky", program=r"kandinsky"),
    Other("Ideogram", named=r"ideogram", program=r"ideogram"),
    Other("HiDream", named=r"hidream", program=r"hidream", modules=r"(?:^|_)(?:double|single)_stream_blocks_\d"),
    Other(
        "Z-Image or Lumina 2",
        named=r"lumina|z[-_]?image",
        program=r"lumina|z_?image",
        modules=r"(?:^|_)(?:noise|context)_refiner_\d|(?:^|_)layers_\d+_(?:attention|feed_forward)_",
    ),
    Other(
        "AuraFlow",
        named=r"auraflow",
        modules=r"(?:^|_)joint_transformer_blocks_\d|(?:^|_)(?:double|single)_layers_\d+_attn_w\d",
    ),
    Other("Stable Cascade", modules=r"^lora_prior_unet_"),
    Other("PixArt or Sana", named=r"pixart", modules=r"(?:^|_)caption_projection_|(?:^|_)adaln_single_"),
    Other(
        "LTX-Video, PixArt or Sana",
        program=r"ltx",
        modules=r"^(?:(?:lora_)?transformer_|base_model_model_|diffusion_model_|lycoris_)*"
        r"transformer_blocks_\d+_attn1_to_[qkv]$",
    ),
    Other("Anima", named=r"(?<![a-z])anima(?![a-z])", program=r"anima"),
    Other("Cosmos or Anima", modules=r"(?:^|_)blocks_\d+_(?:self|cross)_attn_[qkv]_proj$"),
    Other("Flux Kontext", named=r"kontext", stated=r"(?!)"),  # a LoRA for it is one for Flux
    Other("Flex.2", named=r"flex[-_.]?2(?![0-9])"),
    Other("OmniGen", named=r"omnigen"),
    Other("Stable Diffusion 1 or 2", stated=r"^sd_?v?[12](?![0-9])|stable-diffusion-v[12]"),
)


def other_by_name(name: str) -> str | None:
    """The word in a base model's name or path that gives an unsupported model away; None where there is none."""
    tail = name.replace("\\", "/").lower().rsplit("/", 1)[-1]
    found = (re.search(other.named, tail) for other in OTHERS if other.named)
    return next((match.group() for match in found if match is not None), None)


def other_by_program(name: str) -> str | None:
    """The unsupported model that a training script (`wan_train_network`) or a network module (`lora_wan`) is for."""
    word = name.rpartition(".")[2].lower().removeprefix("lora_")
    return next((other.title for other in OTHERS if other.program and re.match(other.program, word)), None)


def other_by_statement(text: str) -> str | None:
    """The unsupported model that a LoRA's metadata names as its base; None where it names none."""
    for other in OTHERS:
        pattern = other.stated or other.named
        if pattern and re.search(pattern, text, re.IGNORECASE):
            return other.title
    return None
