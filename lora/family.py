"""Which model family a LoRA file is for: from its module names, then its widths, then its metadata.

A file for a model that is not supported is refused by names that only that model has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from ..errors import LoraError, shorten
from ..families import FAMILIES
from ..families.others import OTHERS, other_by_statement
from .metadata import LoraFile
from .names.text_encoders import names_no_encoder
from .suffixes import DOWN, UP
from .tensor_names import KEPT, TensorNames

# On names with "." written as "_", so that one pattern serves the dotted and the kohya spelling.
_ATTENTION_IN = re.compile(
    r"(?:^|_)(?:transformer_blocks_\d+_attn_(?:to_[qkv]|add_[qkv]_proj)|blocks_\d+_attn_[ab]_to_(?:qkv|[qkv]))$"
)
_CROSS_ATTENTION_IN = re.compile(r"_attn2_to_[kv]$")
_V2_BINARY = "train_"
_LINEAR1 = re.compile(r"single_blocks[._]\d+[._]linear1$")
_FLUX2_WIDTHS = 9


def named_families(file: LoraFile) -> tuple[str, ...]:
    """The families that every module name which tells a family allows; none when no name tells one.

    Raises LoraError when the names of several families occur in one file.
    """
    told = _told(file.model_modules)
    allowed = tuple(family for family in FAMILIES if told and all(family in families for families in told))
    if told and not allowed:
        found = {family: name for families, name in told.items() for family in families}
        several = [family for family in FAMILIES if family in found]
        raise LoraError(
            f"holds modules of several families ({', '.join(several)})",
            path=file.path,
            keys=[found[family] for family in several],
            remedy="Load one LoRA per file",
        )
    return allowed


@lru_cache(maxsize=KEPT)
def _told(modules: tuple[str, ...]) -> Mapping[frozenset[str], str]:
    """The sets of families that such names allow, each with the first such name."""
    patterns = {family.id: re.compile(family.lora.modules) for family in FAMILIES.values()}
    told: dict[frozenset[str], str] = {}
    for module in modules:
        name = module.replace(".", "_")
        families = frozenset(family for family, pattern in patterns.items() if pattern.search(name))
        if families:
            told.setdefault(families, module)
    return told


def detect_family(file: LoraFile, asked: str | None = None) -> str | None:
    """The family of a LoRA file; None only for files that hold nothing but text encoders.

    `asked` is a family's id, which settles what the names leave open, or None. When nothing else settles it, the first
    family that the names allow is taken. Raises LoraError for an unknown family, for one that the names contradict, for
    other models' files that have a family's names, and when nothing tells a family.
    """
    if asked is not None and asked not in FAMILIES:
        raise LoraError(f"unknown family '{asked}'", path=file.path, remedy=_choose())
    modules = file.model_modules
    named, stated = named_families(file), stated_family(file)
    if stated not in named:
        _refuse_older(file, named)
    allowed = named or _families_by_width(file)
    found = next((family for family in (stated, asked) if family in allowed), allowed[0]) if allowed else stated
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
            remedy=_choose(),
        )
    return found or asked


def _choose() -> str:
    return f"Name the family: one of {', '.join(FAMILIES)}"


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
        for family in FAMILIES.values():
            if re.search(family.lora.stated, text, re.IGNORECASE):
                return family.id
    for text in texts:
        if not text.startswith(_V2_BINARY) and other_by_statement(text) is not None:
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


def _families_by_width(file: LoraFile) -> tuple[str, ...]:
    for name, part in file.parts.items():
        if part.kind == DOWN and _ATTENTION_IN.search(part.module.replace(".", "_")):
            width = file.header.shapes[name][-1]
            return tuple(family.id for family in FAMILIES.values() if width in family.lora.widths)
    return ()


def _refuse_older(file: LoraFile, named: Iterable[str]) -> None:
    """Refuse another model's LoRA that has a family's module names. The width of its text shows which model it is."""
    for family in (FAMILIES[name] for name in named):
        traits = family.lora
        for name, part in file.parts.items():
            if part.kind != DOWN or not traits.older or not _CROSS_ATTENTION_IN.search(part.module.replace(".", "_")):
                continue
            shape = file.header.shapes[name]
            model = traits.older.get(shape[1] if len(shape) > 1 else 0)
            if model is not None:
                raise LoraError(
                    f"is a {model} LoRA (its text width is {shape[1]}, {family.title}'s is {traits.text_width})",
                    path=file.path,
                    keys=[name],
                    remedy=f"Choose a LoRA trained for one of {shorten(known.title for known in FAMILIES.values())}",
                )
            break


@lru_cache(maxsize=KEPT)
def _other_model(names: TensorNames) -> tuple[str, str] | None:
    """The unsupported model to which the names can only belong, and one of them; None when there is none."""
    spellings = [(module, module.replace(".", "_")) for module in names.model_modules]
    for other in (known for known in OTHERS if known.modules):
        pattern = re.compile(other.modules)
        for spelling in spellings:
            if any(pattern.search(name) for name in spelling):
                return other.title, spelling[0]
    return _flux2(names)


def _flux2(names: TensorNames) -> tuple[str, str] | None:
    """Flux.2 by the rows of its single blocks: q, k, v and a gated mlp of twice three widths; Flux has seven widths."""
    for name, part in names.parts.items():
        if part.kind == UP and _LINEAR1.search(part.module):
            down = next((key for key, other in names.parts.items() if other == (part.module, DOWN)), "")
            width = names.shapes.get(down, (0,))[-1]
            if width and names.shapes[name][0] == _FLUX2_WIDTHS * width:
                return "Flux.2", part.module
            return None
    return None


def refuse_other_models(file: LoraFile) -> None:
    """Raise LoraError when the names can only belong to a model that is not supported; it says which."""
    other = _other_model(file.names)
    if other is not None:
        model, module = other
        raise LoraError(
            f"is a LoRA for {model}, none of the supported families",
            path=file.path,
            keys=[module],
            remedy=f"Supported are {shorten(FAMILIES)}",
        )
    if file.modules and all(map(names_no_encoder, file.modules)):
        raise LoraError(
            "its names are those of a text encoder alone and do not say of which, nor does its width",
            path=file.path,
            keys=file.modules,
            remedy="CLIP-L is 768 wide, CLIP-G 1280, T5-XXL 4096; else save it with text_encoder. before its names",
        )
