"""The work behind `eri graph`: a spec to JSON, with the files and nodes of a running host where one is named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..protocol.schemas import combo_choices
from ..spec import SampleSpec
from ..workflows import build, choose_models

#: ComfyUI's model folders, and a node input that lists each.
_LISTINGS: Final = {
    "checkpoints": ("CheckpointLoaderSimple", "ckpt_name"),
    "diffusion_models": ("UNETLoader", "unet_name"),
    "text_encoders": ("CLIPLoader", "clip_name"),
    "vae": ("VAELoader", "vae_name"),
    "loras": ("LoraLoader", "lora_name"),
}


def graph_document(
    spec: SampleSpec,
    models: Path | None,
    run: str | None,
    step: int | None,
    form: str = "api",
    style: str = "eri",
    url: str | None = None,
    batch: int = 1,
) -> tuple[dict[str, Any], list[str]]:
    """The graph's JSON, and its notes.

    Args:
        form: "api", "ui", or "both" (`{"api": ..., "ui": ...}`).
        url: A ComfyUI among whose files the models are chosen, and whose description of its nodes is used.
        batch: The most samples to denoise at once.

    Raises WorkflowError, HostError.
    """
    info = None if url is None else asyncio.run(_object_info(url))
    offered = None if info is None else offered_files(info)
    workflow = build(spec, models, run, step, style, offered=offered, batch=batch)
    if form == "api":
        return workflow.api(), workflow.notes
    if form == "ui":
        return workflow.ui(info), workflow.notes
    return {"api": workflow.api(), "ui": workflow.ui(info)}, workflow.notes


async def models_offered(url: str, spec: SampleSpec) -> tuple[dict[str, Any], list[str]]:
    """A model description of the files that ComfyUI at `url` offers, and notes on the choice; raises HostError."""
    return models_among(spec, await _object_info(url))


def models_among(spec: SampleSpec, object_info: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The same of what a ComfyUI offers by its `/object_info`."""
    return choose_models(spec, offered_files(object_info))


async def _object_info(url: str) -> dict[str, Any]:
    from .host_client import HostClient  # takes as long to import as all of a graph takes, which most need alone

    async with HostClient(url) as client:
        return await client.object_info()


def offered_files(object_info: Mapping[str, Any]) -> dict[str, list[str]]:
    """File names by model folder, from what the loader nodes of `/object_info` list."""
    return {
        folder: combo_choices(object_info.get(node, {}), name) or [] for folder, (node, name) in _LISTINGS.items()
    }
