"""Each picture of a list is sampled, decoded and saved before the next one is begun.

A saver above which there is nothing but a decoder and Sample leaves its `images` alone. It grows a branch for each
picture instead (ComfyUI's node expansion): Sample for this picture, the decoder, the saver. ComfyUI keeps the result of
each node of a branch, so a list that was stopped goes on at the first picture that it lacks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from comfy.cli_args import args
from comfy_execution.graph_utils import GraphBuilder, is_link

from ..notice import running

_DECODERS: Final = ("VAEDecode", "VAEDecodeTiled")
_SAMPLER: Final = "EriSample"
#: Numbers that no earlier run had.
_NEW: Final = itertools.count(1)


class Line(NamedTuple):
    """The ids of a saver and of what makes its pictures."""

    sample: str
    decode: str
    save: str


def line_here() -> Line | None:
    """What makes the pictures of the saver that is running, None where they can't be made one by one.

    That is so where something else reads the latents or the pictures, where no list of names says how many there are,
    and where ComfyUI keeps no results (--cache-none).
    """
    found = running()
    if found is None or args.cache_none:
        return None
    prompt, save = found
    inputs = prompt.get_node(save)["inputs"]
    decode = _above(prompt, inputs.get("images"), _DECODERS)
    sample = None if decode is None else _above(prompt, prompt.get_node(decode)["inputs"].get("samples"), (_SAMPLER,))
    if decode is None or sample is None or not is_link(inputs.get("name")):
        return None
    line = Line(sample, decode, save)
    readers = {node for node in prompt.all_node_ids() if _reads(prompt.get_node(node), (sample, decode))}
    return line if readers == {decode, save} else None


def _above(prompt: Any, link: Any, classes: Sequence[str]) -> str | None:
    """The node that a link comes from, if it is of one of the classes."""
    if not is_link(link) or not prompt.has_node(link[0]):
        return None
    node: str = link[0]
    return node if prompt.get_node(node)["class_type"] in classes else None


def _reads(node: dict[str, Any], sources: Sequence[str]) -> bool:
    return any(is_link(value) and value[0] in sources for value in node["inputs"].values())


def one_by_one(names: Sequence[str] | None) -> bool:
    """Whether the saver that is running makes its pictures one by one; names: what it is given of them."""
    return names is not None and len(names) > 1 and line_here() is not None


def fingerprint() -> str:
    """What the saver that is running adds to the key of its result: a new text each time where it grows branches.

    ComfyUI would keep the result of the whole otherwise, which lists no files; the branches' results do.
    """
    return "" if line_here() is None else f"run {next(_NEW)}"


def branches(count: int) -> dict[str, Any]:
    """The graph that makes `count` pictures, each in a branch of its own, for the saver that is running."""
    found, line = running(), line_here()
    if found is None or line is None:
        raise RuntimeError("no saver is running whose pictures can be made one by one")
    sample, decode, save = (found[0].get_node(node)["inputs"] for node in line)
    builder = GraphBuilder()
    decoder = found[0].get_node(line.decode)["class_type"]
    for number in range(1, count + 1):
        place = {"number": number, "count": count} | ({"vae": decode["vae"]} if "vae" in decode else {})
        sampled = builder.node("EriEachSample", f"sample_{number}", **sample, **place)
        decoded = builder.node(decoder, f"decode_{number}", **{**decode, "samples": sampled.out(0)})
        made = {"images": decoded.out(0), "part": sampled.out(1)}
        saved = builder.node("EriEachSave", f"save_{number}", **{**save, **made})
        for node, shown in zip((sampled, decoded, saved), line, strict=True):
            node.set_override_display_id(shown)
    graph: dict[str, Any] = builder.finalize()
    return graph
