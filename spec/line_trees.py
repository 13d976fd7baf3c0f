"""Texts made of lines: prompt files, `KEY=value` files, and the command line that starts a trainer."""

from __future__ import annotations

import re
import shlex
from typing import Final

from .model import SpecError
from .tree import Node, check_text

_ENV_LINE: Final = re.compile(r"(?:export\s+)?[A-Z][A-Z0-9_]*\+?=(?:[^\s=].*)?")
_LONG_FLAG: Final = re.compile(r"--([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)

#: How lines go on in cmd.exe and PowerShell.
_WINDOWS_END: Final = re.compile(r"(?:^|(?<=[ \t]))[\^`][ \t\r]*$", re.MULTILINE)

#: What the shell replaces: variables and substitutions outside single quotes.
_QUOTED: Final = re.compile(r"""'[^']*'|\\.|"(?:[^"\\]|\\.)*"|\$(?=[A-Za-z_{(])|`""", re.DOTALL)
_IN_QUOTES: Final = re.compile(r"\\.|\$(?=[A-Za-z_{(])|`", re.DOTALL)
_MARK: Final = "\x00"

#: What a trainer's command line turns into a number or a switch.
_PLAIN: Final = re.compile(r"[-+]?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?|true|false")

#: Key of a command tree under which the program's name stands.
PROGRAM: Final = "program"


class Unexpanded(str):
    """Text of a command line that holds a variable or a substitution; the shell would replace it."""

    __slots__ = ()


def parse_lines(text: str, source: str) -> Node:
    """A list of the text's lines as they are, empty ones included, without their line ends (\\n, \\r\\n or \\r)."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    _refuse_nul("\n".join(lines), source)
    return Node([Node(line, number, 1) for number, line in enumerate(lines, 1)], 1, 1)


def _refuse_nul(text: str, source: str) -> None:
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
    """`NAME=value` lines as a mapping of texts; the last of several wins and `+=` appends.

    As SimpleTuner reads config.env: one pair of quotes around a value goes, runs of blanks in it become one.
    Raises SpecError on a line that is no assignment.
    """
    _refuse_nul(text, source)
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
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        check_text(value, source, number, 1)
        value = " ".join(value.split())
        if append and name in members:
            value = f"{members.pop(name).value} {value}".strip()
        members.pop(name, None)
        members[name] = Node(value, number, raw.index(line) + 1)
    return Node(members, 1, 1)


def command_of(text: str, programs: re.Pattern[str]) -> str | None:
    """Name of the first of these programs that a text of shell commands starts, None when it starts none."""
    match = programs.search(text) if "--" in text else None
    return match[1] if match else None


def parse_command(text: str, source: str, programs: re.Pattern[str], *, repeats: bool = True) -> Node:
    """The flags of one trainer's command line as a mapping, dashes in names as underscores, texts unquoted.

    Line continuations (backslash) and comments are understood, variables and substitutions are not replaced: their
    values are `Unexpanded`. A flag without a value is "true". `PROGRAM` holds the program's name.
    repeats: of a flag given twice the last counts; False = it stops the program, as clap does.
    Raises SpecError when the program is not started exactly once or quotes are left open.
    """
    _refuse_nul(text, source)
    joined = re.sub(r"\\\r?\n", lambda match: " " * (len(match[0]) - 1) + "\n", text)
    starts = list(programs.finditer(joined))
    if len(starts) != 1:
        raise SpecError(
            f"{len(starts)} of the trainer's programs are started here, not one", source=source,
            remedy="Give the one command that samples.",
        )  # fmt: skip
    first = joined.count("\n", 0, starts[0].start()) + 1
    tail = _command_end(text, joined, starts[0].end())
    foreign = _WINDOWS_END.search(tail)
    if foreign is not None:
        line = joined.count("\n", 0, starts[0].end() + foreign.start()) + 1
        raise SpecError(
            f"this line ends with {foreign[0].strip()!r}, as in a Windows script, and goes on in the next",
            source=source, line=line, remedy="Write the command in one line, or end its lines with a backslash.",
        )  # fmt: skip
    members = {PROGRAM: Node(starts[0][1], first, 1)}
    try:
        words = [_unmarked(word) for word in shlex.split(_marked(tail), comments=True)]
    except ValueError as error:
        raise SpecError(
            f"this command line cannot be read: {error}", source=source, line=first,
            column=starts[0].start() - joined.rfind("\n", 0, starts[0].start()), remedy="Close its quotes.",
        ) from None  # fmt: skip
    index = 0
    while index < len(words):
        word = words[index]
        flag = _LONG_FLAG.fullmatch(word)
        index += 1
        if flag is None:
            continue
        value = flag[2] if flag[2] is None or type(word) is str else Unexpanded(flag[2])
        if value is None:
            value = "true"
            if index < len(words) and not _LONG_FLAG.fullmatch(words[index]):
                value = words[index]
                index += 1
        line, column = _place(text, f"--{flag[1]}", first)
        check_text(value, source, line, column)
        if not repeats and flag[1].replace("-", "_") in members:
            raise SpecError(
                f"--{flag[1]} is given twice, which stops the program", source=source, line=line, column=column,
                remedy="Keep one of the two.",
            )  # fmt: skip
        members[flag[1].replace("-", "_")] = Node(value, line, column, _PLAIN.fullmatch(value) is not None)
    return Node(members, first, 1)


def _marked(tail: str) -> str:
    """The command with a mark before all that the shell replaces; shlex leaves the backslash of "\\$" standing."""

    def inside(match: re.Match[str]) -> str:
        if match[0][0] == "\\":
            return match[0][1:] if match[0][1] in "$`" else match[0]
        return _MARK + match[0]

    def mark(match: re.Match[str]) -> str:
        if match[0][0] == '"':
            return _IN_QUOTES.sub(inside, match[0])
        return match[0] if match[0][0] in "'\\" else _MARK + match[0]

    return _QUOTED.sub(mark, tail)


def _unmarked(word: str) -> str:
    return Unexpanded(word.replace(_MARK, "")) if _MARK in word else word


def _command_end(text: str, joined: str, start: int) -> str:
    """What follows the program's name up to the end of its command (a line end that is not continued)."""
    tail = joined[start:]
    count, quotes = 0, ""
    for line in text[start:].split("\n"):
        count += 1
        for character in line:
            if quotes:
                quotes = "" if character == quotes else quotes
            elif character in "'\"":
                quotes = character
        if not quotes and not line.rstrip("\r").endswith("\\"):
            break
    return "\n".join(tail.split("\n")[:count])


def _place(text: str, flag: str, first: int) -> tuple[int, int]:
    """Line and column of a flag at or after a line."""
    for number, line in enumerate(text.split("\n"), 1):
        match = re.search(rf"{re.escape(flag)}(?![\w-])", line) if number >= first else None
        if match is not None:
            return number, match.start() + 1
    return first, 1
