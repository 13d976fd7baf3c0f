"""Which version of this pack a ComfyUI or a worker has: its release, and a hash of the code that makes pictures."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Final

#: Parts of this pack that decide what a picture is.
_ROOMS: Final = (
    *("configs", "families", "host", "images", "lora", "nodes", "protocol", "samplers", "spec", "trainers"),
    "workflows",
)
#: Not in the pack that ComfyUI's registry has.
_LEFT_OUT: Final = ("lora/against.py",)
_RELEASE: Final = re.compile(r'^version = "([^"]+)"', re.MULTILINE)


@cache
def pack_version(*more: str) -> str:
    """A text that is the same for equal copies of this pack, and begins with its release.

    more: further rooms that count.
    """
    root, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(path for room in (*_ROOMS, *more) for path in (root / room).rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if name not in _LEFT_OUT:
            digest.update(name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return f"{_release(root)} ({digest.hexdigest()[:8]})"


def _release(root: Path) -> str:
    """As the folder says it, which may be newer than what is installed; a package has no such file."""
    with suppress(OSError):
        if found := _RELEASE.search((root / "pyproject.toml").read_text(encoding="utf-8")):
            return found[1]
    with suppress(metadata.PackageNotFoundError):
        return metadata.version("eridiffusion")
    return "unreleased"
