"""One file per dialect and family, written as its trainer writes it; the tests and the dialect table share them.

Names, endings and the place of alpha are spelt out from the trainers' save code, module tables from the architectures
(module_tables.py); nothing of the pack is used.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from comfyui_eridiffusion.tests.lora import module_tables as tables
from comfyui_eridiffusion.tests.lora.host_models import HIDDEN
from comfyui_eridiffusion.tests.lora.lora_files import (
    RANK,
    Pair,
    Place,
    eridiffusion_header,
    pairs_for,
    tensors_of,
    with_moments,
    write,
)

H = HIDDEN
_M = "diffusion_model."
AB = (".lora_A.weight", ".lora_B.weight")
DOWN_UP = (".lora_down.weight", ".lora_up.weight")


@dataclass(frozen=True)
class Case:
    """A file in one dialect: its modules, endings, and where its alpha stands (`alpha` is what training used)."""

    dialect: str
    family: str
    variant: str
    places: list[Place]
    endings: tuple[str, str] = DOWN_UP
    alpha: float | None = None
    in_tensors: bool = False
    folded: bool = False  # alpha / rank multiplied into the up matrix, no alpha stored
    moments: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file_name: str = "lora.safetensors"
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.dialect}-{self.family}-{self.variant}".replace(" ", "_")

    def write(self, folder: Path) -> tuple[Path, dict[str, Pair]]:
        """The file in `folder`, its companions beside it, and the pairs that it must apply."""
        pairs = pairs_for(self.places, self.alpha, dtype=self.dtype)
        tensors = tensors_of(pairs, *self.endings, alpha_tensors=self.in_tensors)
        if self.folded:
            assert self.alpha is not None
            tensors |= {key: (self.alpha / RANK) * tensor for key, tensor in _ups(tensors, self.endings[1]).items()}
        if self.moments:
            tensors = with_moments(tensors)
        for name, content in self.beside.items():
            (folder / name).write_text(json.dumps(content))
        return write(folder / self.file_name, tensors, self.metadata), pairs


def _ups(tensors: Mapping[str, Tensor], ending: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key.endswith(ending)}


DIFFUSERS = {
    "flux": tables.flux_diffusers(),
    "sd35": tables.sd35_diffusers(),
    "sdxl": tables.sdxl("diffusers", convolutions=True),
    "chroma": tables.chroma_diffusers(),
}
NATIVE = {
    "flux": tables.flux_native(),
    "sd35": tables.sd35_native() + tables.sd35_modulation(),
    "sdxl": tables.sdxl("native", convolutions=True),
    "chroma": tables.chroma_native(),
}
V2 = {"flux": tables.flux_hybrid(), "sd35": tables.sd35_native(), "sdxl": tables.sdxl("native")}
FAMILIES = tuple(NATIVE)
COMPONENT = {"flux": "transformer.", "sd35": "transformer.", "sdxl": "unet.", "chroma": "transformer."}
LINEAR = {family: [p for p in places if len(p.shape) == 2] for family, places in DIFFUSERS.items()}
# text encoders: family -> the encoders' modules under diffusers' numbering, kohya's, and the host's own names
TEXT = {
    "flux": tables.text_encoder("clip_l", "text_encoder.") + tables.t5("text_encoder_2."),
    "sd35": tables.text_encoder("clip_l", "text_encoder.") + tables.text_encoder("clip_g", "text_encoder_2.")
    + tables.t5("text_encoder_3."),
    "sdxl": tables.text_encoder("clip_l", "text_encoder.") + tables.text_encoder("clip_g", "text_encoder_2."),
    "chroma": tables.t5("text_encoder."),
}  # fmt: skip
KOHYA_TEXT = {
    "flux": tables.text_encoder("clip_l", "lora_te1_", "_") + tables.t5("lora_te3_", "_"),
    "sd35": tables.text_encoder("clip_l", "lora_te1_", "_") + tables.text_encoder("clip_g", "lora_te2_", "_")
    + tables.t5("lora_te3_", "_"),
    "sdxl": tables.text_encoder("clip_l", "lora_te1_", "_") + tables.text_encoder("clip_g", "lora_te2_", "_"),
    "chroma": tables.t5("lora_te1_", "_"),
}  # fmt: skip
ONETRAINER_TEXT = KOHYA_TEXT | {
    "flux": tables.text_encoder("clip_l", "lora_te1_", "_") + tables.t5("lora_te2_", "_"),
    "chroma": tables.t5("lora_te_", "_"),
}
HOST_TEXT = {
    family: [
        Place("text_encoders." + p.weight, p.weight, p.shape)
        for p in KOHYA_TEXT[family]
    ]
    for family in FAMILIES
}  # fmt: skip


def eridiffusion_v1_flux_listed() -> list[Place]:
    """The names of generate_parameter_names beside the layers of get_trainable_params, two tensors each."""
    written = [f"{stream}_attn.to_{c}" for stream in ("img", "txt") for c in ("q", "k", "v", "out.0")]
    layers = ("img_attn.qkv", "img_attn.proj", "txt_attn.qkv", "txt_attn.proj", "img_mlp.0", "img_mlp.2", "txt_mlp.0",
              "txt_mlp.2")  # fmt: skip
    sizes = {"qkv": (3 * H, H), "proj": (H, H), "0": (4 * H, H), "2": (H, 4 * H)}
    places = [
        Place(f"double_blocks.{i}.{name}", f"{_M}double_blocks.{i}.{layer}", sizes[layer.rpartition(".")[2]])
        for i in range(2)
        for name, layer in zip(written, layers, strict=True)
    ]
    for i in range(4):
        linear = f"{_M}single_blocks.{i}.linear1"
        places.append(Place(f"single_blocks.{i}.attn.to_q", linear, (7 * H, H), 0, 3 * H))
        places.append(Place(f"single_blocks.{i}.attn.to_v", linear, (7 * H, H), 3 * H, 4 * H))
    return places


def eridiffusion_v1_flux() -> list[Place]:
    """`lora.block00.…`: the image stream of the two double blocks."""
    places = []
    for i in range(2):
        stem, native = f"lora.block{i:02d}", f"{_M}double_blocks.{i}"
        qkv = f"{native}.img_attn.qkv"
        places += [Place(f"{stem}.attn.{c}", qkv, (3 * H, H), n * H, H) for n, c in enumerate("qkv")]
        places.append(Place(f"{stem}.attn.o", f"{native}.img_attn.proj", (H, H)))
        places.append(Place(f"{stem}.mlp.fc1", f"{native}.img_mlp.0", (4 * H, H)))
        places.append(Place(f"{stem}.mlp.fc2", f"{native}.img_mlp.2", (H, 4 * H)))
    return places


def x_flux(double: tuple[int, ...] = (0, 1), single: tuple[int, ...] = (0, 1, 2, 3)) -> list[Place]:
    """Processors of the given blocks; a single block's `_lora` belongs to the ending."""
    places = []
    for i in double:
        for number, stream in (("1", "img"), ("2", "txt")):
            stem, native = f"double_blocks.{i}.processor", f"{_M}double_blocks.{i}.{stream}_attn"
            places.append(Place(f"{stem}.qkv_lora{number}", f"{native}.qkv", (3 * H, H)))
            places.append(Place(f"{stem}.proj_lora{number}", f"{native}.proj", (H, H)))
    for i in single:
        stem, native = f"single_blocks.{i}.processor", f"{_M}single_blocks.{i}"
        places.append(Place(f"{stem}.qkv_lora", f"{native}.linear1", (7 * H, H), 0, 3 * H))
        places.append(Place(f"{stem}.proj_lora", f"{native}.linear2", (H, 5 * H)))
    return places


def processors(places: list[Place]) -> list[Place]:
    """diffusers' oldest SDXL names: attention below `.processor`, the out projection without `.0`."""
    attention = [p for p in places if ".to_" in p.key]
    return tables.renamed(
        [Place(p.key.replace(".to_", ".processor.to_").removesuffix(".0"), p.weight, p.shape) for p in attention],
        "unet.",
    )


def by_number(places: list[Place]) -> list[Place]:
    """The parts of fused weights as modules of their own, numbered below the fused weight's name (OneTrainer's OMI)."""
    made = []
    for p in places:
        heights = [H, H, H, 4 * H] if p.key.endswith("linear1") else [H, H, H]
        if not p.key.endswith(("linear1", ".qkv")):
            made.append(p)
            continue
        firsts = [sum(heights[:i]) for i in range(len(heights))]
        made += [Place(f"{p.key}.{i}", p.weight, p.shape, first, rows)
                 for i, (first, rows) in enumerate(zip(firsts, heights, strict=True))]  # fmt: skip
    return made


def omi(family: str) -> list[Place]:
    """OneTrainer's OMI names, after its convert_flux_lora.py, convert_sd3_lora.py and convert_sdxl_lora.py."""
    model = [replace(p, key="img_in.proj") if p.key == "img_in" else p for p in by_number(NATIVE[family])]
    encoders = {"clip_l.transformer": "clip_l", "clip_g.transformer": "clip_g", "t5xxl.transformer": "t5"}
    text = []
    for p in KOHYA_TEXT[family]:
        host = next(name for name in encoders if p.weight.startswith(name))
        text.append(replace(p, key=encoders[host] + p.weight.removeprefix(host)))
    return tables.renamed(model, COMPONENT[family]) + text


# DiffSynth-Studio's names of Flux's blocks, after its FluxLoRAConverter.align_to_opensource_format
_DIFFSYNTH = {
    "modulation.lin": "norm.linear", "linear1": "to_qkv_mlp", "linear2": "proj_out",
    "img_mod.lin": "norm1_a.linear", "txt_mod.lin": "norm1_b.linear", "img_attn.qkv": "attn.a_to_qkv",
    "txt_attn.qkv": "attn.b_to_qkv", "img_attn.proj": "attn.a_to_out", "txt_attn.proj": "attn.b_to_out",
    "img_mlp.0": "ff_a.0", "img_mlp.2": "ff_a.2", "txt_mlp.0": "ff_b.0", "txt_mlp.2": "ff_b.2",
}  # fmt: skip


def diffsynth() -> list[Place]:
    """The modules that DiffSynth-Studio's examples train."""
    places = []
    for p in NATIVE["flux"]:
        block, _, rest = p.key.partition(".")
        number, _, module = rest.partition(".")
        if module in _DIFFSYNTH:
            places.append(replace(p, key=f"{block.replace('double_', '')}.{number}.{_DIFFSYNTH[module]}"))
    return places


def attention_only(places: list[Place]) -> list[Place]:
    """SDXL's attention projections under EriDiffusion V1's names, the base tensor's `.weight` included."""
    return [Place(f"{p.key}.weight", p.weight, p.shape) for p in places if ".attn" in p.key]


def _eridiffusion() -> Iterator[Case]:
    chroma = tables.chroma_diffusers()
    yield Case("eridiffusion-v2", "chroma", "header", chroma, AB, alpha=2.0,
               metadata=eridiffusion_header("train_chroma", 250, RANK, 2.0))  # fmt: skip
    yield Case("peft", "chroma", "EriDiffusion V2", chroma, AB, file_name="chroma_lora_step250.safetensors")
    for family in V2:
        header = eridiffusion_header(f"train_{family}", 250, RANK, 1.0)
        name = f"{family}_lora_step250.safetensors"
        yield Case("eridiffusion-v2", family, "full save", V2[family], AB, alpha=1.0, moments=True,
                   metadata=header, file_name=name)  # fmt: skip
        yield Case("eridiffusion-v2", family, "weights save", V2[family], AB, alpha=2.0, in_tensors=True,
                   file_name=name)  # fmt: skip
        yield Case("eridiffusion-v2", family, "bare lora_A", V2[family], (".lora_A", ".lora_B"), alpha=2.0,
                   metadata=eridiffusion_header(f"train_{family}", 250, RANK, 2.0))  # fmt: skip
        yield Case("eridiffusion-v2", family, "locon", V2[family], (".lora_down", ".lora_up"), alpha=2.0,
                   metadata=eridiffusion_header(f"train_{family}", 250, RANK, 2.0))  # fmt: skip
    yield Case("kohya", "sdxl", "V2 companion", tables.renamed(V2["sdxl"], "lora_unet_", "_"), alpha=1.0,
               in_tensors=True, file_name="sdxl_lora_step250_comfyui.safetensors")  # fmt: skip
    yield Case("eridiffusion-v1-flux", "flux", "crates", eridiffusion_v1_flux(), (".lora.A", ".lora.B"),
               dtype=torch.bfloat16, metadata={"step": "300", "seed": "1"})  # fmt: skip
    split = [Place(p.key.replace("_attn.proj", "_attn.to_out.0"), p.weight, p.shape, p.first, p.rows)
             for p in tables.flux_hybrid() if "attn." in p.key]  # fmt: skip
    yield Case("eridiffusion-v1-flux-split", "flux", "src", split, (".lora_a", ".lora_b"), alpha=2.0,
               metadata={"format": "flux-lora", "rank": "4", "alpha": "2", "step": "300"},
               file_name="flux_lora.safetensors")  # fmt: skip
    yield Case("eridiffusion-v1-flux-listed", "flux", "src", eridiffusion_v1_flux_listed(), (".lora_a", ".lora_b"),
               alpha=2.0, metadata={"format": "flux-lora", "rank": "4", "alpha": "2", "step": "300"},
               file_name="flux_lora.safetensors")  # fmt: skip
    yield Case("kohya", "sdxl", "EriDiffusion V1", tables.renamed(tables.sdxl("native"), "lora_unet_", "_"), alpha=2.0,
               metadata={"ss_network_module": "networks.lora", "ss_network_dim": "4", "ss_network_alpha": "2"},
               file_name="sdxl_lora.safetensors")  # fmt: skip
    for prefix in ("", "model.diffusion_model."):
        yield Case("eridiffusion-v1-sdxl", "sdxl", f"{prefix or 'bare'} prefix",
                   tables.renamed(attention_only(tables.sdxl("native")), prefix), alpha=8.0,
                   metadata={"rank": "4", "alpha": "8"})  # fmt: skip
    for family, endings in (("sdxl", (".lora_a.weight", ".lora_b.weight")), ("flux", (".lora_down", ".lora_up"))):
        yield Case("eridiffusion-v1-generic", family, endings[0][1:], NATIVE[family], endings, alpha=6.0,
                   beside={"metadata.json": {"network_alpha": 6.0, "step": 40}})  # fmt: skip


def _kohya() -> Iterator[Case]:
    for family in FAMILIES:
        native = tables.renamed(NATIVE[family], "lora_unet_", "_")
        yield Case("kohya", family, "sd-scripts", native + KOHYA_TEXT[family], alpha=2.0, in_tensors=True)
        yield Case("kohya", family, "half precision", native, alpha=2.0, in_tensors=True, dtype=torch.float16)
        prefix = "lora_unet_" if family == "sdxl" else "lora_transformer_"
        diffusers = tables.renamed(DIFFUSERS[family], prefix, "_")
        yield Case("kohya-diffusers", family, "OneTrainer legacy", diffusers + ONETRAINER_TEXT[family], alpha=2.0,
                   in_tensors=True)  # fmt: skip
        yield Case("lycoris", family, "SimpleTuner", tables.renamed(DIFFUSERS[family], "lycoris_", "_"), alpha=2.0,
                   in_tensors=True)  # fmt: skip
    yield Case("x-flux", "flux", "all blocks", x_flux(), (".down.weight", ".up.weight"))
    yield Case("x-flux", "flux", "some blocks", x_flux((1,), (2,)), (".down.weight", ".up.weight"))


def _native() -> Iterator[Case]:
    yield Case("diffsynth", "flux", "own names", diffsynth(), (".lora_A.default.weight", ".lora_B.default.weight"))
    for family in FAMILIES:
        comfy = tables.renamed(NATIVE[family], _M) + HOST_TEXT[family]
        yield Case("onetrainer-omi", family, "OMI", omi(family), alpha=2.0, in_tensors=True)
        yield Case("prefixed", family, "model.diffusion_model. prefix",
                   tables.renamed(NATIVE[family], "model.diffusion_model."), alpha=2.0, in_tensors=True)  # fmt: skip
        yield Case("comfy", family, "OneTrainer COMFY", comfy, AB, alpha=2.0, in_tensors=True)
        yield Case("native", family, "OneTrainer ORIGINAL", NATIVE[family], AB, alpha=2.0, in_tensors=True)
        yield Case("comfy-diffusers", family, "SimpleTuner comfyui", tables.renamed(DIFFUSERS[family], _M), AB,
                   alpha=2.0, in_tensors=True)  # fmt: skip


def _diffusers() -> Iterator[Case]:
    for family in FAMILIES:
        component = COMPONENT[family]
        named = tables.renamed(DIFFUSERS[family], component)
        yield Case("onetrainer-internal", family, "backup", named + TEXT[family], alpha=2.0, in_tensors=True)
        yield Case("peft", family, "diffusers plain", named + TEXT[family], AB)
        yield Case("peft", family, "OneTrainer DIFFUSERS", named, AB, alpha=2.0, folded=True)
        parts = (component[:-1], "text_encoder", "text_encoder_2", "text_encoder_3")
        config = {f"{part}.{key}": value for part in parts for key, value in (("r", RANK), ("lora_alpha", 6))}
        yield Case("peft", family, "diffusers metadata", named + TEXT[family], AB, alpha=6.0,
                   metadata={"lora_adapter_metadata": json.dumps(config)})  # fmt: skip
        for prefix, label in (("base_model.model.", "save_pretrained"), ("", "bare diffusers")):
            yield Case("peft", family, label, tables.renamed(DIFFUSERS[family], prefix), AB, alpha=6.0,
                       beside={"adapter_config.json": {"peft_type": "LORA", "r": RANK, "lora_alpha": 6}},
                       file_name="adapter_model.safetensors")  # fmt: skip
        yield Case("peft", family, "adapter named", tables.renamed(DIFFUSERS[family], "base_model.model."),
                   (".lora_A.default.weight", ".lora_B.default.weight"))  # fmt: skip
    yield Case("comfy", "chroma", "ai-toolkit", tables.renamed(NATIVE["chroma"], _M), AB,
               metadata={"training_info": '{"step": 750, "epoch": 3}'})  # fmt: skip
    for family in ("flux", "sd35"):
        yield Case("ai-toolkit", family, "lora_A", tables.renamed(DIFFUSERS[family], COMPONENT[family]), AB,
                   metadata={"training_info": '{"step": 750, "epoch": 3}'})  # fmt: skip
    yield Case("kohya-diffusers", "sdxl", "ai-toolkit", tables.renamed(DIFFUSERS["sdxl"], "lora_unet_", "_")
               + KOHYA_TEXT["sdxl"], alpha=2.0, in_tensors=True,
               metadata={"training_info": '{"step": 750, "epoch": 3}'})  # fmt: skip
    sdxl, old = tables.sdxl("diffusers"), tables.text_encoder("clip_l", "text_encoder.")
    yield Case("diffusers-old", "sdxl", "processors", processors(sdxl), ("_lora.down.weight", "_lora.up.weight"))
    yield Case("diffusers-old", "sdxl", "lora.down", tables.renamed(sdxl, "unet."),
               (".lora.down.weight", ".lora.up.weight"))  # fmt: skip
    yield Case("diffusers-old", "sdxl", "lora_linear_layer", tables.renamed(sdxl, "unet.") + old,
               (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"))  # fmt: skip


CASES: tuple[Case, ...] = (*_eridiffusion(), *_kohya(), *_native(), *_diffusers())
