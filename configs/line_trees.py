"""Reads texts that are made of lines: prompt files and `KEY=value` files."""

from __future__ import annotations

import re
from typing import Final

from ..errors import SpecError
from .script import Command, Fault, part_of
from .shell import shell_commands
from .tree import Lines, Node, check_text

#: Commands that leave no variable behind.
_HARMLESS: Final = frozenset(("echo", "printf", "set", "cd", "ulimit", ":", "true", "exit"))
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


def holds_env(text: str) -> bool:
    """True for a file that assigns variables and runs nothing that could leave others behind."""
    return looks_like_env(text) and all(_is_harmless(command) for command in shell_commands(text)[0])


def _is_harmless(command: Command) -> bool:
    return command.fault is None and bool(command.words) and command.words[0].text in _HARMLESS


def parse_env(text: str, source: str) -> Node:
    """The variables that a file of assignments leaves in a shell which sources it, by name.

    SimpleTuner's `train.sh` sources config.env. Values that the shell would take from elsewhere are `Unexpanded`.
    Raises SpecError on a line that runs anything.
    """
    refuse_nul(text, source)
    lines = Lines(text)
    commands, names = shell_commands(text)
    for command in commands:
        at = command.words[0].at if command.words else len(text)
        if _is_harmless(command):
            continue
        line, column = lines.at(at)
        fault = command.fault or Fault("this line is no NAME=value", "Correct or remove it; put quotes around blanks.")
        raise SpecError(fault.problem, source=source, line=line, column=column, remedy=fault.remedy)
    members: dict[str, Node] = {}
    for name, value in sorted(names.values.items(), key=lambda item: names.places.get(item[0], 0)):
        line, column = lines.at(names.places.get(name, 0))
        first = value if isinstance(value, str) else next(iter(value), "")
        check_text(first, source, line, column)
        for quote in ("'", '"'):  # SimpleTuner takes away one pair of either (`env_file.py::load_env_config`)
            if len(first) > 1 and first.startswith(quote) and first.endswith(quote):
                first = part_of(first, first[1:-1])
        members[name] = Node(first, line, column)
    return Node(members, 1, 1)
