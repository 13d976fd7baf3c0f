"""What a LoRA is for when it is for none of the supported families: told by names that only the other model has."""

from __future__ import annotations

import re
from functools import lru_cache

from ..errors import LoraError, shorten
from .metadata import LoraFile
from .names import FAMILIES

# On module names with "." written as "_", so that one pattern serves the dotted and the kohya spelling. Patterns with
# the block names of a supported family must hold something that family does not have.
_OTHERS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (model, re.compile(pattern))
    for model, pattern in (
        ("Wan", r"(?:^|_)blocks_\d+_(?:(?:self|cross)_attn_[qkvo]$|ffn_[02]$)"),
        # in kohya's spelling its attention is called as Flux's is; dotted it is not
        ("HunyuanVideo", r"(?:^|_)(?:img|txt)_mlp_fc[12]$|\.(?:img|txt)_attn_(?:qkv|proj)$|_individual_token_refiner_"),
        ("Qwen-Image", r"(?:^|_)transformer_blocks_\d+_(?:img|txt)_(?:mlp_net|mod_1)"),
        ("Flux.2", r"(?:^|_)(?:double|single)_stream_modulation|_attn_to_qkv_mlp_proj$"
         r"|_ff(?:_context)?_linear_(?:in|out)$"),
        ("Chroma", r"(?:^|_)distilled_guidance_layer"),
        ("HiDream", r"(?:^|_)(?:double|single)_stream_blocks_\d"),
        ("Z-Image or Lumina 2", r"(?:^|_)(?:noise|context)_refiner_\d|(?:^|_)layers_\d+_(?:attention|feed_forward)_"),
        ("AuraFlow", r"(?:^|_)joint_transformer_blocks_\d|(?:^|_)(?:double|single)_layers_\d+_attn_w\d"),
        ("Stable Cascade", r"^lora_prior_unet_"),
        ("PixArt or Sana", r"(?:^|_)caption_projection_|(?:^|_)adaln_single_"),
        ("LTX-Video, PixArt or Sana", r"^(?:(?:lora_)?transformer_|base_model_model_|diffusion_model_|lycoris_)*"
         r"transformer_blocks_\d+_attn1_to_[qkv]$"),
        ("Cosmos or Anima", r"(?:^|_)blocks_\d+_(?:self|cross)_attn_[qkv]_proj$"),
    )
)  # fmt: skip


@lru_cache(maxsize=64)  # the checkpoints of a run have the same names
def other_model(modules: tuple[str, ...]) -> tuple[str, str] | None:
    """The unsupported model that the names can only belong to, and one of those names; None when there is none."""
    spellings = [(module, module.replace(".", "_")) for module in modules]
    for model, pattern in _OTHERS:
        for spelling in spellings:
            if any(pattern.search(name) for name in spelling):
                return model, spelling[0]
    return None


def refuse_other_models(file: LoraFile) -> None:
    """Raise LoraError when the names can only belong to a model that is not supported; it says which."""
    other = other_model(file.model_modules)
    if other is not None:
        model, module = other
        raise LoraError(
            f"is a LoRA for {model}, none of the supported families",
            path=file.path,
            keys=[module],
            remedy=f"Supported are {shorten(FAMILIES)}",
        )
