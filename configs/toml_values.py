"""Keys and values of TOML 1.0: strings, numbers, booleans, dates, arrays, inline tables."""

from __future__ import annotations

import re
from datetime import datetime, time
from typing import Final

from ..errors import SpecError
from .tree import MAX_DEPTH, Lines, Node

_SPACE: Final = re.compile(r"[ \t]*")
_SKIP: Final = re.compile(r"(?:[ \t\n]|#[^\n]*)*")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_BASIC: Final = re.compile(r'"([^"\\\n]*)"(?!")')
_LITERAL: Final = re.compile(r"'([^'\n]*)'(?!')")
_ESCAPE: Final = re.compile(
    r"\\(?:([btnfr\"\\])|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([ \t]*\n[ \t\n]*)|(.?))", re.DOTALL
)
_ESCAPES: Final = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", '"': '"', "\\": "\\"}
_DATE: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[-+][0-9]{2}:[0-9]{2})?)?"
)
_TIME: Final = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?")
_DIGITS: Final = r"[0-9](?:_?[0-9])*"
_NUMBER: Final = re.compile(
    rf"[-+]?(?:inf|nan)|0x[0-9A-Fa-f](?:_?[0-9A-Fa-f])*|0o[0-7](?:_?[0-7])*|0b[01](?:_?[01])*"
    rf"|[-+]?(?:0|[1-9](?:_?[0-9])*)(?:\.{_DIGITS})?(?:[eE][-+]?{_DIGITS})?"
)
_WORD_END: Final = re.compile(r"[A-Za-z0-9_.+\-:]")
_MAX_DIGITS: Final = 4000


def syntax_error(problem: str, offset: int, text: str, source: str, lines: Lines) -> SpecError:
    """SpecError at an offset of a TOML text."""
    line, column = lines.at(min(offset, len(text)))
    return SpecError(
        f"this is not TOML: {problem}", source=source, line=line, column=column, remedy="Correct the text there."
    )


class Values:
    """Reads keys and values of one text; `inline`: ids of the inline tables and their children, closed for good."""

    def __init__(self, text: str, source: str, lines: Lines) -> None:
        self.text, self.source, self.lines = text, source, lines
        self.inline: set[int] = set()

    def space(self, offset: int) -> int:
        """Offset after blanks on this line."""
        match = _SPACE.match(self.text, offset)
        return match.end() if match else offset

    def key(self, offset: int) -> tuple[list[str], int]:
        """Parts of a dotted key and the offset after it and its blanks."""
        parts: list[str] = []
        while True:
            offset = self.space(offset)
            bare = _BARE.match(self.text, offset)
            if bare is not None:
                parts.append(bare[0])
                offset = bare.end()
            elif self.text.startswith(('"""', "'''"), offset) or self.text[offset : offset + 1] not in ('"', "'"):
                raise self.error("a key is missing", offset)
            else:
                part, offset = self.string(offset)
                parts.append(part)
            offset = self.space(offset)
            if not self.text.startswith(".", offset):
                return parts, offset
            offset += 1

    def value(self, offset: int, depth: int) -> tuple[Node, int]:
        """Node at an offset and the offset after it."""
        if depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH} levels", offset)
        start = self.text[offset : offset + 1]
        if start in ('"', "'") and start:
            value, end = self.string(offset)
            return Node(value, *self.lines.at(offset)), end
        if start == "[":
            return self._array(offset, depth)
        if start == "{":
            return self._table(offset, depth)
        for word in ("true", "false"):
            if self.text.startswith(word, offset):
                return self._plain(word, offset, offset + len(word))
        for pattern in (_DATE, _TIME):
            match = pattern.match(self.text, offset)
            if match is not None:
                self._check_date(match[0], offset)
                return self._plain(match[0], offset, match.end())
        match = _NUMBER.match(self.text, offset)
        if match is None:
            raise self.error("a value is missing; text needs quotes", offset)
        return self._plain(self._decimal(match[0], offset), offset, match.end())

    def _plain(self, value: str, offset: int, end: int) -> tuple[Node, int]:
        if _WORD_END.match(self.text, end):
            raise self.error("this is no number, and text needs quotes", offset)
        return Node(value, *self.lines.at(offset), plain=True), end

    def _decimal(self, word: str, offset: int) -> str:
        plain = word.replace("_", "")
        if len(plain) > _MAX_DIGITS:
            raise self.error("this number is too long", offset)
        return str(int(plain, 0)) if plain[:2] in ("0x", "0o", "0b") else plain

    def _check_date(self, word: str, offset: int) -> None:
        plain = re.sub(r"\.([0-9]{1,6})[0-9]*", lambda match: "." + match[1].ljust(6, "0"), word)
        plain = plain.upper().replace("Z", "+00:00")
        try:
            time.fromisoformat(plain) if word[2] == ":" else datetime.fromisoformat(plain.replace(" ", "T"))
        except ValueError:
            raise self.error(f"there is no date or time {word}", offset) from None

    def _array(self, offset: int, depth: int) -> tuple[Node, int]:
        entries: list[Node] = []
        node = Node(entries, *self.lines.at(offset))
        offset = self._skip(offset + 1)
        while not self.text.startswith("]", offset):
            child, offset = self.value(offset, depth + 1)
            entries.append(child)
            offset = self._skip(offset)
            if self.text.startswith(",", offset):
                offset = self._skip(offset + 1)
            elif not self.text.startswith("]", offset):
                raise self.error("a ',' or ']' is missing", offset)
        return node, offset + 1

    def _table(self, offset: int, depth: int) -> tuple[Node, int]:
        members: dict[str, Node] = {}
        node = Node(members, *self.lines.at(offset))
        self.inline.add(id(node))
        own: set[int] = set()
        offset = self.space(offset + 1)
        if self.text.startswith("}", offset):
            return node, offset + 1
        while True:
            offset = self._member(members, own, offset, depth)
            offset = self.space(offset)
            if self.text.startswith("}", offset):
                return node, offset + 1
            if not self.text.startswith(",", offset):
                raise self.error("a ',' or '}' is missing", offset)
            offset = self.space(offset + 1)

    def _member(self, members: dict[str, Node], own: set[int], offset: int, depth: int) -> int:
        """Read one `key = value` of an inline table, whose dotted tables are `own`."""
        start = offset
        path, offset = self.key(offset)
        if not self.text.startswith("=", offset):
            raise self.error("a '=' is missing after the key", offset)
        for key in path[:-1]:
            child = members.get(key)
            if child is None:
                child = members[key] = Node({}, *self.lines.at(start))
                own.add(id(child))
                self.inline.add(id(child))
            if id(child) not in own or not isinstance(child.value, dict):
                raise self.error(f"{key!r} is given twice", start)
            members = child.value
        value, offset = self.value(self.space(offset + 1), depth + len(path))
        if path[-1] in members:
            raise self.error(f"the key {path[-1]!r} is given twice", start)
        members[path[-1]] = value
        return offset

    def _skip(self, offset: int) -> int:
        match = _SKIP.match(self.text, offset)
        return match.end() if match else offset

    def string(self, offset: int) -> tuple[str, int]:
        """A quoted string of any of the four kinds and the offset after it."""
        quote = self.text[offset]
        if self.text.startswith(quote * 3, offset):
            return self._long(offset, quote)
        match = (_BASIC if quote == '"' else _LITERAL).match(self.text, offset)
        if match is not None:
            return match[1], match.end()
        end = offset + 1
        while end < len(self.text) and self.text[end] not in (quote, "\n"):
            end += 2 if quote == '"' and self.text[end] == "\\" else 1
        if end >= len(self.text) or self.text[end] != quote:
            raise self.error("the closing quote is missing", offset)
        raw = self.text[offset + 1 : end]
        return (self._unescape(raw, offset + 1, False) if quote == '"' else raw), end + 1

    def _long(self, offset: int, quote: str) -> tuple[str, int]:
        """A multi-line string; up to two quotes may stand right before the closing three."""
        pattern = r'(?:[^"\\]+|\\.|"{1,2}(?!"))*' if quote == '"' else r"(?:[^']+|'{1,2}(?!'))*"
        body = re.compile(pattern, re.DOTALL).match(self.text, offset + 3)
        end = body.end() if body else offset + 3
        if not self.text.startswith(quote * 3, end):
            raise self.error("the closing quotes are missing", offset)
        while self.text.startswith(quote * 4, end) and end - (body.end() if body else end) < 2:
            end += 1
        start = offset + 3 + self.text.startswith("\n", offset + 3)
        raw = self.text[start:end]
        return (self._unescape(raw, start, True) if quote == '"' else raw), end + 3

    def _unescape(self, raw: str, offset: int, long: bool) -> str:
        if "\\" not in raw:
            return raw

        def replacement(match: re.Match[str]) -> str:
            if match[1]:
                return _ESCAPES[match[1]]
            code = int(match[2] or match[3] or "d800", 16)
            if code < 0xD800 or 0xDFFF < code < 0x110000:
                return chr(code)
            if match[4] and long:
                return ""
            raise self.error(f"there is no escape {match[0][:10]!r}", offset + match.start())

        return _ESCAPE.sub(replacement, raw)

    def error(self, problem: str, offset: int) -> SpecError:
        """SpecError at an offset."""
        return syntax_error(problem, offset, self.text, self.source, self.lines)
