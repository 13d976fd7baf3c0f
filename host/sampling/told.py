"""At which noise levels pictures are sampled: Sample says it, and what saves the pictures writes it into them.

ComfyUI keeps what a sampler gave and then does not run it, so it is remembered here what each one said.
"""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final

from comfy_execution.graph_utils import is_link
from torch import Tensor

from ..notice import running

#: Most samplers that are remembered.
_MOST: Final = 4096
#: What is above a sampler, as a mark -> number of a row, and the hash of its noise levels.
_SAID: Final[OrderedDict[str, dict[int, str]]] = OrderedDict()


def say_sigmas(sigmas: Any, rows: Sequence[int] | None = None) -> None:
    """Say at which noise levels the sampler that is running samples its rows.

    Args:
        sigmas: EriSample's input, one tensor or a list with one for all rows or one for each.
        rows: numbers from 0, None = all.
    """
    found = running()
    if found is None:
        return
    every = sigmas if isinstance(sigmas, list) else [sigmas]
    numbers = range(len(every)) if rows is None else rows
    _SAID[_mark(*found, {})] = {number: _hash(every[number % len(every)]) for number in numbers}
    while len(_SAID) > _MOST:
        _SAID.popitem(last=False)


def sigmas_above() -> Callable[[int], str | None]:
    """What gives, for the number of each picture that the node which is running takes, the hash of its noise levels.

    It gives None where nobody said it.
    """
    said = _said_above(*(running() or (None, "")))
    return lambda number: said.get(number, said[0] if list(said) == [0] else None)


def _said_above(prompt: Any, node: str) -> dict[int, str]:
    for name in ("images", "samples"):  # the decoder, the sampler
        link = prompt and prompt.get_node(node)["inputs"].get(name)
        if not (is_link(link) and prompt.has_node(link[0])):
            return {}
        node = link[0]
    return _SAID.get(_mark(prompt, node, {}), {})


def _mark(prompt: Any, node: str, known: dict[str, str]) -> str:
    """A text that is the same for nodes with the same class, inputs and nodes above them, whatever they are called."""
    if node not in known:
        entry = prompt.get_node(node)
        inputs = {
            name: [_mark(prompt, value[0], known), value[1]] if is_link(value) and prompt.has_node(value[0]) else value
            for name, value in entry["inputs"].items()
        }
        text = json.dumps([entry["class_type"], inputs], sort_keys=True, default=str)
        known[node] = hashlib.sha256(text.encode()).hexdigest()
    return known[node]


def _hash(sigmas: Tensor) -> str:
    return hashlib.sha256(sigmas.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
