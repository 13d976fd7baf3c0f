"""What the readers of scripts share: words, commands, and what a script's variables hold.

A script is followed only as far as the command that starts a trainer needs it. What the script itself assigns is put
in; what comes from outside (the environment, another program) stays as it is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple


class Unexpanded(str):
    """Text of a command line that holds a variable or a substitution; what the shell puts there is not known."""

    __slots__ = ()


class Assumed(str):
    """Text that the script makes where nothing else is set outside of it. written: what stands for it there."""

    __slots__ = ("written",)
    written: str


def assumed(value: str, written: str) -> str:
    """A text that stands as `written` in the script and is `value` there; what is not known stays so."""
    if isinstance(value, Unexpanded):
        return value
    made = Assumed(value)
    made.written = written
    return made


def joined(pieces: Iterable[str]) -> str:
    """The pieces as one text, of the kind of its least certain piece."""
    parts = list(pieces)
    if len(parts) == 1:
        return parts[0]
    text = "".join(parts)
    if any(isinstance(part, Unexpanded) for part in parts):
        return Unexpanded(text)
    if any(isinstance(part, Assumed) for part in parts):
        return assumed(text, "".join(part.written if isinstance(part, Assumed) else part for part in parts))
    return text


def part_of(whole: str, text: str) -> str:
    """A part of a text, of the same kind."""
    if isinstance(whole, Assumed):
        return assumed(text, whole.written)
    return Unexpanded(text) if isinstance(whole, Unexpanded) else text


class Fault(Exception):  # noqa: N818 - becomes a SpecError
    """What is wrong with a command, what to do about it, and where: an offset, None = the command as a whole."""

    def __init__(self, problem: str, remedy: str, at: int | None = None) -> None:
        self.problem, self.remedy, self.at = problem, remedy, at


def unreadable(problem: str) -> Fault:
    """The Fault of a command whose words cannot be told."""
    return Fault(f"this command line cannot be read: {problem}", "Close its quotes, and put quotes around every text.")


class Word(NamedTuple):
    """A word of a command as the program gets it, and where it begins."""

    text: str
    at: int


@dataclass(frozen=True)
class Command:
    """A command. fault: why it cannot be read to its end, None = it can."""

    words: list[Word]
    fault: Fault | None = None


def placed(commands: Iterable[Command], at: int) -> list[Command]:
    """Commands of a text within a script (`bash -c "..."`), where that text is run."""
    return [Command([word._replace(at=at) for word in one.words], one.fault) for one in commands]


Value = str | list[str]
Opened = Callable[[str], str | None]
#: Shells that are started, or texts that are run, one by the other.
DEEPEST: Final = 3
_DEEPEST_BLOCK: Final = 100


def no_file(name: str) -> None:
    """For scripts whose other files cannot be opened."""


@dataclass
class _Branches:
    """An `if` that is open, with the variables that are assigned in it; a script may have many of both.

    Args:
        outside: whether it runs at all.
        live: whether the present branch runs; None = not known.
        decided: one of the branches so far runs for certain.
        doubted: one of them may run.
        before: what these variables held before it, None = nothing.
        changed: those that the present branch assigns.
        ends: what each branch that may run had assigned at its end.
    """

    outside: bool
    live: bool | None
    decided: bool
    doubted: bool
    before: dict[str, Value | None] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)
    ends: list[dict[str, Value]] = field(default_factory=list)


@dataclass
class Names:
    """The variables that a script has assigned so far.

    What is assigned under a condition that cannot be told is not known afterwards, unless it only adds to what was
    there: options that a script adds are taken as added (`Assumed`).

    Attributes:
        values: by name; a list for an array.
        places: where a variable was assigned last, by name.
        written: how a variable that is not known is shown.
        files: the texts that the script writes into files, by path.
        left: how many letters may still be put in for variables: a few lines that double one make more than fits.
    """

    written: str
    values: dict[str, Value] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    left: int = 1 << 24
    _open: list[_Branches] = field(default_factory=list)

    @property
    def running(self) -> bool:
        """False in a branch that does not run."""
        return not self._open or (self._open[-1].outside and self._open[-1].live is not False)

    def unknown(self, name: str) -> Unexpanded:
        """What stands for a variable of which nothing is known."""
        return Unexpanded(self.written.format(name))

    def read(self, name: str) -> Value | None:
        """What is put in for a variable, None where that is not known or nothing is left."""
        value = self.values.get(name)
        if value is not None:
            self.left -= len(value) + (sum(map(len, value)) if isinstance(value, list) else 0)
        return value if self.left >= 0 else None

    def assign(self, name: str, value: Value, *, more: bool = False) -> None:
        """Set a variable, or with `more` add to it."""
        if not self.running:
            return
        old = self.read(name) if more else None
        added = value if isinstance(value, list) else [value]
        if more and isinstance(old, list):
            value = [*old, *added]
        elif more and not isinstance(value, list):
            value = joined([self.unknown(name) if not isinstance(old, str) else old, value])
        elif more and isinstance(old, str):
            value = [old, *added]
        self._put(name, value)

    def _put(self, name: str, value: Value) -> None:
        """Set a variable; the block that is open keeps what it held before."""
        if self._open:
            self._open[-1].before.setdefault(name, self.values.get(name))
            self._open[-1].changed[name] = None
        self.values[name] = value

    def enter(self, condition: bool | None) -> None:
        """Begin a block that runs under a condition, None = it cannot be told. Raises Fault for a block too deep."""
        if len(self._open) == _DEEPEST_BLOCK:
            problem = f"blocks stand in each other here, more than {_DEEPEST_BLOCK} deep"
            raise Fault(problem, "Give the command that starts the trainer alone.")
        decided = condition is True
        self._open.append(_Branches(self.running, condition, decided, condition is None))

    def otherwise(self, condition: bool | None) -> None:
        """Go on with the next branch of the block."""
        if not self._open:
            return
        block = self._open[-1]
        self._end_branch(block)
        block.live = False if block.decided else None if block.doubted else condition
        block.decided = block.decided or condition is True
        block.doubted = block.doubted or condition is None

    def leave(self) -> None:
        """End the block."""
        if not self._open:
            return
        block = self._open.pop()
        self._end_branch(block)
        ends = block.ends if block.decided else [*block.ends, {}]
        held: dict[str, list[Value]] = {name: [] for name in block.before}
        for end in ends:
            for name, value in end.items():
                held[name].append(value)
        for name, before in block.before.items():
            if len(held[name]) < len(ends):
                held[name].append("" if before is None else before)
            self._put(name, self._common(name, held[name]))

    def _end_branch(self, block: _Branches) -> None:
        """Keep what the branch assigned, and go back to what was before it."""
        if block.live is not False:
            block.ends.append({name: self.values[name] for name in block.changed})
        for name in block.changed:
            before = block.before[name]
            if before is None:
                del self.values[name]
            else:
                self.values[name] = before
        block.changed.clear()

    def _common(self, name: str, held: list[Value]) -> Value:
        """What a variable holds that held these at the ends: the most where one only adds to another, else unknown."""
        texts = [value for value in held if isinstance(value, str)]
        lists = [value for value in held if isinstance(value, list)] if len(texts) < len(held) else []
        if lists:  # nothing yet is no list
            lists += [[] for text in texts if not text]
            most = max(lists, key=len)
            shared = min(map(len, lists))
            if len(lists) == len(held) and all(most[: len(one)] == one for one in lists):
                return [*most[:shared], *(assumed(text, self.written.format(name)) for text in most[shared:])]
            return self.unknown(name)
        longest = max(texts, key=lambda text: (len(text), isinstance(text, Assumed), isinstance(text, Unexpanded)))
        if all(text == longest for text in texts):
            return longest  # the least certain of them
        if isinstance(longest, Unexpanded) or not all(longest.startswith(text) for text in texts):
            return self.unknown(name)
        return assumed(longest, self.written.format(name))


def compared(left: str, operator: str, right: str) -> bool | None:
    """Whether two texts compare so, None where that cannot be told. operator: `=`, `!=`, or a word without its dash."""
    if isinstance(left, Unexpanded | Assumed) or isinstance(right, Unexpanded | Assumed):
        return None
    if operator in ("=", "==", "!="):
        return (left == right) is (operator != "!=")
    one, other = _number(left), _number(right)
    if operator in ("eq", "ne"):
        return (left == right or (one is not None and one == other)) is (operator == "eq")
    if one is None or other is None:
        return None
    answers = {"gt": one > other, "ge": one >= other, "lt": one < other, "le": one <= other}
    return answers.get(operator)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
