"""What a dialect is: the way in which one trainer (or library) names and scales the same low-rank pairs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, NamedTuple

from ...errors import LoraError
from ..metadata import LoraFile
from ..names import NameTable, Target
from ..names.spelling import place_of
from ..suffixes import KINDS

OPTIMIZER_PREFIX = "__opt__/"
_EMBEDDING_NAMES = ("emb_params", "clip_l", "clip_g", "t5", "t5xxl")
_EMBEDDING_PREFIX = "bundle_emb."


class Alpha(NamedTuple):
    """A scale that a file states outside its tensors: `value` as written, `effective` = scale × rank, and where."""

    value: float
    effective: float
    source: str


class Dialect:
    """The questions that reading a file asks. One small file per dialect answers them.

    Where a module goes is known for all dialects together: any prefix before any name (names/spelling.py), text
    encoders in names/text_encoders.py. A dialect with names of its own says so in `target`.
    """

    name: ClassVar[str]
    #: A module name that begins so shows the dialect; where that is not enough, `recognises` says more. Of two copies
    #: of one LoRA in a file that under such names counts.
    modules: ClassVar[re.Pattern[str]] = re.compile("")
    #: Endings of tensor names that only this dialect has -> kind of tensor (suffixes.py). They mean nothing elsewhere.
    #: An ending has no dot before it: "lora_a".
    endings: ClassVar[Mapping[str, str]] = {}

    def __init_subclass__(cls) -> None:
        """Refuse a dialect of which a part is missing or cannot act, by the names of both."""
        where = f"dialect {cls.__name__}"
        if not hasattr(cls, "name"):
            raise TypeError(f"{where}: nothing is said of its name")
        if cls.modules is Dialect.modules and cls.recognises is Dialect.recognises:
            raise TypeError(f"{where}: nothing is said of its modules, nor by recognises: all files would be its")
        wrong = [ending for ending, kind in cls.endings.items() if ending.startswith(".") or kind not in KINDS]
        if wrong:
            raise ValueError(f"{where}: endings: {wrong[0]!r} begins with a dot, or its kind is none of suffixes.py")

    def recognises(self, file: LoraFile) -> bool:
        """Whether the file is written in this dialect, from its names and header alone."""
        return any(self.modules.match(module) for module in file.telling)

    def ignored(self, name: str) -> str | None:
        """Why a tensor that is rightly in the file is not part of the adapter; None when it may be part of it."""
        if name.startswith(OPTIMIZER_PREFIX):
            return "optimizer state"
        return "embedding" if name in _EMBEDDING_NAMES or name.startswith(_EMBEDDING_PREFIX) else None

    def target(self, module: str, names: NameTable) -> Target | None:
        """The place in ComfyUI of a module named as in the file; None when the family has no such module."""
        return place_of(module, names)

    def alpha(self, file: LoraFile, module: str, rank: int) -> Alpha | None:
        """The alpha of a module that the file states outside its tensors; None when it states none."""
        return None

    def warnings(self, file: LoraFile) -> tuple[str, ...]:
        """What makes the picture another than the trainer's although every key is read."""
        return ()


def stated_alpha(file: LoraFile, value: object, source: str) -> Alpha | None:
    """An alpha from a header or a JSON file, as a number or as its text; None where `value` is None.

    Raises LoraError for anything else.
    """
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError) as error:
        raise LoraError(
            f"alpha in its {source} is {value!r}, not a number", path=file.path, remedy="Give alpha explicitly"
        ) from error
    return Alpha(number, number, source)
