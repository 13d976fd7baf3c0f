"""The command line that starts a trainer's program: its flags as a mapping."""

from __future__ import annotations

import re
import shlex
from typing import Final, NamedTuple

from .line_trees import refuse_nul
from .model import SpecError
from .tree import Node, check_text

_LONG_FLAG: Final = re.compile(r"--([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)
_WRITTEN: Final = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_SHORT_FLAG: Final = re.compile(r"-([A-Za-z][\w-]*)()")

#: How lines go on in cmd.exe and PowerShell.
_WINDOWS_END: Final = re.compile(r"(?:^|(?<=[ \t]))[\^`][ \t\r]*$", re.MULTILINE)

#: Quotes to step over, and what is no word of the command. shlex would take the # in `a#b` for a comment.
_SHELL: Final = re.compile(
    r"""'[^']*'|\\.|"(?:[^"\\]|\\.)*"|(?P<comment>(?<!\S)\#[^\n]*)"""
    r"""|(?P<inner>\$\((?:[^()]|\([^()]*\))*\)|`[^`]*`)"""
    r"""|(?P<redirect>(?:(?<!\S)\d+)?(?:&>>?|>>?|<)[ \t]*(?:&\d|(?:'[^']*'|"[^"]*"|[^\s;&|()'"])+))"""
    r"""|(?P<end>[;&|)])|(?P<open>\()""",
    re.DOTALL,
)

#: What the shell replaces: variables and substitutions outside single quotes.
_QUOTED: Final = re.compile(r"""'[^']*'|\\.|"(?:[^"\\]|\\.)*"|\$(?=[A-Za-z_{(])|`""", re.DOTALL)
_IN_QUOTES: Final = re.compile(r"\\.|\$(?=[A-Za-z_{(])|`", re.DOTALL)
#: MAX_ARG_STRLEN of Linux, in bytes; shlex takes minutes for longer words.
_LONGEST: Final = 1 << 17
_MARK: Final = "\x00"
_BLANK: Final = "\x01"

#: What a trainer's command line turns into a number or a switch.
_PLAIN: Final = re.compile(r"[-+]?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?|true|false")

#: Key of a command tree under which the program's name stands.
PROGRAM: Final = "program"


class Unexpanded(str):
    """Text of a command line that holds a variable or a substitution; the shell would replace it."""

    __slots__ = ()


class Switch(str):
    """The value of a flag that none is given to."""

    __slots__ = ()


class _Flag(NamedTuple):
    """A flag as it is written, its name, and the words that belong to it."""

    written: str
    name: str
    words: list[str]


def command_of(text: str, programs: re.Pattern[str]) -> str | None:
    """Name of the first of these programs that a text of shell commands starts, None when it starts none."""
    match = programs.search(text) if "--" in text else None
    return match[1] if match else None


def parse_command(text: str, source: str, programs: re.Pattern[str], *, repeats: bool = True) -> Node:
    """The flags of one trainer's command line as a mapping, dashes in names as underscores, texts unquoted.

    Line continuations (backslash), comments, redirections and what ends a command (`&&`, `|`, `;`) are understood;
    variables and substitutions are not replaced: their values are `Unexpanded`. A flag without a value is a `Switch`,
    "true"; one that several words follow has a list. `PROGRAM` holds the program's name.
    repeats: of a flag given twice the last counts; False = it stops the program, as clap does.
    The text starts one of `programs` at least (`command_of`). Raises SpecError when it starts several, when quotes are
    left open or a word belongs to no flag.
    """
    refuse_nul(text, source)
    joined = re.sub(r"\\\r?\n", lambda match: " " * (len(match[0]) - 1) + "\n", text)
    starts = list(programs.finditer(joined))
    at = starts[0].start()
    first, column = joined.count("\n", 0, at) + 1, at - joined.rfind("\n", 0, at)
    tail = _command_end(text, joined, starts[0].end())
    _refuse_windows(tail, source, first)
    try:
        own = _own_words(tail)
        programs_started = len(starts) - len(programs.findall(own))  # a prompt may hold a program's name
        flags = _flags([_unmarked(word) for word in shlex.split(_marked(own))]) if programs_started == 1 else []
    except ValueError as error:
        raise SpecError(
            f"this command line cannot be read: {error}", source=source, line=first, column=column,
            remedy="Close its quotes, and put quotes around every text.",
        ) from None  # fmt: skip
    if programs_started != 1:
        raise SpecError(
            f"{programs_started} of the trainer's programs are started here, not one", source=source,
            remedy="Give the one command that samples.",
        )  # fmt: skip
    members = {PROGRAM: Node(starts[0][1], first, 1)}
    places = _places(text, first)
    for flag in flags:
        line, column = places.get(flag.written, (first, 1))
        if not repeats and flag.name in members:
            raise SpecError(
                f"{flag.written} is given twice, which stops the program", source=source, line=line, column=column,
                remedy="Keep one of the two.",
            )  # fmt: skip
        nodes = []
        for word in flag.words:
            check_text(word, source, line, column)
            nodes.append(Node(word, line, column, _PLAIN.fullmatch(word) is not None))
        members[flag.name] = nodes[0] if len(nodes) == 1 else Node(list(nodes), line, column)
    return Node(members, first, 1)


def _refuse_windows(tail: str, source: str, first: int) -> None:
    """SpecError for a command that goes on in the next line as only Windows' shells have it."""
    foreign = _WINDOWS_END.search(tail)
    if foreign is not None:
        raise SpecError(
            f"this line ends with {foreign[0].strip()!r}, as in a Windows script, and goes on in the next",
            source=source, line=first + tail.count("\n", 0, foreign.start()),
            remedy="Write the command in one line, or end its lines with a backslash.",
        )  # fmt: skip


def _flags(words: list[str]) -> list[_Flag]:
    """The words by the flag that they follow; ValueError for those before the first one."""
    found: list[_Flag] = []
    for word in words:
        match = _LONG_FLAG.fullmatch(word) or _SHORT_FLAG.fullmatch(word)
        if match is not None:
            flag = _Flag(word.partition("=")[0], match[1].replace("-", "_"), [])
            found.append(flag)
            if match[2]:
                flag.words.append(match[2] if type(word) is str else Unexpanded(match[2]))
        elif word == "--":  # between cargo's own flags and the program's
            continue
        elif not found:
            raise ValueError(f"{word!r} follows no flag")
        else:
            found[-1].words.append(word)
    return [flag if flag.words else flag._replace(words=[Switch("true")]) for flag in found]


def _own_words(tail: str) -> str:
    """What follows the program's name up to what ends its command, without comments and redirections.

    ValueError for a `(`, at which a shell stops, and for more than _LONGEST characters.
    """
    if tail[:1] in ("'", '"'):  # closes the quotes around the program's path
        tail = tail[1:]
    pieces, done = [], 0
    for match in _SHELL.finditer(tail):
        if match["open"]:
            raise ValueError("the shell stops at a '(' outside quotes")
        if match["end"]:
            tail = tail[: match.start()]
            break
        if match["inner"] or match["redirect"] or match["comment"]:
            kept = re.sub(r"\s", _BLANK, re.sub(r"['\"\\]", "", match["inner"])) if match["inner"] else " "
            pieces += [tail[done : match.start()], kept]
            done = match.end()
    own = "".join([*pieces, tail[done:]])
    if len(own) > _LONGEST:
        raise ValueError(f"it has {len(own)} characters, and Linux hands at most {_LONGEST} over as one text")
    return own


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
    return Unexpanded(word.replace(_MARK, "").replace(_BLANK, " ")) if _MARK in word else word


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


def _places(text: str, first: int) -> dict[str, tuple[int, int]]:
    """Line and column of every flag as it is written, where it stands first from a line on."""
    found: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(text.split("\n")[first - 1 :], first):
        for match in _WRITTEN.finditer(line):
            found.setdefault(match[0], (number, match.start() + 1))
    return found
