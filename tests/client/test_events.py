"""Decoding of what a host sends, against frames packed by the host's own server code."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from comfyui_eridiffusion.protocol import events


class Sink:
    """Stands where an open WebSocket would be, to catch what the host's server writes to it."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    async def send_bytes(self, frame: bytes) -> None:
        self.frames.append(bytes(frame))


@pytest.fixture
def sink(comfy_host: Any) -> Any:
    """The host's server in this process with one listener."""
    import server

    instance, listener = server.PromptServer.instance, Sink()
    instance.sockets["test"] = listener
    yield listener
    del instance.sockets["test"]


def picture() -> Image.Image:
    return Image.new("RGB", (8, 6), (250, 10, 90))


@pytest.mark.parametrize(("kind", "mime"), [("JPEG", "image/jpeg"), ("PNG", "image/png")])
async def test_preview_frames(sink: Sink, kind: str, mime: str) -> None:
    import server

    await server.PromptServer.instance.send_image((kind, picture(), None), sid="test")
    preview = events.from_frame(sink.frames[0])
    assert preview is not None
    assert (preview.mime, preview.node, preview.prompt_id) == (mime, "", "")
    decoded = Image.open(io.BytesIO(preview.image))
    assert (decoded.format, decoded.size) == (kind, (8, 6))


async def test_preview_frames_with_metadata(sink: Sink) -> None:
    import server

    metadata = {"node_id": "sample.0.1", "display_node_id": "sample", "prompt_id": "p é"}
    await server.PromptServer.instance.send_image_with_metadata(("PNG", picture(), None), metadata, sid="test")
    preview = events.from_frame(sink.frames[0])
    assert preview is not None
    assert (preview.mime, preview.node, preview.prompt_id) == ("image/png", "sample", "p é")
    assert Image.open(io.BytesIO(preview.image)).getpixel((1, 1)) == (250, 10, 90)


@given(st.binary(max_size=64) | st.builds(struct.pack, st.just(">II40s"), *[st.integers(0, 50)] * 2, st.binary()))
def test_any_bytes_are_a_preview_or_nothing(frame: bytes) -> None:
    preview = events.from_frame(frame)
    kind = struct.unpack(">I", frame[:4])[0] if len(frame) >= 4 else None
    assert preview is None or kind in (1, 4)


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff\xfe"])
def test_preview_with_broken_metadata_is_dropped(body: bytes) -> None:
    assert events.from_frame(struct.pack(">II", 4, len(body)) + body + b"image") is None
    assert events.from_frame(struct.pack(">II", 4, 99) + body) is None


def test_unknown_messages_are_of_no_interest() -> None:
    assert events.from_message("crystools.monitor", {"cpu": 1}) == []
    assert events.from_message("executing", {"node": None, "prompt_id": "p"}) == []
    assert events.from_message("status", {"status": {}}) == []
