"""Gives the fields of a config by type; a wrong value is an error with its place, and unused fields are listed."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from ..errors import ELSEWHERE, Remedy, SpecError
from .command_line import Switch
from .script import Assumed, Unexpanded
from .tree import Document, Node

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE: Final = frozenset({"true", "True", "TRUE"})
_FALSE: Final = frozenset({"false", "False", "FALSE"})
_YES: Final = frozenset({"yes", "Yes", "YES", "on", "On", "ON"})
_NO: Final = frozenset({"no", "No", "NO", "off", "Off", "OFF"})
_INTEGER: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_INTEGER_11: Final = re.compile(r"[-+]?(?:0|[1-9][0-9_]*)")
_INTEGRAL: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]*)\.0+")
_HEX: Final = re.compile(r"[-+]?0x[0-9a-fA-F]+")
_NUMBER: Final = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_VARIABLE: Final = re.compile(r"\$\{([^}]+)\}")
_INDEX: Final = re.compile(r"\[[0-9]+\]")
_MAX_DIGITS: Final = 40
_MANY: Final = 3


@dataclass
class Reading:
    """One pass over a document, and what it reports on the way.

    Attributes:
        document: the config.
        yaml11: the trainer reads YAML 1.1, where `yes` and `on` are booleans, `1_000` is a number and `<<` merges.
        variables: the trainer replaces `${VAR}` from its environment; what is left of that in a used field is an error.
        integral: 1024.0 is a whole number, as in JSON Schema.
        replace: a token and the text that stands for it in every text that is read.
        notes: sentences for people.
        sections: every section that was opened.
        unused: line, column and name of further fields that do not act.
        elsewhere: unused fields of the files that the config names.
        sampling, loras, differences: as in SampleSpec.
    """

    document: Document
    yaml11: bool = False
    variables: bool = False
    integral: bool = False
    replace: tuple[str, str] | None = None
    notes: list[str] = field(default_factory=list)
    sections: list[Section] = field(default_factory=list)
    unused: list[tuple[int, int, str]] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    sampling: dict[str, str | float | bool] = field(default_factory=dict)
    loras: dict[str, float] = field(default_factory=dict)
    differences: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, line, _ in self.document.repeated:
            self.note(f"The key {key!r} is given twice; the one in line {line} counts, as in the trainer's own reader.")

    def root(self) -> Section:
        """The document as a section; raises SpecError when it is a list or plain text."""
        root = self.document.root
        if not isinstance(root.value, dict):
            raise self.error("a config is a set of `key: value` lines", root, None, "Give a training config.")
        return Section(self, root, "")

    def error(self, problem: str, node: Node | None, path: str | None, remedy: Remedy) -> SpecError:
        """The SpecError to raise at a node."""
        return SpecError(
            problem,
            source=(node.source if node else None) or self.document.source,
            line=node.line if node else None,
            column=node.column if node else None,
            field=path or None,
            remedy=remedy,
        )

    def note(self, text: str) -> None:
        """Add a sentence for people, once."""
        if text not in self.notes:
            self.notes.append(text)

    def differs(self, topic: str, text: str) -> None:
        """Note that the pictures differ in one of the topics of `trainers.claims`, which `eri explain` counts."""
        said = self.differences.setdefault(topic, [])
        if text not in said:
            said.append(text)
        self.note(text)

    def ignored(self) -> list[str]:
        """The dotted names of fields that nobody used, in the document's order.

        A section that nobody opened is one name. A field that is unused in more than three entries of a list is named
        once: `samples[*].frames`.
        """
        found = list(self.unused)
        for section in self.sections:
            for key in section.members.keys() - section.used:
                if key != "<<" or not self.yaml11:
                    node = section.members[key]
                    found.append((node.line, node.column, section.path_of(key)))
        return [*_folded([path for _, _, path in sorted(found)]), *self.elsewhere]


def _folded(paths: list[str]) -> list[str]:
    """The paths, each once; many that differ only in an index become one."""
    patterns = [_INDEX.sub("[*]", path) for path in paths]
    counts = Counter(patterns)
    named = (pattern if counts[pattern] > _MANY else path for path, pattern in zip(paths, patterns, strict=True))
    return list(dict.fromkeys(named))


class Section:
    """A mapping of the document; to read a field marks it as used."""

    def __init__(self, reading: Reading, node: Node, path: str) -> None:
        self.reading, self.node, self.path = reading, node, path
        self.used: set[str] = set()
        self._opened: dict[str, Section] = {}
        self.members: dict[str, Node] = node.value if isinstance(node.value, dict) else {}
        if reading.yaml11 and "<<" in self.members:
            self.members = self._merged()
        reading.sections.append(self)

    def _merged(self) -> dict[str, Node]:
        """The members after YAML 1.1's merging: own keys win, then the first merged mapping."""
        merged: dict[str, Node] = {}
        given = self.members["<<"]
        for source in given.value if isinstance(given.value, list) else [given]:
            if not isinstance(source.value, dict) or "<<" in source.value:
                raise self.error("<<", "only a plain mapping can be merged here", "Write the fields out.")
            merged = {**source.value, **merged}
        return {**merged, **self.members}

    def path_of(self, key: str) -> str:
        """Dotted name of a field."""
        return f"{self.path}.{key}" if self.path else key

    def error(self, key: str, problem: str, remedy: Remedy) -> SpecError:
        """The SpecError to raise at a field, or at the section when the field is missing."""
        return self.reading.error(problem, self.members.get(key, self.node), self.path_of(key), remedy)

    def missing(self, key: str, remedy: str) -> SpecError:
        """The SpecError to raise for a field that has to be there."""
        return self.error(key, "this field is missing", remedy)

    def no_effect(self, key: str) -> None:
        """List a field as unused although it was read."""
        node = self.members.get(key)
        if node is not None:
            self.reading.unused.append((node.line, node.column, self.path_of(key)))

    def has(self, key: str) -> bool:
        """True when the field is given, even as null."""
        return key in self.members

    def get(self, key: str) -> Node | None:
        """The field's node, None when it is missing or null."""
        node = self.members.get(key)
        if node is None:
            return None
        self.used.add(key)
        if isinstance(node.value, Unexpanded):
            said = str(node.value)
            self.reading.note(f"{self.path_of(key)} is {said!r}: what the shell puts there is not known here.")
        elif isinstance(node.value, Assumed):
            written = node.value.written
            self.reading.note(
                f"{self.path_of(key)}: {str(node.value)!r} is taken for {written!r}, which may have been another text "
                "where the script was run."
            )
        self._refuse_variable(node, self.path_of(key))
        return None if is_null(node) else node

    def is_unknown(self, key: str) -> bool:
        """True when the field is what a shell would have put there."""
        node = self.members.get(key)
        return node is not None and isinstance(node.value, Unexpanded)

    def section(self, key: str) -> Section | None:
        """The field as a section, None when it is missing or null."""
        node = self.get(key)
        if node is None:
            return None
        if not isinstance(node.value, dict):
            raise self.error(key, "a section of `key: value` lines is expected", "Indent its fields below it.")
        if key not in self._opened:
            self._opened[key] = Section(self.reading, node, self.path_of(key))
        return self._opened[key]

    def items(self, key: str) -> list[Node] | None:
        """The field's list, None when it is missing or null."""
        node = self.get(key)
        if node is None:
            return None
        if not isinstance(node.value, list):
            raise self.error(key, "a list is expected", 'Write one "- ..." line for each entry.')
        return node.value

    def text(self, key: str) -> str | None:
        """The field's text, verbatim, None when it is missing or null."""
        node = self.get(key)
        return None if node is None else self.as_text(node, self.path_of(key))

    def as_text(self, node: Node, path: str) -> str:
        """A node's text, verbatim."""
        if self.reading.document.kind == "command" and not node.source and not isinstance(node.value, str):
            raise self.reading.error("several words follow this flag", node, path, "Put quotes around its text.")
        if isinstance(node.value, Switch):
            raise self.reading.error("no value follows this flag", node, path, "Write one; the program stops.")
        if not isinstance(node.value, str):
            raise self.reading.error(
                "text is expected", node, path, "Quote it when it holds a ': ' or starts with '[' or '{'."
            )
        self._refuse_variable(node, path)
        replace = self.reading.replace
        return node.value.replace(*replace) if replace else node.value

    def _refuse_variable(self, node: Node, path: str) -> None:
        """Raise SpecError on a `${VAR}` that the trainer would replace from its environment."""
        if not self.reading.variables or not isinstance(node.value, str):
            return
        variable = _VARIABLE.search(node.value, 0, node.value.rfind("}") + 1)
        if variable:
            raise self.reading.error(
                f"${{{variable[1]}}} would be replaced from the environment, which is not read here unasked",
                node,
                path,
                {
                    "python": "Write the value itself, or pass env=os.environ to read_spec.",
                    **dict.fromkeys(ELSEWHERE, "Write the value itself."),
                },
            )

    def flag(self, key: str) -> bool | None:
        """The field as a boolean, None when it is missing or null."""
        node = self.get(key)
        if node is None:
            return None
        word = node.value if node.plain else None
        if word in _TRUE or (self.reading.yaml11 and word in _YES):
            return True
        if word in _FALSE or (self.reading.yaml11 and word in _NO):
            return False
        raise self.error(key, f"{shown(node)} is neither true nor false", "Write true or false, without quotes.")

    def integer(self, key: str, low: int, high: int) -> int | None:
        """The field as a whole number in [low, high], None when it is missing; null is an error."""
        node = self._number_node(key)
        if node is None:
            return None
        word = str(node.value)
        if self.reading.integral and _INTEGRAL.fullmatch(word):
            word = word.partition(".")[0]
        pattern = _INTEGER_11 if self.reading.yaml11 else _INTEGER
        if node.plain and len(word) <= _MAX_DIGITS and (pattern.fullmatch(word) or _HEX.fullmatch(word)):
            value = int(word.replace("_", ""), 16 if "x" in word else 10)
            if low <= value <= high:
                return value
            raise self.error(key, f"{word} is out of range", f"Write a whole number from {low} to {high}.")
        raise self.error(
            key, f"{shown(node)} is no whole number", f"Write a whole number from {low} to {high}, without quotes."
        )

    def number(self, key: str) -> float | None:
        """The field as a finite number, None when it is missing; null is an error."""
        node = self._number_node(key)
        if node is None:
            return None
        word = str(node.value)
        if node.plain and len(word) <= 2 * _MAX_DIGITS and _NUMBER.fullmatch(word):
            value = float(word)
            if math.isfinite(value):
                return value
        raise self.error(key, f"{shown(node)} is no finite number", "Write a number like 3.5, without quotes.")

    def _number_node(self, key: str) -> Node | None:
        """The field's node; a null where a number belongs is an error, because no trainer accepts it."""
        node = self.get(key)
        if node is None and self.has(key):
            raise self.error(key, "the value is empty", "Write a number, or remove the line to get the default.")
        return node


def is_null(node: Node) -> bool:
    """True for YAML's and JSON's null."""
    return node.plain and isinstance(node.value, str) and node.value in _NULLS


def is_number(node: Node) -> bool:
    """True for an unquoted scalar that YAML reads as a number."""
    word = node.value
    return node.plain and isinstance(word, str) and bool(_NUMBER.fullmatch(word) or _HEX.fullmatch(word))


def is_boolean(node: Node, yaml11: bool) -> bool:
    """True for an unquoted scalar that the trainer's YAML reads as a boolean."""
    words = _TRUE | _FALSE | (_YES | _NO if yaml11 else frozenset())
    return node.plain and isinstance(node.value, str) and node.value in words


def shown(node: Node) -> str:
    """A node in an error message, short."""
    if isinstance(node.value, Unexpanded):
        return f"{str(node.value)!r}, which the shell replaces,"
    if isinstance(node.value, str):
        text = node.value if len(node.value) <= 60 else node.value[:57] + "..."
        return repr(text) + ("" if node.plain else " in quotes")
    return "a list" if isinstance(node.value, list) else "a section"
