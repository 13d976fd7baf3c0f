"""Module names of Stable Diffusion 3.5: ComfyUI's (Stability's MMDiT) and diffusers'.

Source: comfy/ldm/modules/diffusionmodules/mmdit.py and comfy/utils.py `mmdit_to_diffusers` (github
comfyanonymous/ComfyUI). The last block's context stream has no proj and no mlp, and a shorter modulation whose halves
diffusers keeps in the other order; which block is the last is known to ComfyUI, not to a LoRA file.
"""

from __future__ import annotations

from .table import NameTable, Rows, Rule, same

_BLOCK = "joint_blocks.{}."
_DIFFUSERS_BLOCK = "transformer_blocks.{}."

NATIVE = same(
    *(_BLOCK + f"{stream}_block.{module}" for stream in ("x", "context")
      for module in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1")),
    _BLOCK + "x_block.attn2.qkv",
    _BLOCK + "x_block.attn2.proj",
    *(f"{embedder}_embedder.mlp.{layer}" for embedder in ("t", "y") for layer in (0, 2)),
    "context_embedder", "x_embedder.proj", "final_layer.linear", "final_layer.adaLN_modulation.1",
)  # fmt: skip

DIFFUSERS = (
    *(Rule(_DIFFUSERS_BLOCK + f"{attention}.to_{name}", _BLOCK + f"x_block.{attention}.qkv", Rows(i, 1, 3))
      for attention in ("attn", "attn2") for i, name in enumerate("qkv")),
    *(Rule(_DIFFUSERS_BLOCK + f"attn.add_{name}_proj", _BLOCK + "context_block.attn.qkv", Rows(i, 1, 3))
      for i, name in enumerate("qkv")),
    # diffusers' fused projections
    Rule(_DIFFUSERS_BLOCK + "attn.to_qkv", _BLOCK + "x_block.attn.qkv"),
    Rule(_DIFFUSERS_BLOCK + "attn2.to_qkv", _BLOCK + "x_block.attn2.qkv"),
    Rule(_DIFFUSERS_BLOCK + "attn.to_added_qkv", _BLOCK + "context_block.attn.qkv"),
    Rule(_DIFFUSERS_BLOCK + "attn.to_out.0", _BLOCK + "x_block.attn.proj"),
    Rule(_DIFFUSERS_BLOCK + "attn2.to_out.0", _BLOCK + "x_block.attn2.proj"),
    Rule(_DIFFUSERS_BLOCK + "attn.to_add_out", _BLOCK + "context_block.attn.proj"),
    Rule(_DIFFUSERS_BLOCK + "ff.net.0.proj", _BLOCK + "x_block.mlp.fc1"),
    Rule(_DIFFUSERS_BLOCK + "ff.net.2", _BLOCK + "x_block.mlp.fc2"),
    Rule(_DIFFUSERS_BLOCK + "ff_context.net.0.proj", _BLOCK + "context_block.mlp.fc1"),
    Rule(_DIFFUSERS_BLOCK + "ff_context.net.2", _BLOCK + "context_block.mlp.fc2"),
    Rule(_DIFFUSERS_BLOCK + "norm1.linear", _BLOCK + "x_block.adaLN_modulation.1"),
    Rule(_DIFFUSERS_BLOCK + "norm1_context.linear", _BLOCK + "context_block.adaLN_modulation.1", swap="last block"),
    Rule("norm_out.linear", "final_layer.adaLN_modulation.1", swap="always"),
    Rule("proj_out", "final_layer.linear"),
    Rule("context_embedder", "context_embedder"),
    Rule("pos_embed.proj", "x_embedder.proj"),
    *(Rule(f"time_text_embed.{kind}_embedder.linear_{i}", f"{native}_embedder.mlp.{layer}")
      for kind, native in (("timestep", "t"), ("text", "y")) for i, layer in ((1, 0), (2, 2))),
)  # fmt: skip

TABLE = NameTable(native_rules=NATIVE, diffusers_rules=DIFFUSERS)
