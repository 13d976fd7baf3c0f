"""Module names of Stable Diffusion 3.5: ComfyUI's (Stability's MMDiT), diffusers', and those of some trainers.

Source: comfy/ldm/modules/diffusionmodules/mmdit.py and comfy/utils.py `mmdit_to_diffusers` (github
comfyanonymous/ComfyUI). The last block's context stream has no proj and no mlp, and a shorter modulation whose halves
diffusers keeps in the other order; which block is the last is known to ComfyUI, not to a LoRA file.

OneTrainer's OMI names count the parts of a fused weight (Nerogar/OneTrainer@de1437cb~1,
modules/util/convert/lora/convert_sd3_lora.py). DiffSynth-Studio's names are diffusers' modules with fused projections
(modelscope/DiffSynth-Studio@02fcfd53, diffsynth/models/sd3_dit.py, halves in diffusers' order).
"""

from __future__ import annotations

from collections.abc import Iterator

from .table import NameTable, Rows, Rule, same

_BLOCK = "joint_blocks.{}."
_DIFFUSERS_BLOCK = "transformer_blocks.{}."
# norms of q and k: native name, diffusers' name
_NORMS = tuple(
    (f"{_BLOCK}{stream}.ln_{name}", f"{_DIFFUSERS_BLOCK}{norm}_{name}")
    for stream, norm in (("x_block.attn", "attn.norm"), ("context_block.attn", "attn.norm_added"),
                         ("x_block.attn2", "attn2.norm"))
    for name in "qk"
)  # fmt: skip

NATIVE = same(
    *(_BLOCK + f"{stream}_block.{module}" for stream in ("x", "context")
      for module in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2", "adaLN_modulation.1")),
    _BLOCK + "x_block.attn2.qkv",
    _BLOCK + "x_block.attn2.proj",
    *(f"{embedder}_embedder.mlp.{layer}" for embedder in ("t", "y") for layer in (0, 2)),
    "context_embedder", "x_embedder.proj", "final_layer.linear", "final_layer.adaLN_modulation.1",
    *(native for native, _ in _NORMS),
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
    *(Rule(diffusers, native) for native, diffusers in _NORMS),
)  # fmt: skip


def _others() -> Iterator[tuple[str, str]]:
    for attention, split, synth in (("x_block.attn", "attn.to_{}", "attn.a_to_"),
                                    ("context_block.attn", "attn.add_{}_proj", "attn.b_to_"),
                                    ("x_block.attn2", "attn2.to_{}", "attn2.a_to_")):
        for i, name in enumerate("qkv"):
            part = _DIFFUSERS_BLOCK + split.format(name)
            yield from ((f"{_BLOCK}{attention}.qkv.{i}", part), (f"blocks.{{}}.{synth}{name}", part))
        yield from ((f"blocks.{{}}.{synth}{other}", f"{_BLOCK}{attention}.{layer}")
                    for other, layer in (("qkv", "qkv"), ("out", "proj")))
    for letter, context in (("a", ""), ("b", "_context")):
        yield f"blocks.{{}}.norm1_{letter}.linear", f"{_DIFFUSERS_BLOCK}norm1{context}.linear"
        yield from ((f"blocks.{{}}.ff_{letter}.{i}", f"{_DIFFUSERS_BLOCK}ff{context}.net.{layer}")
                    for i, layer in ((0, "0.proj"), (2, "2")))
        added = "_added" if context else ""
        yield from ((f"blocks.{{}}.attn.norm_{name}_{letter}", f"{_DIFFUSERS_BLOCK}attn.norm{added}_{name}")
                    for name in "qk")
    yield "pos_embedder.proj", "pos_embed.proj"
    yield from ((f"{other}.{i}", f"{native}_embedder.mlp.{i}") for i in (0, 2)
                for other, native in (("time_embedder.timestep_embedder", "t"),
                                      ("pooled_text_embedder", "y")))  # fmt: skip


TABLE = NameTable(native_rules=NATIVE, diffusers_rules=DIFFUSERS, others=dict(_others()))
