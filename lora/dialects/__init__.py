"""The dialects, in the order in which they are asked. A new one is one small file here and one line in this table."""

from __future__ import annotations

from ..header import Header
from ..metadata import LoraFile
from .ai_toolkit import AiToolkit
from .base import OPTIMIZER_PREFIX, Alpha, Dialect
from .comfy import Comfy
from .comfy_diffusers import ComfyDiffusers
from .diffsynth import DiffSynth
from .diffusers_old import DiffusersOld
from .eridiffusion_v1_flux import EriDiffusionV1Flux
from .eridiffusion_v1_flux_split import EriDiffusionV1FluxListed, EriDiffusionV1FluxSplit
from .eridiffusion_v1_generic import EriDiffusionV1Generic
from .eridiffusion_v1_sdxl import EriDiffusionV1Sdxl
from .eridiffusion_v2 import EriDiffusionV2
from .kohya import Kohya
from .kohya_diffusers import KohyaDiffusers
from .lycoris import Lycoris
from .native import Native
from .onetrainer_internal import OneTrainerInternal
from .onetrainer_omi import OneTrainerOmi
from .peft import Peft
from .prefixed import Prefixed
from .xflux import XFlux

# Those that are told by something only they have come first; of two prefixes the more particular one.
DIALECTS: tuple[Dialect, ...] = (
    EriDiffusionV1Flux(),
    EriDiffusionV1FluxListed(),
    EriDiffusionV1FluxSplit(),
    EriDiffusionV1Sdxl(),
    DiffSynth(),
    EriDiffusionV2(),
    EriDiffusionV1Generic(),
    XFlux(),
    Lycoris(),
    KohyaDiffusers(),
    Kohya(),
    ComfyDiffusers(),
    Comfy(),
    DiffusersOld(),
    OneTrainerOmi(),
    OneTrainerInternal(),
    AiToolkit(),
    Peft(),
    Native(),
    Prefixed(),
)


def taken_apart(header: Header) -> LoraFile:
    """A LoRA file with its names taken apart: by the endings of the dialect that it shows with them, or as all do."""
    for dialect in DIALECTS:
        if dialect.endings and dialect.recognises(file := LoraFile(header, dialect.endings)):
            return file
    return LoraFile(header)


__all__ = ["DIALECTS", "OPTIMIZER_PREFIX", "Alpha", "Dialect", "taken_apart"]
