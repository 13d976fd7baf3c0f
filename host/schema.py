"""Small things that every node's schema shares."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from comfy_api.latest import io

#: Socket type that carries a spec.SampleSpec between EriSampleSpec and EriSaveSamples.
SPEC = io.Custom("ERI_SPEC")

SPEC_MENU: Final = "eridiffusion/run"
CONDITIONING_MENU: Final = "eridiffusion/conditioning"
SAMPLING_MENU: Final = "eridiffusion/sampling"
FLUX_MENU: Final = "eridiffusion/flux"
OUTPUT_MENU: Final = "eridiffusion/output"
MEMORY_MENU: Final = "eridiffusion/memory"

MAX_RESOLUTION: Final = 16384
#: Seeds are unsigned 64 bit numbers in trainers and in ComfyUI.
MAX_SEED: Final = 2**64 - 1


def schema(**keywords: Any) -> io.Schema:
    """An io.Schema from the keywords that the running ComfyUI knows. The others are left out.

    Newer versions know more keywords (search_aliases, …), and an unknown one would make ComfyUI reject the whole pack.
    """
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(**{key: value for key, value in keywords.items() if key in known})
