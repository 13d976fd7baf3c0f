"""Chooses between alternatives `{a|b}` and wildcards `__name__` in prompts, on request: the trainers know neither.

The choice depends only on the seed, the item's index, the field and the place in the text. So the same seed gives the
same prompts on every machine, and a spec's items do not change when some of them are taken alone.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ..configs.tree import decode, read_file
from ..errors import SpecError
from .model import SampleItem, SampleSpec

#: Lists of alternatives by name, or a folder that holds them: `colour.txt`, one alternative a line, `#` comments.
Wildcards = Mapping[str, Sequence[str]] | str | os.PathLike[str]

_ALTERNATIVES: Final = re.compile(r"\{([^{}|]*\|[^{}]*)\}")
_WILDCARD: Final = re.compile(r"__([A-Za-z0-9][A-Za-z0-9/-]*(?:_[A-Za-z0-9/-]+)*)__")
_FIELDS: Final = ("prompt", "prompt_2", "prompt_3", "negative_prompt")
_MAX_CHOICES: Final = 1000
_MAX_LENGTH: Final = 100_000


def expand_prompts(spec: SampleSpec, seed: int = 0, wildcards: Wildcards | None = None) -> SampleSpec:
    """The spec with one alternative chosen at every `{a|b}` and `__name__` of its prompts and negative prompts.

    Alternatives may be nested and empty; braces without a bar stay. A note says what was done.

    Args:
        spec: what to expand; it is left as it is.
        seed: any integer.
        wildcards: lists by name, or a folder of them; None = `__name__` stays as it is.

    Raises SpecError for a wildcard that is not there and for one that leads back to itself.
    """
    chooser = _Chooser(spec, seed, wildcards)
    items = [chooser.item(item) for item in spec.items]
    if items == spec.items:
        return spec
    note = (
        f"Alternatives in prompts were chosen with seed {seed}; the trainer itself takes prompts as they are written."
    )
    return replace(spec, items=items, notes=[*spec.notes, note])


@dataclass
class _Chooser:
    spec: SampleSpec
    seed: int
    wildcards: Wildcards | None
    lists: dict[str, Sequence[str]] = field(default_factory=dict)

    def item(self, item: SampleItem) -> SampleItem:
        """One item with its texts expanded."""
        changes: dict[str, Any] = {}
        for name in _FIELDS:
            text = getattr(item, name)
            if text and ("|" in text or "__" in text):
                expanded = self._expand(text, f"{item.index}:{name}")
                if expanded != text:
                    changes[name] = expanded
        return replace(item, **changes) if changes else item

    def _expand(self, text: str, place: str) -> str:
        """Choose among the innermost alternatives first, then for the first wildcard, until none is left."""
        for count in range(_MAX_CHOICES):
            match = _ALTERNATIVES.search(text)
            options: Sequence[str] | None = match[1].split("|") if match else None
            if match is None and self.wildcards is not None:
                match = _WILDCARD.search(text)
                options = self._list(match[1], place) if match else None
            if match is None or options is None:
                return text
            chosen = options[_number(f"{self.seed}:{place}:{count}") % len(options)]
            text = text[: match.start()] + chosen + text[match.end() :]
            if len(text) > _MAX_LENGTH:
                break
        raise self._error(
            place,
            f"its alternatives never end, or are more than {_MAX_CHOICES}",
            "A wildcard may not lead back to itself.",
        )

    def _list(self, name: str, place: str) -> Sequence[str]:
        if name not in self.lists:
            self.lists[name] = self._read(name, place)
        return self.lists[name]

    def _read(self, name: str, place: str) -> Sequence[str]:
        if isinstance(self.wildcards, Mapping):
            found, where = self.wildcards.get(name), f"the names given ({', '.join(self.wildcards) or 'none'})"
        else:
            path = Path(self.wildcards or "") / f"{name}.txt"
            found, where = _lines(path), str(path)
        if not found:
            raise self._error(place, f"there is no wildcard {name!r} in {where}", "Add it, one alternative a line.")
        return found

    def _error(self, place: str, problem: str, remedy: str) -> SpecError:
        index, name = place.split(":")
        return SpecError(problem, source=self.spec.source, field=f"items[{index}].{name}", remedy=remedy)


def _lines(path: Path) -> list[str] | None:
    """The alternatives in a file, None when there is no file."""
    if not path.is_file():
        return None
    lines = (line.strip() for line in decode(read_file(path), str(path)).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _number(text: str) -> int:
    """A large number that depends on the text only, on every machine and Python."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
