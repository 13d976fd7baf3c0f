"""The examples' LoRA runs in other trainers' dialects, converted here without the pack.

Read: EriDiffusion V2's files as it writes them. Written: state dict, header and companions of each dialect. Fused
projections are put together as sd-scripts does (down matrices stacked, up matrices on the diagonal, alpha times the
number of parts) and taken apart by rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from comfyui_eridiffusion.tests.lora.lora_files import write


class Module(NamedTuple):
    """Down [rank, in], up [out, rank] and alpha of one module."""

    down: Tensor
    up: Tensor
    alpha: float


Modules = dict[str, Module]
_HEADER = "__eridiffusion_ckpt__"
_HOST_TEXT = "text_encoders."


def read_v2(path: Path) -> Modules:
    """An EriDiffusion V2 file: alpha from the tensors, else from the header."""
    modules: Modules = {}
    with safe_open(path, framework="pt") as file:
        header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
        names = set(file.keys())
        for name in names:
            if not name.endswith(".lora_A.weight") or name.startswith("__opt__/"):
                continue
            stem = name.removesuffix(".lora_A.weight")
            stored = f"{stem}.alpha"
            alpha = file.get_tensor(stored).item() if stored in names else header["alpha"]
            modules[stem] = Module(file.get_tensor(name), file.get_tensor(f"{stem}.lora_B.weight"), float(alpha))
    return modules


def fused(modules: Modules, parts: Mapping[str, tuple[str, ...]]) -> Modules:
    """Modules whose last words are `parts[whole]` joined to `whole`; ranks add up, and alpha with them."""
    joined = dict(modules)
    for whole, names in parts.items():
        stems = [key.removesuffix(names[0]) for key in modules if key.endswith(names[0])]
        for stem in stems:
            found = [joined.pop(stem + name) for name in names]
            down = torch.cat([module.down for module in found])
            joined[stem + whole] = Module(down, torch.block_diag(*(m.up for m in found)), found[0].alpha * len(found))
    return joined


def in_thirds(modules: Modules) -> Modules:
    """Every `qkv` as three modules with its down matrix each."""
    split: Modules = {}
    for key, module in modules.items():
        if not key.endswith(".qkv"):
            split[key] = module
            continue
        for name, up in zip(("to_q", "to_k", "to_v"), module.up.chunk(3), strict=True):
            split[f"{key.removesuffix('qkv')}{name}"] = Module(module.down.clone(), up.contiguous(), module.alpha)
    return split


def renamed(modules: Modules, *rules: tuple[str, str]) -> Modules:
    """Every rule that matches is applied to every name, in order."""

    def name(key: str) -> str:
        for pattern, text in rules:
            key = re.sub(pattern, text, key)
        return key

    return {name(key): module for key, module in modules.items()}


# the double blocks first: `single_blocks.…attn.to_q` has no stream
FLUX_NATIVE: dict[str, tuple[str, ...]] = {
    "img_attn.qkv": ("img_attn.to_q", "img_attn.to_k", "img_attn.to_v"),
    "txt_attn.qkv": ("txt_attn.to_q", "txt_attn.to_k", "txt_attn.to_v"),
}
FLUX_LINEAR1 = (".attn.to_q", ".attn.to_k", ".attn.to_v", ".proj_mlp")
FLUX_DIFFUSERS = (
    (r"^double_blocks\.", "transformer_blocks."),
    (r"^single_blocks\.", "single_transformer_blocks."),
    (r"img_attn\.(to_[qkv])$", r"attn.\1"),
    (r"txt_attn\.to_([qkv])$", r"attn.add_\1_proj"),
    (r"img_attn\.proj$", "attn.to_out.0"),
    (r"txt_attn\.proj$", "attn.to_add_out"),
    (r"img_mlp\.0$", "ff.net.0.proj"),
    (r"img_mlp\.2$", "ff.net.2"),
    (r"txt_mlp\.0$", "ff_context.net.0.proj"),
    (r"txt_mlp\.2$", "ff_context.net.2"),
)
SD35_DIFFUSERS = (
    (r"^joint_blocks\.", "transformer_blocks."),
    (r"x_block\.(attn2?)\.(to_[qkv])$", r"\1.\2"),
    (r"context_block\.attn\.to_([qkv])$", r"attn.add_\1_proj"),
    (r"x_block\.(attn2?)\.proj$", r"\1.to_out.0"),
    (r"context_block\.attn\.proj$", "attn.to_add_out"),
    (r"x_block\.mlp\.fc1$", "ff.net.0.proj"),
    (r"x_block\.mlp\.fc2$", "ff.net.2"),
    (r"context_block\.mlp\.fc1$", "ff_context.net.0.proj"),
    (r"context_block\.mlp\.fc2$", "ff_context.net.2"),
)


def native(family: str, modules: Modules) -> Modules:
    """Under the model's own names, projections fused as its weights are."""
    if family != "flux":
        return modules
    doubles = {key: module for key, module in modules.items() if key.startswith("double_blocks.")}
    singles = {key: module for key, module in modules.items() if not key.startswith("double_blocks.")}
    singles = fused(singles, {".linear1": FLUX_LINEAR1})
    return {**fused(doubles, FLUX_NATIVE), **renamed(singles, (r"\.proj_out$", ".linear2"))}


def diffusers(family: str, modules: Modules) -> Modules:
    """Under diffusers' names, projections split as its layers are (Flux and SD 3.5)."""
    return renamed(modules, *FLUX_DIFFUSERS) if family == "flux" else renamed(in_thirds(modules), *SD35_DIFFUSERS)


def _state(modules: Modules, down: str, up: str, alpha: bool = True) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for key, module in modules.items():
        state |= {key + down: module.down, key + up: module.up}
        if alpha:
            state[f"{key}.alpha"] = torch.tensor(module.alpha)
    return state


_AB, _DOWN_UP = (".lora_A.weight", ".lora_B.weight"), (".lora_down.weight", ".lora_up.weight")
_KOHYA_TEXT = {"clip_l": "lora_te1_", "clip_g": "lora_te2_", "t5xxl": "lora_te3_"}


def _apart(modules: Modules) -> tuple[Modules, Modules]:
    """The diffusion model's modules and the text encoders'."""
    text = {key: module for key, module in modules.items() if key.startswith(_HOST_TEXT)}
    return {key: module for key, module in modules.items() if key not in text}, text


def _underscored(prefix: str, modules: Modules) -> Modules:
    return {prefix + key.replace(".", "_"): module for key, module in modules.items()}


def _kohya_text(text: Modules) -> Modules:
    named = {}
    for key, module in text.items():
        encoder, name = key.removeprefix(_HOST_TEXT).split(".transformer.")
        named[_KOHYA_TEXT[encoder] + name.replace(".", "_")] = module
    return named


def _peft_config(modules: Modules) -> dict[str, Any]:
    first = next(iter(modules.values()))
    return {"peft_type": "LORA", "r": first.down.shape[0], "lora_alpha": first.alpha}


def _kohya(folder: Path, family: str, modules: Modules) -> Path:
    model, text = _apart(modules)
    state = _state(_underscored("lora_unet_", native(family, model)) | _kohya_text(text), *_DOWN_UP)
    return write(folder / "kohya-step00000500.safetensors", state, {"ss_steps": "500"})


def _comfy(folder: Path, family: str, modules: Modules) -> Path:
    model, text = _apart(modules)
    named = {f"diffusion_model.{key}": module for key, module in native(family, model).items()}
    return write(folder / "comfy.safetensors", _state(named | text, *_AB))


def _native(folder: Path, family: str, modules: Modules) -> Path:
    model, text = _apart(modules)
    return write(folder / "native.safetensors", _state(native(family, model) | text, *_AB))


def _v2_weights(folder: Path, family: str, modules: Modules) -> Path:
    return write(folder / f"{family}_lora_step7.safetensors", _state(modules, *_AB))


def _legacy(folder: Path, family: str, modules: Modules) -> Path:
    model, text = _apart(modules)
    state = _state(_underscored("lora_transformer_", diffusers(family, model)) | _kohya_text(text), *_DOWN_UP)
    return write(folder / "legacy.safetensors", state)


def _diffusers(folder: Path, family: str, modules: Modules) -> Path:
    """`save_lora_weights`: alpha in the header's metadata, keys prefixed by component."""
    model, _ = _apart(modules)
    named = {f"transformer.{key}": module for key, module in diffusers(family, model).items()}
    config = {f"transformer.{key}": value for key, value in _peft_config(model).items()}
    header = {"lora_adapter_metadata": json.dumps(config)}
    return write(folder / "pytorch_lora_weights.safetensors", _state(named, *_AB, alpha=False), header)


def _peft(folder: Path, family: str, modules: Modules) -> Path:
    """`save_pretrained`: alpha in adapter_config.json."""
    model, _ = _apart(modules)
    named = {f"base_model.model.{key}": module for key, module in diffusers(family, model).items()}
    path = write(folder / "adapter_model.safetensors", _state(named, *_AB, alpha=False))
    path.with_name("adapter_config.json").write_text(json.dumps(_peft_config(model)))
    return path


def _simpletuner(folder: Path, family: str, modules: Modules) -> Path:
    model, _ = _apart(modules)
    named = {f"diffusion_model.{key}": module for key, module in diffusers(family, model).items()}
    return write(folder / "simpletuner.safetensors", _state(named, *_AB))


_WRITERS: dict[str, Callable[[Path, str, Modules], Path]] = {
    "eridiffusion-v2": _v2_weights,
    "kohya": _kohya,
    "comfy": _comfy,
    "native": _native,
    "kohya-diffusers": _legacy,
    "peft": _diffusers,
    "peft ": _peft,
    "comfy-diffusers": _simpletuner,
}
# The examples' SDXL model has other block numbers than SDXL, so diffusers' numbers cannot name its blocks.
_NATIVE_ONLY = ("eridiffusion-v2", "kohya", "comfy", "native")


def convert(path: Path, family: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Dialect and file, one after another, of the run's file at `path`."""
    modules = read_v2(path)
    for dialect, writer in _WRITERS.items():
        if family != "sdxl" or dialect in _NATIVE_ONLY:
            yield dialect.strip(), writer(folder, family, modules)
