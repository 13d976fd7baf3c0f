"""How SimpleTuner's configs and command lines are told, and which model family one is for.

Sources: bghira/SimpleTuner `helpers/configuration/cmd_args.py`, `simpletuner/cli`; of 2024 `train.sh`, `train_sdxl.py`,
`train.py`, whose `--flux` and the like stand for a family, SDXL without any.
"""

from __future__ import annotations

import re
from typing import Final

from ...configs.command_line import PROGRAM
from ...configs.tree import Document, find, has_any
from ..reading import unsupported
from .options import Options

PROGRAMS: Final = re.compile(
    r"(?<![\w-])(train_(?:sdxl|sd21)\.py|train(?=\.py)|simpletuner(?=[- ]train))(?:\.py|[- ]train)?(?![\w.-])"
)
_FAMILIES: Final = {"flux": "flux", "sd3": "sd35", "sdxl": "sdxl", "chroma": "chroma"}
#: The family of a program that trains one, as `model_family` would name it; `train.py` without a switch trains SDXL.
_OF_PROGRAM: Final = {"train_sdxl.py": "sdxl", "train_sd21.py": "sd2x", "train": "sdxl"}
#: config.env and command lines of 2024: a switch -> the family that it stands for.
_SWITCHES: Final = {
    "stable_diffusion_3": "sd3",
    "stable_diffusion_legacy": "sd1x",
    "legacy": "sd1x",
    "aura_flow": "auraflow",
    **{name: name for name in ("flux", "sd3", "pixart_sigma", "kolors", "smoldit", "hunyuan_dit")},
}
#: Options that no other trainer's program of the same name has.
_OWN: Final = ("validation_num_inference_steps", "validation_guidance", "validation_resolution", "data_backend_config")


def is_simpletuner(document: Document) -> bool:
    """True for SimpleTuner's options in any notation, and for what its web interface exports."""
    if has_any(document, "model_family", "--model_family", "MODEL_FAMILY", "VALIDATION_PROMPT"):
        return True
    if document.kind == "command":
        program = find(document.root, PROGRAM)
        name = program.value if program is not None else None
        return name == "simpletuner" or (name in _OF_PROGRAM and has_any(document, *_OWN))
    return has_any(document, "_metadata") and any(
        find(document.root, f"config.{key}") is not None for key in ("model_family", "--model_family")
    )


def family_of(options: Options, family: str | None) -> str:
    """The family that a config names, or that the caller says; SpecError for none and for one that is not supported."""
    program, named = options.text(PROGRAM), options.text("model_family")
    switch = _switched(options)
    if family is not None:
        return family
    named = named or switch or _OF_PROGRAM.get(program or "")
    if named is None:
        environment, config = options.text("env"), options.text("config")
        given = f"config/{environment}/config.json" if environment else config
        remedy = f"Give {given} instead." if given else f"Write one of {', '.join(_FAMILIES)}."
        raise options.error("model_family", "this option is missing", remedy)
    if named.lower() not in _FAMILIES:
        raise unsupported(options, "model_family", repr(named), _FAMILIES)
    return _FAMILIES[named.lower()]


def _switched(options: Options) -> str | None:
    """The family by its switch of 2024, None where no switch is given."""
    known = [name for name in _SWITCHES if options.has(name)]
    on = next((_SWITCHES[name] for name in known if options.flag(name)), None)
    return on or ("sdxl" if known else None)
