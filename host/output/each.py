"""Each picture of a list is sampled, decoded and saved, or shown, before the next one is begun.

A node that takes pictures, above which there is nothing but a decoder and Sample, leaves its `images` alone. It puts
`EriEachList` into the running graph instead (ComfyUI's node expansion), which knows the list once its inputs are made,
and grows a branch for each batch: Sample for it, the decoder, what saves or shows it. ComfyUI keeps the result of each
node of a branch, so a list that was stopped goes on at the first picture that it lacks.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from comfy.cli_args import args
from comfy_execution.graph_utils import GraphBuilder, is_link

from ..notice import running
from ..sampling.batches import Batch
from ..sampling.sample import batches_of

_DECODERS: Final = ("VAEDecode", "VAEDecodeTiled")
_SAMPLER: Final = "EriSample"
_SHEET: Final = "EriContactSheet"
#: Numbers that no earlier run had.
_NEW: Final = itertools.count(1)


class Line(NamedTuple):
    """The ids of a node that takes pictures and of what makes them."""

    sample: str
    decode: str
    taker: str


def line_here() -> Line | None:
    """What makes the pictures of the node that is running, None where they can't be made one by one.

    That is so where something else reads the latents or the pictures, or ComfyUI keeps no results (--cache-none).
    """
    found = running()
    return None if found is None or args.cache_none else _line(*found)


def _line(prompt: Any, taker: str) -> Line | None:
    decode = _above(prompt, prompt.get_node(taker)["inputs"].get("images"), _DECODERS)
    sample = None if decode is None else _above(prompt, prompt.get_node(decode)["inputs"].get("samples"), (_SAMPLER,))
    if decode is None or sample is None:
        return None
    readers = {node for node in prompt.all_node_ids() if _reads(prompt.get_node(node), (sample, decode))}
    return Line(sample, decode, taker) if readers == {decode, taker} else None


def _above(prompt: Any, link: Any, classes: Sequence[str]) -> str | None:
    """The node that a link comes from, if it is of one of the classes."""
    if not is_link(link) or not prompt.has_node(link[0]):
        return None
    node: str = link[0]
    return node if prompt.get_node(node)["class_type"] in classes else None


def _reads(node: dict[str, Any], sources: Sequence[str]) -> bool:
    return any(is_link(value) and value[0] in sources for value in node["inputs"].values())


def fingerprint() -> str:
    """What a saver that is running adds to the key of its result: a new text each time where it grows branches.

    ComfyUI would keep the result of the whole otherwise, which lists no files; the branches' results do.
    """
    return "" if line_here() is None else new_fingerprint()


def new_fingerprint() -> str:
    """A text that no node had before."""
    return f"run {next(_NEW)}"


def list_here(count: int = 0) -> tuple[dict[str, Any], list[Any]]:
    """The graph that makes the pictures of the node that is running one by one, and the link to what comes of it.

    count: how many pictures there have to be, 0 = as many as there are.
    """
    found, line = running(), line_here()
    if found is None or line is None:
        raise RuntimeError("no node is running whose pictures can be made one by one")
    sample, decode = (found[0].get_node(node)["inputs"] for node in line[:2])
    builder = GraphBuilder()
    node = builder.node("EriEachList", "list", taker=line.taker, count=count, **sample, **_vae(decode))
    node.set_override_display_id(line.sample)
    graph: dict[str, Any] = builder.finalize()
    return graph, node.out(0)


def _vae(decode: Mapping[str, Any]) -> dict[str, Any]:
    return {"vae": decode["vae"]} if "vae" in decode else {}


def branches(inputs: Mapping[str, Any], taker: str, count: int, vae: Any = None) -> tuple[dict[str, Any], Any]:
    """The graph of all branches for the EriEachList that is running, and the link to a sheet of them, else None.

    Args:
        inputs: as for `sample_inputs`, lists.
        taker: id of the node that takes the pictures.
        count: how many there have to be for making them one by one, 0 = as many as there are.
        vae: what decodes them.
    """
    found = running()
    line = None if found is None else _line(found[0], taker)
    if found is None or line is None:
        raise RuntimeError("the node whose pictures are made one by one is not in the running graph")
    prompt, builder = found[0], GraphBuilder()
    sample, decode, given = (prompt.get_node(node)["inputs"] for node in line)
    decoder, shows = prompt.get_node(line.decode)["class_type"], prompt.get_node(taker)["class_type"] == _SHEET
    before: dict[str, Any] = {}
    for number, batch in enumerate(batches_of(inputs, count, vae), start=1):
        sampled = builder.node("EriEachSample", f"sample_{number}", **sample, **batch._asdict())
        decoded = builder.node(decoder, f"decode_{number}", **{**decode, "samples": sampled.out(0)})
        made = {"images": decoded.out(0), "part": batch.part}
        if shows:
            taken = builder.node("EriEachShow", f"show_{number}", **made, **before)
            before = {"before": taken.out(0), "order": taken.out(1)}
        else:
            taken = builder.node("EriEachSave", f"save_{number}", **{**given, **made})
        for made_by, place in zip((sampled, decoded, taken), line, strict=True):
            made_by.set_override_display_id(place)
    sheet = None
    if shows:
        node = builder.node(_SHEET, "sheet", **{**given, "images": before["before"]})
        node.set_override_display_id(taker)
        sheet = node.out(0)
    graph: dict[str, Any] = builder.finalize()
    return graph, sheet


def in_order(images: Sequence[Any], part: str, before: Sequence[Any], order: str) -> tuple[list[Any], str]:
    """The pictures of a list so far, in its order, and which they are.

    Args:
        images, before: the newest and those before them, IMAGE [1, H, W, 3].
        part, order: which they are, as `Batch.part` says it.
    """
    if not part:
        return list(images), ""
    numbers = [*Batch(order).numbers, *Batch(part).numbers]
    pairs = sorted(zip(numbers, [*before, *images], strict=True), key=lambda pair: pair[0])
    so_far = ",".join(str(number + 1) for number, _ in pairs)
    return [image for _, image in pairs], f"{so_far} of {part.partition(' of ')[2]}"
