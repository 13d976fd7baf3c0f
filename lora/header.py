"""The header of a safetensors file, read with the standard library alone: names, shapes and metadata, no tensor data.

A run folder may hold hundreds of checkpoints and some of them may be half written; the header answers what a file is
without loading it, and tells "come back in a moment" from "this is not a LoRA file".
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO, Final, NamedTuple

from ..errors import LoraError

MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors format itself
_METADATA = "__metadata__"
_METADATA_FIRST = f'{{"{_METADATA}":{{'  # as the safetensors library writes it
_KEPT_LENGTH = 1 << 22  # of a header without its metadata; LoRAs have shorter ones
_PICKLE_SUFFIXES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".pkl"})
_WAIT = "The trainer may still be writing it: wait a moment and read it again"


class Span(NamedTuple):
    """Where a tensor's data lies: its type in the format's words ("BF16"), first byte and the one after the last.

    Bytes are counted from the first data byte of the file.
    """

    dtype: str
    begin: int
    end: int


@dataclass(frozen=True, eq=False)
class Contents:
    """Shape and place of every tensor of a file. Files that have the same, as the checkpoints of a run do, share one
    object, by which is remembered what follows from names and shapes."""

    shapes: Mapping[str, tuple[int, ...]]
    spans: Mapping[str, Span]

    @property
    def end(self) -> int:
        """The data byte after the last one."""
        return max((span.end for span in self.spans.values()), default=0)


@dataclass(frozen=True, eq=False)
class Header:
    """What a safetensors header says: shape and place of every tensor, and the free-text metadata.

    `start` is the place of the first data byte. `stamp` is the file's (mtime_ns, size) when the header was read.
    """

    path: Path
    contents: Contents
    start: int
    stamp: tuple[int, int]
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        return self.contents.shapes

    @property
    def spans(self) -> Mapping[str, Span]:
        return self.contents.spans

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
    than its 8-byte length field, header cut off, or less or more data than the header says.
    Source: the safetensors format description, github huggingface/safetensors.
    """
    path = Path(path)
    if path.suffix.lower() in _PICKLE_SUFFIXES:
        raise LoraError(
            f"'{path.suffix}' files are pickled, and reading one can run code hidden in it",
            path=path,
            remedy="Save the LoRA as .safetensors in the trainer, or convert it with a tool you trust",
        )
    with opened(path) as stream:
        status = os.fstat(stream.fileno())
        start = stream.read(8)
        if len(start) < 8:
            raise LoraError(f"only {status.st_size} bytes long", path=path, remedy=_WAIT, retryable=True)
        length = int.from_bytes(start, "little")
        text = stream.read(length if 2 <= length <= MAX_HEADER_BYTES else ENOUGH)
    if not 2 <= length <= MAX_HEADER_BYTES or text[:1] not in (b"", b"{"):  # the format wants a brace there
        kind = format_of((start + text)[:ENOUGH])
        raise LoraError(f"not a safetensors file but {kind.name}", path=path, remedy=kind.remedy)
    if len(text) < length:
        raise LoraError(f"header cut off ({len(text)} of {length} bytes)", path=path, remedy=_WAIT, retryable=True)
    contents, metadata = _parsed(path, text)
    there, end = status.st_size - 8 - length, contents.end
    if there != end:
        state = "incomplete" if there < end else "longer than its header says"
        raise LoraError(f"{state}: {there} of {end} data bytes are there", path=path, remedy=_WAIT, retryable=True)
    stamp = (status.st_mtime_ns, status.st_size)
    return Header(path, contents, 8 + length, stamp, metadata)


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read from; LoraError for what is no file (a named pipe would be waited for) or cannot be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise LoraError("is a folder, not a LoRA file", path=path, remedy="Name a file inside it")
        if not stat.S_ISREG(mode):
            raise LoraError("is a device or a pipe, not a LoRA file", path=path, remedy="Name a file")
        with path.open("rb") as stream:
            yield stream
    except LoraError:
        raise
    except (FileNotFoundError, ValueError) as error:  # ValueError: a NUL character in the path
        raise _missing(path) from error
    except OSError as error:
        denied = isinstance(error, PermissionError)
        remedy = "Give the user that runs this the right to read it" if denied else "Check the path and the disk"
        raise LoraError(f"cannot be read ({error.strerror})", path=path, remedy=remedy) from error


def bytes_written(path: str | Path) -> tuple[int, int | None]:
    """How many bytes of a file are there, and how many its header promises (None while the header is not all there).

    Raises OSError when it is gone, LoraError when its header is damaged.
    """
    with Path(path).open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        length = int.from_bytes(stream.read(8), "little")
        if size < 8 + length or length > MAX_HEADER_BYTES:
            return size, None
        return size, 8 + length + _parsed(Path(path), stream.read(length))[0].end


def _missing(path: Path) -> LoraError:
    try:
        target = os.readlink(path)
    except (OSError, ValueError):
        return LoraError("no such file", path=path, remedy="Check the path")
    return LoraError(
        f"is a link to {target}, which is not there", path=path, remedy="Link it to the file, or copy that"
    )


def _parsed(path: Path, text: bytes) -> tuple[Contents, dict[str, str]]:
    """Contents and metadata of a header; LoraError for what is none."""
    try:
        first, tensors = _metadata_apart(text.decode().rstrip(" "))
        contents, later = (_contents if len(tensors) <= _KEPT_LENGTH else _contents.__wrapped__)(tensors)
        metadata = dict((first if later is None else later).items())
        if any(type(value) is not str for value in metadata.values()):
            raise _DamagedError("its metadata holds something else than texts")
        "".join([*metadata, *metadata.values()]).encode()  # half a character, which JSON can write, is none
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        said = f" ({error})" if isinstance(error, _DamagedError) else ""
        raise LoraError(
            f"its header is not a safetensors header{said}", path=path, remedy="The file is damaged: save it again"
        ) from error
    return contents, metadata


def _metadata_apart(text: str) -> tuple[Any, str]:
    """The metadata, where it stands before the tensors, and the header without it, which a run's checkpoints share."""
    if text.startswith(_METADATA_FIRST):
        metadata, end = json.JSONDecoder().raw_decode(text, len(_METADATA_FIRST) - 1)
        if text[end : end + 2] == ',"':
            return metadata, "{" + text[end + 1 :]
    return {}, text


@lru_cache(maxsize=8)
def _contents(text: str) -> tuple[Contents, Any]:
    """The contents of a header, and the metadata that stands between or behind the tensors (None = there is none)."""
    entries = json.loads(text)
    later = (entries.pop(_METADATA) or {}) if _METADATA in entries else None
    shapes = {name: tuple(_counts(entry["shape"], name)) for name, entry in entries.items()}
    spans = {name: Span(str(e["dtype"]), *_counts(e["data_offsets"], name)) for name, e in entries.items()}
    "".join(shapes).encode()  # as of the metadata
    _refuse_gaps(spans)
    return Contents(MappingProxyType(shapes), MappingProxyType(spans)), later


class _DamagedError(ValueError):
    """What is wrong with a header, in words for people."""


def _counts(numbers: Any, name: str) -> list[int]:
    """A list of whole numbers from 0; Python's `int` would take 2.5, true and "8" as well."""
    if type(numbers) is not list or any(type(number) is not int or number < 0 for number in numbers):
        raise _DamagedError(f"shape and offsets of {name} are whole numbers from 0")
    return numbers


def _refuse_gaps(spans: Mapping[str, Span]) -> None:
    """The format has neither holes between tensors nor overlaps; they are what two writers of one file leave."""
    end = 0
    for name, span in sorted(spans.items(), key=lambda entry: entry[1][1:]):
        if span.begin > span.end:
            raise _DamagedError(f"the data of {name} ends before it begins")
        if span.begin != end:
            what = "overlaps the tensor before it" if span.begin < end else "does not begin where the one before ends"
            raise _DamagedError(f"the data of {name} {what}")
        end = span.end


#: How many first bytes of a file tell what it is.
ENOUGH: Final = 128
_SHOWN: Final = 40
_SAVE: Final = "Save the LoRA as .safetensors in the trainer"
_UNPACK: Final = "Unpack it, and use the .safetensors file inside"
_DOWNLOAD: Final = "Download the LoRA itself; where it is gated or private, log in first"


class Format(NamedTuple):
    """What a file is, and what to do instead of reading it."""

    name: str
    remedy: str


_FORMATS: Final = (
    (
        re.compile(rb"version https://git-lfs"),
        Format(
            "a Git LFS pointer, the text that stands for a file whose data was not downloaded",
            "Run 'git lfs pull' in the repository, or download the file itself",
        ),
    ),
    (
        re.compile(rb"(?:\.\./)*(?:\.git)?/?annex/objects/"),
        Format("a git-annex pointer, whose data is not here", "Run 'git annex get' on it"),
    ),
    (re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml|error)", re.I), Format("a web page", _DOWNLOAD)),
    (re.compile(rb"PK.{28}[^\n]{0,40}/data\.pkl|\x80[\x02-\x05]", re.S), Format("a pickled file", _SAVE)),
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), Format("a zip archive or a pickled file", _UNPACK)),
    (re.compile(rb"\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh"), Format("a compressed archive", _UNPACK)),
    (re.compile(rb"GGUF"), Format("a GGUF file", _SAVE)),
    (
        re.compile(rb"\0{16}"),
        Format("zeros, as a download that was broken off leaves them", "Download or save it again"),
    ),
)


def format_of(start: bytes) -> Format:
    """Return what a file is that begins with `start`, its first `ENOUGH` bytes or all of a shorter file."""
    found = next((kind for pattern, kind in _FORMATS if pattern.match(start)), None)
    if found is not None:
        return found
    text = start.decode(errors="ignore")
    if len(text.encode()) > len(start) - 4 and all(one.isprintable() or one in "\t\r\n" for one in text):
        return Format(f"a text that begins with {text[:_SHOWN].strip()!r}", _DOWNLOAD)
    return Format("another format", _SAVE)
