"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from ..errors import HostError


def write_whole(target: Path, content: bytes) -> None:
    """Write `content` to `target`, making its folders; HostError where the disk refuses, an old file then stays."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            os.replace(temporary, target)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise HostError(f"Cannot write {target}: {error.strerror or error}", remedy="Choose another folder.") from error
