"""The command line that starts a trainer's program: its flags as a mapping."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from ..errors import SpecError
from .line_trees import refuse_nul
from .tree import Node, check_text

_LONG_FLAG: Final = re.compile(r"--([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)
_WRITTEN: Final = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
_SHORT_FLAG: Final = re.compile(r"-([A-Za-z][\w-]*)()")

#: One piece of a shell's text after the other. shlex knows neither where a word stands nor whether a `;` was quoted,
#: and takes the # in `a#b` for a comment.
_PIECE: Final = re.compile(
    r"""(?P<joined>\\\r?\n)|(?P<windows>(?:^|(?<=[ \t]))[\^`](?=[ \t\r]*$))"""
    r"""|(?P<blank>[ \t\r]+)|(?P<comment>(?<!\S)\#)"""
    r"""|(?P<redirect>(?:(?<!\S)\d+)?(?:&>>?|>>?|<)[ \t]*(?:&\d|(?:'[^']*'|"[^"]*"|[^\s;&|()'"])+))"""
    r"""|(?P<end>[;&|)\n])|'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.)"""
    r"""|(?P<replaced>\$\((?:[^()]|\([^()]*\))*\)|\$\{[^{}]*\}|`[^`]*`|\$(?=[A-Za-z0-9_{$\#?!@*-]))"""
    r"""|(?P<plain>[^ \t\r\n;&|()<>'"\\`$]+|\$)|(?P<wrong>.)""",
    re.DOTALL | re.MULTILINE,
)
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
    starts = list(programs.finditer(text))
    at = starts[0].start()
    first, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
    try:
        words, end = _words(text, starts[0].end(), source)
        flags = _flags(words)
    except ValueError as error:
        if isinstance(error, SpecError):
            raise
        raise SpecError(
            f"this command line cannot be read: {error}", source=source, line=first, column=column,
            remedy="Close its quotes, and put quotes around every text.",
        ) from None  # fmt: skip
    programs_started = len(starts) - len(programs.findall(text, starts[0].end(), end))  # a prompt may name one
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


def _words(text: str, start: int, source: str) -> tuple[list[str], int]:
    """The words from the end of the program's name to that of its command, and where that is.

    What the shell would replace is in `Unexpanded` words. ValueError for a quote that is left open and for a `(`, at
    which a shell stops; SpecError where the command goes on in the next line as no shell or only Windows' have it.
    """
    words: list[str] = []
    pieces: list[str] = []
    kind: type[str] = str
    at = start + (text[start : start + 1] in ("'", '"'))  # which closes those around the program's path
    while match := _PIECE.match(text, at):
        what, at = str(match.lastgroup), match.end()
        piece = match[what]
        if what == "comment" and pieces:  # in a word, behind a blank that is a part of it
            what = "plain"
        if what in ("blank", "comment", "redirect", "end"):
            if pieces:
                words.append(kind("".join(pieces)))
                pieces, kind = [], str
            if what in ("comment", "end"):  # a comment goes on to the end of the line, and so of the command
                _refuse_cut_off(text, match.start(), source)
                return words, match.start()
        elif what == "windows":
            raise _windows(piece, source, text.count("\n", 0, match.start()) + 1)
        elif what == "wrong":
            raise ValueError("the shell stops at a '(' outside quotes" if piece == "(" else f"a {piece} is left open")
        elif what != "joined":
            if what == "double":
                what = "replaced" if any(found["replaced"] for found in _IN_QUOTES.finditer(piece)) else what
                piece = _IN_QUOTES.sub(_unescaped, piece)
            if what == "replaced":
                kind = Unexpanded
            pieces.append(piece)
    if pieces:
        words.append(kind("".join(pieces)))
    return words, len(text)


def _refuse_cut_off(text: str, end: int, source: str) -> None:
    """SpecError where the next line belongs to the command that ends here, as a forgotten backslash leaves it."""
    flag = _CUT_OFF.match(text, end)
    if flag is not None:
        at = flag.start(1)
        raise SpecError(
            f"the command ends before {flag[1]}", source=source, line=text.count("\n", 0, at) + 1,
            column=at - text.rfind("\n", 0, at),
            remedy="End every line of the command but the last with a backslash, and put comments elsewhere.",
        )  # fmt: skip


def _unescaped(match: re.Match[str]) -> str:
    if match["kept"] or match["replaced"]:
        return match["kept"] or match["replaced"]
    return "" if match[0].endswith("\n") else match[0]


def _windows(mark: str, source: str, line: int) -> SpecError:
    return SpecError(
        f"this line ends with {mark!r}, as in a Windows script, and goes on in the next", source=source, line=line,
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


def _places(text: str, first: int) -> dict[str, tuple[int, int]]:
    """Line and column of every flag as it is written, where it stands first from a line on."""
    found: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(text.split("\n")[first - 1 :], first):
        for match in _WRITTEN.finditer(line):
            found.setdefault(match[0], (number, match.start() + 1))
    return found
