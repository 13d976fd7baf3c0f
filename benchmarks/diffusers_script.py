"""A sweep as a user writes it with diffusers, on models of the sizes of examples/models with random weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from comfyui_eridiffusion.spec import SampleItem

#: Names of modules in the examples' Flux runs -> those of diffusers.
_NAMES: Final = (
    ("img_attn.to_", "attn.to_"), ("img_attn.proj", "attn.to_out.0"), ("txt_attn.to_q", "attn.add_q_proj"),
    ("txt_attn.to_k", "attn.add_k_proj"), ("txt_attn.to_v", "attn.add_v_proj"), ("txt_attn.proj", "attn.to_add_out"),
    ("img_mlp.0", "ff.net.0.proj"), ("img_mlp.2", "ff.net.2"), ("txt_mlp.0", "ff_context.net.0.proj"),
    ("txt_mlp.2", "ff_context.net.2"), ("double_blocks", "transformer_blocks"),
    ("single_blocks", "single_transformer_blocks"),
)  # fmt: skip


def save_pipeline(folder: Path, host: Path) -> None:
    """A FluxPipeline; host: ComfyUI's folder, which holds the tokenizers."""
    import torch
    from diffusers import AutoencoderTiny, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

    torch.manual_seed(0)
    clip = CLIPTextConfig(
        hidden_size=64, intermediate_size=256, num_attention_heads=2, num_hidden_layers=3, projection_dim=64,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=32128, d_model=192, d_ff=256, d_kv=32, num_heads=4, num_layers=2, feed_forward_proj="gated-gelu",
    )  # fmt: skip
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=AutoencoderTiny(latent_channels=16),
        text_encoder=CLIPTextModel(clip),
        tokenizer=CLIPTokenizer.from_pretrained(host / "comfy" / "sd1_tokenizer", model_max_length=77),
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=T5TokenizerFast.from_pretrained(host / "comfy" / "text_encoders" / "t5_tokenizer"),
        transformer=FluxTransformer2DModel(
            in_channels=64, num_layers=2, num_single_layers=4, num_attention_heads=3, attention_head_dim=64,
            joint_attention_dim=192, pooled_projection_dim=64, guidance_embeds=True, axes_dims_rope=(16, 24, 24),
        ),
    ).save_pretrained(folder)  # fmt: skip


def save_checkpoints(files: Sequence[Path], folder: Path) -> list[Path]:
    """The runs' LoRAs under diffusers' names; their alpha is their rank."""
    from safetensors.torch import load_file, save_file

    found = []
    for file in files:
        tensors = {}
        for name, tensor in load_file(file).items():
            for theirs, ours in _NAMES:
                name = name.replace(theirs, ours)
            if not name.endswith(".alpha"):
                tensors[f"transformer.{name}"] = tensor
        found.append(folder / file.name)
        save_file(tensors, found[-1])
    return found


def sweep(pipeline: Path, checkpoints: Sequence[Path], items: Sequence[SampleItem], folder: Path, timed: Any) -> None:
    """The pictures of every checkpoint. timed: what wraps the transformer's forward pass."""
    import torch
    from diffusers import FluxPipeline

    pipe = FluxPipeline.from_pretrained(pipeline)
    pipe.set_progress_bar_config(disable=True)
    pipe.transformer.forward = timed(pipe.transformer.forward)
    for checkpoint in checkpoints:
        pipe.load_lora_weights(checkpoint)
        for item in items:
            image = pipe(
                item.prompt, width=item.width, height=item.height, num_inference_steps=item.steps,
                guidance_scale=item.guidance, max_sequence_length=77,
                generator=torch.Generator().manual_seed(item.index),
            ).images[0]  # fmt: skip
            image.save(folder / f"{checkpoint.stem}_{item.index}.png")
        pipe.unload_lora_weights()
