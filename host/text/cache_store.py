"""Prompt embeddings on disk: one safetensors file per key. A file is checked when it is read and written whole, and the
least recently used file is deleted first. Nothing here needs ComfyUI.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ...whole_files import UNFINISHED, write_whole

FORMAT: Final = "1"
SUFFIX: Final = ".safetensors"
#: A temporary file this old belongs to a process that died.
_ABANDONED_SECONDS: Final = 3600.0


class NotStorableError(ValueError):
    """A value that a file cannot hold and give back exactly (hooks, control nets, …). The text names its place."""


class CorruptEntryError(ValueError):
    """An entry that cannot be read back; the text names the file."""


def pack(value: Any, key: str = "") -> bytes:
    """Return `value` as the bytes of a safetensors file that holds its key. Equal tensors are stored once.

    A value may be lists, tuples, dicts, tensors of any shape and stored dtype, str, int, float, bool and None, nested.
    Numbers and tensors come back bit for bit. Raises NotStorableError naming the place of anything else.
    """
    tensors: dict[str, Tensor] = {}
    names: dict[str, str] = {}

    def store(tensor: Tensor) -> str:
        plain = tensor.detach().to("cpu").contiguous()
        digest = _tensor_digest(plain)
        if digest not in names:
            names[digest] = str(len(names))
            tensors[names[digest]] = plain.clone()  # safetensors refuses tensors that share memory
        return names[digest]

    structure = json.dumps(_encode(value, "conditioning", store))
    digest = _digest([key, structure, *names])
    metadata = {"eri_cache": FORMAT, "key": key, "structure": structure, "digest": digest}
    try:
        return bytes(save(tensors, metadata))
    except (SafetensorError, ValueError, KeyError) as error:
        raise NotStorableError(f"conditioning holds a tensor that safetensors cannot store ({error})") from error


def unpack(data: bytes, key: str = "", device: torch.device | str = "cpu") -> Any:
    """Return the value of `pack`'s bytes, with tensors on `device`.

    Raises ValueError when one bit has changed, or when the bytes belong to another key.
    """
    length = int.from_bytes(data[:8], "little")
    if not 2 <= length <= len(data) - 8:
        raise ValueError("the header is cut off")
    try:
        metadata = json.loads(data[8 : 8 + length])["__metadata__"]
        structure, expected, version = metadata["structure"], metadata["digest"], metadata["eri_cache"]
        named = metadata["key"]
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a whole entry ({error})") from error
    if version != FORMAT:
        raise ValueError(f"written in format {version}, this is format {FORMAT}")
    if named != key:
        raise ValueError(f"it is the entry of another key, {named}")
    ordered = [tensors[name] for name in sorted(tensors, key=int)]
    if _digest([key, structure, *map(_tensor_digest, ordered)]) != expected:
        raise ValueError("its content is not what was written")
    try:
        return _decode(json.loads(structure), [tensor.to(device) for tensor in ordered])
    except (IndexError, TypeError, RecursionError) as error:
        raise ValueError(f"not a whole entry ({error})") from error


@dataclass(frozen=True)
class Store:
    """Entries below one folder. Threads and processes may share it, because files appear and disappear whole."""

    folder: Path

    def path(self, key: str) -> Path:
        """Where the entry of a key (letters and digits) lies."""
        return self.folder / f"{key}{SUFFIX}"

    def load(self, key: str, device: torch.device | str = "cpu") -> Any:
        """Return the stored value, or None when there is none, and mark it as used. Raises CorruptEntryError."""
        path = self.path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CorruptEntryError(f"{path}: cannot be read ({error.strerror or error})") from error
        try:
            value = unpack(data, key, device)
        except ValueError as error:
            raise CorruptEntryError(f"{path}: {error}") from error
        with contextlib.suppress(OSError):  # a shared folder may be read-only, or the entry evicted just now
            os.utime(path)
        return value

    def save(self, key: str, value: Any, limit: int) -> int:
        """Store a value, delete others until the folder holds at most `limit` bytes, and return the entry's bytes.

        Raises NotStorableError, also for an entry larger than the limit, and OSError when the disk refuses. The value
        that was stored under the key before then stays whole.
        """
        data = pack(value, key)
        if len(data) > limit:
            raise NotStorableError(f"it takes {len(data) / 2**20:.0f} MB, more than the size limit")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.path(key), data)
        self.evict(limit, keep=key)
        return len(data)

    def evict(self, limit: int, keep: str = "") -> list[Path]:
        """Delete the least recently used entries until at most `limit` bytes are left, and return the deleted ones.

        The entry of the key `keep` is never deleted.
        """
        entries = []
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                stat = path.stat()
                if path.suffix == SUFFIX:
                    entries.append((stat.st_mtime_ns, stat.st_size, path))
                elif path.suffix == UNFINISHED and time.time() - stat.st_mtime > _ABANDONED_SECONDS:
                    path.unlink()
        total = sum(size for _, size, _ in entries)
        removed = []
        for _, size, path in sorted(entries):
            if total <= limit:
                break
            if path == self.path(keep):
                continue
            with contextlib.suppress(FileNotFoundError, PermissionError):  # Windows keeps what another process reads
                path.unlink()
                removed.append(path)
                total -= size
        return removed


def _tensor_digest(tensor: Tensor) -> str:
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    if tensor.numel():
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _encode(value: Any, where: str, store: Any) -> Any:
    """JSON of a value: plain JSON for text, whole numbers, booleans and None, a one-entry object for the rest."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return {"float": value.hex()}
    if kind is Tensor and value.layout == torch.strided and not value.is_quantized and not value.is_complex():
        return {"tensor": store(value)}
    if kind in (list, tuple):
        return {kind.__name__: [_encode(item, f"{where}[{n}]", store) for n, item in enumerate(value)]}
    if kind is dict:
        pairs = [[_encode(k, f"{where} key", store), _encode(v, f"{where}[{k!r}]", store)] for k, v in value.items()]
        return {"dict": pairs}
    raise NotStorableError(f"{where} is {kind.__module__}.{kind.__qualname__}")


def _decode(value: Any, tensors: list[Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "float":
        return float.fromhex(content)
    if kind == "tensor":
        return tensors[int(content)]
    if kind == "dict":
        return {_decode(key, tensors): _decode(item, tensors) for key, item in content}
    items = [_decode(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items
