"""The work behind `eri graph`: a spec to JSON, with the files and nodes of a running host where one is named."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from ..errors import HostError
from ..protocol.schemas import combo_choices
from ..spec import SampleSpec
from ..workflows import build, choose_models
from ..workflows.choose import Described

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
        url: A ComfyUI among whose files the models are chosen, as the descriptions beside them say, and whose
            description of its nodes is used.
        batch: The most samples to denoise at once.

    Raises WorkflowError, HostError.
    """
    info = None if url is None else asyncio.run(_object_info(url))
    offered = None if info is None else offered_files(info)
    described = None if url is None else descriptions_at(url)
    workflow = build(spec, models, run, step, style, offered=offered, described=described, batch=batch)
    if form == "api":
        return workflow.api(), workflow.notes
    if form == "ui":
        return workflow.ui(info), workflow.notes
    return {"api": workflow.api(), "ui": workflow.ui(info)}, workflow.notes


async def models_offered(url: str, spec: SampleSpec) -> tuple[dict[str, Any], list[str]]:
    """A model description of the files that ComfyUI at `url` offers, and notes on the choice; raises HostError."""
    return models_among(spec, await _object_info(url), descriptions_at(url))


def models_among(
    spec: SampleSpec, object_info: Mapping[str, Any], described: Described | None = None
) -> tuple[dict[str, Any], list[str]]:
    """The same of what a ComfyUI offers by its `/object_info`, and of the descriptions beside its models."""
    return choose_models(spec, offered_files(object_info), described)


def descriptions_at(*urls: str) -> Described:
    """Asks ComfyUI for the description beside a model; of several, the first that answers.

    There is none where ComfyUI lacks this pack, or has one that does not tell. Raises HostError where none answers.
    """

    async def ask(query: Mapping[str, str]) -> Any:
        from .host_client import HostClient

        for number, url in enumerate(urls, 1):
            try:
                async with HostClient(url) as client:
                    return await client.found("/eridiffusion/description", query)
            except HostError:
                if number == len(urls):
                    raise
        return None

    def described(spec: SampleSpec, folder: str, file: str) -> tuple[Mapping[str, Any] | None, list[str]]:
        query = {"family": spec.family, "folder": folder, "file": file}
        with ThreadPoolExecutor(1) as other:  # models are chosen in functions, be there an event loop or none
            answer = other.submit(asyncio.run, ask(query)).result()
        return (answer["description"], answer["notes"]) if answer else (None, [])

    return described


async def _object_info(url: str) -> dict[str, Any]:
    from .host_client import HostClient  # takes as long to import as all of a graph takes, which most need alone

    async with HostClient(url) as client:
        return await client.object_info()


def offered_files(object_info: Mapping[str, Any]) -> dict[str, list[str]]:
    """File names by model folder, from what the loader nodes of `/object_info` list."""
    return {
        folder: combo_choices(object_info.get(node, {}), name) or [] for folder, (node, name) in _LISTINGS.items()
    }
