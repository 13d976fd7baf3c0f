"""What a checkpoint file holds, in one short text that tells it from another file of the same name."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Final

from .header import opened

#: So many pieces of so many bytes are looked at, spread evenly from the first byte to the last.
PIECES: Final = 64
PIECE: Final = 1 << 14


def fingerprint(path: str | Path) -> str:
    """A text that is the same for equal files, and another one for a file that was trained anew.

    `path`: a file. BLAKE2b of its size and of at most 1 MiB of it, the header's beginning included, so that a file of
    any size takes milliseconds. Training changes every tensor; of a file larger than 1 MiB a change by hand between
    two of the pieces is not seen. Raises LoraError for what is no file or cannot be read.
    """
    with opened(Path(path)) as stream:
        size = os.fstat(stream.fileno()).st_size
        digest = hashlib.blake2b(size.to_bytes(8, "little"), digest_size=16)
        if size <= PIECES * PIECE:
            digest.update(stream.read())
            return digest.hexdigest()
        for number in range(PIECES):
            stream.seek(number * (size - PIECE) // (PIECES - 1))
            digest.update(stream.read(PIECE))
    return digest.hexdigest()
