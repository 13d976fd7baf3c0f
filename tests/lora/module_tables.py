"""Where modules of LoRA files lie in the small host models, written out by hand per family and naming.

Shapes and rows come from the architectures (fused qkv = q ‖ k ‖ v, Flux's linear1 = q ‖ k ‖ v ‖ mlp), not from the pack
and not from the host's own map.
"""

from __future__ import annotations

from comfyui_eridiffusion.tests.lora.host_models import CHROMA_LAYERS, CHROMA_WIDTH, CONTEXT, HIDDEN, SDXL_CHANNELS
from comfyui_eridiffusion.tests.lora.lora_files import Place

H = HIDDEN
_M = "diffusion_model."


def _split(key: str, weight: str, index: int, total: int) -> Place:
    return Place(key, _M + weight, (total * H, H), index * H, H)


def flux_hybrid() -> list[Place]:
    """EriDiffusion V2: native blocks with split projections, 12 per double and 5 per single block."""
    places = []
    for i in range(2):
        for stream in ("img", "txt"):
            block = f"double_blocks.{i}.{stream}"
            places += [_split(f"{block}_attn.to_{c}", f"{block}_attn.qkv", n, 3) for n, c in enumerate("qkv")]
            places.append(Place(f"{block}_attn.proj", f"{_M}{block}_attn.proj", (H, H)))
            places.append(Place(f"{block}_mlp.0", f"{_M}{block}_mlp.0", (4 * H, H)))
            places.append(Place(f"{block}_mlp.2", f"{_M}{block}_mlp.2", (H, 4 * H)))
    for i in range(4):
        block = f"single_blocks.{i}"
        places += [_split(f"{block}.attn.to_{c}", f"{block}.linear1", n, 7) for n, c in enumerate("qkv")]
        places.append(Place(f"{block}.proj_mlp", f"{_M}{block}.linear1", (7 * H, H), 3 * H, 4 * H))
        places.append(Place(f"{block}.proj_out", f"{_M}{block}.linear2", (H, 5 * H)))
    return places


def flux_native() -> list[Place]:
    """The host's modules, fused."""
    sizes = {
        "attn.qkv": (3 * H, H),
        "attn.proj": (H, H),
        "mlp.0": (4 * H, H),
        "mlp.2": (H, 4 * H),
        "mod.lin": (6 * H, H),
    }
    names = {f"double_blocks.{i}.{s}_{m}": size for i in range(2) for s in ("img", "txt") for m, size in sizes.items()}
    for i in range(4):
        names[f"single_blocks.{i}.linear1"] = (7 * H, H)
        names[f"single_blocks.{i}.linear2"] = (H, 5 * H)
        names[f"single_blocks.{i}.modulation.lin"] = (3 * H, H)
    names["final_layer.linear"] = (64, H)
    names["final_layer.adaLN_modulation.1"] = (2 * H, H)
    names["img_in"], names["txt_in"] = (H, 64), (H, CONTEXT)
    names["time_in.in_layer"], names["vector_in.out_layer"] = (H, 256), (H, H)
    names["guidance_in.out_layer"] = (H, H)
    return [Place(name, _M + name, size) for name, size in names.items()]


def flux_diffusers() -> list[Place]:
    """diffusers' FluxTransformer2DModel."""
    places = []
    for i in range(2):
        block, native = f"transformer_blocks.{i}", f"double_blocks.{i}"
        places += [_split(f"{block}.attn.to_{c}", f"{native}.img_attn.qkv", n, 3) for n, c in enumerate("qkv")]
        places += [_split(f"{block}.attn.add_{c}_proj", f"{native}.txt_attn.qkv", n, 3) for n, c in enumerate("qkv")]
        whole = {
            "attn.to_out.0": ("img_attn.proj", (H, H)),
            "attn.to_add_out": ("txt_attn.proj", (H, H)),
            "ff.net.0.proj": ("img_mlp.0", (4 * H, H)),
            "ff.net.2": ("img_mlp.2", (H, 4 * H)),
            "ff_context.net.0.proj": ("txt_mlp.0", (4 * H, H)),
            "ff_context.net.2": ("txt_mlp.2", (H, 4 * H)),
            "norm1.linear": ("img_mod.lin", (6 * H, H)),
            "norm1_context.linear": ("txt_mod.lin", (6 * H, H)),
        }
        places += [Place(f"{block}.{name}", f"{_M}{native}.{to}", size) for name, (to, size) in whole.items()]
    for i in range(4):
        block, native = f"single_transformer_blocks.{i}", f"single_blocks.{i}"
        places += [_split(f"{block}.attn.to_{c}", f"{native}.linear1", n, 7) for n, c in enumerate("qkv")]
        places.append(Place(f"{block}.proj_mlp", f"{_M}{native}.linear1", (7 * H, H), 3 * H, 4 * H))
        places.append(Place(f"{block}.proj_out", f"{_M}{native}.linear2", (H, 5 * H)))
        places.append(Place(f"{block}.norm.linear", f"{_M}{native}.modulation.lin", (3 * H, H)))
    places.append(Place("norm_out.linear", _M + "final_layer.adaLN_modulation.1", (2 * H, H), swap=True))
    places.append(Place("proj_out", _M + "final_layer.linear", (64, H)))
    places.append(Place("x_embedder", _M + "img_in", (H, 64)))
    places.append(Place("context_embedder", _M + "txt_in", (H, CONTEXT)))
    for kind, native in {"timestep": "time_in", "text": "vector_in", "guidance": "guidance_in"}.items():
        places.append(Place(f"time_text_embed.{kind}_embedder.linear_2", f"{_M}{native}.out_layer", (H, H)))
    return places


#: Flux's modules that Chroma has not: its guidance layer makes what they made.
_NOT_IN_CHROMA = ("mod.lin", "modulation.lin", "norm.linear", "norm1.linear", "norm1_context.linear",
                  "adaLN_modulation.1", "norm_out.linear")  # fmt: skip
_NOT_AT_THE_START = ("time_in", "vector_in", "guidance_in", "time_text_embed")


def _chroma(flux: list[Place], first: str, second: str) -> list[Place]:
    """Flux's places without those, and the guidance layer's; first, second: its linear layers."""
    kept = [p for p in flux if not p.key.endswith(_NOT_IN_CHROMA) and not p.key.startswith(_NOT_AT_THE_START)]
    stem, w = "distilled_guidance_layer", CHROMA_WIDTH
    kept.append(Place(f"{stem}.in_proj", f"{_M}{stem}.in_proj", (w, 64)))
    kept.append(Place(f"{stem}.out_proj", f"{_M}{stem}.out_proj", (H, w)))
    for i in range(CHROMA_LAYERS):
        layer = f"{stem}.layers.{i}"
        kept += [Place(f"{layer}.{first}", f"{_M}{layer}.in_layer", (w, w))]
        kept += [Place(f"{layer}.{second}", f"{_M}{layer}.out_layer", (w, w))]
    return kept


def chroma_native() -> list[Place]:
    """The modules of Chroma's own files."""
    return _chroma(flux_native(), "in_layer", "out_layer")


def chroma_diffusers() -> list[Place]:
    """diffusers' ChromaTransformer2DModel."""
    return _chroma(flux_diffusers(), "linear_1", "linear_2")


_SD35_SIZES = {"attn.qkv": (3 * H, H), "attn.proj": (H, H), "mlp.fc1": (4 * H, H), "mlp.fc2": (H, 4 * H)}


def sd35_native() -> list[Place]:
    """EriDiffusion V2 and the host: fused qkv, attn2 in the first two blocks, no context proj/mlp in the last block."""
    names: dict[str, tuple[int, ...]] = {}
    for i in range(3):
        names |= {f"joint_blocks.{i}.x_block.{name}": size for name, size in _SD35_SIZES.items()}
        context = _SD35_SIZES if i < 2 else {"attn.qkv": (3 * H, H)}
        names |= {f"joint_blocks.{i}.context_block.{name}": size for name, size in context.items()}
        if i < 2:
            names[f"joint_blocks.{i}.x_block.attn2.qkv"] = (3 * H, H)
            names[f"joint_blocks.{i}.x_block.attn2.proj"] = (H, H)
    return [Place(name, _M + name, size) for name, size in names.items()]


def sd35_modulation() -> list[Place]:
    """Native modulation and embedding layers, which sd-scripts can train."""
    names = {
        "joint_blocks.0.x_block.adaLN_modulation.1": (9 * H, H),
        "joint_blocks.1.context_block.adaLN_modulation.1": (6 * H, H),
        "joint_blocks.2.context_block.adaLN_modulation.1": (2 * H, H),
        "final_layer.adaLN_modulation.1": (2 * H, H),
        "final_layer.linear": (64, H),
        "context_embedder": (H, CONTEXT),
        "t_embedder.mlp.0": (H, 256),
        "y_embedder.mlp.2": (H, H),
        "x_embedder.proj": (H, 16, 2, 2),
    }
    return [Place(name, _M + name, size) for name, size in names.items()]


def sd35_diffusers() -> list[Place]:
    """diffusers' SD3Transformer2DModel, the swapped modulations included."""
    places = []
    for i in range(3):
        block, x, context = f"transformer_blocks.{i}", f"joint_blocks.{i}.x_block", f"joint_blocks.{i}.context_block"
        attentions = ("attn", "attn2") if i < 2 else ("attn",)
        for attention in attentions:
            places += [_split(f"{block}.{attention}.to_{c}", f"{x}.{attention}.qkv", n, 3) for n, c in enumerate("qkv")]
            places.append(Place(f"{block}.{attention}.to_out.0", f"{_M}{x}.{attention}.proj", (H, H)))
        places += [_split(f"{block}.attn.add_{c}_proj", f"{context}.attn.qkv", n, 3) for n, c in enumerate("qkv")]
        places.append(Place(f"{block}.ff.net.0.proj", f"{_M}{x}.mlp.fc1", (4 * H, H)))
        places.append(Place(f"{block}.ff.net.2", f"{_M}{x}.mlp.fc2", (H, 4 * H)))
        if i < 2:
            places.append(Place(f"{block}.attn.to_add_out", f"{_M}{context}.attn.proj", (H, H)))
            places.append(Place(f"{block}.ff_context.net.0.proj", f"{_M}{context}.mlp.fc1", (4 * H, H)))
            places.append(Place(f"{block}.ff_context.net.2", f"{_M}{context}.mlp.fc2", (H, 4 * H)))
        places.append(Place(f"{block}.norm1.linear", f"{_M}{x}.adaLN_modulation.1", ((9 if i < 2 else 6) * H, H)))
        last = i == 2
        places.append(
            Place(f"{block}.norm1_context.linear", f"{_M}{context}.adaLN_modulation.1",
                  ((2 if last else 6) * H, H), swap=last)
        )  # fmt: skip
    places.append(Place("norm_out.linear", _M + "final_layer.adaLN_modulation.1", (2 * H, H), swap=True))
    places.append(Place("proj_out", _M + "final_layer.linear", (64, H)))
    places.append(Place("pos_embed.proj", _M + "x_embedder.proj", (H, 16, 2, 2)))
    return places


# SDXL: native attention place, diffusers' name, channels, number of transformer blocks
_C = SDXL_CHANNELS
_SDXL_ATTENTION = [
    *((f"input_blocks.{4 + j}.1", f"down_blocks.1.attentions.{j}", 2 * _C, 1) for j in range(2)),
    *((f"input_blocks.{7 + j}.1", f"down_blocks.2.attentions.{j}", 4 * _C, 2) for j in range(2)),
    ("middle_block.1", "mid_block.attentions.0", 4 * _C, 2),
    *((f"output_blocks.{j}.1", f"up_blocks.0.attentions.{j}", 4 * _C, 2) for j in range(3)),
    *((f"output_blocks.{3 + j}.1", f"up_blocks.1.attentions.{j}", 2 * _C, 1) for j in range(3)),
]
# native, diffusers, shape; a choice that has every kind of layer and every level
_SDXL_CONVOLUTION = [
    ("input_blocks.1.0.in_layers.2", "down_blocks.0.resnets.0.conv1", (_C, _C, 3, 3)),
    ("input_blocks.5.0.emb_layers.1", "down_blocks.1.resnets.1.time_emb_proj", (2 * _C, 4 * _C)),
    ("input_blocks.7.0.skip_connection", "down_blocks.2.resnets.0.conv_shortcut", (4 * _C, 2 * _C, 1, 1)),
    ("input_blocks.3.0.op", "down_blocks.0.downsamplers.0.conv", (_C, _C, 3, 3)),
    ("input_blocks.6.0.op", "down_blocks.1.downsamplers.0.conv", (2 * _C, 2 * _C, 3, 3)),
    ("middle_block.0.out_layers.3", "mid_block.resnets.0.conv2", (4 * _C, 4 * _C, 3, 3)),
    ("middle_block.2.in_layers.2", "mid_block.resnets.1.conv1", (4 * _C, 4 * _C, 3, 3)),
    ("output_blocks.2.2.conv", "up_blocks.0.upsamplers.0.conv", (4 * _C, 4 * _C, 3, 3)),
    ("output_blocks.5.2.conv", "up_blocks.1.upsamplers.0.conv", (2 * _C, 2 * _C, 3, 3)),
    ("output_blocks.8.0.out_layers.3", "up_blocks.2.resnets.2.conv2", (_C, _C, 3, 3)),
]


def _sdxl_below(channels: int, depth: int, every: bool) -> dict[str, tuple[int, int]]:
    sizes = {"proj_in": (channels, channels), "proj_out": (channels, channels)}
    if not every:  # the other places have the same layers: one of them shows where the block lies
        return {**sizes, "transformer_blocks.0.attn2.to_k": (channels, CONTEXT)}
    for t in range(depth):
        for attention, width in (("attn1", channels), ("attn2", CONTEXT)):
            sizes[f"transformer_blocks.{t}.{attention}.to_q"] = (channels, channels)
            sizes[f"transformer_blocks.{t}.{attention}.to_k"] = (channels, width)
            sizes[f"transformer_blocks.{t}.{attention}.to_v"] = (channels, width)
            sizes[f"transformer_blocks.{t}.{attention}.to_out.0"] = (channels, channels)
        sizes[f"transformer_blocks.{t}.ff.net.0.proj"] = (8 * channels, channels)
        sizes[f"transformer_blocks.{t}.ff.net.2"] = (channels, 4 * channels)
    return sizes


def sdxl(naming: str, convolutions: bool = False) -> list[Place]:
    """SDXL's attention modules (and some convolutions) under "native" or "diffusers" names."""
    places = []
    for native, diffusers, channels, depth in _SDXL_ATTENTION:
        stem = native if naming == "native" else diffusers
        below = _sdxl_below(
            channels, depth, every=native in ("input_blocks.4.1", "middle_block.1", "output_blocks.2.1")
        )
        places += [Place(f"{stem}.{name}", f"{_M}{native}.{name}", size) for name, size in below.items()]
    if convolutions:
        for native, diffusers, shape in _SDXL_CONVOLUTION:
            places.append(Place(native if naming == "native" else diffusers, _M + native, shape))
    return places


def text_encoder(encoder: str, stem: str, separator: str = ".") -> list[Place]:
    """CLIP's layers under `stem`, words joined by `separator`; two layers, 64 wide."""
    sizes = {f"self_attn.{name}_proj": (64, 64) for name in ("q", "k", "v", "out")}
    sizes |= {"mlp.fc1": (128, 64), "mlp.fc2": (64, 128)}
    places = []
    for layer in range(2):
        for name, size in sizes.items():
            module = f"text_model.encoder.layers.{layer}.{name}"
            places.append(Place(stem + module.replace(".", separator), f"{encoder}.transformer.{module}", size))
    return places


def t5(stem: str, separator: str = ".") -> list[Place]:
    """T5's layers under `stem`; two blocks, 64 wide, feed-forward 96."""
    sizes = {f"layer.0.SelfAttention.{name}": (64, 64) for name in "qkvo"}
    sizes |= {f"layer.1.DenseReluDense.{name}": (96, 64) for name in ("wi_0", "wi_1")}
    sizes["layer.1.DenseReluDense.wo"] = (64, 96)
    places = []
    for block in range(2):
        for name, size in sizes.items():
            module = f"encoder.block.{block}.{name}"
            places.append(Place(stem + module.replace(".", separator), f"t5xxl.transformer.{module}", size))
    return places


def renamed(places: list[Place], prefix: str, separator: str = ".") -> list[Place]:
    """The same places under other file names: `prefix` in front, dots replaced by `separator`."""
    return [Place(prefix + p.key.replace(".", separator), p.weight, p.shape, p.first, p.rows, p.swap) for p in places]
