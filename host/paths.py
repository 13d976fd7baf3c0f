"""Names from a graph to files of this machine, never outside the folders that ComfyUI opens to graphs."""

from __future__ import annotations

import os
from pathlib import Path

import folder_paths

from ..errors import NodeInputError, OutsideError


def input_roots() -> list[Path]:
    """The folders from which a config may be read: ComfyUI's input folder and its loras folders, where runs lie."""
    return [Path(folder_paths.get_input_directory()), *lora_roots()]


def lora_roots() -> list[Path]:
    """ComfyUI's loras folders."""
    return [Path(path) for path in folder_paths.get_folder_paths("loras")]


def candidates(name: str, roots: list[Path], what: str) -> list[Path]:
    """Return where `name` may lie: one path for each root that it fits into.

    `..` is resolved by name. Links are kept, because an administrator put them inside a root on purpose.

    Args:
        name: a relative path, or an absolute path within a root.
        roots: the folders that graphs may read.
        what: the input's name, for messages.

    Raises NodeInputError when the name leads out of every root.
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
