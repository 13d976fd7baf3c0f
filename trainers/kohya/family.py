"""Which model family a kohya training config is for; it says so only by the script it is meant for."""

from __future__ import annotations

import re
from typing import Final

from ...configs.command_line import PROGRAM
from ...configs.fields import Section
from ...errors import FamilyOpenError, SpecError
from ...families import FAMILIES
from ...families.others import other_by_name, other_by_program
from ..reading import name_family, unsupported
from .lora_scripts import script_of

#: Training script -> family.
_SCRIPTS: Final = {"flux": "flux", "sd3": "sd35", "sdxl": "sdxl"}
_MODULES: Final = {"lora_flux": "flux", "oft_flux": "flux", "lora_sd3": "sd35"}
_SUPPORTED: Final = f"Supported are {', '.join(FAMILIES)}."
_SDXL_NAME: Final = re.compile(r"(?i)xl(?![a-z])|pony|illustrious|noob|animagine")
_SDXL_SIDE: Final = 768


#: `--model_type` of Flux's script.
_TYPES: Final = ("flux", "chroma")


def family_of(args: Section, family: str | None) -> str:
    """Family by network module, by model files, by the model's name, at last by resolution; SpecError otherwise.

    family: what the caller says, which wins, but over the script of another model.
    """
    module = (args.text("network_module") or "").rsplit(".", 1)[-1]
    name = args.text("pretrained_model_name_or_path") or ""
    files = {key for key in ("ae", "clip_l", "clip_g", "t5xxl", "gemma2") if _given(args, key)}
    kind = (args.text("model_type") or "").lower() or None
    script = args.text(PROGRAM) or script_of(args)
    _refuse_others(args, script, *((module, kind) if family is None else ("", None)))
    if family is not None:
        return family
    if script is not None:
        found = _SCRIPTS.get(script.partition("_train")[0])
        if found is None:
            raise args.error(PROGRAM, f"{script}.py trains Stable Diffusion 1 or 2", "They are not supported.")
        return _of_flux_script(kind) if found == "flux" else found
    if "gemma2" in files:
        raise _unsupported(args, "Lumina 2")
    found = _MODULES.get(module, "flux" if "ae" in files or kind == "chroma" else None)
    if found is not None:
        return _of_flux_script(kind) if found == "flux" else found
    if files & {"clip_g", "t5xxl"}:
        return "sd35"
    if args.flag("v2"):
        raise _unsupported(args, "Stable Diffusion 2")
    tail = name.replace("\\", "/").rsplit("/", 1)[-1]
    if _SDXL_NAME.search(tail):
        return "sdxl"
    other = other_by_name(tail)
    if other is not None:
        raise unsupported(args, "pretrained_model_name_or_path", other)
    side = _resolution(args)
    if side is not None and side >= _SDXL_SIDE:
        args.reading.note(f"The model family is guessed: SDXL, as the resolution is {side}. Name it if that is wrong.")
        return "sdxl"
    raise FamilyOpenError(
        "the config does not tell which model it trains",
        source=args.reading.document.source,
        field=args.path_of("pretrained_model_name_or_path"),
        remedy=name_family("; Stable Diffusion 1 is not supported"),
    )


def _given(args: Section, key: str) -> bool:
    """Whether a file is named; an empty text names none."""
    node = args.get(key)
    return node is not None and node.value != ""


def _refuse_others(args: Section, script: str | None, module: str, kind: str | None) -> None:
    """Raise SpecError for a script, a network module or a `--model_type` of a model that is not supported."""
    for key, said in (
        (PROGRAM, script),
        ("network_module", module),
        ("model_train_type", args.text("model_train_type")),
    ):
        other = other_by_program(said or "")
        if other is not None:
            shown = f"{said}.py" if key == PROGRAM else said
            raise args.error(key, f"{shown} trains {other}, which is not supported", _SUPPORTED)
    if script is not None and script.partition("_train")[0] not in (*_SCRIPTS, "train", "train_network"):
        raise args.error(PROGRAM, f"{script}.py trains a model that is not known here", _SUPPORTED)
    if kind is not None and kind not in _TYPES:
        raise unsupported(args, "model_type", repr(kind))


def _of_flux_script(kind: str | None) -> str:
    """Flux' script trains Chroma as well: `--model_type` tells them apart."""
    return "chroma" if kind == "chroma" else "flux"


def _unsupported(args: Section, name: str) -> SpecError:
    key = "network_module" if args.has("network_module") else "pretrained_model_name_or_path"
    return unsupported(args, key, name)


def _resolution(args: Section) -> int | None:
    """The smaller side of `resolution`, which is a number or "width,height"."""
    node = args.members.get("resolution")
    parts = str(node.value).split(",") if node is not None and isinstance(node.value, str) else []
    sides = [int(part) for part in parts if re.fullmatch(r"\s*[0-9]{1,5}\s*", part)]
    return min(sides) if sides and len(sides) == len(parts) else None
