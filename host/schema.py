"""Small things that every node's schema shares."""

from __future__ import annotations

import dataclasses
import json
import re
from functools import cache
from pathlib import Path
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
    """An io.Schema with the node's texts, from the keywords that the running ComfyUI knows. The others are left out.

    Newer versions know more keywords (search_aliases, …), and an unknown one would make ComfyUI reject the whole pack.
    The texts (display name, description, tooltips) stand in locales/en/nodeDefs.json, where the front end reads them.
    """
    if said := _texts().get(keywords["node_id"]):
        keywords |= {"display_name": said["display_name"], "description": said["description"]}
        for entry in keywords["inputs"]:
            entry.tooltip = said["inputs"][entry.id]["tooltip"]
        for number, output in enumerate(keywords["outputs"]):
            output.tooltip = said["outputs"][str(number)]["tooltip"]
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(**{key: value for key, value in keywords.items() if key in known})


@cache
def _texts() -> dict[str, Any]:
    """The English texts by node. In that file `{'@'}` stands for "@", as the front end's translations need it."""
    text = (Path(__file__).parents[1] / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8")
    texts: dict[str, Any] = json.loads(text, object_hook=_plain)
    return texts


def _plain(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: re.sub(r"\{'(.)'\}", r"\1", text) if isinstance(text, str) else text for key, text in entry.items()}
