"""What a host reports while it runs a graph, as typed events; and the decoding of its WebSocket frames."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import PurePosixPath
from typing import Any, Final

#: First words of ComfyUI's binary frames (its `protocol.BinaryEventTypes`).
_PREVIEW: Final = 1
_PREVIEW_WITH_METADATA: Final = 4
#: Entry of a Save Samples node's UI output that lists the prompt files, in the form of its `images`.
PROMPT_FILES: Final = "prompt_files"
#: Entries of the UI output of a node that saves some pictures of a list: their numbers, from 0, and how many the list
#: has. ComfyUI reports several such outputs for one Save Samples node.
PICTURES: Final = "pictures"
PICTURES_OF: Final = "pictures_of"


@dataclass(frozen=True)
class ImageRef:
    """An image ComfyUI wrote: file name, folder below its output (or temp, input) folder, and which of the three."""

    filename: str
    subfolder: str = ""
    type: str = "output"


@dataclass(frozen=True)
class Event:
    """Anything ComfyUI said about one prompt; `prompt_id` is "" where ComfyUI did not say which."""

    prompt_id: str


@dataclass(frozen=True)
class Started(Event):
    """ComfyUI took the prompt from its queue."""


@dataclass(frozen=True)
class Cached(Event):
    """These nodes need not run: their results are still there."""

    nodes: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeStarted(Event):
    """A node began to run."""

    node: str = ""


@dataclass(frozen=True)
class StepProgress(Event):
    """A node is at step `value` of `maximum`. Sample counts the steps of its whole list."""

    node: str = ""
    value: float = 0.0
    maximum: float = 0.0


@dataclass(frozen=True)
class Preview(Event):
    """An image of the work in progress. node is "" on hosts that do not say. mime: "image/jpeg" or "image/png"."""

    node: str = ""
    image: bytes = field(default=b"", repr=False)
    mime: str = "image/jpeg"


@dataclass(frozen=True)
class Executed(Event):
    """An output node finished, or some pictures of its list did. images: what it wrote, in order; output: its whole UI
    output.
    """

    node: str = ""
    images: tuple[ImageRef, ...] = ()
    output: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether these are all pictures of the node."""
        return PICTURES not in self.output or len(self.output[PICTURES]) >= self.output[PICTURES_OF][0]


@dataclass(frozen=True)
class Succeeded(Event):
    """The prompt is done."""


@dataclass(frozen=True)
class Failed(Event):
    """A node raised. exception_type is the class's full name, traceback ComfyUI's."""

    node: str = ""
    class_type: str = ""
    message: str = ""
    exception_type: str = ""
    traceback: str = field(default="", repr=False)


@dataclass(frozen=True)
class Interrupted(Event):
    """Somebody stopped the prompt while `node` ran."""

    node: str = ""


@dataclass(frozen=True)
class Disconnected(Event):
    """The WebSocket dropped; the client reconnects and asks ComfyUI's history meanwhile."""


@dataclass(frozen=True)
class Reconnected(Event):
    """The WebSocket is back."""


#: Events after which nothing more comes for a prompt.
FINAL: Final = (Succeeded, Failed, Interrupted)


def images_of(output: Mapping[str, Any]) -> tuple[ImageRef, ...]:
    """The images in a node's UI output, in the node's order; entries that name no file are skipped."""
    entries = output.get("images") or ()
    return tuple(
        ImageRef(str(entry["filename"]), str(entry.get("subfolder", "")), str(entry.get("type", "output")))
        for entry in entries
        if isinstance(entry, Mapping) and "filename" in entry
    )


def prompt_files_of(output: Mapping[str, Any]) -> dict[ImageRef, ImageRef]:
    """The prompt files that a Save Samples node reports, by the image that each lies beside; {} for other nodes."""
    texts = {_stem(text): text for text in images_of({"images": output.get(PROMPT_FILES)})}
    return {image: texts[_stem(image)] for image in images_of(output) if _stem(image) in texts}


def _stem(ref: ImageRef) -> tuple[str, str, str]:
    return ref.type, ref.subfolder, PurePosixPath(ref.filename).stem


def from_message(kind: str, data: Mapping[str, Any]) -> list[Event]:
    """Events in one JSON message of ComfyUI (`{"type": kind, "data": data}`); [] for kinds of no interest here."""
    prompt = str(data.get("prompt_id") or "")
    node = "" if data.get("node") is None else str(data["node"])
    if kind == "execution_start":
        return [Started(prompt)]
    if kind == "execution_cached":
        return [Cached(prompt, tuple(str(name) for name in data.get("nodes") or ()))]
    if kind == "executing":
        return [NodeStarted(prompt, str(data.get("display_node") or node))] if node else []
    if kind == "progress":
        return [StepProgress(prompt, node, float(data.get("value") or 0), float(data.get("max") or 0))]
    if kind == "executed":
        output = data.get("output") or {}
        shown = str(data.get("display_node") or node) if PICTURES in output else node
        return [Executed(prompt, shown, images_of(output), output)]
    if kind == "execution_success":
        return [Succeeded(prompt)]
    if kind == "execution_interrupted":
        return [Interrupted(prompt, str(data.get("node_id") or ""))]
    if kind == "execution_error":
        return [_failed(prompt, data)]
    return []


def executed_in(prompt: str, record: Mapping[str, Any]) -> list[Executed]:
    """What the output nodes of a finished prompt reported, by ComfyUI's history record of it."""
    return [Executed(prompt, node, images_of(output), output) for node, output in outputs_in(record).items()]


def outputs_in(record: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The nodes' UI outputs by ComfyUI's history record; what a node saved picture by picture is one output."""
    meta = record.get("meta") or {}
    found: dict[str, Mapping[str, Any]] = {}
    for node, output in (record.get("outputs") or {}).items():
        if PICTURES in output:
            shown = str((meta.get(node) or {}).get("display_node") or node)
            found[shown] = joined(found[shown], output) if shown in found else output
        else:
            found[str(node)] = output
    return found


def joined(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two UI outputs with pictures of one list as one, in the list's order."""
    made = dict(sorted([*_numbered(one), *_numbered(other)], key=itemgetter(0)))
    texts = [*one.get(PROMPT_FILES, ()), *other.get(PROMPT_FILES, ())]
    whole = {**one, PICTURES: list(made), "images": list(made.values())}
    return {**whole, **({PROMPT_FILES: texts} if texts else {})}


def _numbered(output: Mapping[str, Any]) -> Iterable[tuple[int, Any]]:
    return zip(output[PICTURES], output["images"], strict=True)


def ending_in(prompt: str, record: Mapping[str, Any]) -> list[Event]:
    """Those reports and the final event of a finished prompt, by its history record."""
    outputs = executed_in(prompt, record)
    status = record.get("status") or {}
    for kind, data in reversed(status.get("messages") or ()):
        final = [event for event in from_message(kind, {**data, "prompt_id": prompt}) if isinstance(event, FINAL)]
        if final:
            return [*outputs, *final]
    if status.get("status_str") == "error":
        return [*outputs, Failed(prompt, message="ComfyUI reports a failure without saying which. Read its log.")]
    return [*outputs, *from_message("execution_success", {"prompt_id": prompt})]


def _failed(prompt: str, data: Mapping[str, Any]) -> Failed:
    trace = data.get("traceback") or ""
    return Failed(
        prompt,
        node=str(data.get("node_id") or ""),
        class_type=str(data.get("node_type") or ""),
        message=str(data.get("exception_message") or "").strip(),
        exception_type=str(data.get("exception_type") or ""),
        traceback="".join(trace) if isinstance(trace, list) else str(trace),
    )


def from_frame(frame: bytes) -> Preview | None:
    """The preview in a binary frame, None for frames of other kinds or too short to be one.

    Layouts (host's server.py, `send_image` and `send_image_with_metadata`), integers big-endian uint32:
    1 ‖ image type (1 JPEG, 2 PNG) ‖ image;  4 ‖ length of JSON ‖ JSON (node_id, prompt_id, image_type) ‖ image.
    """
    if len(frame) < 8:
        return None
    kind, second = struct.unpack_from(">II", frame)
    if kind == _PREVIEW:
        return Preview("", image=bytes(frame[8:]), mime="image/png" if second == 2 else "image/jpeg")
    if kind != _PREVIEW_WITH_METADATA or len(frame) < 8 + second:
        return None
    try:
        metadata = json.loads(frame[8 : 8 + second])
    except (ValueError, RecursionError):
        return None
    if not isinstance(metadata, dict):
        return None
    return Preview(
        str(metadata.get("prompt_id") or ""),
        node=str(metadata.get("display_node_id") or metadata.get("node_id") or ""),
        image=bytes(frame[8 + second :]),
        mime=str(metadata.get("image_type") or "image/jpeg"),
    )
