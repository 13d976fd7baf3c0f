"""What a file holds, told without reading all of it, and whether it may have changed since the host started."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Final

#: The host imports the pack before it runs any graph, so nothing it has loaded is older than this.
STARTED: Final = time.time()

_WHOLE: Final = 16 * 2**20
_ENDS: Final = 2**20
_SAMPLES: Final = 64
_SAMPLE: Final = 64 * 2**10

_known: dict[tuple[str, int, int, int], str] = {}


def fingerprint(path: str | Path) -> str:
    """Size, time of change and content of a file, as text.

    Content: all of it up to 16 MiB; of larger files both ends (where safetensors keeps every name and shape) and 64
    samples between, so that a 10 GB encoder costs 6 MiB of reading, once per process. Raises OSError.
    """
    path = os.path.realpath(path)
    stat = os.stat(path)
    state = (path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    if state not in _known:
        _known[state] = _content(path, stat.st_size)
    return f"{stat.st_size}|{stat.st_mtime_ns}|{_known[state]}"


def folder_fingerprint(folder: str | Path) -> str:
    """Names, sizes and times of every file below a folder, as text. Raises OSError."""
    lines = []
    for root, _, files in sorted(os.walk(folder)):
        for name in sorted(files):
            stat = os.stat(os.path.join(root, name))
            lines.append(f"{os.path.relpath(os.path.join(root, name), folder)}|{stat.st_size}|{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def may_have_changed(path: str | Path) -> bool:
    """Whether a file, or one below a folder, was written, replaced or moved since the host started. Raises OSError."""
    path = os.path.realpath(path)
    inside = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
    stats = [os.stat(entry) for entry in (path, *inside)]
    return any(max(stat.st_mtime, stat.st_ctime) >= STARTED - 1.0 for stat in stats)  # coarse clocks of file systems


def _content(path: str, size: int) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        if size <= _WHOLE:
            digest.update(stream.read())
            return digest.hexdigest()
        digest.update(stream.read(_ENDS))
        for number in range(_SAMPLES):
            stream.seek(_ENDS + (size - 2 * _ENDS - _SAMPLE) * number // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE))
        stream.seek(size - _ENDS)
        digest.update(stream.read())
    return digest.hexdigest()
