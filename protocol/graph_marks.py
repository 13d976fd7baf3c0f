"""Whether two graphs make an image alike: a mark per saving node of everything above it but the samples themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

_SAVER: Final = "EriSaveSamples"
#: Inputs that tell which samples and under which names, not how: the samples are compared by their own records.
_NOT_HOW: Final = {"EriSampleSpec": ("config", "items"), _SAVER: ("template",)}
#: Inputs that a graph may lack, and the value that this means.
_IF_ABSENT: Final[dict[str, dict[str, object]]] = {
    "EriSample": {"batch_size": 1},
    "EriFlowEulerSampler": {"method": "euler"},
}


def saver_marks(graph: Mapping[str, Any]) -> dict[str, str]:
    """Mark of each Save Samples node of an API graph, by node id.

    Equal marks mean equal node classes and settings above the node (model files, LoRA run and step, noise, schedule,
    sampler, …); node ids, titles and the list of samples do not count. ComfyUI turns 1 into 1.0 where it wants a
    float, so these count as equal; so does an optional input that a graph lacks, at the value that this means. A
    graph of another form than ComfyUI's has no marks.
    """
    known: dict[str, str] = {}
    savers = [node for node, entry in graph.items() if isinstance(entry, Mapping) and entry.get("class_type") == _SAVER]
    try:
        return {node: _mark(graph, node, known, ()) for node in savers}
    except (KeyError, TypeError, ValueError, AttributeError, IndexError):
        return {}


def _mark(graph: Mapping[str, Any], node: str, known: dict[str, str], below: tuple[str, ...]) -> str:
    if node in below:
        raise ValueError("a graph that loops")
    if node not in known:
        entry = graph[node]
        left_out = _NOT_HOW.get(entry["class_type"], ())
        absent = _IF_ABSENT.get(entry["class_type"], {})
        inputs = {
            name: _value(graph, value, known, (*below, node))
            for name, value in entry["inputs"].items()
            if name not in left_out
            and not (name in absent and value == absent[name])
            and not (entry["class_type"] == "EriSample" and name == "negative" and _zeroed(graph, value))
        }
        text = json.dumps([entry["class_type"], inputs], sort_keys=True)
        known[node] = hashlib.sha256(text.encode()).hexdigest()
    return known[node]


def _zeroed(graph: Mapping[str, Any], value: Any) -> bool:
    """Whether a negative is the positive zeroed out: 0.1.0's graphs have that at CFG 1, where it is not run."""
    link = isinstance(value, list) and bool(value) and value[0] in graph
    return link and graph[value[0]]["class_type"] == "ConditioningZeroOut"


def _value(graph: Mapping[str, Any], value: Any, known: dict[str, str], below: tuple[str, ...]) -> Any:
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str) and value[0] in graph:
        return [_mark(graph, value[0], known, below), value[1]]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
