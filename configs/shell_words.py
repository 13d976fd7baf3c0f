"""Splits a shell script into words and marks, as bash and sh do (Bash Reference Manual, 3.1 and 3.5)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from .script import Fault, unreadable

_BLANK: Final = re.compile(r"(?:[ \t\r]+|\\\r?\n|\\\Z)*")
_PLAIN: Final = re.compile(r"""[^ \t\r\n;&|()<>'"\\`$]+""")
_INSIDE_DOUBLE: Final = re.compile(r"""[^"\\`$]+""")
_INSIDE_DOCUMENT: Final = re.compile(r"[^\\`$]+")
#: A line that goes on in the next one.
_JOINED: Final = re.compile(r"\\\r?\n")
_COMMENT: Final = re.compile(r"#[^\n]*")
_MARKS: Final = ";&|()<>\n"
_MARK: Final = re.compile(r";;&?|;&|&&|\|\||\|&|[;&|()\n]")
_REDIRECT: Final = re.compile(r"&>>?|<<<|<<-?|<>|>>|>\||[<>]&|[<>]")
_PROGRAM: Final = re.compile(r"[<>]?\(")  # one that reads or writes in place of a file
_NAMED: Final = re.compile(r"\$(?:[A-Za-z_][A-Za-z0-9_]*|[0-9#?!@*$-])")
_ARRAY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


@dataclass(frozen=True)
class Part:
    """A piece of a word. kind: "text", "open" (the shell replaces it) or "list" (the words of an array in brackets)."""

    kind: str
    text: str
    quoted: bool = False
    items: tuple[Token, ...] = ()


@dataclass
class Token:
    """A word, or a mark such as `;` or a line's end.

    Args:
        at: where it begins.
        mark: "" for a word.
        parts: those of the word; of a redirection the file's name, or the here-document.
        sign: that of a redirection.
    """

    at: int
    mark: str = ""
    parts: list[Part] = field(default_factory=list)
    sign: str = ""

    @property
    def plain(self) -> str | None:
        """The word's text where it is written without quotes and variables, None otherwise."""
        if self.mark or any(part.kind != "text" or part.quoted for part in self.parts):
            return None
        return "".join(part.text for part in self.parts)


def tokens(text: str) -> Iterator[Token]:
    """Words and marks of a script, without comments.

    Raises Fault where a quote or a bracket is left open; what was read so far has been given then.
    """
    return _Lexer(text).tokens()


class _Lexer:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.documents: list[tuple[Token, str, bool]] = []  # here-documents to come: their ends, whether as they stand

    def tokens(self) -> Iterator[Token]:
        """See `tokens`."""
        while True:
            self._skip(_BLANK)
            if self.at >= len(self.text):
                return
            sign = self.text[self.at]
            if sign == "#":
                self._skip(_COMMENT)
            elif sign not in _MARKS:
                word = self._word()
                redirects = self.text.startswith(("<", ">"), self.at)
                if not redirects or not (word.plain or "").isdigit():  # as in `2>`
                    yield word
            elif (mark := _MARK.match(self.text, self.at)) is None or _REDIRECT.match(self.text, self.at):
                yield self._redirect()
            else:
                start, self.at = self.at, mark.end()
                if mark[0] == "\n":
                    self._read_documents()
                yield Token(start, mark[0])

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is not None:
            self.at = match.end()
        return match is not None

    def _redirect(self) -> Token:
        """A redirection with the word behind it."""
        start = self.at
        self._skip(_REDIRECT)
        sign = self.text[start : self.at]
        if self.text[self.at : self.at + 1] != "(":
            self._skip(_BLANK)
        program = _PROGRAM.match(self.text, self.at)
        if program is not None:
            self.at = self._closing(program.end())
            return Token(start, "redirect")
        begins = self.at
        word = self._word()
        if self.at == begins:
            raise unreadable(f"a {sign} is left open")
        token = Token(start, "redirect", word.parts, sign)
        if sign in ("<<", "<<-"):
            literal = any(part.quoted for part in word.parts)
            self.documents.append((token, "".join(part.text for part in word.parts), literal))
        return token

    def _read_documents(self) -> None:
        for token, end, literal in self.documents:
            tabs = r"\t*" if token.sign == "<<-" else ""
            match = re.compile(rf"^{tabs}{re.escape(end)}\r?$", re.MULTILINE).search(self.text, self.at)
            body = self.text[self.at : len(self.text) if match is None else match.start()].replace("\r\n", "\n")
            body = re.sub(r"^\t+", "", body, flags=re.MULTILINE) if tabs else body
            token.parts = [Part("text", body, quoted=True)] if literal else _Lexer(body).document()
            self.at = len(self.text) if match is None else match.end()
        self.documents.clear()

    def document(self) -> list[Part]:
        """The text of a here-document, in which variables are replaced and quotes mean nothing."""
        try:
            return self._replaced(_INSIDE_DOCUMENT, "$`\\", "")
        except Fault:  # no text that is known; the script itself goes on
            return [Part("open", self.text, quoted=True)]

    def _replaced(self, inside: re.Pattern[str], escaped: str, end: str) -> list[Part]:
        """The parts up to a character, "" = to the end of the text; `\\` escapes few characters there."""
        parts: list[Part] = []
        while self.at < len(self.text) and self.text[self.at] != end:
            if self.text[self.at] in "$`":
                parts.append(self._open(quoted=True))
            elif not self._skip(_JOINED):
                match = inside.match(self.text, self.at)
                piece = match[0] if match else self.text[self.at : self.at + 2]
                self.at += len(piece)
                escapes = match is None and piece[1:] in tuple(escaped)
                parts.append(Part("text", piece[1:] if escapes else piece, quoted=True))
        return parts

    def _word(self) -> Token:
        word = Token(self.at)
        while self.at < len(self.text):
            sign = self.text[self.at]
            if sign == "(" and _ARRAY.fullmatch(word.plain or ""):
                word.parts.append(self._array())
            elif sign in " \t\r\n;&|()<>":
                break
            elif sign == "'":
                word.parts.append(Part("text", self._until("'", 1), quoted=True))
            elif sign == '"':
                word.parts += self._double()
            elif sign == "\\":
                self._escape(word)
            elif sign in "$`":
                word.parts.append(self._open(quoted=False))
            else:
                match = _PLAIN.match(self.text, self.at)
                word.parts.append(Part("text", match[0] if match else sign))
                self.at += len(match[0]) if match else 1
        return word

    def _escape(self, word: Token) -> None:
        joined = re.compile(r"\\(?:\r?\n|\Z)").match(self.text, self.at)
        if joined is None:
            word.parts.append(Part("text", self.text[self.at + 1], quoted=True))
        self.at = self.at + 2 if joined is None else joined.end()

    def _until(self, quote: str, skipped: int) -> str:
        """The text up to a quote; `skipped`: how many characters stand before it."""
        end = self.text.find(quote, self.at + skipped)
        if end < 0:
            raise unreadable(f"a {quote} is left open")
        found, self.at = self.text[self.at + skipped : end], end + 1
        return found

    def _double(self) -> list[Part]:
        """The parts between double quotes."""
        self.at += 1
        parts = self._replaced(_INSIDE_DOUBLE, '$`"\\', '"')
        if self.at >= len(self.text):
            raise unreadable('a " is left open')
        self.at += 1
        return parts or [Part("text", "", quoted=True)]

    def _open(self, *, quoted: bool) -> Part:
        """What begins with `$` or a backtick: a variable or a substitution, or `$` itself."""
        text, start = self.text, self.at
        named = _NAMED.match(text, start)
        following = text[start + 1 : start + 2]
        if text[start] == "`":
            self._until("`", 1)
        elif following in ("(", "{"):
            self.at = self._closing(start + 2, ")" if following == "(" else "}")
        elif following == "'" and not quoted:
            self.at += 1
            return Part("text", self._ansi(), quoted=True)
        elif named is not None:
            self.at = named.end()
        else:
            self.at += 1
            return Part("text", "$", quoted=quoted)
        return Part("open", text[start : self.at], quoted)

    def _ansi(self) -> str:
        r"""The text of `$'...'`, with the commonest escapes."""
        match = re.compile(r"'((?:[^'\\]|\\.)*)'", re.DOTALL).match(self.text, self.at)
        if match is None:
            raise unreadable("a ' is left open")
        self.at = match.end()
        known = {"n": "\n", "t": "\t", "r": "\r"}
        return re.sub(r"\\(.)", lambda found: known.get(found[1], found[1]), match[1], flags=re.DOTALL)

    def _closing(self, start: int, close: str = ")") -> int:
        """The offset behind the bracket that closes one which was opened before `start`."""
        opened = {")": "(", "}": "{"}[close]
        depth, at = 1, start
        sign = re.compile(r"\\.|'[^']*'|[\"`(){}]", re.DOTALL)
        while True:
            match = sign.search(self.text, at)
            if match is None:
                raise unreadable(f"a ${opened} is left open")
            at = match.end()
            if match[0] == '"':
                at = self._behind_double(at)
            depth += (match[0] == opened) - (match[0] == close)
            if depth == 0:
                return at

    def _behind_double(self, start: int) -> int:
        """The offset behind a double quote's end, brackets in it included."""
        kept, self.at = self.at, start - 1
        try:
            self._double()
            return self.at
        finally:
            self.at = kept

    def _array(self) -> Part:
        """The words in the brackets behind `NAME=`."""
        items: list[Token] = []
        self.at += 1
        for token in self.tokens():
            if token.mark == ")":
                return Part("list", "", items=tuple(items))
            if not token.mark:
                items.append(token)
        raise unreadable("a ( is left open")
