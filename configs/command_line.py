"""Reads the command line that starts a trainer's program: its flags as a mapping."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Final, NamedTuple

from ..errors import SpecError
from .batch import batch_commands
from .line_trees import refuse_nul
from .powershell import powershell_commands
from .script import Command, Fault, Names, Opened, Unexpanded, Word, no_file, part_of, unreadable
from .shell import shell_commands
from .tree import LOST, Lines, Node, check_text

_LONG_FLAG: Final = re.compile(r"--([A-Za-z][\w-]*)(?:=(.*))?", re.DOTALL)
_SHORT_FLAG: Final = re.compile(r"-([A-Za-z][\w-]*)()")
#: What a trainer's command line turns into a number or a switch.
_PLAIN: Final = re.compile(r"[-+]?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?|true|false")
#: A word that may hold several arguments or none.
_SEVERAL: Final = re.compile(r"""\$(?:\w+|[@*]|\{\w+(?:\[[@*]\])?\})|%\*|%\w+%|@\w+""")

_Follow = Callable[[str, Opened], tuple[list[Command], Names]]
_BY_SUFFIX: Final[dict[str, _Follow]] = {
    ".bat": batch_commands,
    ".cmd": batch_commands,
    ".ps1": powershell_commands,
}
#: What only cmd.exe and only PowerShell have: how a line goes on in the next, a path, an assignment.
_BATCH: Final = re.compile(
    r"[ \t\"]\^[ \t\r]*\n[ \t]*[-^%]|\A\s*@echo off|(?<![\w\"'])[A-Za-z]:\\[^\s\\]", re.IGNORECASE
)
_POWERSHELL: Final = re.compile(
    r"[ \t]`[ \t\r]*\n[ \t]*[-$@]|^[ \t]*\$(?:env:)?\w+ *= |^& ", re.MULTILINE | re.IGNORECASE
)
#: Words that a program's name may have.
_LONGEST_NAME: Final = 4
#: A path, from its beginning: tried at every letter of a long text without blanks, it would take a second for 80 kB.
_PATH: Final = r"(?<![^\s\"'=])[^\s\"'=]{1,4096}"
_FILE: Final = re.compile(_PATH + r"\.(?:py|sh|bat|cmd|ps1)(?![\w.])", re.IGNORECASE)
_CONFIG: Final = re.compile(_PATH + r"\.(?:ya?ml|jsonc?|toml|env)", re.IGNORECASE)

_CHANGES_FOLDER: Final = frozenset(("cd", "chdir", "pushd", "set-location", "sl"))
#: What stands before a config: its flag, or the program itself.
_CONFIG_FLAG: Final = re.compile(r"(?:\A|\s)--?(?:c|(?!-|dataset|data_)[\w-]*config[\w-]*)[\s=]|\.(?:py|sh|bat|ps1) ")

#: Key of a command tree under which the program's name stands.
PROGRAM: Final = "program"


class Switch(str):
    """The value of a flag that none is given to."""

    __slots__ = ()


class _Flag(NamedTuple):
    """A flag as it is written, where it stands, its name, and the words that belong to it."""

    written: str
    at: int
    name: str
    words: list[str]


class _Start(NamedTuple):
    """Where a program is started: name, place, the words behind it, why they are not all, and its command's number."""

    name: str
    at: int
    words: list[Word]
    fault: Fault | None
    number: int


class Script:
    """Commands that were followed, in the language that the suffix tells, or else the look of the text.

    Args:
        text: a script, or one command.
        suffix: of its file, "" = unknown.
        opened: gives the text of a file that the script takes variables from, None where there is none.
    """

    def __init__(self, text: str, suffix: str = "", opened: Opened = no_file) -> None:
        self.text = text
        follow: _Follow | None = _BY_SUFFIX.get(suffix)
        if follow is None and text.startswith("#!"):
            follow = shell_commands
        elif follow is None:
            follow = batch_commands if _BATCH.search(text) else shell_commands
            follow = powershell_commands if _POWERSHELL.search(text) else follow
        self.commands, names = follow(text, opened)
        self.files = names.files
        joints: list[tuple[_Follow, str]] = [(batch_commands, "a ^"), (powershell_commands, "a backtick")]
        self.joint = next((joint for known, joint in joints if known is follow), "a backslash")

    def starts(self, programs: re.Pattern[str]) -> list[_Start]:
        """Each command that starts one of these programs, a line that goes on behind its end included as a fault."""
        found = []
        for number, command in enumerate(self.commands):
            if not programs.search(" ".join(word.text for word in command.words)):
                continue  # spares most commands the search at each of their words
            for position, word in enumerate(command.words):
                name, count = _named(command.words[position : position + _LONGEST_NAME], programs)
                if name is not None and _runs(command.words[: min(position, 1)]):
                    fault = command.fault or _cut_off(self.commands[number + 1 : number + 2], self.joint)
                    found.append(_Start(name, word.at, command.words[position + count :], fault, number))
                    break
        return found

    def starts_with_options(self, programs: re.Pattern[str]) -> bool:
        """Whether one of these programs is started; a file (`train.py`) that gets no options has them elsewhere."""
        found = self.starts(programs)
        return any(start.words or start.fault for start in found) or (bool(found) and not self.started()[0])

    def folder(self, programs: re.Pattern[str]) -> str:
        """The folder in which the first of these programs is started, as far as the script goes into one."""
        found = ""
        first = next((start.number for start in self.starts(programs)), 0)
        for command in self.commands[:first]:
            words = [word.text for word in command.words]
            if len(words) > 1 and words[0].lower() in _CHANGES_FOLDER and not isinstance(words[-1], Unexpanded):
                found = posixpath.normpath(posixpath.join(found, words[-1].replace("\\", "/")))
        return found

    @property
    def fault(self) -> Fault | None:
        """What cannot be read of it at all."""
        return next((command.fault for command in self.commands if command.fault is not None), None)

    def written_config(self) -> tuple[str, str] | None:
        """The path of a config that it writes and then starts a program with, and the program's file."""
        for command in self.commands:
            words = [word.text for word in command.words]
            program = next((match[0] for word in words if (match := _FILE.fullmatch(word))), None)
            path = next((word for word in words if word in self.files and _CONFIG.search(word[-8:])), None)
            if program is not None and path is not None:
                return path, program.replace("\\", "/").rpartition("/")[2]
        return None

    def started(self) -> tuple[str, str]:
        """The script or program file that it starts, one that trains first, and its config; "" for none."""
        found = [pair for command in self.commands if (pair := _started([word.text for word in command.words]))]
        return next((pair for pair in found if "train" in pair[0]), found[0] if found else ("", ""))


def _started(words: list[str]) -> tuple[str, str] | None:
    """The script or program file that a command starts, and the config that it is given ("" = none)."""
    file = next((match[0] for word in words if (match := _FILE.search(word))), None)
    if file is None or "activate" in file.lower() or words[0] in ("source", ".", "mv", "cp", "chmod"):
        return None
    for before, word in pairwise(words):
        config = _CONFIG.search(word)
        if config is not None and _CONFIG_FLAG.search(f"{before} {word}"):
            return file, config[0]
    return file, ""


def _named(words: list[Word], programs: re.Pattern[str]) -> tuple[str | None, int]:
    """The program that the first word names, perhaps with its path, and how many words that takes.

    More than one where further words belong to the name, as in `train --model sd35`.
    """
    for count in range(1, _LONGEST_NAME + 1):
        text = " ".join(word.text for word in words[:count])
        match = programs.search(text) if len(text) < 4096 else None
        if match is not None and match.start() <= len(words[0].text) and match.end() == len(text.rstrip()):
            return match[1].lower(), count
        if count == len(words):
            break
    return None, 1


def _runs(before: list[Word]) -> bool:
    """Whether the words before a program's name start it: texts that are printed or looked for do not."""
    return not before or before[0].text not in ("echo", "printf", "grep", "Write-Output", "Write-Host", "pkill", "cp")


def _cut_off(following: list[Command], joint: str) -> Fault | None:
    """The Fault of a command behind whose end a line begins with a flag, as a forgotten backslash leaves it."""
    first = following[0].words[0] if following and following[0].words else None
    if first is None or not re.match(r"--?[A-Za-z]", first.text):
        return None
    written = re.match(r"--?[A-Za-z][\w-]*", first.text)
    remedy = f"End every line of the command but the last with {joint}, and put comments elsewhere."
    return Fault(f"the command ends before {written[0] if written else first.text}", remedy, first.at)


def parse_command(script: Script, source: str, programs: re.Pattern[str], *, repeats: bool = True) -> Node:
    """The flags of one trainer's command line as a mapping, dashes in names as underscores, texts unquoted.

    What a shell keeps from the program (comments, redirections, other commands) is left out. Variables that the script
    assigns are replaced; a value with any other is `Unexpanded`. A flag without a value is a `Switch`, "true"; one that
    several words follow has a list. `PROGRAM` holds the program's name.

    Args:
        script: one that starts one of the programs at least.
        source: what it is called in messages.
        programs: finds the programs' names.
        repeats: of a flag given twice the last counts; False = it stops the program, as clap does.

    Raises SpecError when several programs are started, quotes are left open or a word belongs to no flag.
    """
    refuse_nul(script.text, source)
    lines = Lines(script.text)
    starts = script.starts(programs)
    start = starts[0]
    first, column = lines.at(start.at)
    members = {PROGRAM: Node(start.name, first, 1)}
    try:
        if start.fault is not None:
            raise start.fault
        flags = _flags(start.words)
        if len(starts) > 1:
            problem = f"{len(starts)} of the trainer's programs are started here, not one"
            raise Fault(problem, "Give the one command that samples.")
        for flag in flags:
            if not repeats and flag.name in members:
                raise Fault(f"{flag.written} is given twice, which stops the program", "Keep one of the two.", flag.at)
            place = lines.at(flag.at)
            for word in flag.words:
                check_text(word, source, *place)
                if LOST in word:
                    raise Fault(f"the text of {flag.written} is not UTF-8", "Save the script as UTF-8.", flag.at)
            nodes = [Node(word, *place, plain=_PLAIN.fullmatch(word) is not None) for word in flag.words]
            members[flag.name] = nodes[0] if len(nodes) == 1 else Node(list(nodes), *place)
    except Fault as fault:
        line, column = (first, column) if fault.at is None else lines.at(fault.at)
        raise SpecError(fault.problem, source=source, line=line, column=column, remedy=fault.remedy) from None
    return Node(members, first, 1)


def _flags(words: list[Word]) -> list[_Flag]:
    """The words by the flag that they follow; Fault for those before the first one.

    A variable that is not known, where it may stand for more flags, is a flag of its own name.
    """
    found: list[_Flag] = []
    for word, at in words:
        match = _LONG_FLAG.fullmatch(word) or _SHORT_FLAG.fullmatch(word)
        if match is not None:
            flag = _Flag(word.partition("=")[0], at, match[1].replace("-", "_"), [])
            found.append(flag)
            if match[2]:
                flag.words.append(part_of(word, match[2]))
        elif word == "--":  # between cargo's own flags and the program's
            continue
        elif isinstance(word, Unexpanded) and _SEVERAL.fullmatch(word) and (not found or found[-1].words):
            found.append(_Flag(word, at, word, [word]))
        elif not found:
            raise unreadable(f"{word!r} follows no flag")
        else:
            found[-1].words.append(word)
    return [flag if flag.words else flag._replace(words=[Switch("true")]) for flag in found]
