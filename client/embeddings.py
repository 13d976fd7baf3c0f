"""Embeddings of pictures by a CLIP vision model in ComfyUI: it loads the model, encodes, and its own queue does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import HostError
from .control_images import content_name, upload
from .host_client import HostClient

#: Pictures of one graph.
_AT_ONCE: Final = 16


async def embed(
    client: HostClient, clip_vision: str, files: Mapping[str, Path], report: Callable[[], None] = lambda: None
) -> dict[str, list[float]]:
    """Name -> embedding of length 1 of these pictures, which go into ComfyUI's temp folder for it.

    clip_vision: the model's file, as ComfyUI lists it. report: is called after each picture.
    Raises HostError where ComfyUI has no such model or lacks the pack.
    """
    await _check(client, clip_vision)
    found: dict[str, list[float]] = {}
    names = list(files)
    for start in range(0, len(names), _AT_ONCE):
        part = names[start : start + _AT_ONCE]
        graph = embedding_graph(clip_vision, {name: await _sent(client, files[name]) for name in part})
        result = await client.run(graph)
        for output in result.outputs.values():
            for entry in output.get("embeddings", ()):
                found[entry["name"]] = entry["embedding"]
                report()
    if missing := next((name for name in names if name not in found), None):
        raise HostError(f"ComfyUI gave no embedding of {missing!r}", kind="protocol", remedy="Its log says why.")
    return found


def embedding_graph(clip_vision: str, images: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The graph. images: name -> what LoadImage opens."""
    graph: dict[str, dict[str, Any]] = {
        "model": {"class_type": "CLIPVisionLoader", "inputs": {"clip_name": clip_vision}}
    }
    for number, (name, file) in enumerate(images.items()):
        encode = {"clip_vision": ["model", 0], "image": [f"load{number}", 0], "crop": "center"}
        graph[f"load{number}"] = {"class_type": "LoadImage", "inputs": {"image": file}}
        graph[f"encode{number}"] = {"class_type": "CLIPVisionEncode", "inputs": encode}
        embedding = {"name": name, "embedding": [f"encode{number}", 0]}
        graph[f"tell{number}"] = {"class_type": "EriImageEmbedding", "inputs": embedding}
    return graph


async def _check(client: HostClient, clip_vision: str) -> None:
    there = await client.choices("CLIPVisionLoader", "clip_name") or []
    if clip_vision not in there:
        known = ", ".join(there) or "none: put one into its folder models/clip_vision"
        problem = f"ComfyUI has no CLIP vision model {clip_vision!r}"
        raise HostError(problem, kind="validation", field="clip_name", remedy=f"It has {known}.")


async def _sent(client: HostClient, path: Path) -> str:
    """Put a picture into ComfyUI's temp folder, which it empties when it starts; what LoadImage calls it."""
    name = content_name(path)
    await upload(client, {name: path}, "temp")
    return f"{name} [temp]"
