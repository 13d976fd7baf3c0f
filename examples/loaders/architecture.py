"""Sizes of the small example models, and their construction from the host's own classes.

Flux: `comfy.ldm.flux.model.Flux` with guidance embedding. SD 3.5: the host's MMDiT with rms-normed queries and keys.
SDXL: the host's `UNetModel` with size ids. Text: the host's CLIP-L, CLIP-G and T5 classes with the real tokenizers.
The CLIP features are padded to T5's width and joined on the sequence exactly as in SD 3.5, only that width is 192
here instead of 4096.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import comfy.ldm.flux.model
import comfy.model_base
import comfy.sd
import comfy.supported_models
import comfy.supported_models_base
import comfy.text_encoders.flux
import comfy.text_encoders.sd3_clip
import comfy.text_encoders.t5
import torch
from comfy import sd1_clip, sdxl_clip

WIDTH_L, WIDTH_G, WIDTH_T5 = 64, 96, 192

FLUX: dict[str, Any] = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "vec_in_dim": WIDTH_L,
    "context_in_dim": WIDTH_T5,
    "hidden_size": 192,
    "mlp_ratio": 4.0,
    "num_heads": 3,
    "depth": 2,
    "depth_single_blocks": 4,
    "axes_dim": [16, 24, 24],
    "theta": 10000,
    "qkv_bias": True,
    "guidance_embed": True,
}
SD35: dict[str, Any] = {
    "input_size": None,
    "in_channels": 16,
    "out_channels": 16,
    "patch_size": 2,
    "depth": 3,
    "adm_in_channels": WIDTH_L + WIDTH_G,
    "context_size": WIDTH_T5,
    "qk_norm": "rms",
    "context_embedder_config": {"target": "torch.nn.Linear", "params": {"in_features": WIDTH_T5, "out_features": 192}},
    "num_patches": 256,
    "pos_embed_max_size": 16,
    "pos_embed_scaling_factor": None,
    "x_block_self_attn_layers": [0],
}
SDXL: dict[str, Any] = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 64,
    "num_res_blocks": [1, 1],
    "channel_mult": [1, 2],
    "transformer_depth": [0, 1],
    "transformer_depth_output": [0, 0, 1, 1],
    "transformer_depth_middle": 1,
    "num_head_channels": 32,
    "num_heads": -1,
    "use_spatial_transformer": True,
    "use_linear_in_transformer": True,
    "context_dim": WIDTH_L + WIDTH_G,
    "num_classes": "sequential",
    "adm_in_channels": WIDTH_G + 6 * 256,
    "use_temporal_attention": False,
    "legacy": False,
    "use_checkpoint": False,
}
if "txt_ids_dims" in {field.name for field in fields(comfy.ldm.flux.model.FluxParams)}:
    FLUX["txt_ids_dims"] = []  # newer hosts ask for it; Flux 1's text ids are zeros
UNET_CONFIGS = {"flux": FLUX, "sd35": SD35, "sdxl": SDXL}

CLIP_L = {"hidden_size": WIDTH_L, "intermediate_size": 256, "num_attention_heads": 2, "num_hidden_layers": 3}
CLIP_G = {"hidden_size": WIDTH_G, "intermediate_size": 384, "num_attention_heads": 3, "num_hidden_layers": 3}
T5 = {"d_model": WIDTH_T5, "d_ff": 256, "d_kv": 32, "num_heads": 4, "num_layers": 2}
TEXT_OPTIONS = {"clip_l_model_config": CLIP_L, "clip_g_model_config": CLIP_G, "t5xxl_model_config": T5}


def model_config(family: str, dtype: torch.dtype = torch.float32) -> comfy.supported_models_base.BASE:
    """The host's model configuration object of one family at the small size."""
    classes = {
        "flux": comfy.supported_models.Flux,
        "sd35": comfy.supported_models.SD3,
        "sdxl": comfy.supported_models.SDXL,
    }
    config = classes[family](dict(UNET_CONFIGS[family]))
    config.set_inference_dtype(dtype, None)
    return config


class SmallSD3ClipModel(comfy.text_encoders.sd3_clip.SD3ClipModel):
    """The host's SD 3 text encoders at small widths: same layers, padding and concatenation rules."""

    def encode_token_weights(self, token_weight_pairs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, dict]:
        """L ‖ G on features, zeros up to T5's width, then T5 on the sequence; pooled L ‖ G."""
        l_out, l_pooled = self.clip_l.encode_token_weights(token_weight_pairs["l"])
        g_out, g_pooled = self.clip_g.encode_token_weights(token_weight_pairs["g"])
        t5_out = self.t5xxl.encode_token_weights(token_weight_pairs["t5xxl"])[0]
        shared = min(l_out.shape[1], g_out.shape[1])
        joined = torch.cat((l_out[:, :shared], g_out[:, :shared]), dim=-1)
        joined = torch.nn.functional.pad(joined, (0, WIDTH_T5 - joined.shape[-1]))
        return torch.cat((joined, t5_out), dim=-2), torch.cat((l_pooled, g_pooled), dim=-1), {}


def clip_target(family: str) -> comfy.supported_models_base.ClipTarget:
    """Tokenizer and text-encoder classes of a family, as the host's `CLIP` object takes them."""
    if family == "flux":
        return comfy.supported_models_base.ClipTarget(
            comfy.text_encoders.flux.FluxTokenizer, comfy.text_encoders.flux.FluxClipModel
        )
    if family == "sd35":
        return comfy.supported_models_base.ClipTarget(comfy.text_encoders.sd3_clip.SD3Tokenizer, SmallSD3ClipModel)
    if family == "sdxl":
        return comfy.supported_models_base.ClipTarget(sdxl_clip.SDXLTokenizer, sdxl_clip.SDXLClipModel)
    raise ValueError(f"family: expected flux, sd35 or sdxl, got {family!r}")


def new_clip(family: str) -> comfy.sd.CLIP:
    """A CLIP object of the family's small text encoders in float32, weights not yet set."""
    return comfy.sd.CLIP(clip_target(family), model_options={**TEXT_OPTIONS, "dtype": torch.float32})


def filled_rows(vocabulary: int, width: int, seed: int) -> torch.Tensor:
    """Token embeddings `[vocabulary, width]` for every token, from a fixed seed; trained rows are laid over them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(vocabulary, width, generator=generator) * 0.5


#: token embedding of each encoder: (parameter name below the encoder, vocabulary, width, fill seed)
EMBEDDINGS = {
    "clip_l": ("transformer.text_model.embeddings.token_embedding.weight", 49408, WIDTH_L, 101),
    "clip_g": ("transformer.text_model.embeddings.token_embedding.weight", 49408, WIDTH_G, 102),
    "t5xxl": ("transformer.shared.weight", 32128, WIDTH_T5, 103),
}


def encoders_of(clip: comfy.sd.CLIP) -> dict[str, sd1_clip.SDClipModel]:
    """The encoders that a CLIP object has, by the host's name (`clip_l`, `clip_g`, `t5xxl`)."""
    found = {name: getattr(clip.cond_stage_model, name, None) for name in EMBEDDINGS}
    return {name: encoder for name, encoder in found.items() if encoder is not None}
