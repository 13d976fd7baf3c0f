"""Fingerprints of files without reading them whole, and whether they may have changed since ComfyUI started."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import Final

from ...lora.fingerprint import content

#: ComfyUI imports the pack before it runs any graph, so nothing it has loaded is older than this.
STARTED: Final = time.time()


def fingerprint(path: str | Path) -> str:
    """Size, time of change and content of a file (see `lora.fingerprint.content`), as text. Raises OSError."""
    stat = os.stat(path)
    return f"{stat.st_size}|{stat.st_mtime_ns}|{content(path)}"


def folder_fingerprint(folder: str | Path) -> str:
    """Names, sizes and times of every file below a folder, as text. Raises OSError."""
    lines = []
    for root, _, files in sorted(os.walk(folder)):
        for name in sorted(files):
            stat = os.stat(os.path.join(root, name))
            lines.append(f"{os.path.relpath(os.path.join(root, name), folder)}|{stat.st_size}|{stat.st_mtime_ns}")
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def may_have_changed(path: str | Path) -> bool:
    """Whether a file, or one below a folder, was written, replaced or moved since ComfyUI started. Raises OSError."""
    path = os.path.realpath(path)
    inside = [os.path.join(root, name) for root, _, names in os.walk(path) for name in names]
    stats = [os.stat(entry) for entry in (path, *inside)]
    return any(max(stat.st_mtime, stat.st_ctime) >= STARTED - 1.0 for stat in stats)  # coarse clocks of file systems
