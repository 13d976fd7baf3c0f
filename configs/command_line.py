"""Reads the command line that starts a trainer's program: its flags as a mapping."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..errors import SpecError
from .line_trees import refuse_nul
from .tree import Lines, Node, check_text

_LONG_FLAG: Final = re.compile(r"--([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)
_SHORT_FLAG: Final = re.compile(r"-([A-Za-z][\w-]*)()")

#: The pieces of a shell's text, each tried where the one before it ends. shlex knows neither where a word stands nor
#: whether a `;` was quoted, and takes the # in `a#b` for a comment.
_PIECES: Final = {
    "joined": r"\\\r?\n",  # the line goes on in the next one
    "windows": r"(?:^|(?<=[ \t]))[\^`](?=[ \t\r]*$)",  # the same to cmd.exe and PowerShell
    "blank": r"[ \t\r]+",
    "comment": r"(?<!\S)\#",
    "redirect": r"""(?:(?<!\S)\d+)?(?:&>>?|>>?|<)[ \t]*(?:&\d|(?:'[^']*'|"[^"]*"|[^\s;&|()'"])+)""",
    "end": r"[;&|)\n]|\Z",
    "single": r"'[^']*'",
    "double": r'"(?:[^"\\]|\\.)*"',
    "escaped": r"\\.",
    "replaced": r"\$\((?:[^()]|\([^()]*\))*\)|\$\{[^{}]*\}|`[^`]*`|\$(?=[A-Za-z0-9_{$\#?!@*-])",
    "plain": r"""[^ \t\r\n;&|()<>'"\\`$]+|\$""",
    "wrong": r".",
}
_PIECE: Final = re.compile("|".join(f"(?P<{name}>{one})" for name, one in _PIECES.items()), re.DOTALL | re.MULTILINE)
#: Behind the end of a command: a line that begins with a flag, which is no command and must have been meant for it.
_CUT_OFF: Final = re.compile(r"(?:\#[^\n]*)?(?:\n[ \t\r]*(?:\#[^\n]*(?=\n))?)+(--?[A-Za-z][\w-]*)")
#: What double quotes leave to the shell: `\` before these, variables and substitutions.
_IN_QUOTES: Final = re.compile(
    r"""\\(?:\r?\n|(?P<kept>[$`"\\]))|\\.|(?P<replaced>\$(?=[A-Za-z0-9_{($#?!@*-])|`)""", re.DOTALL
)

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
    """A flag as it is written, where it stands, its name, and the words that belong to it."""

    written: str
    at: int
    name: str
    words: list[str]


class _Fault(Exception):  # noqa: N818 - becomes a SpecError
    """What is wrong with a command, what to do about it, and where: an offset, None = the command as a whole."""

    def __init__(self, problem: str, remedy: str, at: int | None = None) -> None:
        self.problem, self.remedy, self.at = problem, remedy, at


def command_of(text: str, programs: re.Pattern[str]) -> str | None:
    """Name of the first of these programs that a text of shell commands starts, None when it starts none."""
    match = programs.search(text) if "--" in text else None
    return match[1] if match else None


def parse_command(text: str, source: str, programs: re.Pattern[str], *, repeats: bool = True) -> Node:
    """The flags of one trainer's command line as a mapping, dashes in names as underscores, texts unquoted.

    Line continuations (backslash), comments, redirections and what ends a command (`&&`, `|`, `;`) are understood;
    variables and substitutions are not replaced: their values are `Unexpanded`. A flag without a value is a `Switch`,
    "true"; one that several words follow has a list. `PROGRAM` holds the program's name.

    Args:
        text: shell commands that start one of the programs at least (`command_of`).
        source: what the text is called in messages.
        programs: finds the programs' names.
        repeats: of a flag given twice the last counts; False = it stops the program, as clap does.

    Raises SpecError when several programs are started, quotes are left open or a word belongs to no flag.
    """
    refuse_nul(text, source)
    lines = Lines(text)
    starts = list(programs.finditer(text))
    first, column = lines.at(starts[0].start())
    members = {PROGRAM: Node(starts[0][1], first, 1)}
    try:
        words, end = _words(text, starts[0].end())
        flags = _flags(words)
        others = len(starts) - 1 - len(programs.findall(text, starts[0].end(), end))  # a prompt may name one
        if others:
            problem = f"{others + 1} of the trainer's programs are started here, not one"
            raise _Fault(problem, "Give the one command that samples.")
        for flag in flags:
            if not repeats and flag.name in members:
                raise _Fault(f"{flag.written} is given twice, which stops the program", "Keep one of the two.", flag.at)
            place = lines.at(flag.at)
            for word in flag.words:
                check_text(word, source, *place)
            nodes = [Node(word, *place, plain=_PLAIN.fullmatch(word) is not None) for word in flag.words]
            members[flag.name] = nodes[0] if len(nodes) == 1 else Node(list(nodes), *place)
    except _Fault as fault:
        line, column = (first, column) if fault.at is None else lines.at(fault.at)
        raise SpecError(fault.problem, source=source, line=line, column=column, remedy=fault.remedy) from None
    return Node(members, first, 1)


def _words(text: str, start: int) -> tuple[list[tuple[str, int]], int]:
    """The words from the end of the program's name to that of its command, each with its place, and where that is.

    What the shell would replace is in `Unexpanded` words. Raises _Fault for a quote that is left open, for a `(`, at
    which a shell stops, and where the command goes on in the next line as no shell or only Windows' have it.
    """
    words: list[tuple[str, int]] = []
    pieces: list[str] = []
    kind: type[str] = str
    began = start
    start += text[start : start + 1] in ("'", '"')  # which closes those around the program's path
    for match in _PIECE.finditer(text, start):
        what, piece = str(match.lastgroup), match[0]
        if what == "comment" and pieces:  # in a word, behind a blank that is a part of it
            what = "plain"
        if what in ("blank", "comment", "redirect", "end"):
            if pieces:
                words.append((kind("".join(pieces)), began))
                pieces, kind = [], str
            if what in ("comment", "end"):  # a comment goes on to the end of the line, and so of the command
                _refuse_cut_off(text, match.start())
                return words, match.start()
        elif what == "windows":
            problem = f"this line ends with {piece!r}, as in a Windows script, and goes on in the next"
            raise _Fault(problem, "Write the command in one line, or end its lines with a backslash.", match.start())
        elif what == "wrong":
            raise _unreadable("the shell stops at a '(' outside quotes" if piece == "(" else f"a {piece} is left open")
        elif what != "joined":
            began = began if pieces else match.start()
            inside = _IN_QUOTES.finditer(piece) if what == "double" else ()
            if what == "replaced" or any(part["replaced"] for part in inside):
                kind = Unexpanded
            pieces.append(_unquoted(what, piece))
    return words, len(text)


def _unquoted(what: str, piece: str) -> str:
    """A piece of a word as the program gets it."""
    if what == "double":
        return _IN_QUOTES.sub(_unescaped, piece[1:-1])
    return piece[1:-1] if what == "single" else piece[1:] if what == "escaped" else piece


def _unescaped(match: re.Match[str]) -> str:
    if match["kept"] or match["replaced"]:
        return match["kept"] or match["replaced"]
    return "" if match[0].endswith("\n") else match[0]


def _unreadable(problem: str) -> _Fault:
    return _Fault(f"this command line cannot be read: {problem}", "Close its quotes, and put quotes around every text.")


def _refuse_cut_off(text: str, end: int) -> None:
    """Raise _Fault where the next line belongs to the command that ends here, as a forgotten backslash leaves it."""
    flag = _CUT_OFF.match(text, end)
    if flag is not None:
        remedy = "End every line of the command but the last with a backslash, and put comments elsewhere."
        raise _Fault(f"the command ends before {flag[1]}", remedy, flag.start(1))


def _flags(words: list[tuple[str, int]]) -> list[_Flag]:
    """The words by the flag that they follow; _Fault for those before the first one."""
    found: list[_Flag] = []
    for word, at in words:
        match = _LONG_FLAG.fullmatch(word) or _SHORT_FLAG.fullmatch(word)
        if match is not None:
            flag = _Flag(word.partition("=")[0], at, match[1].replace("-", "_"), [])
            found.append(flag)
            if match[2]:
                flag.words.append(match[2] if type(word) is str else Unexpanded(match[2]))
        elif word == "--":  # between cargo's own flags and the program's
            continue
        elif not found:
            raise _unreadable(f"{word!r} follows no flag")
        else:
            found[-1].words.append(word)
    return [flag if flag.words else flag._replace(words=[Switch("true")]) for flag in found]
