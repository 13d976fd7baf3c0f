"""Model descriptions that lie beside ComfyUI's model files: YAML files as for `eri … --models`, one for each model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import folder_paths
import nodes

from ...errors import WorkflowError
from ...spec import SampleSpec
from ...workflows.graph import Graph
from ...workflows.models import add_loaders, read_description, read_models
from ..paths import leading_inside
from .queue import MODEL_FOLDERS

#: A YAML file with more bytes than this describes no model.
_LARGEST: Final = 64 << 10


def description_beside(spec: SampleSpec, folder: str, file: str) -> tuple[Mapping[str, Any] | None, list[str]]:
    """The description beside a model file that loads it with nodes which ComfyUI has, None without one; and notes.

    folder: ComfyUI's model folder. file: the model's name in it, as ComfyUI lists it and as the description names it.
    """
    place = folder_paths.get_full_path(folder, file)
    notes: list[str] = []
    for path in () if place is None else _naming(Path(place)):
        try:
            description = read_description(path)
            if "files" not in description and "loaders" not in description:
                continue
            read_models(description, spec)
            graph = Graph()
            main = graph.nodes[add_loaders(graph, description, spec.family).model.node]
        except WorkflowError as error:
            notes.append(f"{path.name}, beside {file}, is not used: {str(error).replace(str(path), path.name)}")
            continue
        if _plain(file) not in map(_plain, main.inputs.values()):
            continue
        unknown = sorted({node.class_type for node in graph.nodes.values()} - set(nodes.NODE_CLASS_MAPPINGS))
        if not unknown:
            return _used(description), [*notes, f"Model: {file} is loaded as {path.name}, beside it, says."]
        notes.append(
            f"{path.name}, beside {file}, says how to load it, but this ComfyUI has no node {', '.join(unknown)}. "
            "Install the pack that brings it."
        )
    return None, notes


def _used(description: Mapping[str, Any]) -> dict[str, Any]:
    """What the graph is made of: a YAML file may hold more, and what JSON has no word for."""
    used = {key: description[key] for key in ("family", "files") if key in description}
    if "loaders" in description:
        keys = ("class_type", "inputs", "output")
        used["loaders"] = {
            part: {key: description["loaders"][part][key] for key in keys if key in description["loaders"][part]}
            for part in ("model", "clip", "vae")
        }
    return used


def _naming(model: Path) -> Iterator[Path]:
    """The YAML files beside a model in which its name stands, or which may not be read, as the reader then says.

    A link counts where it leads into a model folder.
    """
    roots = [Path(root) for kind in MODEL_FOLDERS for root in folder_paths.get_folder_paths(kind)]
    beside = sorted(path for path in model.parent.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
    for path in leading_inside(beside, roots):
        if not path.is_file() or path.stat().st_size > _LARGEST:
            continue
        if not os.access(path, os.R_OK) or model.name.encode() in path.read_bytes():
            yield path


def _plain(name: object) -> str:
    return str(name).replace("\\", "/")
