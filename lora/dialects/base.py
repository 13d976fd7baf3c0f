"""What a dialect is: one trainer's (or library's) way to name and to scale the same low-rank pairs."""

from __future__ import annotations

from typing import ClassVar, NamedTuple, Protocol

from ..metadata import LoraFile
from ..names import Target


class Alpha(NamedTuple):
    """A scale that a file states outside its tensors: `value` as written, `effective` = scale × rank, and where."""

    value: float
    effective: float
    source: str


class Dialect(Protocol):
    """The four questions that reading a file asks; one small file per dialect answers them."""

    name: ClassVar[str]

    def recognises(self, file: LoraFile) -> bool:
        """Whether the file is written in this dialect, from its names and header alone."""
        ...

    def ignored(self, name: str) -> str | None:
        """Why a tensor is not part of the adapter although it is rightly in the file; None when it may be part."""
        ...

    def target(self, module: str, family: str | None) -> Target | None:
        """The place in the host of a module named as in the file; None when the family has no such module."""
        ...

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        """The alpha of a module that the file states outside its tensors; None when it states none."""
        ...
