"""Module names of Flux: ComfyUI's (Black Forest Labs'), diffusers', and those that only some trainers have.

Source: comfy/ldm/flux/model.py and comfy/utils.py `flux_to_diffusers` (github comfyanonymous/ComfyUI). The fused
weights are `qkv` = q ‖ k ‖ v and `linear1` = q ‖ k ‖ v ‖ mlp, one model width each and four for the mlp.

Some trainers split the fused weights under native names: EriDiffusion V2 as `img_attn.to_q`, OneTrainer's OMI names by
number (Nerogar/OneTrainer@de1437cb~1, modules/util/convert/lora/convert_flux_lora.py). x-flux has its attention
processors (XLabs-AI/x-flux, src/flux/modules/layers.py), DiffSynth-Studio its own names, with the final modulation in
the native order (modelscope/DiffSynth-Studio@fed7b18, diffsynth/utils/state_dict_converters/flux_dit.py), mflux two of
its own (filipstrand/mflux@37d202d, src/mflux/models/flux/weights/flux_lora_mapping.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from .table import DIFFUSERS_PREFIX, NameTable, Rows, Rule, same

_DOUBLE = "double_blocks.{}."
_SINGLE = "single_blocks.{}."
_DIFFUSERS_DOUBLE = "transformer_blocks.{}."
_DIFFUSERS_SINGLE = "single_transformer_blocks.{}."
_EMBEDDERS = {"timestep": "time_in", "text": "vector_in", "guidance": "guidance_in"}
# norms of q and k: native name, diffusers' name
_NORMS = (
    *((_DOUBLE + f"{stream}_attn.norm.{kind}_norm", _DIFFUSERS_DOUBLE + f"attn.norm_{added}{kind[0]}")
      for stream, added in (("img", ""), ("txt", "added_")) for kind in ("query", "key")),
    *((_SINGLE + f"norm.{kind}_norm", _DIFFUSERS_SINGLE + f"attn.norm_{kind[0]}") for kind in ("query", "key")),
)  # fmt: skip

NATIVE = same(
    *(_DOUBLE + f"{stream}_{module}" for stream in ("img", "txt")
      for module in ("attn.qkv", "attn.proj", "mlp.0", "mlp.2", "mod.lin")),
    *(_SINGLE + module for module in ("linear1", "linear2", "modulation.lin")),
    *(f"{embedder}.{layer}" for embedder in _EMBEDDERS.values() for layer in ("in_layer", "out_layer")),
    "img_in", "txt_in", "final_layer.linear", "final_layer.adaLN_modulation.1",
) + tuple(
    # ComfyUI 0.3.75 calls the weight `.scale`, 0.33 `.weight`; by diffusers' name both know it
    Rule(native, native, host=DIFFUSERS_PREFIX + diffusers) for native, diffusers in _NORMS
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
    Rule(_DIFFUSERS_SINGLE + "attn.to_qkv", _SINGLE + "linear1", Rows(0, 3, 7),
         host=f"diffusion_model.{_SINGLE}linear1_qkv"),
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
    *(Rule(diffusers, native, host=DIFFUSERS_PREFIX + diffusers) for native, diffusers in _NORMS),
)  # fmt: skip


def _others() -> Iterator[tuple[str, str]]:
    for stream, split, letter, number in (("img", "to_{}", "a", "1"), ("txt", "add_{}_proj", "b", "2")):
        native, synth, processor = _DOUBLE + stream, "blocks.{}.", _DOUBLE + "processor."
        for i, name in enumerate("qkv"):
            part = _DIFFUSERS_DOUBLE + "attn." + split.format(name)
            yield from ((f"{native}_attn.to_{name}", part), (f"{native}_attn.qkv.{i}", part))
            yield f"{synth}attn.{letter}_to_{name}", part
        yield f"{native}_attn.to_out.0", f"{native}_attn.proj"  # EriDiffusion V1
        yield from ((f"{processor}{layer}_lora{number}", f"{native}_attn.{layer}") for layer in ("qkv", "proj"))
        for name, layer in (("attn.{}_to_qkv", "attn.qkv"), ("attn.{}_to_out", "attn.proj"), ("ff_{}.0", "mlp.0"),
                            ("ff_{}.2", "mlp.2"), ("norm1_{}.linear", "mod.lin"),
                            ("attn.norm_q_{}", "attn.norm.query_norm"), ("attn.norm_k_{}", "attn.norm.key_norm")):
            yield synth + name.format(letter), f"{native}_{layer}"
        context = "_context" if stream == "txt" else ""
        mlp = f"{_DIFFUSERS_DOUBLE}ff{context}.linear"  # mflux
        yield from ((f"{mlp}1", f"{native}_mlp.0"), (f"{mlp}2", f"{native}_mlp.2"))
    for i, name in enumerate(("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")):
        synth = "proj_in_besides_attn" if name == "proj_mlp" else name.replace("attn.", "a_")
        yield from ((_SINGLE + other, _DIFFUSERS_SINGLE + name) for other in (name, f"linear1.{i}", synth))
    for other, name in (("linear1_qkv", "attn.to_qkv"), ("processor.qkv", "attn.to_qkv"),
                        ("processor.proj", "proj_out"), ("proj_out", "proj_out"), ("norm.linear", "norm.linear")):
        yield _SINGLE + other, _DIFFUSERS_SINGLE + name
    yield from ((_SINGLE + "to_qkv_mlp", _SINGLE + "linear1"), (_SINGLE + "norm_q_a", _SINGLE + "norm.query_norm"),
                (_SINGLE + "norm_k_a", _SINGLE + "norm.key_norm"))
    embedders = {"time": "time_embedder.timestep_embedder", "vector": "pooled_text_embedder",
                 "guidance": "guidance_embedder.timestep_embedder"}
    yield from ((f"{other}.{i}", f"{native}_in.{layer}") for native, other in embedders.items()
                for i, layer in ((0, "in_layer"), (2, "out_layer")))
    yield from (("final_norm_out.linear", "final_layer.adaLN_modulation.1"), ("final_proj_out", "final_layer.linear"),
                ("img_in.proj", "img_in"))  # fmt: skip


OTHERS = dict(_others())
TABLE = NameTable(native_rules=NATIVE, diffusers_rules=DIFFUSERS, others=OTHERS)
