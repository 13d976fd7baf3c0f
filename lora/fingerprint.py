"""A short text that tells a file from another of the same name. A large file is not read whole."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Final

from .header import opened

#: A file up to this many bytes counts whole; of a larger one both ends and SAMPLES pieces between.
WHOLE: Final = 16 * 2**20
_ENDS: Final = 2**20
SAMPLES: Final = 64
_SAMPLE: Final = 64 * 2**10


def fingerprint(path: str | Path) -> str:
    """Return a text that is the same for equal files, and another one for a file that was trained again.

    Training changes every tensor. In a large file, a change by hand between two of the pieces that `content` reads is
    not seen. Raises LoraError for what is no file or cannot be read.
    """
    path = Path(path)
    with opened(path):
        return content(path)


def content(path: str | Path) -> str:
    """Return the SHA-256 of a file's size and content.

    Files of up to 16 MiB are read whole. Of larger files both ends (where safetensors keeps every name and shape) and
    64 samples between are read, so that any file costs at most 6 MiB of reading. A file is read again when its place,
    size or time changed. Raises OSError.
    """
    path = os.path.realpath(path)
    stat = os.stat(path)
    return _content(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


@lru_cache(maxsize=4096)
def _content(path: str, size: int, _time: int, _place: int) -> str:
    digest = hashlib.sha256(size.to_bytes(8, "little"))
    with open(path, "rb") as stream:
        if size <= WHOLE:
            digest.update(stream.read())
            return digest.hexdigest()
        digest.update(stream.read(_ENDS))
        for number in range(SAMPLES):
            stream.seek(_ENDS + (size - 2 * _ENDS - _SAMPLE) * number // (SAMPLES - 1))
            digest.update(stream.read(_SAMPLE))
        stream.seek(size - _ENDS)
        digest.update(stream.read(_ENDS))
    return digest.hexdigest()
