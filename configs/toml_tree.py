"""TOML 1.0 text to nodes with positions; the standard library has a TOML parser only since Python 3.11."""

from __future__ import annotations

import re
from typing import Final

from ..errors import SpecError
from .toml_values import Values, syntax_error
from .tree import MAX_DEPTH, Lines, Node, check_text

_BLANK: Final = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_HEADER_LINE: Final = re.compile(r"\[\[?\s*[\w\"'.\- ]+\]\]?[ \t]*(?:#.*)?")
_PAIR_LINE: Final = re.compile(r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*[ \t]*=[ \t]*\S.*")


def looks_like_toml(text: str) -> bool:
    """True when the first line that says something is a `[header]` or a `key = value`."""
    for line in text.split("\n", 200)[:200]:
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            return bool(_HEADER_LINE.fullmatch(stripped) or _PAIR_LINE.fullmatch(stripped))
    return False


def parse_toml(text: str, source: str) -> Node:
    """The document as one mapping; numbers, booleans and dates are plain scalars, numbers in plain decimal.

    Raises SpecError with line and column on bad syntax, on keys and tables that are given twice, and on nesting
    deeper than MAX_DEPTH. Source: the TOML 1.0.0 specification.
    """
    return _Parser(text.replace("\r\n", "\n"), source).document()


class _Parser:
    """`closed`: ids of tables that no later line may add to; `headers`: ids of tables with a header of their own;
    `arrays`: ids of lists made by `[[...]]`; `dotted`: tables that this section's dotted keys made."""

    def __init__(self, text: str, source: str) -> None:
        self.text, self.source, self.lines = text, source, Lines(text)
        self.values = Values(text, source, self.lines)
        self.root = Node({}, 1, 1)
        self.closed: set[int] = set()
        self.headers: set[int] = set()
        self.arrays: set[int] = set()
        self.dotted: set[int] = set()

    def document(self) -> Node:
        bad = _CONTROL.search(self.text)
        if bad:
            raise self.error(f"the control character U+{ord(bad[0]):04X} is not allowed", bad.start())
        if not self.text.isascii():
            check_text(self.text, self.source, 1, 1)
        table, offset = self.root, 0
        while offset < len(self.text):
            blank = _BLANK.match(self.text, offset)
            if blank is not None:
                offset = blank.end()
                continue
            offset = self.values.space(offset)
            if self.text[offset] == "[":
                table, offset = self._header(offset)
            else:
                offset = self._pair(table, offset)
            end = _BLANK.match(self.text, offset)
            if end is None:
                raise self.error("only a comment may follow on this line", self.values.space(offset))
            offset = end.end()
        return self.root

    def _header(self, offset: int) -> tuple[Node, int]:
        """The table that a `[a.b]` or `[[a.b]]` opens, and the offset after it."""
        self.closed |= self.dotted
        self.dotted = set()
        start, many = offset, self.text.startswith("[[", offset)
        path, offset = self.values.key(offset + (2 if many else 1))
        close = "]]" if many else "]"
        if not self.text.startswith(close, offset):
            raise self.error(f"{close!r} is missing", offset)
        if len(path) > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH} levels", start)
        table = self.root
        for key in path[:-1]:
            table = self._enter(table, key, start)
        table = self._append(table, path[-1], start) if many else self._open(table, path[-1], start)
        return table, offset + len(close)

    def _enter(self, table: Node, key: str, offset: int) -> Node:
        """The table `key` in another, made if need be; of a list of tables, its last one."""
        members = _members(table)
        child = members.get(key)
        if child is None:
            child = members[key] = Node({}, *self.lines.at(offset))
        if isinstance(child.value, list) and id(child) in self.arrays:
            child = child.value[-1]
        if not isinstance(child.value, dict) or id(child) in self.values.inline:
            raise self.error(f"{key!r} is a value and cannot hold tables", offset)
        return child

    def _open(self, table: Node, key: str, offset: int) -> Node:
        child = _members(table).get(key)
        if child is not None and self._fixed(child):
            raise self.error(f"the table {key!r} is given twice", offset)
        child = self._enter(table, key, offset)
        self.headers.add(id(child))
        return child

    def _append(self, table: Node, key: str, offset: int) -> Node:
        members, place = _members(table), self.lines.at(offset)
        child = members.get(key)
        if child is None:
            child = members[key] = Node([], *place)
            self.arrays.add(id(child))
        if not isinstance(child.value, list) or id(child) not in self.arrays:
            raise self.error(f"{key!r} is no list of tables", offset)
        entry = Node({}, *place)
        self.headers.add(id(entry))
        child.value.append(entry)
        return entry

    def _pair(self, table: Node, offset: int) -> int:
        """Read `key = value` into a table; returns the offset after it."""
        start = offset
        path, offset = self.values.key(offset)
        if not self.text.startswith("=", offset):
            raise self.error("a '=' is missing after the key", offset)
        for key in path[:-1]:
            table = self._dotted(table, key, start)
        child, offset = self.values.value(self.values.space(offset + 1), len(path))
        members = _members(table)
        if path[-1] in members:
            raise self.error(f"the key {path[-1]!r} is given twice", start)
        members[path[-1]] = child
        return offset

    def _dotted(self, table: Node, key: str, offset: int) -> Node:
        """The table that a dotted key's part names; it may not be one that has a header or was closed."""
        child = _members(table).get(key)
        if child is not None and self._fixed(child):
            raise self.error(f"{key!r} is given already and cannot be added to here", offset)
        if child is None:
            child = _members(table)[key] = Node({}, *self.lines.at(offset))
        self.dotted.add(id(child))
        return child

    def _fixed(self, child: Node) -> bool:
        """True for what is no table, or one that nothing may be added to from here."""
        name = id(child)
        return (
            not isinstance(child.value, dict)
            or name in self.headers
            or name in self.closed
            or name in self.values.inline
        )

    def error(self, problem: str, offset: int) -> SpecError:
        """SpecError at an offset."""
        return syntax_error(problem, offset, self.text, self.source, self.lines)


def _members(table: Node) -> dict[str, Node]:
    if not isinstance(table.value, dict):
        raise TypeError("tables are mappings")
    return table.value
