"""Follows a script of Windows' cmd.exe: its commands with what its variables hold, and these variables at its end.

What `%NAME%` holds is put in before a line is cut into words. A program cuts its own words as Microsoft's C runtime
does: only double quotes hold a word together, and a backslash is a letter unless a quote follows.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from .script import (
    DEEPEST,
    Command,
    Fault,
    Names,
    Opened,
    Unexpanded,
    Word,
    compared,
    no_file,
    part_of,
    placed,
    unreadable,
)

_LINE: Final = re.compile(r"(?:[^\n^]|\^(?:\r?\n|.)|\^\Z)*(?:\n|\Z)")
_CARET: Final = re.compile(r'"[^"\n]*"?|\^(?:\r?\n[ \t]*|\r?\Z|(.))', re.DOTALL)
_VARIABLE: Final = re.compile(r"%%|%~[a-z]*[0-9]|%[0-9*]|%([^%=\s:]+)(?::[^%]*)?%|!([A-Za-z_]\w*)!", re.IGNORECASE)
_SET: Final = re.compile(r'set\s+(?:"([^=/"]+)=([^"]*)"?.*|([^=/"\s]+)=(.*?))\s*', re.IGNORECASE | re.DOTALL)
_IF: Final = re.compile(
    r'if\s+(?:/i\s+)?(not\s+)?("[^"]*"|[^\s"=]+)\s*(==|\s(?:equ|neq)\s)\s*("[^"]*"|[^\s"()]+)\s*(.*)',
    re.IGNORECASE | re.DOTALL,
)
_OTHER_BLOCK: Final = re.compile(r"(?:if|for)\b.*", re.IGNORECASE | re.DOTALL)
_COMMENT: Final = re.compile(r"@?\s*(?:rem\b|::).*|@?echo[. ].*|:.*", re.IGNORECASE | re.DOTALL)
_WORD: Final = re.compile(r'(?:[^\s"]|"(?:[^"\\]|\\.)*"?)+')
_REDIRECT: Final = re.compile(r"(?<!\S)[0-9]?(?:>>?|<)\s*(?:&[0-9]|\"[^\"]*\"|\S+)")
_CMD: Final = re.compile(r"(?:.*[\\/])?cmd(?:\.exe)? /[ck]", re.IGNORECASE)
#: An argument of the script; conditions are told as if it had been started without any.
_ARGUMENT: Final = re.compile(r"%~?[1-9]")
#: The script's own folder and the one it is started in.
_HERE: Final = {"%~dp0": ".\\", "%cd%": ".", "%__cd__%": ".\\"}


def batch_commands(text: str, opened: Opened = no_file) -> tuple[list[Command], Names]:
    """The commands of a Windows script that run or may run, and its variables as they are at its end.

    opened: gives the text of a script that is run with `call` and sets variables, None where there is none.
    """
    script = _Script(opened)
    try:
        script.follow(text)
    except Fault as fault:
        script.commands.append(Command([], fault))
    return script.commands, script.names


class _Script:
    def __init__(self, opened: Opened, depth: int = 0) -> None:
        self.opened, self.depth = opened, depth
        self.commands: list[Command] = []
        self.names = Names("%{}%")

    def follow(self, text: str) -> None:
        """Take a whole text."""
        for match in _LINE.finditer(text):
            if match[0].strip():
                self.line(match[0].rstrip("\r\n"), match.start())

    def line(self, text: str, at: int) -> None:
        """Take one line, with those that `^` joins to it."""
        at += len(text) - len(text.lstrip(" \t@("))
        text = text.lstrip(" \t@(").rstrip()
        if text.startswith(")"):
            self._close(text[1:].strip(), at)
        elif not _COMMENT.fullmatch(text):
            self._statement(text, at)

    def _close(self, rest: str, at: int) -> None:
        """A `)` at a line's begin, perhaps with an `else`."""
        if rest.lower().startswith("else"):
            self.names.otherwise(True)
            inner = rest[4:].strip()
            if not inner.startswith("("):
                self._statement(inner, at)
                self.names.leave()
        else:
            self.names.leave()

    def _statement(self, text: str, at: int) -> None:
        known = _IF.fullmatch(text)
        if known is None and not _OTHER_BLOCK.fullmatch(text):
            self._simple(text, at)
            return
        condition, rest = None, text
        if known is not None:
            sides = [self._filled(_ARGUMENT.sub("", known[side])) for side in (2, 4)]
            left, right = (part_of(side, side.strip('"')) for side in sides)
            condition = compared(left, "!=" if "neq" in known[3].lower() else "==", right)
            condition = condition if condition is None or not known[1] else not condition
            rest = known[5]
        self.names.enter(condition)
        if text.endswith("(") or (rest.startswith("(") and not text.endswith(")")):
            return
        inner = rest if known is not None else text.split(None, 1)[-1]
        assignment = re.search(r"\bset\s.*", inner, re.IGNORECASE | re.DOTALL)
        self._simple(assignment[0].rstrip(")") if assignment else inner.strip("() "), at)
        self.names.leave()

    def _simple(self, text: str, at: int) -> None:
        if not self.names.running:
            return
        assigned = _SET.fullmatch(text)
        if assigned is not None:
            name, value = (assigned[1], assigned[2]) if assigned[1] else (assigned[3], assigned[4])
            self.names.assign(name.lower(), self._filled(value))
            return
        for piece in _parted(text):
            words, fault = self._words(piece)
            if words:
                self.commands += self._inner_commands([word for word, _ in words], at) or [
                    Command([Word(word, at + offset) for word, offset in words], fault)
                ]
            if len(words) > 1 and words[0][0].lower() == "call":
                inner = _Script(no_file)  # a script that it calls in turn is not opened
                inner.names = self.names
                inner.follow(self.opened(words[1][0]) or "")

    def _inner_commands(self, words: list[str], at: int) -> list[Command]:
        """The commands of another cmd.exe that is started here (`cmd /c "..."`), empty where none is."""
        places = [place for place, (name, option) in enumerate(pairwise(words)) if _CMD.fullmatch(f"{name} {option}")]
        if not places or self.depth == DEEPEST:
            return []
        inner = _Script(no_file, self.depth + 1)
        inner.names = self.names
        inner.follow(" ".join(words[places[0] + 2 :]))
        return placed(inner.commands, at)

    def _words(self, text: str) -> tuple[list[tuple[str, int]], Fault | None]:
        text = _CARET.sub(lambda found: found[0] if found[0].startswith('"') else found[1] or " ", text)
        text = _REDIRECT.sub(lambda found: " " * len(found[0]), text)
        fault = unreadable('a " is left open') if text.replace('\\"', "").count('"') % 2 else None
        words = []
        for match in _WORD.finditer(text):
            whole = self._filled(match[0])
            words += [(_unquoted(part_of(whole, word)), match.start()) for word in _WORD.findall(whole)]
        return words, fault

    def _filled(self, text: str) -> str:
        """The text with what its variables hold, `Unexpanded` where one is not assigned in the script."""
        unsure = False

        def held(match: re.Match[str]) -> str:
            nonlocal unsure
            written = match[0]
            if written == "%%":
                return "%"
            name = (match[1] or match[2] or "").lower()
            value = _HERE.get(written.lower(), self.names.read(name) if ":" not in written else None)
            unsure = unsure or value is None or isinstance(value, Unexpanded)
            return written if value is None else str(value)

        filled = _VARIABLE.sub(held, text)
        return Unexpanded(filled) if unsure else filled


def _parted(text: str) -> list[str]:
    """The commands of a line: `&`, `&&`, `|` and `||` outside quotes end one."""
    parts, start, quoted = [], 0, False
    for match in re.finditer(r'"|\^.|[&|]+', text, re.DOTALL):
        if match[0] == '"':
            quoted = not quoted
        elif not quoted and match[0][0] in "&|" and text[match.start() - 1 : match.start()] != ">":
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


def _unquoted(word: str) -> str:
    """A word as the program gets it."""
    plain = re.sub(r'(\\*)"|(\\+)\Z', _quote, word)
    return Unexpanded(plain) if isinstance(word, Unexpanded) else plain


def _quote(match: re.Match[str]) -> str:
    """Backslashes before a quote count in pairs; an odd one makes the quote a letter."""
    if match[2]:
        return match[2]
    count = len(match[1])
    return "\\" * (count // 2) + ('"' if count % 2 else "")


