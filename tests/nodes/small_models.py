"""Small instances of the host's own model classes with every parameter drawn from a seed. Import inside tests only:
the host must be importable (fixture `comfy_host`)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

CONTEXT = 64  # width of each small text encoder


def initialise(module: torch.nn.Module, seed: int, spread: float = 1.0) -> torch.nn.Module:
    """Give every parameter seeded values: norms near one, matrices scaled by their fan-in, biases small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim <= 1:
                near = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
                parameter.copy_(near + 0.05 * values)
            else:
                parameter.copy_(values * spread / max(1, parameter[0].numel()) ** 0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("pos_embed"):  # the host leaves it uninitialised for the checkpoint to fill
                buffer.copy_(torch.randn(buffer.shape, generator=generator))
    return module


def _patcher(config: Any, seed: int) -> Any:
    import comfy.model_patcher

    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device="cpu")
    initialise(model.diffusion_model, seed)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def flux_settings_of_this_host() -> dict[str, Any]:
    """Settings that newer hosts ask of a Flux model beside those every host does; for Flux 1 as they detect it."""
    import comfy.ldm.flux.model

    asked = {field.name for field in dataclasses.fields(comfy.ldm.flux.model.FluxParams)}
    return {"txt_ids_dims": []} if "txt_ids_dims" in asked else {}


def flux_model(seed: int = 0, hidden: int = 128) -> Any:
    """MODEL of Flux dev's architecture: 1 double + 2 single blocks of `hidden` (64 a head), guidance embedding."""
    import comfy.supported_models

    return _patcher(
        comfy.supported_models.Flux(
            {
                "image_model": "flux",
                "in_channels": 16,
                "out_channels": 16,
                "vec_in_dim": CONTEXT,
                "context_in_dim": CONTEXT,
                "hidden_size": hidden,
                "mlp_ratio": 4.0,
                "num_heads": hidden // 64,
                "depth": 1,
                "depth_single_blocks": 2,
                "axes_dim": [16, 24, 24],
                "theta": 10000,
                "patch_size": 2,
                "qkv_bias": True,
                "guidance_embed": True,
                **flux_settings_of_this_host(),
            }
        ),
        seed,
    )


def sd35_model(seed: int = 0, attn2: tuple[int, ...] = ()) -> Any:
    """MODEL of SD 3.5's architecture (MMDiT), depth 2, context width 4096 as the real one.

    attn2: the blocks with a second self-attention, as in Medium.
    """
    import comfy.supported_models

    return _patcher(
        comfy.supported_models.SD3(
            {
                "in_channels": 16,
                "patch_size": 2,
                "out_channels": 16,
                "depth": 2,
                "input_size": None,
                "adm_in_channels": 2 * CONTEXT,
                "context_embedder_config": {
                    "target": "torch.nn.Linear",
                    "params": {"in_features": 4096, "out_features": 128},
                },
                "num_patches": 64,
                "pos_embed_max_size": 8,
                "pos_embed_scaling_factor": None,
                "qk_norm": "rms",
                "x_block_self_attn_layers": list(attn2),
            }
        ),
        seed,
    )


def sdxl_model(seed: int = 0, v_prediction: bool = False, levels: int = 2) -> Any:
    """MODEL of SDXL's architecture (UNet with size ids), up to 64 channels wide; epsilon or v prediction.

    levels: 1 is one block with a transformer, a third of the work of 2, for tests of what calls a model many times and
    not of the model.
    """
    import comfy.model_base
    import comfy.supported_models

    sizes: dict[str, Any] = {
        "model_channels": 32,
        "num_res_blocks": [1, 1],
        "channel_mult": [1, 2],
        "transformer_depth": [0, 1],
        "transformer_depth_output": [0, 0, 1, 1],
        "transformer_depth_middle": 1,
    }
    if levels == 1:
        sizes = {
            "model_channels": 64,
            "num_res_blocks": [0],
            "channel_mult": [1],
            "transformer_depth": [],
            "transformer_depth_output": [1],
            "transformer_depth_middle": -2,  # none
        }
    config = comfy.supported_models.SDXL(
        {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            **sizes,
            "num_head_channels": 32,
            "use_spatial_transformer": True,
            "context_dim": 2 * CONTEXT,
            "adm_in_channels": CONTEXT + 6 * 256,
            "num_classes": "sequential",
            "use_linear_in_transformer": True,
            "use_temporal_attention": False,
            "legacy": False,
        }
    )
    config.inpaint_model = lambda: False
    if v_prediction:
        config.model_type = lambda state_dict, prefix="": comfy.model_base.ModelType.V_PREDICTION
    return _patcher(config, seed)


def _clip_config(**more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": CONTEXT, "intermediate_size": 128, "num_attention_heads": 2, "num_hidden_layers": 3}
    return {**sizes, "projection_dim": CONTEXT, **more}


def _t5_config(width: int) -> dict[str, Any]:
    return {"d_model": width, "d_ff": 64, "d_kv": 16, "num_heads": 2, "num_layers": 2}


def _overlapping_rows(rows: int, width: int, seed: int) -> torch.Tensor:
    """A [rows, width] table whose rows are shifted windows of one short random vector: distinct, but tiny in memory."""
    values = torch.randn(rows * 7 + width, generator=torch.Generator().manual_seed(seed))
    return values.as_strided((rows, width), (7, 1))


def small_clip(target_clip: Any, tokenizer: Any, seed: int, t5_width: int = CONTEXT) -> Any:
    """A CLIP of ComfyUI's own classes with small encoders of seeded weights; T5 as wide as its context must be."""
    import comfy.sd
    import comfy.supported_models_base

    options = {
        "clip_l_model_config": _clip_config(),
        "clip_g_model_config": _clip_config(),
        "t5xxl_model_config": _t5_config(t5_width),
        "dtype": torch.float32,
        "load_device": torch.device("cpu"),
        "offload_device": torch.device("cpu"),
        "initial_device": torch.device("cpu"),
    }
    with torch.device("meta"):  # T5's table alone would be half a gigabyte
        clip = comfy.sd.CLIP(
            comfy.supported_models_base.ClipTarget(tokenizer, target_clip),
            model_options={**options, "initial_device": torch.device("meta")},
        )
    model = clip.cond_stage_model
    for name, parameter in list(model.named_parameters()):
        owner = model.get_submodule(name.rpartition(".")[0])
        shape = parameter.shape
        table = "shared.weight" in name
        data = _overlapping_rows(shape[0], shape[1], seed) if table else torch.empty(shape)
        setattr(owner, name.rpartition(".")[2], torch.nn.Parameter(data, requires_grad=False))
    for part in model.children():
        _initialise_encoder(part, seed)
    return clip


def _initialise_encoder(part: torch.nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name, parameter in part.named_parameters():
            if "shared.weight" in name:
                continue
            values = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim <= 1:
                parameter.copy_((1.0 if "norm" in name and name.endswith("weight") else 0.0) + 0.05 * values)
            else:
                parameter.copy_(values / parameter.shape[-1] ** 0.5)


def flux_clip(seed: int = 0) -> Any:
    """CLIP of Flux: CLIP-L and T5, 64 wide, the host's real tokenizers."""
    import comfy.text_encoders.flux as flux

    return small_clip(flux.flux_clip(), flux.FluxTokenizer, seed)


def sd35_clip(seed: int = 0, clip_l: bool = True, clip_g: bool = True, t5: bool = True) -> Any:
    """CLIP of SD 3.5 with any of its encoders missing; T5 as wide as the real one, as its concatenation needs."""
    import comfy.text_encoders.sd3_clip as sd3

    return small_clip(sd3.sd3_clip(clip_l=clip_l, clip_g=clip_g, t5=t5), sd3.SD3Tokenizer, seed, t5_width=4096)


def sdxl_clip(seed: int = 0) -> Any:
    """CLIP of SDXL: CLIP-L and CLIP-G, 64 wide."""
    import comfy.sdxl_clip

    return small_clip(comfy.sdxl_clip.SDXLClipModel, comfy.sdxl_clip.SDXLTokenizer, seed)


def sd1_clip(seed: int = 0) -> Any:
    """CLIP with one encoder (SD 1.x), for the generic path."""
    import comfy.sd1_clip

    return small_clip(comfy.sd1_clip.SD1ClipModel, comfy.sd1_clip.SD1Tokenizer, seed)


def conditioning(width: int, pooled: int, tokens: int = 5, seed: int = 3, **extra: Any) -> list[Any]:
    """CONDITIONING of random numbers: [1, tokens, width] and pooled [1, pooled]."""
    generator = torch.Generator().manual_seed(seed)
    cond = torch.randn(1, tokens, width, generator=generator)
    return [[cond, {"pooled_output": torch.randn(1, pooled, generator=generator), **extra}]]


def inputs_for(family: str) -> tuple[Any, list[Any], list[Any], torch.Tensor]:
    """MODEL, positive, negative and an empty latent [1, C, 8, 8] of a family."""
    if family == "flux":
        return (
            flux_model(),
            conditioning(CONTEXT, CONTEXT, guidance=3.5),
            conditioning(CONTEXT, CONTEXT, seed=4),
            torch.zeros(1, 16, 8, 8),
        )
    if family == "sd35":
        width, pooled = 4096, 2 * CONTEXT
        return sd35_model(), conditioning(width, pooled), conditioning(width, pooled, seed=4), torch.zeros(1, 16, 8, 8)
    width = 2 * CONTEXT
    return sdxl_model(), conditioning(width, CONTEXT), conditioning(width, CONTEXT, seed=4), torch.zeros(1, 4, 8, 8)
