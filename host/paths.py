"""Names from a graph to files of this machine, never outside the folders that ComfyUI opens to graphs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import folder_paths

from ..errors import NodeInputError, OutsideError

#: Kind of folder in ComfyUI's extra_model_paths.yaml under which further folders of training runs are allowed.
RUNS_KIND: Final = "eri_runs"
#: What to do about a file or folder that lies elsewhere.
ALLOW: Final = (
    f"Move it there, or allow its folder: a line '{RUNS_KIND}: <folder>' in ComfyUI's extra_model_paths.yaml."
)
#: Bytes that the name of one file or folder, and a whole path, may have on Linux. Elsewhere they may have no more.
_LONGEST_NAME: Final = 255
_LONGEST_PATH: Final = 4095
#: "/home" and the like say nothing of a machine: a root and one name.
_PLAIN_PARTS: Final = 2


def run_roots() -> list[Path]:
    """Folders below which runs may lie: ComfyUI's loras folders, then those listed under `eri_runs`."""
    return [Path(folder) for kind in run_kinds() for folder in folder_paths.get_folder_paths(kind)]


def run_kinds() -> list[str]:
    """ComfyUI's kinds of folders in which runs may lie."""
    return ["loras", *([RUNS_KIND] if RUNS_KIND in folder_paths.folder_names_and_paths else [])]


def input_roots() -> list[Path]:
    """The folders from which a graph may read files: ComfyUI's input folder, and those of runs."""
    return [Path(folder_paths.get_input_directory()), *run_roots()]


def candidates(name: str, roots: list[Path], what: str) -> list[Path]:
    """Return where `name` may lie: one path for each root that it fits into.

    `..` is resolved by name. A link is followed where it leads into any of the folders that graphs may read.

    Args:
        name: a relative path, or an absolute path within a root.
        roots: the folders that graphs may read.
        what: the input's name, for messages.

    Raises NodeInputError when the name leads out of every root, when it is a link out of them, or when no
    file can have it.
    """
    found = []
    for root in roots:
        base = os.path.abspath(root)
        path = os.path.abspath(os.path.join(base, name))
        check_name(path, what)
        if path == base or path.startswith(base.rstrip(os.sep) + os.sep):
            found.append(Path(path))
    if not found:
        places = ", ".join(str(root) for root in roots) or "(none)"
        raise OutsideError(f"{what}: {name!r} lies outside the folders that graphs may read: {places}.")
    inside = leading_inside(found)
    if len(inside) < len(found) and not any(path.exists() for path in inside):
        raise OutsideError(f"{what}: {name!r} is a link out of the allowed folders. {ALLOW}")
    return inside


def leading_inside(paths: Iterable[Path], roots: Iterable[Path] | None = None) -> list[Path]:
    """Those of the paths that lead, links followed, into one of the folders; None = those that graphs may read."""
    real = tuple(os.path.realpath(root) for root in (input_roots() if roots is None else roots))
    leading = ((path, Path(os.path.realpath(path))) for path in paths)
    return [path for path, place in leading if any(place.is_relative_to(root) for root in real)]


def check_name(path: str, what: str) -> None:
    """Raise NodeInputError when no file can have this path, which the system would refuse without naming the input."""
    if "\x00" in path:
        raise NodeInputError(f"{what} holds a NUL character.")
    try:
        lengths = [len(part) for part in path.encode().split(os.sep.encode())]
    except UnicodeEncodeError as error:
        raise NodeInputError(f"{what} holds half a character ({error.object[error.start]!r}).") from error
    if max(lengths) > _LONGEST_NAME or sum(lengths) + len(lengths) > _LONGEST_PATH:
        raise NodeInputError(f"{what}: the name is too long for a file ({max(lengths)} bytes). Give a shorter one.")


def without_folders(text: str) -> str:
    """The text with this machine's folders under short names: for HTTP answers and the errors of nodes."""
    folders = {str(root): root.name for root in (*input_roots(), Path(folder_paths.get_output_directory()))}
    folders |= {str(Path(folder_paths.base_path)): "ComfyUI", str(Path.home()): "~"}
    above = {parent for folder in folders for parent in Path(folder).parents if len(parent.parts) > _PLAIN_PARTS}
    folders = {str(parent): "…" for parent in above} | folders
    for folder in sorted(folders, key=len, reverse=True):
        text = re.sub(re.escape(folder) + r"(?![\w-])", folders[folder].replace("\\", "/"), text)
    return text
