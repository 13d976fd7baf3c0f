"""Compares a LoRA file with a model file: what would match, from the model's header alone."""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import LoraError
from ..families import FAMILIES
from .convert import to_host_keys
from .fit import check_fit, fitting
from .header import Header, read_header
from .names import MODEL
from .names.table import MODEL_PREFIX
from .reader import Lora
from .report import LoadReport, load_report

# As ComfyUI's checkpoints name their parts -> as ComfyUI names them once loaded.
_PARTS = (
    (re.compile(r"model\.diffusion_model\."), MODEL_PREFIX),
    (re.compile(r"text_encoders\.(clip_l|clip_g|t5xxl)\.(?:transformer\.)?"), r"\1.transformer."),
    (re.compile(r"conditioner\.embedders\.0\.transformer\."), "clip_l.transformer."),
)
#: Flux' and Chroma's in their own files and ComfyUI 0.3.75.
_NORM_SCALE = re.compile(r"((?:query|key)_norm|distilled_guidance_layer\.norms\.\d+)\.scale$")


def model_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight and bias in a model file by ComfyUI's name. Only the header is read.

    `path` is a .safetensors file: a checkpoint (`model.diffusion_model.…`) or a diffusion model under native names;
    fp8, int8 and NVFP4 weights have the shapes of the numbers that they stand for. Raises LoraError as `read_header`
    does, for other packed weights and GGUF files, and when the file holds no diffusion model under ComfyUI's names.
    """
    if Path(path).suffix.lower() == ".gguf":
        raise _packed(Path(path), "is a GGUF file")
    header = read_header(path)
    shapes = {_host_name(name): _logical_shape(header, name) for name in header.shapes}
    if not any(_is_module(name) for name in shapes):
        raise LoraError(
            "holds no diffusion model under ComfyUI's names",
            path=header.path,
            keys=header.shapes,
            remedy="Name the checkpoint or diffusion model that ComfyUI loads (not diffusers' folder format)",
        )
    return shapes


def family_of_model(shapes: dict[str, tuple[int, ...]]) -> str:
    """The family of a model with these weights (`model_shapes`): that which knows most of its modules."""
    modules = [name.removeprefix(MODEL_PREFIX).removesuffix(".weight") for name in shapes if name.endswith(".weight")]
    known = {id: sum(family.names.native(name) is not None for name in modules) for id, family in FAMILIES.items()}
    return max(known, key=lambda id: known[id])


def report_against(lora: Lora, shapes: dict[str, tuple[int, ...]]) -> LoadReport:
    """Return what a model with these weights (`model_shapes`) takes of `lora`.

    Text encoders that the model file does not hold are not judged, and a note says so. Raises LoraError when nothing
    matches or a shape does not fit.
    """
    misfits = check_fit(lora, shapes)
    to_host_keys(fitting(lora, misfits))  # which refuses what ComfyUI cannot apply
    loaded = [adapter.target.name for adapter in lora.adapters if f"{adapter.target.weight}.weight" in shapes]
    encoders = {name.split(".", 1)[0] for name in shapes if not name.startswith(MODEL_PREFIX)}
    return load_report(lora, loaded, judged={MODEL, *encoders}, misfits=misfits)


def _logical_shape(header: Header, name: str) -> tuple[int, ...]:
    """The shape of a weight's numbers. NVFP4 keeps two of them in a byte, see ComfyUI's comfy/ops.py."""
    shape = header.shapes[name]
    if not name.endswith(".weight") or header.spans[name].dtype != "U8":
        return shape
    if f"{name}_scale_2" not in header.shapes:
        raise _packed(header.path, "holds packed weights", name)
    return (*shape[:-1], 2 * shape[-1])


def _packed(path: Path, problem: str, *keys: str) -> LoraError:
    return LoraError(
        f"{problem}, whose shapes only ComfyUI's loader for it knows",
        path=path,
        keys=keys,
        remedy="Ask a running ComfyUI that loads it: --against http://127.0.0.1:8188",
    )


def _host_name(name: str) -> str:
    for pattern, host in _PARTS:
        match = pattern.match(name)
        if match is not None:
            return match.expand(host) + name[match.end() :]
    return _NORM_SCALE.sub(r"\1.weight", name if name.startswith(MODEL_PREFIX) else MODEL_PREFIX + name)


def _is_module(name: str) -> bool:
    module = name.removeprefix(MODEL_PREFIX).removesuffix(".weight")
    return name.endswith(".weight") and any(family.names.native(module) is not None for family in FAMILIES.values())
