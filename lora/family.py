"""Which model family a LoRA file is for: from its module names, then its widths, then what its metadata says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from ..errors import LoraError, shorten
from .metadata import LoraFile
from .names import FAMILIES
from .suffixes import DOWN

# On names with "." written as "_", so that one pattern serves the dotted and the kohya spelling.
_PROOF = {
    "flux": re.compile(
        r"(?:^|_)(?:single_transformer_blocks|single_blocks|double_blocks)_\d|^lora_block\d"
        r"|(?:^|_)guidance_"
    ),
    "sd35": re.compile(r"(?:^|_)joint_blocks_\d|(?:^|_)pos_embed_proj$"),
    "sdxl": re.compile(r"(?:^|_)(?:input_blocks|output_blocks|middle_block|down_blocks|up_blocks|mid_block)_\d"),
}
_SD35_ATTN2 = re.compile(r"(?:^|_)transformer_blocks_\d+_attn2_")
_ATTENTION_IN = re.compile(r"(?:^|_)transformer_blocks_\d+_attn_(?:to_[qkv]|add_[qkv]_proj)$")
_WIDTHS = {3072: "flux", 1536: "sd35", 2432: "sd35"}
_CROSS_ATTENTION_IN = re.compile(r"_attn2_to_[kv]$")
_NOT_SDXL_WIDTHS = {768: "Stable Diffusion 1.5", 1024: "Stable Diffusion 2", 1280: "Stable Diffusion XL refiner"}
_FAMILY_WORDS = (
    ("flux", re.compile(r"^flux(?![-_.]?2)|train_flux$", re.IGNORECASE)),
    ("sd35", re.compile(r"sd_?35?(?:$|[^0-9])|sd3\.5|stable-diffusion-v?3|sd3transformer", re.IGNORECASE)),
    ("sdxl", re.compile(r"sdxl|stable-diffusion-xl|train_sdxl", re.IGNORECASE)),
)  # fmt: skip
_OTHER_WORDS = re.compile(
    r"^sd_?v?[12](?![0-9])|stable-diffusion-v[12]|flux[-_.]?2|^flex\.?2|chroma|(?<![a-z])wan|hunyuan|qwen|lumina"
    r"|z-?image|pixart|hidream|klein",
    re.IGNORECASE,
)  # fmt: skip
_V2_BINARY = "train_"
_CHOOSE = f"Name the family: one of {', '.join(FAMILIES)}"


def proven_family(file: LoraFile) -> str | None:
    """The family that the module names can only belong to; None when they fit more than one or speak of none.

    Raises LoraError when the names of two families occur in one file.
    """
    found = _proofs(file.model_modules)
    if len(found) > 1:
        raise LoraError(
            f"holds modules of several families ({', '.join(found)})",
            path=file.path,
            keys=list(found.values()),
            remedy="Load one LoRA per file",
        )
    return next(iter(found), None)


@lru_cache(maxsize=8)  # the checkpoints of a run have the same names
def _proofs(modules: tuple[str, ...]) -> dict[str, str]:
    """The families that names can only belong to, each with the first such name."""
    names = {module.replace(".", "_"): module for module in modules}
    first = {family: _first(names, pattern) for family, pattern in _PROOF.items()}
    if first["sdxl"] is None:
        first["sd35"] = first["sd35"] or _first(names, _SD35_ATTN2)
    return {family: module for family, module in first.items() if module is not None}


def _first(names: Mapping[str, str], pattern: re.Pattern[str]) -> str | None:
    return next((module for name, module in names.items() if pattern.search(name)), None)


def detect_family(file: LoraFile, asked: str | None = None) -> str | None:
    """The family of a LoRA file; None only for files that hold nothing but text encoders.

    `asked`: "flux", "sd35", "sdxl" or None (find out); it settles what the names leave open. Raises LoraError for an
    unknown family, for one that the names contradict, for Stable Diffusion 1.5/2 files, and when nothing tells.
    """
    if asked is not None and asked not in FAMILIES:
        raise LoraError(f"unknown family '{asked}'", path=file.path, remedy=_CHOOSE)
    modules = file.model_modules
    proven, stated = proven_family(file), stated_family(file)
    if proven == "sdxl" and stated != "sdxl":
        _refuse_older(file)
    found = proven or _family_by_width(file) or stated
    if asked is not None and modules and found not in (None, asked):
        raise LoraError(
            f"this LoRA is for {found}, not for {asked}",
            path=file.path,
            keys=modules,
            remedy=f"Use it with a {found} model, or choose a LoRA trained for {asked}",
        )
    if found is None and asked is None and modules:
        raise LoraError(
            "its module names fit more than one family and nothing else in it tells which",
            path=file.path,
            keys=modules,
            remedy=_CHOOSE,
        )
    return found or asked


def stated_family(file: LoraFile) -> str | None:
    """The family that the metadata names; None when it says nothing.

    Raises LoraError when it names a model that is none of the supported families.
    """
    trainer = file.eridiffusion.get("trainer")
    mapping = file.adapter_config.get("auto_mapping")
    statements = (
        trainer,
        file.metadata.get("ss_base_model_version"),
        file.metadata.get("modelspec.architecture"),
        mapping.get("base_model_class") if isinstance(mapping, dict) else None,
    )
    texts = [statement for statement in statements if isinstance(statement, str)]
    for text in texts:
        for family, pattern in _FAMILY_WORDS:
            if pattern.search(text):
                return family
    for text in texts:
        if not text.startswith(_V2_BINARY) and _OTHER_WORDS.search(text):
            raise LoraError(
                f"its metadata says it was trained for '{text}', none of the supported families",
                path=file.path,
                remedy=f"Supported are {shorten(FAMILIES)}",
            )
    if isinstance(trainer, str) and trainer.startswith(_V2_BINARY):
        raise LoraError(
            f"was written by EriDiffusion's '{trainer}', which trains none of the supported families",
            path=file.path,
            remedy=f"Supported are {shorten(FAMILIES)}",
        )
    return None


def _family_by_width(file: LoraFile) -> str | None:
    for name, part in file.parts.items():
        if part.kind == DOWN and _ATTENTION_IN.search(part.module.replace(".", "_")):
            return _WIDTHS.get(file.header.shapes[name][-1])
    return None


def _refuse_older(file: LoraFile) -> None:
    for name, part in file.parts.items():
        if part.kind != DOWN or not _CROSS_ATTENTION_IN.search(part.module.replace(".", "_")):
            continue
        shape = file.header.shapes[name]
        model = _NOT_SDXL_WIDTHS.get(shape[1] if len(shape) > 1 else 0)
        if model is not None:
            raise LoraError(
                f"is a {model} LoRA (its text width is {shape[1]}, SDXL's is 2048)",
                path=file.path,
                keys=[name],
                remedy="Choose a LoRA trained for SDXL, SD 3.5 or Flux",
            )
        return
