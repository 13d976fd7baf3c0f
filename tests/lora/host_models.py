"""Small instances of the host's own model classes, and what the host's own loader makes of a LoRA on them.

Nothing here uses the pack. The host must be importable (fixture `comfy_host`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes.chroma_models import settings_of_this_version
from comfyui_eridiffusion.tests.nodes.small_models import flux_settings_of_this_host

HIDDEN = 192  # Flux: 3 heads; SD 3.5: depth 3, since its width is 64 · depth
CONTEXT = 80
SDXL_CHANNELS = 32

_FLUX = {
    "image_model": "flux",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 48,
    "context_in_dim": CONTEXT,
    "hidden_size": HIDDEN,
    "mlp_ratio": 4.0,
    "num_heads": 3,
    "depth": 2,
    "depth_single_blocks": 4,
    "axes_dim": [16, 24, 24],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "guidance_embed": True,
}
CHROMA_LAYERS, CHROMA_WIDTH = 2, 48  # of distilled_guidance_layer
_CHROMA = {
    **{name: value for name, value in _FLUX.items() if name not in ("vec_in_dim", "guidance_embed")},
    "image_model": "chroma",
    "in_channels": 64,
    "out_channels": 64,
    "in_dim": 64,
    "out_dim": HIDDEN,
    "hidden_dim": CHROMA_WIDTH,
    "n_layers": CHROMA_LAYERS,
}
_SD35 = {
    "in_channels": 16,
    "patch_size": 2,
    "out_channels": 16,
    "depth": 3,
    "input_size": None,
    "adm_in_channels": 96,
    "context_embedder_config": {
        "target": "torch.nn.Linear",
        "params": {"in_features": CONTEXT, "out_features": HIDDEN},
    },
    "num_patches": 64,
    "pos_embed_max_size": 8,
    "pos_embed_scaling_factor": None,
    "qk_norm": "rms",
    "x_block_self_attn_layers": [0, 1],
}
_SDXL = {  # SDXL's own layout: three levels, two residual blocks each, attention in the second and third
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": SDXL_CHANNELS,
    "num_res_blocks": [2, 2, 2],
    "channel_mult": [1, 2, 4],
    "num_head_channels": 32,
    "use_spatial_transformer": True,
    "transformer_depth": [0, 0, 1, 1, 2, 2],
    "transformer_depth_output": [0, 0, 0, 1, 1, 1, 2, 2, 2],
    "transformer_depth_middle": 2,
    "context_dim": CONTEXT,
    "adm_in_channels": 96,
    "num_classes": "sequential",
    "use_linear_in_transformer": True,
    "use_temporal_attention": False,
    "legacy": False,
}


@lru_cache
def host_model(family: str) -> Any:
    """The host's model of a family (`comfy.model_base`), every parameter drawn from a seed."""
    import comfy.supported_models

    classes: dict[str, tuple[str, dict[str, Any]]] = {
        "flux": ("Flux", _FLUX),
        "sd35": ("SD3", _SD35),
        "sdxl": ("SDXL", _SDXL),
        "chroma": ("Chroma", _CHROMA),
    }
    name, config = classes[family]
    more = {"flux": flux_settings_of_this_host, "chroma": settings_of_this_version}.get(family, dict)()
    settings = getattr(comfy.supported_models, name)({**config, **more})
    settings.inpaint_model = lambda: False
    settings.set_inference_dtype(torch.float32, None)
    model = settings.get_model({}, "", device="cpu")
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.diffusion_model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return model


@lru_cache
def host_text_encoders(family: str) -> Any:
    """The host's text encoder module of a family, small; parameters without storage (only names and shapes count)."""
    import comfy.sdxl_clip
    import comfy.text_encoders.flux
    import comfy.text_encoders.pixart_t5
    import comfy.text_encoders.sd3_clip

    clip = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": 3}
    options = {
        "clip_l_model_config": {**clip, "projection_dim": 64},
        "clip_g_model_config": {**clip, "projection_dim": 64},
        "t5xxl_model_config": {"d_model": 64, "d_ff": 96, "d_kv": 32, "num_heads": 2, "num_layers": 2},
    }
    kinds = {
        "flux": comfy.text_encoders.flux.FluxClipModel,
        "sd35": comfy.text_encoders.sd3_clip.SD3ClipModel,
        "sdxl": comfy.sdxl_clip.SDXLClipModel,
        "chroma": comfy.text_encoders.pixart_t5.PixArtT5XXL,
    }
    return kinds[family](device="meta", dtype=torch.float32, model_options=options)


@lru_cache
def host_base(family: str) -> dict[str, Tensor]:
    """The small model's parameters under the host's names."""
    return dict(host_model(family).state_dict())


@lru_cache
def _text_encoder_sizes(family: str) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in host_text_encoders(family).state_dict().items()}


@lru_cache
def host_key_map(family: str) -> dict[str, Any]:
    """The host's own map, name in a LoRA file -> weight, for the small model and its text encoders."""
    import comfy.lora

    names = comfy.lora.model_lora_keys_unet(host_model(family), {})
    return comfy.lora.model_lora_keys_clip(host_text_encoders(family), names)


def host_changes(family: str, state: Mapping[str, Tensor], strength: float = 1.0) -> dict[str, Tensor]:
    """Per parameter of model and text encoders what the host's own loader and patching add to it.

    Also asserts that the host took every tensor of `state`: it would pass over the others with a console line.
    """
    changes, taken = loaded_changes(family, state, strength)
    assert taken >= set(state), f"not taken by the host: {sorted(set(state) - taken)}"
    return changes


def loaded_changes(
    family: str, state: Mapping[str, Tensor], strength: float = 1.0
) -> tuple[dict[str, Tensor], set[str]]:
    """The host's change per parameter, and the names in `state` that it took (whole differences count as taken)."""
    import comfy.lora

    sizes = _text_encoder_sizes(family)
    base = host_base(family)
    generator = torch.Generator().manual_seed(11)
    patches = comfy.lora.load_lora(state, host_key_map(family), log_missing=False)
    taken: set[str] = set().union(*(getattr(patch, "loaded_keys", set()) for patch in patches.values()))
    if any(isinstance(patch, tuple) for patch in patches.values()):
        taken |= {name for name in state if name.endswith((".diff", ".diff_b"))}

    by_weight: dict[str, list[Any]] = {}
    for key, patch in patches.items():
        name, offset, function = (*key, None)[:3] if isinstance(key, tuple) else (key, None, None)
        by_weight.setdefault(name, []).append((strength, patch, 1.0, offset, function))
    changes = {}
    for name, todo in by_weight.items():
        weight = base[name] if name in base else torch.randn(sizes[name], generator=generator)
        changes[name] = comfy.lora.calculate_weight(todo, weight.clone(), name) - weight
    return changes, taken & set(state)
