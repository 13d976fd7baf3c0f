"""Module names of Flux: ComfyUI's (Black Forest Labs') and diffusers'.

Source: comfy/ldm/flux/model.py and comfy/utils.py `flux_to_diffusers` (github comfyanonymous/ComfyUI). The fused
weights are `qkv` = q ‖ k ‖ v and `linear1` = q ‖ k ‖ v ‖ mlp, one model width each and four for the mlp.
"""

from __future__ import annotations

from .table import NameTable, Rows, Rule, same

_DOUBLE = "double_blocks.{}."
_SINGLE = "single_blocks.{}."
_DIFFUSERS_DOUBLE = "transformer_blocks.{}."
_DIFFUSERS_SINGLE = "single_transformer_blocks.{}."
_EMBEDDERS = {"timestep": "time_in", "text": "vector_in", "guidance": "guidance_in"}

NATIVE = same(
    *(_DOUBLE + f"{stream}_{module}" for stream in ("img", "txt")
      for module in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2", "mod.lin")),
    *(_SINGLE + module for module in ("linear1", "linear2", "modulation.lin")),
    *(f"{embedder}.{layer}" for embedder in _EMBEDDERS.values() for layer in ("in_layer", "out_layer")),
    "img_in", "txt_in", "final_layer.linear", "final_layer.adaLN_modulation.1",
)  # fmt: skip

DIFFUSERS = (
    *(Rule(_DIFFUSERS_DOUBLE + f"attn.to_{name}", _DOUBLE + "img_attn.qkv", Rows(i, 1, 3))
      for i, name in enumerate("qkv")),
    *(Rule(_DIFFUSERS_DOUBLE + f"attn.add_{name}_proj", _DOUBLE + "txt_attn.qkv", Rows(i, 1, 3))
      for i, name in enumerate("qkv")),
    *(Rule(_DIFFUSERS_SINGLE + f"attn.to_{name}", _SINGLE + "linear1", Rows(i, 1, 7))
      for i, name in enumerate("qkv")),
    # diffusers' fused projections, and x-flux's of the single blocks
    Rule(_DIFFUSERS_DOUBLE + "attn.to_qkv", _DOUBLE + "img_attn.qkv"),
    Rule(_DIFFUSERS_DOUBLE + "attn.to_added_qkv", _DOUBLE + "txt_attn.qkv"),
    Rule(_DIFFUSERS_SINGLE + "attn.to_qkv", _SINGLE + "linear1", Rows(0, 3, 7), host=_SINGLE + "linear1_qkv"),
    Rule(_DIFFUSERS_SINGLE + "proj_mlp", _SINGLE + "linear1", Rows(3, 4, 7)),
    Rule(_DIFFUSERS_SINGLE + "proj_out", _SINGLE + "linear2"),
    Rule(_DIFFUSERS_SINGLE + "norm.linear", _SINGLE + "modulation.lin"),
    Rule(_DIFFUSERS_DOUBLE + "attn.to_out.0", _DOUBLE + "img_attn.proj"),
    Rule(_DIFFUSERS_DOUBLE + "attn.to_add_out", _DOUBLE + "txt_attn.proj"),
    Rule(_DIFFUSERS_DOUBLE + "ff.net.0.proj", _DOUBLE + "img_mlp.0"),
    Rule(_DIFFUSERS_DOUBLE + "ff.net.2", _DOUBLE + "img_mlp.2"),
    Rule(_DIFFUSERS_DOUBLE + "ff_context.net.0.proj", _DOUBLE + "txt_mlp.0"),
    Rule(_DIFFUSERS_DOUBLE + "ff_context.net.2", _DOUBLE + "txt_mlp.2"),
    Rule(_DIFFUSERS_DOUBLE + "norm1.linear", _DOUBLE + "img_mod.lin"),
    Rule(_DIFFUSERS_DOUBLE + "norm1_context.linear", _DOUBLE + "txt_mod.lin"),
    Rule("norm_out.linear", "final_layer.adaLN_modulation.1", swap="always"),
    Rule("proj_out", "final_layer.linear"),
    Rule("x_embedder", "img_in"),
    Rule("context_embedder", "txt_in"),
    *(Rule(f"time_text_embed.{kind}_embedder.linear_{i}", f"{native}.{layer}")
      for kind, native in _EMBEDDERS.items() for i, layer in ((1, "in_layer"), (2, "out_layer"))),
)  # fmt: skip

TABLE = NameTable(native_rules=NATIVE, diffusers_rules=DIFFUSERS)
