"""The pack's exceptions: one base that knows problem, place and remedy, and one type for each area.

Standard library only, so that every part of the pack, a trainer and the set-up can import them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from typing_extensions import Self

#: Who is told of an error: a Python program, the command line's user, a program over HTTP, a person who dropped a file
#: on the canvas, or one who looks at a node.
Caller = Literal["python", "cli", "http", "canvas", "node"]
#: All callers but Python programs.
ELSEWHERE: Final[tuple[Caller, ...]] = ("cli", "http", "canvas", "node")
#: What to do about an error: for everyone, or for each caller. "python" is there and stands for those that are not.
Remedy = str | Mapping[Caller, str] | None

#: A word of a config, such as an encoded file, that is too long for a message; paths are shorter.
_TOO_LONG: Final = re.compile(r"\S{300,}")
_SHOWN_KEYS: Final = 5


class EriError(Exception):
    """Something that cannot be done: what is wrong, where, and what to do about it.

    Attributes:
        problem: what is wrong.
        place: the file, line, field or node at fault, "" when there is none.
        remedies: what to do instead, by caller; empty when the problem says it already.
        kind: what sort of error it is, in one word for programs.
    """

    kind = "input"

    def __init__(self, problem: str, *, place: str = "", remedy: Remedy = None) -> None:
        self.problem, self.place = problem, place
        self.remedies: Mapping[Caller, str] = {"python": remedy or ""} if not isinstance(remedy, Mapping) else remedy
        self._caller: Caller = "python"
        super().__init__(problem)

    @property
    def remedy(self) -> str | None:
        """What the caller can do, None when the problem says it already."""
        return self.remedies.get(self._caller, self.remedies["python"]) or None

    def told_to(self, caller: Caller) -> Self:
        """This error, from now on with the remedy of `caller`."""
        self._caller = caller
        return self

    def reworded(self, change: Callable[[str], str]) -> Self:
        """This error, from now on with its texts as `change` makes them."""
        self.problem, self.place = change(self.problem), change(self.place)
        self.remedies = {caller: change(remedy) for caller, remedy in self.remedies.items()}
        return self

    def __str__(self) -> str:
        text = f"{self.place}: {self.problem}" if self.place else self.problem
        return f"{text.rstrip('.')}. {self.remedy}" if self.remedy else text


class SpecError(EriError, ValueError):
    """A training config that cannot be read.

    Attributes, beside those of EriError (each is None where it is not known):
        source: path of the config, or "<text>".
        line, column: counted from 1.
        field: dotted name, such as ``config.process[0].sample.width``.
    """

    kind = "config"

    def __init__(
        self,
        problem: str,
        *,
        remedy: Remedy = None,
        source: str | None = None,
        line: int | None = None,
        column: int | None = None,
        field: str | None = None,
    ) -> None:
        self.source, self.line, self.column, self.field = source, line, column, field
        where = [source] if source else []
        if line is not None:
            where.append(f"line {line}" + (f", column {column}" if column is not None else ""))
        if field:
            where.append(f"field {field}")
        problem = _TOO_LONG.sub(lambda match: f"{match[0][:57]}...", problem)
        super().__init__(problem, place=", ".join(where), remedy=remedy)


class UnknownConfigError(SpecError):
    """A text that reads well but is no known trainer's config; a program may leave such a file to others."""

    kind = "not_config"


class FamilyUnknownError(SpecError):
    """A list of prompts that does not tell the model family: to be read again with one. Any text file looks like it."""

    kind = "family_unknown"


class OtherModelError(SpecError):
    """A config for a model that belongs to no family here."""


class FamilyOpenError(SpecError):
    """A config that is one, but does not tell the model family: to be read again with one."""

    kind = "family_open"


class LoraError(EriError, ValueError):
    """A LoRA file or a run's folder that cannot be used.

    Attributes, beside those of EriError:
        path: the file or folder, None where there is none.
        keys: names of all tensors concerned; the text shows the first few.
        retryable: True only when the file looks half written, so that reading it again in a moment may succeed.
    """

    kind = "lora"

    def __init__(
        self,
        problem: str,
        *,
        path: str | Path | None = None,
        keys: Iterable[str] = (),
        remedy: Remedy = None,
        retryable: bool = False,
    ) -> None:
        self.path = None if path is None else Path(path)
        self.keys, self.retryable = tuple(keys), retryable
        super().__init__(problem, place="" if path is None else str(self.path), remedy=remedy)

    def __str__(self) -> str:
        text = f"{self.place}: {self.problem}" if self.place else self.problem
        text += f" [{shorten(self.keys)}]" if self.keys else ""
        return f"{text}. {self.remedy}" if self.remedy else text

    def saying(self, more: str) -> LoraError:
        """The same error with `more` after its problem."""
        return LoraError(
            f"{self.problem} {more}", path=self.path, keys=self.keys, remedy=self.remedies, retryable=self.retryable
        )


class WorkflowError(EriError, ValueError):
    """A graph that cannot be built. `field` is the spec item or models field at fault, None where no single one is."""

    kind = "graph"

    def __init__(self, problem: str, *, remedy: Remedy, field: str | None = None) -> None:
        self.field = field
        super().__init__(problem, place=field or "", remedy=remedy)


class ImagesError(EriError, ValueError):
    """A picture that cannot be placed, converted or written."""

    kind = "images"


class CompareError(EriError, ValueError):
    """Something that cannot be compared: an axis, a manifest, a folder or votes, each named in `place`."""

    kind = "compare"


class NoPicturesError(CompareError):
    """A folder that does not hold the pictures of one run."""


class NodeInputError(EriError, ValueError):
    """An input that a node cannot work with: which one, what is wrong with it, and what to connect or set instead."""


class OutsideError(NodeInputError):
    """A name that leads out of the folders which ComfyUI opens to graphs."""


class RequestError(EriError, ValueError):
    """A request that cannot be answered.

    Attributes, beside those of EriError:
        status: the HTTP status.
        field: dotted name of the field at fault, None = the whole request.
    """

    def __init__(self, status: int, kind: str, problem: str, *, remedy: str = "", field: str | None = None) -> None:
        self.status, self.kind, self.field = status, kind, field
        super().__init__(problem, place=field or "", remedy=remedy)


class HostError(EriError, RuntimeError):
    """A ComfyUI that cannot be found, set up, started or used, or that refused or failed to run a graph.

    Attributes, beside those of EriError (None where no node is at fault):
        kind: "down", "timeout", "missing_node", "validation", "out_of_memory", "execution", "interrupted", "lost",
            "protocol", or "host" for everything else.
        node: id in the graph.
        class_type: its class.
        field: name of its input.
        details: longer text, such as a traceback.
    """

    def __init__(
        self,
        problem: str,
        *,
        remedy: Remedy = None,
        kind: str = "host",
        node: str | None = None,
        class_type: str | None = None,
        field: str | None = None,
        details: str | None = None,
    ) -> None:
        self.kind, self.node, self.class_type, self.field, self.details = kind, node, class_type, field, details
        where = []
        if node is not None:
            where.append(f"node {node!r}" + (f" ({class_type})" if class_type else ""))
        if field is not None:
            where.append(f"input {field!r}")
        super().__init__(problem, place=", ".join(where), remedy=remedy)


def shorten(names: Iterable[str], limit: int = _SHOWN_KEYS) -> str:
    """The first `limit` names joined by commas, and how many more there are."""
    names = list(names)
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown}, … and {len(names) - limit} more"
