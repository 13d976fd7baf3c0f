"""TOML text to nodes: Python's own parser reads the values, a pass over the text's tokens finds where they stand."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, Final

from ..errors import SpecError
from .tree import MAX_DEPTH, Lines, Node

_HEADER_LINE: Final = re.compile(r"\[\[?\s*[\w\"'.\- ]+\]\]?[ \t]*(?:#.*)?")
_PAIR_LINE: Final = re.compile(r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*[ \t]*=[ \t]*\S.*")
#: A quoted text of four kinds, a mark, or a word: a part of a key, a number, a date.
_TOKEN: Final = re.compile(
    r"""(?P<comment>\#[^\n]*)|(?P<mark>[][{}=,])"""
    r"""|(?P<text>\"{3}(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}|'{3}(?:[^']|'{1,2}(?!'))*'{3,5}"""
    r"""|"(?!"")(?:[^"\\\n]|\\.)*"|'(?!'')[^'\n]*')"""
    r"""|(?P<word>[^][\s{}=,\#"']+(?:\ \d\d:[^][\s{}=,\#"']+)?)|(?P<unclosed>["'])""",
    re.DOTALL | re.VERBOSE,
)
#: The end of the parser's messages.
_PLACE: Final = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


def looks_like_toml(text: str) -> bool:
    """True when the first line that says something is a `[header]` or a `key = value`."""
    for line in text.split("\n", 200)[:200]:
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            return bool(_HEADER_LINE.fullmatch(stripped) or _PAIR_LINE.fullmatch(stripped))
    return False


def parse_toml(text: str, source: str) -> Node:
    """The document as one mapping; numbers, booleans and dates are plain scalars, whole numbers in plain decimal.

    Raises SpecError with line and column on bad syntax, on keys and tables that are given twice, and on nesting
    deeper than MAX_DEPTH; also on Python 3.10 without the package tomli.
    """
    parser = _parser(source)
    text = text.replace("\r\n", "\n")
    lines = Lines(text)

    def error(problem: str, line: int, column: int) -> SpecError:
        return SpecError(
            f"this is not TOML: {problem}", source=source, line=line, column=column,
            remedy="Correct the text there; texts need quotes, and a name may be given once.",
        )  # fmt: skip

    deep = _too_deep(text)
    if deep is not None:
        raise error(f"nested deeper than {MAX_DEPTH} levels", *lines.at(deep))
    try:
        return _Builder(text, lines, parser).document()
    except parser.TOMLDecodeError as problem:
        match = _PLACE.fullmatch(str(problem))
        at = (int(match[2]), int(match[3])) if match and match[2] else lines.at(len(text))
        raise error(match[1] if match else str(problem), *at) from None
    except ValueError:  # Python converts no whole number of more than 4300 digits
        longest = max((match for match in _tokens(text) if match["word"]), key=lambda match: len(match[0]))
        raise error("this number is too long", *lines.at(longest.start())) from None


def _parser(source: str) -> Any:
    """The module tomllib, or tomli, of which it is a copy."""
    try:
        if sys.version_info >= (3, 11):
            import tomllib
        else:
            import tomli as tomllib
    except ModuleNotFoundError:
        raise SpecError(
            "this is TOML, which Python reads since 3.11; this older one needs the package tomli, which is missing",
            source=source,
            remedy="Install it for the Python that runs ComfyUI: python -m pip install tomli",
        ) from None
    return tomllib


def _tokens(text: str) -> Iterator[re.Match[str]]:
    """The tokens of a text without its comments, up to a quote that is never closed."""
    for match in _TOKEN.finditer(text):
        if match["unclosed"]:
            return
        if not match["comment"]:
            yield match


def _too_deep(text: str) -> int | None:
    """Offset of the first bracket or key that nests deeper than MAX_DEPTH; the parser itself knows no limit."""
    depth = dots = 0
    for match in _tokens(text):
        if match["mark"]:
            depth, dots = depth + (match[0] in "[{") - (match[0] in "]}"), 0
        elif match["word"]:
            dots += match[0].count(".")
        if max(depth, dots) > MAX_DEPTH:
            return match.start()
    return None


class _Float(str):
    """A number with a point or an exponent, as it is written."""

    __slots__ = ()


class _Builder:
    """Walks over the tokens of a text that the parser has accepted, and takes each value from what that gave."""

    def __init__(self, text: str, lines: Lines, parser: Any) -> None:
        self.parser, self.lines = parser, lines
        self.values = parser.loads(text, parse_float=_Float)
        self.tokens = _tokens(text)
        self.token = next(self.tokens, None)

    def document(self) -> Node:
        root = Node({}, 1, 1)
        table, values = root, self.values
        while self.token is not None:
            if self.token[0] == "[":
                table, values = self._header(root)
            else:
                self._pair(table, values)
        return root

    def _place(self) -> tuple[int, int]:
        """Line and column of the token here."""
        return self.lines.at(self.token.start() if self.token else 0)

    def _skip(self, mark: str) -> bool:
        """Go past a mark, where it stands here."""
        here = self.token is not None and self.token[0] == mark
        if here:
            self.token = next(self.tokens, None)
        return here

    def _key(self) -> list[str]:
        """The parts of a dotted key."""
        parts: list[str] = []
        while self.token is not None and not self.token["mark"]:
            word = self.token[0]
            self.token = next(self.tokens, None)
            if word[0] not in "\"'":
                parts += filter(None, word.split("."))
            else:
                parts.append(self.parser.loads(f"key = {word}")["key"] if "\\" in word else word[1:-1])
        return parts

    def _header(self, root: Node) -> tuple[Node, Any]:
        """The table that a `[a.b]` or `[[a.b]]` opens, and its values."""
        place = self._place()
        many = self._skip("[") and self._skip("[")
        table, values = root, self.values
        keys = self._key()
        for position, key in enumerate(keys):
            new_list = many and position == len(keys) - 1
            members: Any = table.value
            table, values = members.setdefault(key, Node([] if new_list else {}, *place)), values[key]
            if new_list:
                table.value.append(Node({}, *place))
            if isinstance(table.value, list):
                values, table = values[len(table.value) - 1], table.value[-1]
        self._skip("]")
        self._skip("]")
        return table, values

    def _pair(self, table: Node, values: Any) -> None:
        """Read `key = value` into a table."""
        place = self._place()
        *outer, last = self._key()
        members: Any = table.value
        for key in outer:
            members, values = members.setdefault(key, Node({}, *place)).value, values[key]
        self._skip("=")
        members[last] = self._value(values[last])

    def _value(self, value: Any) -> Node:
        place = self._place()
        self.token = next(self.tokens, None)
        if isinstance(value, list):
            entries = []
            for entry in value:
                entries.append(self._value(entry))
                self._skip(",")
            self._skip("]")
            return Node(entries, *place)
        if isinstance(value, dict):
            node = Node({}, *place)
            while not self._skip("}"):
                self._pair(node, value)
                self._skip(",")
            return node
        if type(value) is str:
            return Node(value, *place)
        if isinstance(value, bool):
            return Node(str(value).lower(), *place, plain=True)
        return Node(value.replace("_", "") if isinstance(value, _Float) else str(value), *place, plain=True)
