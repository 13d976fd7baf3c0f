"""Turns JSON text into nodes; comments (`//`, `/* */`) and trailing commas are allowed, as in JSONC."""

from __future__ import annotations

import re
from json.decoder import JSONDecodeError, JSONDecoder
from typing import Final

from ..errors import SpecError
from .tree import MAX_DEPTH, Lines, Node, Repeated, check_text

#: The standard library's own string scanner: (text, offset after the quote, strict) -> (string, offset after it).
_scan_string: Final = JSONDecoder().parse_string  # type: ignore[attr-defined]
_SPACE: Final = r"[ \t\r\n]*(?:(?://[^\n]*(?![^\n])|/\*(?:[^*]|\*(?!/))*\*/)[ \t\r\n]*)*"
_BLANK: Final = re.compile(_SPACE)
_COLON: Final = re.compile(f"{_SPACE}:{_SPACE}")
_MARK: Final = re.compile(f"{_SPACE}([,}}\\]]){_SPACE}")
_LITERAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?(?![\w.+-])|(?:true|false|null)\b")
_STARTS: Final = frozenset((("{", '"'), ("{", "}"), ("[", "{"), ("[", '"'), ("[", "]")))


def looks_like_json(text: str) -> bool:
    """True when a text starts as a JSON object or list does: its bracket, then a quote, a brace or the closing one."""
    start = _skip(text, 0)
    after = _skip(text, start + 1)
    following = text[after : after + 1]
    return (text[start : start + 1], following) in _STARTS


def parse_json(text: str, source: str, repeated: list[Repeated] | None = None) -> Node:
    """The tree of a JSON text; of a key that is given twice the last value counts, as in Python's reader.

    Args:
        text: the JSON.
        source: what it is called in messages.
        repeated: takes the keys that are given twice.

    Raises SpecError with line and column on bad syntax and nesting deeper than MAX_DEPTH.
    """
    parser = _Parser(text, source, [] if repeated is None else repeated)
    node, end = parser.value(_skip(text, 0), 0)
    end = _skip(text, end)
    if end < len(text):
        raise parser.error("something follows the end of the document", end)
    return node


def _skip(text: str, offset: int) -> int:
    match = _BLANK.match(text, offset)
    return match.end() if match else offset


class _Parser:
    def __init__(self, text: str, source: str, repeated: list[Repeated]) -> None:
        self.text, self.source, self.lines = text, source, Lines(text)
        self.repeated = repeated

    def value(self, offset: int, depth: int) -> tuple[Node, int]:
        """The node at an offset, and the offset after it."""
        start = self.text[offset : offset + 1]
        line, column = self.lines.at(offset)
        if start == '"':
            value, end = self.string(offset)
            return Node(value, line, column, False, len(value) + 1), end
        if start in ("{", "["):
            if depth >= MAX_DEPTH:
                raise self.error(f"nested deeper than {MAX_DEPTH} levels", offset)
            node = Node({} if start == "{" else [], line, column)
            return node, self._fill(node, _skip(self.text, offset + 1), depth + 1)
        match = _LITERAL.match(self.text, offset)
        if match is None:
            found = f"found {self.text[offset : offset + 10]!r}" if start else "the text ends"
            raise self.error(f"{found} where a value should be", offset)
        return Node(match[0], line, column, True, match.end() - offset + 1), match.end()

    def string(self, offset: int) -> tuple[str, int]:
        """A quoted string and the offset after it."""
        if self.text[offset : offset + 1] != '"':
            raise self.error("a key in double quotes is missing", offset)
        try:
            value, end = _scan_string(self.text, offset + 1, True)
        except JSONDecodeError as error:
            raise self.error(error.msg, error.pos) from None
        if not value.isascii():
            check_text(value, self.source, *self.lines.at(offset))
        return value, end

    def _fill(self, node: Node, offset: int, depth: int) -> int:
        """Read the members of an object or list from its first one on; returns the offset after its bracket."""
        members = node.value
        close = "}" if isinstance(members, dict) else "]"
        if self.text.startswith(close, offset):
            return offset + 1
        while True:
            if isinstance(members, dict):
                key, offset = self._key(members, offset)
                child, offset = self.value(offset, depth)
                members[key] = child
            else:
                child, offset = self.value(offset, depth)
                members.append(child)  # type: ignore[union-attr]
            node.size += child.size
            mark = _MARK.match(self.text, offset)
            if mark is None or mark[1] not in ("," + close):
                raise self.error(f"a ',' or {close!r} is missing", _skip(self.text, offset))
            if mark[1] == close:
                return mark.end(1)
            offset = mark.end()
            if self.text.startswith(close, offset):
                return offset + 1

    def _key(self, members: dict[str, Node], offset: int) -> tuple[str, int]:
        """A new key and the offset of its value."""
        key, end = self.string(offset)
        if key in members:
            self.repeated.append(Repeated(key, *self.lines.at(offset)))
            del members[key]  # so that it stands where its value does
        colon = _COLON.match(self.text, end)
        if colon is None:
            raise self.error(f"a ':' is missing after {key!r}", end)
        return key, colon.end()

    def error(self, problem: str, offset: int) -> SpecError:
        """The SpecError to raise at an offset."""
        line, column = self.lines.at(min(offset, len(self.text)))
        return SpecError(
            f"this is not JSON: {problem}",
            source=self.source,
            line=line,
            column=column,
            remedy="Correct the text there.",
        )
