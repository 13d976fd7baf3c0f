"""Names from a graph to files of this machine, never outside the folders that the host opens to graphs."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..errors import NodeInputError, OutsideError


def input_roots() -> list[Path]:
    """Folders a config may be read from: the host's input folder and its loras folders (run folders lie there)."""
    return [Path(folder_paths.get_input_directory()), *lora_roots()]


def lora_roots() -> list[Path]:
    """The host's loras folders."""
    return [Path(path) for path in folder_paths.get_folder_paths("loras")]


def candidates(name: str, roots: list[Path], what: str) -> list[Path]:
    """Where `name` (relative, or absolute within a root) may lie: one path per root it fits into.

    `..` is resolved by name, links are left alone: an administrator's link inside a root is meant. Raises
    NodeInputError when the name leads out of every root; `what` is the input's name.
    """
    if "\x00" in name:
        raise NodeInputError(f"{what} holds a NUL character.")
    found = []
    for root in roots:
        base = os.path.abspath(root)
        path = os.path.abspath(os.path.join(base, name))
        if path == base or path.startswith(base.rstrip(os.sep) + os.sep):
            found.append(Path(path))
    if not found:
        places = ", ".join(str(root) for root in roots) or "(none)"
        raise OutsideError(f"{what}: {name!r} lies outside the folders that graphs may read: {places}.")
    return found
