"""Small Chroma models twice: diffusers' ChromaTransformer2DModel, and ComfyUI's Chroma with the same weights under the
names that Chroma's own files have. Import inside tests only: ComfyUI must be importable (fixture `comfy_host`)."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes.small_models import initialise, small_clip

#: ComfyUI numbers the modulations for 38 single and 19 double blocks whatever the model has, so both have these.
DOUBLE, SINGLE = 19, 38
HIDDEN, HEADS, AXES = 64, 1, (16, 24, 24)
CONTEXT = 32  # width of the text embeddings
APPROXIMATOR = 48  # width inside distilled_guidance_layer
LAYERS = 2  # of distilled_guidance_layer

#: diffusers' names inside a double block -> those of Chroma's files, where a module is the same in both
_DOUBLE = {
    "attn.to_out.0": "img_attn.proj",
    "attn.to_add_out": "txt_attn.proj",
    "ff.net.0.proj": "img_mlp.0",
    "ff.net.2": "img_mlp.2",
    "ff_context.net.0.proj": "txt_mlp.0",
    "ff_context.net.2": "txt_mlp.2",
}
_DOUBLE_NORMS = {
    "attn.norm_q": "img_attn.norm.query_norm",
    "attn.norm_k": "img_attn.norm.key_norm",
    "attn.norm_added_q": "txt_attn.norm.query_norm",
    "attn.norm_added_k": "txt_attn.norm.key_norm",
}
_SINGLE_NORMS = {"attn.norm_q": "norm.query_norm", "attn.norm_k": "norm.key_norm"}


def diffusers_model(seed: int = 0) -> Any:
    """A ChromaTransformer2DModel of random weights, float32."""
    from diffusers import ChromaTransformer2DModel

    model = ChromaTransformer2DModel(
        num_layers=DOUBLE,
        num_single_layers=SINGLE,
        attention_head_dim=HIDDEN // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=CONTEXT,
        axes_dims_rope=AXES,
        approximator_hidden_dim=APPROXIMATOR,
        approximator_layers=LAYERS,
    )
    initialise(model, seed)
    return model.eval()


def chroma_names(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' Chroma weights under the names of Chroma's own files: the inverse of diffusers'
    `loaders/single_file_utils.py::convert_chroma_transformer_checkpoint_to_diffusers`."""
    rest = dict(weights)
    named: dict[str, Tensor] = {}

    def move(old: str, new: str, norm: bool = False) -> None:
        for end in ("weight",) if norm else ("weight", "bias"):
            named[f"{new}.{'scale' if norm else end}"] = rest.pop(f"{old}.{end}")

    def fuse(olds: list[str], new: str) -> None:
        for end in ("weight", "bias"):
            named[f"{new}.{end}"] = torch.cat([rest.pop(f"{old}.{end}") for old in olds])

    for old, new in (("x_embedder", "img_in"), ("context_embedder", "txt_in"), ("proj_out", "final_layer.linear")):
        move(old, new)
    guidance = "distilled_guidance_layer"
    for part in ("in_proj", "out_proj"):
        move(f"{guidance}.{part}", f"{guidance}.{part}")
    for i in range(LAYERS):
        move(f"{guidance}.layers.{i}.linear_1", f"{guidance}.layers.{i}.in_layer")
        move(f"{guidance}.layers.{i}.linear_2", f"{guidance}.layers.{i}.out_layer")
        move(f"{guidance}.norms.{i}", f"{guidance}.norms.{i}", norm=True)
    for i in range(DOUBLE):
        old, new = f"transformer_blocks.{i}", f"double_blocks.{i}"
        fuse([f"{old}.attn.to_{part}" for part in "qkv"], f"{new}.img_attn.qkv")
        fuse([f"{old}.attn.add_{part}_proj" for part in "qkv"], f"{new}.txt_attn.qkv")
        for name, other in {**_DOUBLE, **_DOUBLE_NORMS}.items():
            move(f"{old}.{name}", f"{new}.{other}", norm=name in _DOUBLE_NORMS)
    for i in range(SINGLE):
        old, new = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
        fuse([*(f"{old}.attn.to_{part}" for part in "qkv"), f"{old}.proj_mlp"], f"{new}.linear1")
        move(f"{old}.proj_out", f"{new}.linear2")
        for name, other in _SINGLE_NORMS.items():
            move(f"{old}.{name}", f"{new}.{other}", norm=True)
    assert not rest, sorted(rest)
    return named


def comfy_model(weights: dict[str, Tensor]) -> Any:
    """MODEL: ComfyUI's own Chroma with weights of Chroma's own names, every one of them used."""
    import comfy.model_base
    import comfy.model_patcher
    import comfy.supported_models

    config = comfy.supported_models.Chroma(
        {
            "image_model": "chroma",
            "in_channels": 64,
            "out_channels": 64,
            "context_in_dim": CONTEXT,
            "hidden_size": HIDDEN,
            "mlp_ratio": 4.0,
            "num_heads": HEADS,
            "depth": DOUBLE,
            "depth_single_blocks": SINGLE,
            "axes_dim": list(AXES),
            "theta": 10000,
            "patch_size": 2,
            "qkv_bias": True,
            "in_dim": 64,
            "out_dim": HIDDEN,
            "hidden_dim": APPROXIMATOR,
            "n_layers": LAYERS,
            **settings_of_this_version(),
        }
    )
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device="cpu")
    assert type(model) is comfy.model_base.Chroma
    model.diffusion_model.load_state_dict(config.process_unet_state_dict(dict(weights)), strict=True)
    device = torch.device("cpu")
    return comfy.model_patcher.ModelPatcher(model, load_device=device, offload_device=device)


def settings_of_this_version() -> dict[str, Any]:
    """Settings that newer versions of ComfyUI ask of a Chroma beside those that every one does."""
    import comfy.ldm.chroma.model

    asked = {field.name for field in dataclasses.fields(comfy.ldm.chroma.model.ChromaParams)}
    return {name: value for name, value in {"txt_ids_dims": [], "vec_in_dim": None}.items() if name in asked}


def chroma_clip(seed: int = 5) -> Any:
    """CLIP of Chroma as CLIPLoader makes it of type "chroma": T5 alone, CONTEXT wide, ComfyUI's own tokenizer."""
    import comfy.text_encoders.pixart_t5 as t5

    return small_clip(t5.pixart_te(), t5.PixArtTokenizer, seed, t5_width=CONTEXT)


def transformers_t5(clip: Any) -> Any:
    """transformers' T5EncoderModel with the weights of a CLIP of Chroma."""
    from transformers import T5Config, T5EncoderModel

    ours = clip.cond_stage_model.t5xxl.transformer.state_dict()
    rows, width = ours["shared.weight"].shape
    blocks = {name.split(".")[2] for name in ours if name.startswith("encoder.block.")}
    heads = ours["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"].shape[1]
    inner = ours["encoder.block.0.layer.0.SelfAttention.q.weight"].shape[0]
    model = T5EncoderModel(
        T5Config(
            vocab_size=rows,
            d_model=width,
            d_kv=inner // heads,
            d_ff=ours["encoder.block.0.layer.1.DenseReluDense.wo.weight"].shape[1],
            num_layers=len(blocks),
            num_heads=heads,
            feed_forward_proj="gated-gelu",
            dropout_rate=0.0,
        )
    )
    missing, unexpected = model.load_state_dict(ours, strict=False)
    assert set(missing) <= {"encoder.embed_tokens.weight"}, missing  # the same table as shared.weight
    assert not unexpected, unexpected
    return model.eval()
