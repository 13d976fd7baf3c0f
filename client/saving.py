"""Files that commands write where the user asked for them."""

from __future__ import annotations

from pathlib import Path

from ..errors import HostError
from ..whole_files import write_whole


def save_file(target: Path, content: bytes) -> None:
    """Write `content` to `target`, whole or not at all, and make its folders; HostError where the disk refuses."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, content)
    except OSError as error:
        raise HostError(f"Cannot write {target}: {error.strerror or error}", remedy="Choose another folder.") from error
