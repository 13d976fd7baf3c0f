"""Follows a PowerShell script: its commands with what its variables hold.

Of the language only what launch scripts need is known: assignments of texts and lists, `if` with a comparison, calls of
`.Add` on a list, and commands. (Sources: Microsoft's about_Quoting_Rules, about_Parsing, about_Special_Characters.)
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
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
    placed,
)

_TEXT: Final = r"""'(?:[^']|'')*'|"(?:[^"`]|`.|"")*\""""
_INSIDE: Final = r"`.|\$\{[^}]*\}|\$\([^()]*\)"
_SCOPE: Final = r"(?:(?:env|script|global|local):)?"
_FLAGS: Final = re.IGNORECASE | re.DOTALL
_TOKEN: Final = re.compile(
    r"(?P<joined>`\r?\n|`\r?\Z)|(?P<comment><\#.*?\#>|\#[^\n]*)|(?P<end>;|\|\|?|&&|\n)|(?P<blank>[ \t\r]+)"
    rf"""|(?P<brace>[{{}}])|(?P<word>(?:{_TEXT}|{_INSIDE}|[^\s;|{{}}'"`\#]|(?<!["'])\#)+)|(?P<other>.)""",
    re.DOTALL,
)
_ASSIGNED: Final = re.compile(rf"\s*\${_SCOPE}(\w+)\s*(\+?)=\s*(.*)", _FLAGS)
_CHANGED: Final = re.compile(r"\s*\$(\w+)\s*(?:[-*/%]=.*|\+\+|--)", re.DOTALL)
_VALUE: Final = re.compile(r"\s*\$[\w:]+\s*\+?=")
_ADDED: Final = re.compile(r"\s*(?:\[void\]\s*)?\$(\w+)\.Add\((.*)\)(?:\s*\|\s*Out-Null)?\s*", _FLAGS)
_IF: Final = re.compile(r"\s*(if|elseif|while|foreach|for|switch)\s*\((.*)\)\s*", _FLAGS)
_PARAMETERS: Final = re.compile(r"param\s*\((.*)\)", _FLAGS)
_PARAMETER: Final = re.compile(r"\s*(?:\[(?:[^\[\]]|\[\])*\]\s*)*\$(\w+)\s*(?:=(.*))?", _FLAGS)
_JOIN_PATH: Final = re.compile(
    rf"\(?\s*Join-Path\s+(?:-Path\s+)?({_TEXT}|[^\s()]+)\s+(?:-ChildPath\s+)?({_TEXT}|[^\s()]+)\s*\)?", _FLAGS
)
_COMPARED: Final = re.compile(r"(.*?\S)\s+-(i?(?:eq|ne|gt|ge|lt|le|like)|notlike)\s+(.+)", _FLAGS)
_JOINT: Final = re.compile(rf"{_TEXT}|[()]|(?<=[\s)])(?:-or|-and)(?=[\s(])", _FLAGS)
_COMMA: Final = re.compile(rf"{_TEXT}|[()\[\]{{}},]", re.DOTALL)
_CHOICE: Final = re.compile(r"if\s*\((.*?)\)\s*\{(.*?)\}\s*else\s*\{(.*?)\}\s*", _FLAGS)
_VARIABLE: Final = re.compile(rf"`(.)|\$\{{?{_SCOPE}(\w+)\}}?|\$\([^()]*\)|\"\"", _FLAGS)
_QUOTED: Final = re.compile(rf"""{_TEXT}|(?:{_INSIDE}|[^'"`$]|\$)+""", re.DOTALL)
_BRACKET: Final = re.compile(r"[(){}]")
_REDIRECT: Final = re.compile(r"[0-9*]?>.*")
_LIST: Final = re.compile(rf"{_TEXT}|[^\s,]+", re.DOTALL)
_SUM: Final = re.compile(rf"""(?:{_TEXT}|[^\s'"+])+|\+""", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "0": "\0"}
_HERE: Final = dict.fromkeys(("psscriptroot", "pwd"), ".")


@dataclass
class _Statement:
    """A statement's text up to its end or to a brace, in pieces, and its words with their places."""

    pieces: list[str] = field(default_factory=list)
    words: list[tuple[str, int]] = field(default_factory=list)
    assigns: bool = False  # as far as was asked

    def takes_brace(self) -> bool:
        """Whether a brace that follows belongs to it, as in `$a = @{`."""
        self.assigns = self.assigns or _VALUE.match("".join(self.pieces)) is not None
        return self.assigns


def powershell_commands(text: str, opened: Opened = no_file) -> tuple[list[Command], Names]:
    """The commands of a PowerShell script that run or may run, and its variables as they are at its end.

    opened: gives the text of a file that the script takes variables from (`. file.ps1`), None where there is none.
    """
    script = _Script(opened)
    try:
        _follow(script, text)
    except Fault as fault:
        script.commands.append(Command([], fault))
    return script.commands, script.names


def _follow(script: _Script, text: str) -> None:
    """Give a text to a script, statement by statement."""
    statement = _Statement()
    open_brackets = 0
    for match in _TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), match[0]
        holds = open_brackets > 0 or (piece == "{" and statement.takes_brace())
        if kind in ("end", "brace") and not holds:
            script.statement(statement, piece)
            statement, open_brackets = _Statement(), 0
        elif kind in ("comment", "joined"):
            statement.pieces.append(" ")
        else:
            open_brackets += _opened(piece)
            statement.pieces.append(piece)
            if kind == "word":
                statement.words.append((piece, match.start()))
    script.statement(statement, "")


def _opened(piece: str) -> int:
    """How many brackets and braces a piece leaves open, quotes aside."""
    if not _BRACKET.search(piece):
        return 0
    bare = re.sub(rf"{_TEXT}|`.", "", piece, flags=re.DOTALL)
    return bare.count("(") + bare.count("{") - bare.count(")") - bare.count("}")


def _parted(text: str, signs: re.Pattern[str], joint: str) -> list[str]:
    """A list or a condition cut at each joint outside quotes and brackets. signs: finds all of these."""
    parts, start, depth = [], 0, 0
    for match in signs.finditer(text):
        depth += (match[0] in "([{") - (match[0] in ")]}")
        if depth == 0 and match[0].lower() == joint:
            parts.append(text[start : match.start()])
            start = match.end()
    return [*parts, text[start:]]


class _Script:
    def __init__(self, opened: Opened, depth: int = 0) -> None:
        self.opened, self.depth = opened, depth
        self.commands: list[Command] = []
        self.names = Names("${}")
        self.blocks: list[bool] = []  # of each open brace: whether it is a branch
        self.chain = False  # a branch has just ended, and an else may follow

    def statement(self, statement: _Statement, end: str) -> None:
        """Take one statement; `end`: what ended it."""
        text = "".join(statement.pieces).strip()
        known = _IF.fullmatch(text)
        word = text.lower()
        if end == "{":
            self._open(known, word)
            return
        if text:
            self._drop_chain()
            self._simple(statement, text)
        if end == "}" and self.blocks:
            self._drop_chain()
            self.chain = self.blocks.pop()

    def _drop_chain(self) -> None:
        """No else has followed the branch, so its block is over."""
        if self.chain:
            self.chain = False
            self.names.leave()

    def _open(self, known: re.Match[str] | None, word: str) -> None:
        follows = word == "else" or (known is not None and known[1].lower() == "elseif")
        if follows and self.chain:
            self.chain = False
            self.names.otherwise(True if word == "else" or known is None else self._condition(known[2]))
            self.blocks.append(True)
            return
        self._drop_chain()
        if known is None:
            self.blocks.append(False)  # try, a function, a script block
            return
        self.names.enter(self._condition(known[2]) if known[1].lower() == "if" else None)
        self.blocks.append(True)

    def _condition(self, text: str) -> bool | None:
        text = text.strip()
        for joint, decides in (("-or", True), ("-and", False)):
            parts = _parted(text, _JOINT, joint)
            if len(parts) > 1:
                answers = [self._condition(part) for part in parts]
                return decides if decides in answers else None if None in answers else not decides
        negated = re.fullmatch(r"(?:-not\b|!)\s*(.+)", text, _FLAGS)
        if negated is not None:
            answer = self._condition(negated[1])
            return None if answer is None else not answer
        if text.startswith("(") and text.endswith(")"):
            return self._condition(text[1:-1])
        match = _COMPARED.fullmatch(text)
        if match is None:
            value = self._expression(text)
            if isinstance(value, Unexpanded):
                return None
            return bool(value) and value not in ("0", "False", "false")
        return self._compared(match[1], match[2].lower(), match[3])

    def _compared(self, left: str, operator: str, right: str) -> bool | None:
        one, other = self._expression(left), self._expression(right)
        if not isinstance(one, str) or not isinstance(other, str):
            return None
        if isinstance(one, Unexpanded) or isinstance(other, Unexpanded):
            return None
        if operator.endswith("like"):
            return fnmatch.fnmatchcase(one.lower(), other.lower()) is not operator.startswith("not")
        return compared(one.lower(), operator.removeprefix("i"), other.lower())

    def _simple(self, statement: _Statement, text: str) -> None:
        if not self.names.running:
            return
        assigned, added = _ASSIGNED.fullmatch(text), _ADDED.fullmatch(text)
        parameters = _PARAMETERS.fullmatch(text)
        if parameters is not None:
            self._parameters(parameters[1])
        elif assigned is not None:
            value = self._expression(assigned[3], listed=bool(assigned[2]))
            self.names.assign(assigned[1].lower(), value, more=bool(assigned[2]))
        elif changed := _CHANGED.fullmatch(text):
            self.names.assign(changed[1].lower(), self.names.unknown(changed[1]))
        elif added is not None:
            self.names.assign(added[1].lower(), [joined([*self._texts(self._expression(added[2]))])], more=True)
        else:
            kept = [word for word in statement.words if not _REDIRECT.fullmatch(word[0])]
            program = kept[0][0].lower() if kept else ""
            if program == "start-process":  # its list of arguments has commas
                kept = [(piece, at) for word, at in kept for piece in _parted(word, _COMMA, ",") if piece]
            words = [Word(value, at) for word, at in kept for value in self._word(word)]
            if program in ("invoke-expression", "iex"):
                self._evaluate(words)
                return
            self.commands.append(Command(words))
            if len(words) == 2 and words[0].text == ".":
                self._source(words[1].text)

    def _evaluate(self, words: list[Word]) -> None:
        """Run a text as commands."""
        text = joined(word.text for word in words[1:][-1:])
        if self.depth == DEEPEST or isinstance(text, Unexpanded):
            return
        inner = _Script(self.opened, self.depth + 1)
        inner.names = self.names
        _follow(inner, text)
        self.commands += placed(inner.commands, words[0].at)

    def _parameters(self, text: str) -> None:
        """What the script's parameters hold unless it is started with others."""
        for piece in _parted(text, _COMMA, ","):
            match = _PARAMETER.fullmatch(piece)
            value = self._expression(match[2]) if match is not None and match[2] is not None else None
            if match is not None and isinstance(value, str):
                self.names.assign(match[1].lower(), assumed(value, f"${match[1]}"))

    def _source(self, file: str) -> None:
        """Take over the variables of a file that is run here; what else it does is left out."""
        text = self.opened(file)
        inner = _Script(no_file)  # a file that it runs in turn is not opened
        inner.names = self.names
        _follow(inner, text or "")

    def _texts(self, value: Value) -> list[str]:
        return value if isinstance(value, list) else [value]

    def _expression(self, text: str, *, listed: bool = False) -> Value:
        """What an expression gives: texts, numbers, variables, `+` between them, lists; `Unexpanded` for any other."""
        text = text.strip()
        path = _JOIN_PATH.fullmatch(text)
        if path is not None:
            return joined([*self._word(path[1]), "/", *self._word(path[2])])
        choice = _CHOICE.fullmatch(text)
        if choice is not None:
            answer = self._condition(choice[1])
            return Unexpanded(text) if answer is None else self._expression(choice[2 if answer else 3])
        if text.endswith("::new()") or re.fullmatch(r"@\(\s*\)", text):
            return []
        inner = re.fullmatch(r"@\((.*)\)", text, re.DOTALL)
        if inner is not None or (listed and "," in text):
            words = _LIST.findall(inner[1] if inner else text)
            return [value for word in words for value in self._word(word)]
        pieces = _SUM.findall(text)
        if not pieces or any((piece == "+") is (number % 2 == 0) for number, piece in enumerate(pieces)):
            return Unexpanded(text)
        if len(pieces) == 1:
            return self._operand(pieces[0])
        return joined(part for piece in pieces[::2] for part in self._texts(self._operand(piece)))

    def _operand(self, piece: str) -> Value:
        if re.fullmatch(r"\$\w+", piece):
            return self._variable(piece[1:], piece)
        if re.fullmatch(r"""'.*'|".*"|[-\d.]+|\$(?:true|false|null)""", piece, re.DOTALL | re.IGNORECASE):
            known = {"$true": "True", "$false": "", "$null": ""}
            return known.get(piece.lower()) or ("" if piece.lower() in known else joined(self._word(piece) or [""]))
        return Unexpanded(piece)

    def _variable(self, name: str, written: str) -> Value:
        name = name.lower()
        if name in ("true", "false", "null"):
            return {"true": "True", "false": "", "null": ""}[name]
        value = self.names.read(name)
        value = _HERE.get(name) if value is None else value
        return Unexpanded(written) if value is None else value

    def _word(self, written: str) -> list[str]:
        """The words that one becomes: a list gives several, a variable that is empty gives none."""
        whole = re.fullmatch(r"[$@](\w+)", written)
        if whole is not None:
            value = self._variable(whole[1], written)
            return [text for text in self._texts(value) if text]
        pieces: list[str] = []
        for part in _QUOTED.findall(written):
            if part.startswith("'"):
                pieces.append(part[1:-1].replace("''", "'"))
            else:
                inner = part[1:-1] if part.startswith('"') and len(part) > 1 else part
                pieces.append(self._filled(inner))
        return [joined(pieces)]

    def _filled(self, text: str) -> str:
        """A text with what its variables hold and its escapes resolved."""
        parts: list[str] = []
        start = 0
        for match in _VARIABLE.finditer(text):
            parts.append(text[start : match.start()])
            start = match.end()
            if match[1] is not None:
                parts.append(_ESCAPES.get(match[1], match[1]))
            elif match[2] is not None:
                value = self._variable(match[2], match[0])
                parts.append(" ".join(value) if isinstance(value, list) else value)
            else:
                parts.append('"' if match[0] == '""' else Unexpanded(match[0]))
        return joined([*parts, text[start:]])
