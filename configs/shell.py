"""Follows a bash or sh script: its commands with what its variables hold, and these variables at its end."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from typing import Final

from .script import (
    DEEPEST,
    Command,
    Fault,
    Names,
    Opened,
    Unexpanded,
    Value,
    Word,
    assumed,
    compared,
    joined,
    no_file,
    part_of,
    placed,
    unreadable,
)
from .shell_words import Part, Token, tokens

_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\[[^\]]*\])?(\+?)=")
#: `${NAME:-word}` and the like; `${1:-word}`; `$NAME`. Groups: name, all of an array, colon, sign, word.
_PARAMETERS: Final = tuple(
    re.compile(one, re.DOTALL)
    for one in (
        r"\$\{([A-Za-z_]\w*)(\[[@*]\])?(?:(:?)([-=+])(.*))?\}",
        r"\$\{([0-9]+)()(:?)([-=])(.*)\}",
        r"\$([A-Za-z_]\w*)()()()()",
    )
)
_DECLARING: Final = frozenset(("export", "declare", "typeset", "local", "readonly"))
_SKIPPED: Final = frozenset(("{", "}", "time"))
#: Where the script is started, which is where the trainers look first.
_HERE: Final = frozenset(("$PWD", "${PWD}", "$(pwd)", "`pwd`"))


def shell_commands(text: str, opened: Opened = no_file) -> tuple[list[Command], Names]:
    """The commands of a shell script that run or may run, and its variables as they are at its end.

    opened: gives the text of a file that the script reads with `source`, None where there is none.
    """
    script = _Script(opened)
    try:
        for token in tokens(text):
            script.feed(token)
        script.end("")
    except Fault as fault:
        script.end("", fault)
    return script.commands, script.names


class _Script:
    def __init__(self, opened: Opened = no_file, depth: int = 0) -> None:
        self.opened = opened
        self.depth = depth
        self.commands: list[Command] = []
        self.names = Names("${}")
        self.words: list[Token] = []
        self.redirections: list[Token] = []
        self.condition: list[bool | None] | None = None  # answers of the commands between `if` and `then`
        self.branch = "if"
        self.loop = ""
        self.joint = ""  # how the command is joined to the one before
        self.went_well: bool | None = True  # that one; None = not known
        self.ran = True  # it is a program, which is taken to go well
        self.cases = 0
        self.negated = False  # a `!` stands before the command

    def feed(self, token: Token) -> None:
        """Take the next word or mark."""
        if not token.mark:
            self.words.append(token)
        elif token.mark != "\n" and self._in_test():
            self.words.append(Token(token.at, parts=[Part("text", token.mark)]))
        elif token.mark == "redirect":
            self.redirections.append(token)
        elif token.mark == "(" and self.words:
            self._bracket(token)
        elif token.mark == ")" and self.cases and self.words:
            self.words.clear()  # the pattern of a `case`
        else:
            self.end(token.mark)
            if token.mark.startswith(";;") or token.mark == ";&":
                self.names.otherwise(None)

    def _in_test(self) -> bool:
        """Whether a `[[` is open, in which marks are words."""
        return bool(self.words) and self.words[0].plain == "[[" and self.words[-1].plain != "]]"

    def _bracket(self, token: Token) -> None:
        """A `(` behind a word: a function's, a loop's, or a mistake, at which the shell stops."""
        first = self.words[0].plain
        if len(self.words) == 1 and self.words[0].parts and first is not None and "=" not in first:
            if re.fullmatch(r"[A-Za-z_][\w-]*", first) and first not in ("for", "if", "while", "case"):
                self.words.clear()
            return
        if first in ("for", "case"):
            return
        self.words.append(Token(token.at, mark="("))

    def end(self, mark: str, fault: Fault | None = None) -> None:
        """End the command that was read so far, at a mark."""
        words, self.words = self.words, []
        redirections, self.redirections = self.redirections, []
        joint, self.joint = self.joint, mark if mark in ("&&", "||") else ""
        self.negated = False
        words = self._behind_keywords(words)
        if not words and fault is None:
            if mark == "\n" and joint:
                self.joint = joint  # the command goes on in the next line
            return
        runs = self._runs(joint)
        if self.condition is not None:
            self.condition.append(self._tested(words))
        elif runs is not False and self.names.running:
            self._run(words, runs, fault, redirections)

    def _runs(self, joint: str) -> bool | None:
        """Whether a command behind `&&` or `||` runs."""
        if joint == "&&":
            return self.went_well
        if joint == "||":
            return None if self.went_well is None or self.ran else not self.went_well
        return True

    def _run(self, words: list[Token], runs: bool | None, fault: Fault | None, redirections: list[Token]) -> None:
        wrong = next((word for word in words if word.mark), None)
        if wrong is not None:
            words = words[: words.index(wrong)]
            fault = fault or unreadable("the shell stops at a '(' outside quotes")
        test = self._tested(words)
        if words and words[0].plain in ("[", "[[", "test"):
            self.went_well, self.ran = test, False
            return
        if words and self._assign(words, runs):
            self.went_well, self.ran = True, False
            return
        if runs is None and self.ran:
            return
        self.went_well, self.ran = True, True
        found = [Word(text, word.at) for word in words for text in self._expanded(word.parts)]
        if found and found[0].text == "eval":
            again = tokens(" ".join(word.text for word in found[1:]))
            found = [Word(text, found[0].at) for word in again if not word.mark for text in self._expanded(word.parts)]
        self._write([word.text for word in found], redirections)
        if len(found) > 1 and found[0].text in ("source", "."):
            self._source(found[1].text)
        if found or fault is not None:
            self.commands += self._inner_commands(found) or [Command(found, fault)]

    def _source(self, file: str) -> None:
        """Take over the variables of a file that is read here; what else it does is left out."""
        text = self.opened(file) if self.depth < DEEPEST else None
        inner = _Script(self.opened, self.depth + 1)
        inner.names = self.names
        with suppress(Fault):
            for token in list(tokens(text or "")):
                inner.feed(token)
            inner.end("")

    def _inner_commands(self, words: list[Word]) -> list[Command]:
        """The commands of another shell that is started here, empty where none is or its text cannot be read."""
        text = _inner(words)
        if text is None or self.depth == DEEPEST:
            return []
        inner = _Script(self.opened, self.depth + 1)
        inner.names = replace(self.names, values=dict(self.names.values), _open=[])
        try:
            for token in tokens(text):
                inner.feed(token)
        except Fault:
            return []
        inner.end("")
        self.names.left = inner.names.left
        return placed(inner.commands, words[0].at)

    def _write(self, words: list[str], redirections: list[Token]) -> None:
        """Keep what `cat`, `tee`, `echo` and `printf` write into a file."""
        program = words[0] if words else ""
        if program not in ("cat", "echo", "printf", "tee"):
            return
        given = [word for word in words[1:] if not re.fullmatch("-[aen]+", word)]
        files = [(one.sign, joined(map(self._replaced, one.parts))) for one in redirections if one.sign[:1] == ">"]
        documents = [joined(map(self._replaced, one.parts)) for one in redirections if one.sign in ("<<", "<<-")]
        if program == "tee" and given:
            files = [(">>" if "-a" in words else ">", given[0])]
        if program == "echo":
            documents = [joined([*_spaced(given), "\n"])]
        elif program == "printf" and given[1:] and given[0] == r"%s\n":
            documents = [joined(piece for text in given[1:] for piece in (text, "\n"))]
        elif program == "printf" or (program == "cat" and given):
            return
        for sign, file in files if documents else ():
            before = self.names.files.get(file, "") if sign == ">>" else ""
            self.names.files[str(file)] = joined([before, documents[-1]])

    def _behind_keywords(self, words: list[Token]) -> list[Token]:
        """The words of a command behind `if`, `then`, `do` and the like, which take effect."""
        while words:
            word = words[0].plain
            if word in ("if", "elif"):
                self.branch, self.condition = word, []
            elif word in ("while", "until"):
                self.loop, self.condition = "", []
            elif word == "then":
                answers, self.condition = self.condition or [None], None
                answer = answers[0] if len(answers) == 1 else None
                (self.names.enter if self.branch == "if" else self.names.otherwise)(answer)
            elif word == "else":
                self.names.otherwise(True)
            elif word in ("fi", "done", "esac"):
                self.cases -= word == "esac"
                self.names.leave()
            elif word == "do":
                self.condition = None
                self.names.enter(None)
                if self.loop:
                    self.names.assign(self.loop, self.names.unknown(self.loop))
            elif word in ("for", "select"):
                self.loop = (words[1].plain or "") if len(words) > 1 else ""
                return []
            elif word == "case":
                self.cases += 1
                self.names.enter(None)
                return []
            elif word == "function":
                words = words[1:]
            elif word == "!":
                self.negated = not self.negated
            elif word not in _SKIPPED:
                break
            words = words[1:]
        return words

    def _assign(self, words: list[Token], runs: bool | None) -> bool:
        """Make the assignments that are the whole command; True when they are."""
        declares = words[0].plain in _DECLARING
        given = words[1:] if declares else words
        given = [word for word in given if word.parts]
        if not declares and not all(_ASSIGNMENT.match(one.parts[0].text) and not one.parts[0].quoted for one in given):
            return False
        found = [(word, _ASSIGNMENT.match(word.parts[0].text)) for word in given]
        if runs is None:
            self.names.enter(None)
        made = ((word, match, self._assigned(word, match)) for word, match in found if match is not None)
        for word, match, value in list(made) if declares else made:  # a command's words are made before it runs
            self.names.places[match[1]] = word.at
            self.names.assign(match[1], value, more=bool(match[3]))
        if runs is None:
            self.names.leave()
        return True

    def _assigned(self, word: Token, match: re.Match[str]) -> Value:
        """The value in `NAME=value`."""
        first = word.parts[0]
        listed = next((part for part in word.parts if part.kind == "list"), None)
        if match[2]:  # one entry of an array
            return self.names.unknown(match[1])
        if listed is not None:
            return [text for item in listed.items for text in self._expanded(item.parts)]
        rest = [Part("text", first.text[match.end() :], first.quoted), *word.parts[1:]]
        return joined(self._replaced(part) for part in rest)

    def _replaced(self, part: Part) -> str:
        """A part where words are not split."""
        value = self._value(part) if part.kind == "open" else part.text
        return value if isinstance(value, str) else joined(_spaced(value))

    def _expanded(self, parts: list[Part]) -> list[str]:
        """The words that one becomes: variables are replaced, and split where they stand in no quotes."""
        done: list[str] = []
        pieces: list[str] | None = None
        for part in parts:
            value = self._value(part) if part.kind == "open" else part.text
            if part.kind == "open" and not part.quoted and not isinstance(value, Unexpanded):
                texts = value if isinstance(value, list) else [value]
                fields = [part_of(text, field) for text in texts for field in text.split()]
            else:
                fields = value if isinstance(value, list) else [value]
            for number, text in enumerate(fields):
                if number and pieces is not None:
                    done.append(joined(pieces))
                if number or pieces is None:
                    pieces = []
                pieces.append(text)
        return done if pieces is None else [*done, joined(pieces)]

    def _value(self, part: Part) -> Value:
        """What an open part is replaced by, itself where that is not known."""
        written = part.text
        if written in _HERE:
            return "."
        match = next((found for one in _PARAMETERS if (found := one.fullmatch(written))), None)
        if match is None:
            return Unexpanded(written)
        name, listed, colon, operator, word = match.groups()
        held = self.names.read(name)
        if isinstance(held, list):
            held = held if listed else (held[0] if held else "")
        if not operator:
            return Unexpanded(written) if held is None else held
        empty = held == "" and colon
        if operator == "+":
            return Unexpanded(written) if held is None else "" if empty else self._default(word)
        if held is not None and not empty:
            return held
        default = self._default(word)
        value = assumed(default, written) if held is None else default
        if operator == "=":
            self.names.assign(name, value)
        return value

    def _default(self, word: str) -> str:
        """The text behind `:-`."""
        try:
            (found,) = [token for token in tokens('"' + word.replace('"', "").replace("'", "") + '"') if not token.mark]
        except Fault:
            return Unexpanded(word)
        return joined(self._replaced(part) for part in found.parts)

    def _tested(self, words: list[Token]) -> bool | None:
        """What a `[ ... ]` or `[[ ... ]]` answers, None where that cannot be told."""
        if not words or words[0].plain not in ("[", "[[", "test") or any(word.mark for word in words):
            return None
        double = words[0].plain == "[["
        inner = words[1:] if words[0].plain == "test" else words[1:-1]
        texts = [
            [joined(self._replaced(part) for part in word.parts)] if double else self._expanded(word.parts)
            for word in inner
        ]
        answer = _answer([text for one in texts for text in one])
        return answer if answer is None else answer is not self.negated


def _inner(words: list[Word]) -> str | None:
    """The commands that another shell is started with: `bash -c '...'`, or keys that are sent to a terminal."""
    texts = [word.text for word in words]
    for number, (name, option) in enumerate(pairwise(texts[:-1])):
        if name.endswith("sh") and re.fullmatch(r"(?:.*/)?(?:ba|z)?sh", name) and re.fullmatch(r"-\w*c", option):
            return texts[number + 2]
    if texts[:1] == ["tmux"]:
        return next((text for text in texts[1:] if " " in text), None)
    return None


def _answer(words: list[str]) -> bool | None:
    if words and words[0] == "!":
        answer = _answer(words[1:])
        return None if answer is None else not answer
    if any(isinstance(word, Unexpanded) for word in words) or len(words) > 3:
        return None
    if len(words) == 2 and words[0] in ("-n", "-z"):
        return bool(words[1]) is (words[0] == "-n")
    if len(words) == 3:
        return None if set(words[2]) & set("*?[") else compared(words[0], words[1].lstrip("-"), words[2])
    return bool(words[0]) if len(words) == 1 else None


def _spaced(texts: list[str]) -> list[str]:
    return [piece for number, text in enumerate(texts) for piece in ((" ", text) if number else (text,))]
