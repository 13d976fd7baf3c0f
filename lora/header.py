"""The header of a safetensors file, read with the standard library alone: names, shapes and metadata, no tensor data.

A run folder may hold hundreds of checkpoints and some of them may be half written; the header answers what a file is
without loading it, and tells "come back in a moment" from "this is not a LoRA file".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from .errors import LoraError

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
_METADATA = "__metadata__"
_METADATA_FIRST = f'{{"{_METADATA}":{{'  # as the safetensors library writes it
_KEPT = 8  # header texts whose contents are remembered, up to a length that LoRAs do not reach
_KEPT_LENGTH = 1 << 22
_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})
_WAIT = "The trainer may still be writing it: wait a moment and read it again"


class Span(NamedTuple):
    """Where a tensor's data lies: its type in the format's words ("BF16"), first byte and the one after the last."""

    dtype: str
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Contents:
    """Shape and place of every tensor of a file; the spans are counted from the first data byte.

    The checkpoints of a run have the same ones and share one object, so that what follows from names and shapes alone
    can be remembered by it: it is hashed by identity.
    """

    shapes: Mapping[str, tuple[int, ...]]
    spans: Mapping[str, Span]
    metadata: Mapping[str, str] | None = None  # where it stands among the tensors instead of before them

    @property
    def end(self) -> int:
        """The last data byte and one."""
        return max((span.end for span in self.spans.values()), default=0)


@dataclass(frozen=True)
class Header:
    """What a safetensors header says: its contents, and the free-text metadata.

    `start` is the place of the first data byte. `stamp` is the file's (mtime_ns, size) when the header was read.
    """

    path: Path
    contents: Contents
    start: int
    stamp: tuple[int, int]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape by tensor name."""
        return self.contents.shapes

    def json_value(self, key: str) -> Any:
        """The metadata entry `key` parsed as JSON, or None when it is absent or not JSON."""
        try:
            return json.loads(self.metadata[key])
        except (KeyError, ValueError, RecursionError):
            return None


def read_header(path: str | Path) -> Header:
    """Read the header of a safetensors file without touching its tensors.

    `path`: a file. Raises LoraError for a missing file, another format (pickled files are refused: reading one can run
    code) or a damaged header, and LoraError with `.retryable` for a file that is still being written: empty, shorter
    than its 8-byte length field, header cut off, or less data than the header says.
    Source: the safetensors format description, github huggingface/safetensors.
    """
    path = Path(path)
    _refuse_pickles(path)
    try:
        with path.open("rb") as stream:
            stat = os.fstat(stream.fileno())
            length = _header_length(path, stream.read(8), stat.st_size)
            text = stream.read(length)
    except IsADirectoryError as error:
        raise LoraError("is a folder, not a LoRA file", path=path, remedy="Name a file inside it") from error
    except FileNotFoundError as error:
        raise LoraError("no such file", path=path, remedy="Check the path") from error
    except OSError as error:
        raise LoraError(f"cannot be read ({error.strerror})", path=path, remedy="Check its permissions") from error
    if text[:1] not in (b"", b"{"):  # the format wants the header to begin with a brace
        raise _another_format(path, text)
    if len(text) < length:
        raise LoraError(f"header cut off ({len(text)} of {length} bytes)", path=path, remedy=_WAIT, retryable=True)
    return _parse(path, text, 8 + length, (stat.st_mtime_ns, stat.st_size))


def bytes_written(path: str | Path) -> tuple[int, int | None]:
    """How many bytes of a file are there, and how many its header promises (None while the header is not all there)."""
    with Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 + length or length > MAX_HEADER_BYTES:
            return size, None
        entries = json.loads(stream.read(length))
    ends = (entry["data_offsets"][1] for name, entry in entries.items() if name != _METADATA)
    return size, 8 + length + max(ends, default=0)


def _refuse_pickles(path: Path) -> None:
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise LoraError(
            f"'{path.suffix}' files are pickled, and reading one can run code hidden in it",
            path=path,
            remedy="Save the LoRA as .safetensors in the trainer, or convert it with a tool you trust",
        )


def _header_length(path: Path, start: bytes, size: int) -> int:
    if len(start) < 8:
        raise LoraError(f"only {size} bytes long", path=path, remedy=_WAIT, retryable=True)
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER_BYTES or length < 2:
        raise _another_format(path, start)
    return length


def _another_format(path: Path, start: bytes) -> LoraError:
    kind = "a pickled file" if start[:2] in (b"PK", b"\x80\x02", b"\x80\x04") else "another format"
    return LoraError(
        f"not a safetensors file ({kind} under this name)",
        path=path,
        remedy="Save the LoRA as .safetensors in the trainer",
    )


def _parse(path: Path, text: bytes, start: int, stamp: tuple[int, int]) -> Header:
    try:
        metadata, rest = _metadata_apart(text.decode().rstrip(" "))  # padding
        contents = (_contents if len(rest) <= _KEPT_LENGTH else _contents.__wrapped__)(rest)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise LoraError(
            "its header is not a safetensors header", path=path, remedy="The file is damaged or another format"
        ) from error
    there, end = stamp[1] - start, contents.end
    if there < end:
        raise LoraError(f"incomplete: {there} of {end} data bytes are there", path=path, remedy=_WAIT, retryable=True)
    return Header(path, contents, start, stamp, metadata if contents.metadata is None else contents.metadata)


def _metadata_apart(text: str) -> tuple[dict[str, str], str]:
    """The metadata, where it stands before the tensors, and the header without it: the same for a run's checkpoints."""
    if text.startswith(_METADATA_FIRST):
        metadata, end = json.JSONDecoder().raw_decode(text, len(_METADATA_FIRST) - 1)
        if text[end : end + 2] == ',"':
            return _texts(metadata), "{" + text[end + 1 :]
    return {}, text


@lru_cache(maxsize=_KEPT)
def _contents(text: str) -> Contents:
    entries = json.loads(text)
    if not isinstance(entries, dict):
        raise TypeError("not an object")
    metadata = _texts(entries.pop(_METADATA)) if _METADATA in entries else None
    shapes = {name: tuple(int(n) for n in entry["shape"]) for name, entry in entries.items()}
    spans = {name: _span(entry) for name, entry in entries.items()}
    return Contents(MappingProxyType(shapes), MappingProxyType(spans), metadata)


def _texts(metadata: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in (metadata or {}).items()}


def _span(entry: Mapping[str, Any]) -> Span:
    first, last = (int(offset) for offset in entry["data_offsets"])
    if not 0 <= first <= last:
        raise ValueError("offsets in the wrong order")
    return Span(str(entry["dtype"]), first, last)
