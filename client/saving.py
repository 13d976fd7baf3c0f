"""Files that commands write where the user asked for them."""

from __future__ import annotations

import tempfile
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


def check_folder(folder: Path) -> None:
    """Raise HostError where nothing can be written below `folder`, which need not be there yet; nothing is left."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        problem = f"Cannot write into {folder}: {error.strerror or error}"
        raise HostError(problem, remedy="Choose another folder with --output.") from error
