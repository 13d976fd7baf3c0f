"""What a conditioning is made from, found in the graph before it. No node runs for it and no model is loaded.

Two conditionings with the same key came from the same nodes (class, code, settings, links), the same files (size, time,
content samples) and the same ComfyUI, torch and device. When the pack knows more, the key holds less: an EriSampleSpec
counts with the values of the one output that is used, and an EriLoraAtStep whose checkpoint has no text-encoder part
does not count, because it does not change the CLIP. Files are told apart without reading them whole.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import comfy.model_management
import comfyui_version
import folder_paths
import nodes
import torch
from comfy_api.latest import io
from comfy_execution.graph_utils import is_link

from ...errors import LoraError
from ...lora import read_lora
from ...lora.fingerprint import content
from ...trainers.kohya.text import misread_repairer
from ..lora.runs import Choice, find
from ..paths import run_roots
from ..spec import SpecInputs, columns, load_spec
from . import encode as _host_text
from .cache_store import FORMAT

_LONGEST_NAME: Final = 512
_EMBEDDING: Final = re.compile(r"embedding:([^\s)]+)")
_EMBEDDING_SUFFIXES: Final = ("", ".safetensors", ".pt", ".bin")


class NotCacheableError(ValueError):
    """The graph does not say what the result will be. The text names the node and the reason."""


@dataclass
class GraphKey:
    """The key of a graph and the files behind it.

    Files that a node itself watches for ComfyUI (EriLoraAtStep's checkpoint) are in the digest only.

    Args:
        digest: the key, 64 hexadecimal digits.
        files: a fingerprint by path.
        readers: the nodes that name a path.
    """

    digest: str = ""
    files: dict[str, str] = field(default_factory=dict)
    readers: dict[str, set[str]] = field(default_factory=dict)


def graph_key(dynprompt: Any, node_id: str, input_name: str, more: list[str]) -> GraphKey:
    """Return the key of what is linked to one input of a node.

    Args:
        dynprompt: ComfyUI's hidden DYNPROMPT.
        node_id: the node's id.
        input_name: the input's name.
        more: texts that are part of the key.

    Raises NotCacheableError.
    """
    walk = _Walk(dynprompt)
    source = dynprompt.get_node(node_id)["inputs"][input_name]
    walk.key.digest = _digest(["key", FORMAT, environment(), more, walk.value(source, node_id)])
    return walk.key


def environment() -> list[str]:
    """What else decides the numbers: versions, the text encoders' device and dtype, and this pack's own text code.

    ftfy counts where it is there, because kohya's rules repair texts with it.
    """
    device = comfy.model_management.text_encoder_device()
    repairer = misread_repairer()
    return [
        comfyui_version.__version__,
        str(torch.__version__),
        comfy.model_management.get_torch_device_name(device),
        str(comfy.model_management.text_encoder_dtype(device)),
        _code(inspect.getsourcefile(_host_text) or ""),
        *([] if repairer is None else [f"ftfy {repairer.__version__}"]),
    ]


class _Walk:
    """One walk up a graph, which describes every node once."""

    def __init__(self, dynprompt: Any) -> None:
        self.key = GraphKey()
        self.dynprompt = dynprompt
        self._nodes: dict[str, str] = {}

    def value(self, value: Any, reader: str) -> Any:
        """JSON for an input's value: a link as the digest of what it leads to, a constant with the files it names."""
        if is_link(value):
            return {"link": self.output(str(value[0]), int(value[1]))}
        try:
            plain = json.loads(json.dumps(value, sort_keys=True))
        except (TypeError, ValueError) as error:
            raise NotCacheableError(f"node {reader} holds a value that only exists while the graph runs") from error
        return {"constant": plain, "files": [self.file(path, reader) for path in files_named(plain)]}

    def output(self, node_id: str, slot: int) -> str:
        """Digest of one output of a node."""
        node = self.dynprompt.get_node(node_id)
        special = _SPECIAL.get(node["class_type"])
        told = special(self, node_id, node, slot) if special else None
        if told is not None:
            return told
        if node_id not in self._nodes:
            self._nodes[node_id] = _digest(self.description(node_id, node))
        return _digest([self._nodes[node_id], slot])

    def description(self, node_id: str, node: Mapping[str, Any]) -> list[Any]:
        """Everything that decides a node's outputs."""
        kind = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        inputs = {name: self.value(value, node_id) for name, value in sorted(node["inputs"].items())}
        return [node["class_type"], _code(_source_file(kind)), _changed(kind, node_id, node), inputs]

    def file(self, path: str, reader: str) -> str:
        """Fingerprint of a file (or folder) that a node names, noted in the key."""
        try:
            found = folder_fingerprint(path) if os.path.isdir(path) else fingerprint(path)
        except OSError as error:
            raise NotCacheableError(f"{path} cannot be read ({error.strerror or error})") from error
        self.key.files[path] = found
        self.key.readers.setdefault(path, set()).add(reader)
        return found


def files_named(value: Any) -> list[str]:
    """Files of ComfyUI's model, input, output and temp folders that a constant names, embeddings within a text too."""
    if isinstance(value, Mapping | list):
        parts = value.values() if isinstance(value, Mapping) else value
        return [path for part in parts for path in files_named(part)]
    if not isinstance(value, str) or not value.strip() or "\x00" in value:
        return []
    found = [_embedding(name) for name in _EMBEDDING.findall(value)]
    if len(value) <= _LONGEST_NAME and "\n" not in value:
        categories = [name for name in folder_paths.folder_names_and_paths if name != "custom_nodes"]
        found += [[folder_paths.get_full_path(category, value)] for category in categories]
        name, root = folder_paths.annotated_filepath(value)
        found.append([_inside(root or folder_paths.get_input_directory(), name)])
        if "diffusers" in categories:  # the one kind of model that is named by its folder
            roots = folder_paths.get_folder_paths("diffusers")
            found.append([path for path in (_inside(root, value) for root in roots) if path and os.path.isdir(path)])
    return sorted({os.path.abspath(path) for paths in found for path in paths if path})


def _embedding(name: str) -> list[str | None]:
    """Where ComfyUI may find an embedding that a weighted prompt names."""
    spellings = {name, name.strip(","), name.strip(",").partition(":")[0]} - {""}
    endings = [spelling + suffix for spelling in sorted(spellings) for suffix in _EMBEDDING_SUFFIXES]
    return [folder_paths.get_full_path("embeddings", ending) for ending in endings]


def _inside(root: str, name: str) -> str | None:
    """A regular file or a folder below `root`, None when there is none of that name."""
    base = os.path.abspath(root)
    path = os.path.abspath(os.path.join(base, name))
    there = path.startswith(base + os.sep) and (os.path.isfile(path) or os.path.isdir(path))
    return path if there else None


def _spec_output(walk: _Walk, node_id: str, node: Mapping[str, Any], slot: int) -> str | None:
    """EriSampleSpec: the values of this output, so that another seed or size elsewhere in the config does not count."""
    inputs = node["inputs"]
    known = SpecInputs.__dataclass_fields__
    if not set(inputs) <= set(known) or not all(isinstance(value, str) for value in inputs.values()):
        return None
    output = nodes.NODE_CLASS_MAPPINGS[node["class_type"]].GET_SCHEMA().outputs[slot].id
    try:
        values = columns(load_spec(SpecInputs(**inputs)))
    except (ValueError, OSError):
        return None  # the node itself reports it
    if output not in values or output == "seed":
        return None  # a seed may be drawn anew each time
    return _digest(["spec", output, walk.value(values[output], node_id)])


def _lora_output(walk: _Walk, node_id: str, node: Mapping[str, Any], slot: int) -> str | None:
    """EriLoraAtStep's CLIP: the checkpoint that it takes, or nothing when that does not change the CLIP."""
    inputs = node["inputs"]
    output = nodes.NODE_CLASS_MAPPINGS[node["class_type"]].GET_SCHEMA().outputs[slot]
    run, step, mode = (inputs.get(name) for name in ("run", "step", "mode"))
    if output.get_io_type() != io.Clip.io_type or not isinstance(run, str):
        return None
    if not isinstance(step, int) or not isinstance(mode, str):
        paths = [_inside(str(root), run) for root in run_roots()]
        folders = [walk.file(path, node_id) for path in paths if path and os.path.isdir(path)]
        return _digest(["lora", folders, slot, walk.description(node_id, node)])
    try:
        checkpoint = find(Choice(run, step, mode))
        touches = checkpoint is not None and touches_text(checkpoint.path)
    except (ValueError, OSError):
        return None  # the node itself reports it
    if not touches or checkpoint is None:
        return str(walk.value(inputs["clip"], node_id)["link"]) if is_link(inputs.get("clip")) else None
    file = fingerprint(checkpoint.path)
    others = {name: walk.value(value, node_id) for name, value in sorted(inputs.items()) if name not in ("run", "mode")}
    return _digest(["lora", slot, file, others, _code(_source_file(nodes.NODE_CLASS_MAPPINGS[node["class_type"]]))])


_SPECIAL: Final = {"EriSampleSpec": _spec_output, "EriLoraAtStep": _lora_output}


def touches_text(path: Path) -> bool:
    """Whether a LoRA file changes a text encoder. Raises LoraError and OSError."""
    return _touches_text(path, fingerprint(path))


@lru_cache(maxsize=256)
def _touches_text(path: Path, state: str) -> bool:
    """`state`: the file's fingerprint, so that a changed file is read again."""
    try:
        lora = read_lora(path)
    except LoraError as error:
        if error.retryable:
            raise
        return True  # unreadable without the model's family: taken as if it did
    return any(adapter.target.part != "model" for adapter in lora.adapters)


def _changed(kind: Any, node_id: str, node: Mapping[str, Any]) -> Any:
    """What a node class says about changes that its inputs do not show (ComfyUI's IS_CHANGED)."""
    own = getattr(kind, "fingerprint_inputs", None) if issubclass(kind, io.ComfyNode) else None
    if own is not None and own.__func__ is io.ComfyNode.fingerprint_inputs.__func__:
        return None
    method = own or getattr(kind, "IS_CHANGED", None)
    if method is None:
        return None
    if "is_changed" in node:  # ComfyUI asked already
        answer = node["is_changed"]
    elif inspect.iscoroutinefunction(method):
        raise NotCacheableError(f"node {node_id} ({node['class_type']}) has a fingerprint that is not known yet")
    else:  # a ComfyUI without its own cache never asks
        answer = method(**{name: None if is_link(value) else value for name, value in node["inputs"].items()})
    if _has_nan(answer):
        raise NotCacheableError(f"node {node_id} ({node['class_type']}) says that it changes with every run")
    return repr(answer)


def _has_nan(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_has_nan(item) for item in value)
    return isinstance(value, float) and math.isnan(value)


def _source_file(kind: Any) -> str:
    try:
        return inspect.getsourcefile(kind) or ""
    except (TypeError, OSError):
        return ""  # made at run time: there is no file


def _code(path: str) -> str:
    """Content of a source file; ComfyUI's own code is covered by its version."""
    host = os.path.dirname(os.path.abspath(nodes.__file__))
    inside = os.path.relpath(path, host) if path else ".."
    if not path or not os.path.isfile(path) or inside.split(os.sep)[0] in ("nodes.py", "comfy", "comfy_extras"):
        return ""
    return fingerprint(path).rpartition("|")[2]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


#: ComfyUI imports the pack before it runs any graph, so nothing it has loaded is older than this.
STARTED: Final = time.time()


def fingerprint(path: str | Path) -> str:
    """Size, time of change and content of a file (see `lora.fingerprint.content`), as text. Raises OSError."""
    stat = os.stat(path)
    return f"{stat.st_size}|{stat.st_mtime_ns}|{content(path)}"


def folder_fingerprint(folder: str | Path) -> str:
    """Names, sizes and times of every file below a folder, as text. Raises OSError."""
    lines = []
    for root, _, files in sorted(os.walk(folder)):
        for name in sorted(files):
            stat = os.stat(os.path.join(root, name))
            lines.append(f"{os.path.relpath(os.path.join(root, name), folder)}|{stat.st_size}|{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def may_have_changed(path: str | Path) -> bool:
    """Whether a file, or one below a folder, was written, replaced or moved since ComfyUI started. Raises OSError."""
    path = os.path.realpath(path)
    inside = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
    stats = [os.stat(entry) for entry in (path, *inside)]
    return any(max(stat.st_mtime, stat.st_ctime) >= STARTED - 1.0 for stat in stats)  # coarse clocks of file systems
