"""Opens a config from a path, text or bytes; a config is a tree of nodes that know where they stand in it.

At the end: what the trainers' recognisers ask of such a tree.
"""

from __future__ import annotations

import os
import re
import stat
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from ..errors import SpecError

if TYPE_CHECKING:
    from .second_file import Folders

#: Largest config read, in bytes. A thousand long prompts are about 0.3 MB.
MAX_BYTES: Final = 4 << 20
#: Largest size after aliases are written out, in characters; more is an alias bomb.
MAX_EXPANDED: Final = 4 * MAX_BYTES
MAX_DEPTH: Final = 50

_BOMS: Final = (
    (b"\xff\xfe\x00\x00", "UTF-32"),
    (b"\x00\x00\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_WIDE: Final = tuple(mark for mark, _ in _BOMS)
#: Scripts that Windows reads in a code page of its own.
_CODE_PAGES: Final = (".bat", ".cmd", ".ps1")
#: What stands for every byte above ASCII in a script that is not UTF-8.
LOST: Final = "\ufffd"
_PATH_LIKE: Final = re.compile(r"(?:(?!: )[^\n])*\.(?:ya?ml|jsonc?|ipynb|toml|txt|env|sh|bat|cmd|ps1)", re.IGNORECASE)


@dataclass(slots=True)
class Node:
    """One value of the document.

    Attributes:
        value: the text of a scalar as it is written, or the children.
        line, column: where it begins, from 1.
        plain: True for a scalar without quotes, the only kind that may be a number, a boolean or null.
        size: its length in characters, with all aliases written out.
        source: the file that it stands in, where that is another one than the document's.
    """

    value: str | list[Node] | dict[str, Node]
    line: int
    column: int
    plain: bool = False
    size: int = 1
    source: str | None = None


class Repeated(NamedTuple):
    """A key of a JSON object that stands there already: the key, and the place of the later one."""

    key: str
    line: int
    column: int


@dataclass(frozen=True)
class Document:
    """A parsed config.

    Attributes:
        root: the tree.
        source: what the config is called in messages.
        kind: the notation that it was read in: "json", "yaml", "toml", "env", "command" or "lines".
        folders: where the files that the config names may come from.
        repeated: keys that JSON or YAML gives twice, of which the last counts.
        started_by: the file of the program that a script starts with the config, "" = no script.
    """

    root: Node
    source: str
    kind: str = "yaml"
    folders: Folders | None = None
    repeated: tuple[Repeated, ...] = ()
    started_by: str = ""


class Lines:
    """Turns offsets in a text into line and column, both from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, offset: int) -> tuple[int, int]:
        """Line and column of a character offset."""
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def check_text(value: str, source: str, line: int, column: int) -> None:
    """Raise SpecError when a string holds half of a surrogate pair, which no encoder accepts."""
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise SpecError(
                "this text holds half of a surrogate pair, which is no character",
                source=source,
                line=line,
                column=column,
                remedy="Write the character itself instead of its \\u escape.",
            ) from None


def open_source(source: str | bytes | os.PathLike[str]) -> tuple[str, str, str]:
    """The text of a config, its name for messages and its suffix.

    Args:
        source: a path, or the text itself. A string is a path when it is one line that names an existing file or
            ends as a config file does (.yaml, .json, .ipynb, .toml, .txt, .env, .sh, .bat and the like).

    Raises SpecError when it cannot be read.
    """
    if isinstance(source, bytes):
        return decode(source, "<text>"), "<text>", ""
    if isinstance(source, str):
        one_line = source.strip()
        if "\n" in one_line or "\x00" in one_line or len(one_line) > 4096 or one_line.startswith("{"):
            return check_length(source), "<text>", ""
        if not _PATH_LIKE.fullmatch(one_line) and not _exists(one_line):
            return check_length(source), "<text>", ""
        source = source if _exists(source) else one_line
    path = Path(source)
    suffix = path.suffix.lower()
    data = read_file(path)
    if suffix in _CODE_PAGES and not _is_utf8(data):  # remarks in a code page are no part of the command
        return data.decode("ascii", errors="replace"), str(path), suffix
    return decode(data, str(path)), str(path), suffix


def _is_utf8(data: bytes) -> bool:
    """True also for other kinds of Unicode, which are refused by name."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return data.startswith(_WIDE)
    return True


def check_length(text: str, source: str = "<text>") -> str:
    """The text without its byte order mark; raises SpecError when it is longer than MAX_BYTES or no Unicode."""
    if len(text) > MAX_BYTES:
        raise _too_large(len(text), source)
    check_text(text, source, 1, 1)
    return text.removeprefix("\ufeff")


def decode(data: bytes, source: str) -> str:
    """The bytes of a config as text; raises SpecError with the line when they are not UTF-8."""
    if len(data) > MAX_BYTES:
        raise _too_large(len(data), source)
    for mark, name in _BOMS:
        if data.startswith(mark):
            raise SpecError(
                f"this file is {name}", source=source, line=1, remedy="Save it as UTF-8: the trainers read only that."
            )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line_start = data.rfind(b"\n", 0, error.start) + 1
        raise SpecError(
            f"byte 0x{data[error.start]:02x} is not UTF-8",
            source=source,
            line=data.count(b"\n", 0, error.start) + 1,
            column=error.start - line_start + 1,
            remedy="Save the file as UTF-8 (it looks like another code page, or is no text file).",
        ) from None


def _exists(path: str) -> bool:
    try:
        return bool(path) and os.path.exists(path)
    except (OSError, ValueError):
        return False


def read_file(path: Path) -> bytes:
    """The bytes of a file; raises SpecError when it is no regular file or larger than MAX_BYTES."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise SpecError("this is a folder", source=str(path), remedy="Name the config file in it.")
        if not stat.S_ISREG(status.st_mode):
            raise SpecError("this is not a regular file", source=str(path), remedy="Name a config file.")
        if status.st_size > MAX_BYTES:
            raise _too_large(status.st_size, str(path))
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        where = path if path.is_absolute() else Path.cwd() / path
        raise SpecError("no such file", source=str(path), remedy=f"Looked for {where}; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise SpecError(
            f"cannot be read: {reason}", source=str(path), remedy="Check the path and its rights."
        ) from None


def _too_large(size: int, source: str) -> SpecError:
    return SpecError(
        f"{size / 1e6:.1f} MB is too large for a config (limit {MAX_BYTES / 1e6:.1f} MB)",
        source=source,
        remedy="Name the training config, not a model or a data file.",
    )


def has_any(document: Document, *keys: str) -> bool:
    """True when the document's top level has one of these keys."""
    root = document.root.value
    return isinstance(root, dict) and any(key in root for key in keys)


def argument_names(document: Document) -> set[str]:
    """Names at the top level and one level below it."""
    root = document.root.value
    if not isinstance(root, dict) or document.kind not in ("toml", "yaml", "json"):
        return set()
    names = set(root)
    for node in root.values():
        if isinstance(node.value, dict) and document.kind == "toml":
            names |= set(node.value)
    return names


def entries_with(document: Document, key: str, names: set[str]) -> bool:
    """True when the list below a key ("" = the document itself) holds a section with one of these fields."""
    listed = find(document.root, key) if key else document.root
    if listed is None or not isinstance(listed.value, list):
        return False
    return any(isinstance(node.value, dict) and not names.isdisjoint(node.value) for node in listed.value)


def find(node: Node, path: str) -> Node | None:
    """The node at a dotted path below this one, None where there is none."""
    for key in path.split("."):
        child = node.value.get(key) if isinstance(node.value, dict) else None
        if child is None:
            return None
        node = child
    return node


def named(node: Node, name: str, path: str = "") -> Iterator[tuple[str, Node]]:
    """Every field of this name anywhere below a node, with its dotted path."""
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            where = f"{path}.{key}" if path else key
            if key == name:
                yield where, child
            yield from named(child, name, where)
    elif isinstance(node.value, list):
        for index, child in enumerate(node.value):
            yield from named(child, name, f"{path}[{index}]")


def matches(node: Node | None, pattern: str | None) -> bool:
    """True when the node, or one of its list, is a text that the whole pattern matches; None: when it is there."""
    if node is None or pattern is None:
        return node is not None
    texts = node.value if isinstance(node.value, list) else [node]
    return any(isinstance(text.value, str) and re.fullmatch(pattern, text.value) is not None for text in texts)
