"""Reads texts that are made of lines: prompt files and `KEY=value` files."""

from __future__ import annotations

import re
from typing import Final

from ..errors import SpecError
from .tree import Node, check_text

_ENV_LINE: Final = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9_]*\+?=(?:[^\s=].*)?")


def parse_lines(text: str, source: str) -> Node:
    """A list of the text's lines as they are, empty ones included, without their line ends (\\n, \\r\\n or \\r)."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    refuse_nul("\n".join(lines), source)
    return Node([Node(line, number, 1) for number, line in enumerate(lines, 1)], 1, 1)


def refuse_nul(text: str, source: str) -> None:
    """Raise SpecError where a text holds a NUL character."""
    if "\x00" in text:
        line = text.count("\n", 0, text.index("\x00")) + 1
        raise SpecError(
            "a NUL character stands here, so this is no text", source=source, line=line, remedy="Give a text file."
        )


def looks_like_env(text: str) -> bool:
    """True when the first line that says something is `NAME=value` in capitals, without blanks around the `=`."""
    for line in text.split("\n", 200)[:200]:
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            return _ENV_LINE.fullmatch(stripped) is not None
    return False


def parse_env(text: str, source: str) -> Node:
    """`NAME=value` lines as a mapping of texts; of one name the last value counts, and `+=` appends.

    SimpleTuner reads config.env so (`helpers/configuration/env_file.py`), and not as a shell does: quotes at either
    end of a value are dropped, whether they pair or not, and several blanks become one. Raises SpecError on a line that
    is no assignment.
    """
    refuse_nul(text, source)
    members: dict[str, Node] = {}
    for number, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        append, name = name.endswith("+"), name.removesuffix("+").strip()
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise SpecError(
                "this line is no NAME=value", source=source, line=number, column=1, remedy="Correct or remove it."
            )
        check_text(value, source, number, 1)
        value = " ".join(value.strip('"').strip("'").split())
        if append and name in members:
            value = f"{members.pop(name).value} {value}".strip()
        members.pop(name, None)
        for quote in ("'", '"'):
            if value.startswith(quote) and value.endswith(quote):
                value = value[1:-1]
        members[name] = Node(value, number, raw.index(line) + 1)
    return Node(members, 1, 1)
