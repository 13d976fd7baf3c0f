"""How a module name of a LoRA file becomes a name that ComfyUI's loader knows. All families share these parts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal

MODEL = "model"
MODEL_PREFIX = "diffusion_model."
DIFFUSERS_PREFIX = "transformer."

# "always": the two halves of the rows are exchanged (ComfyUI keeps shift and scale in the other order);
# "last block": only where the module is the short, two-part one of the last block.
Swap = Literal["never", "always", "last block"]


@dataclass(frozen=True)
class Rows:
    """The rows of a fused weight that a split projection covers, counted in model widths: `start`, `count`, `total`."""

    start: int
    count: int
    total: int


def row_span(rows: Rows, height: int) -> tuple[int, int]:
    """First row and all rows of the fused weight for a slice of `height` rows. ValueError when they do not divide."""
    width, rest = divmod(height, rows.count)
    if rest:
        raise ValueError(f"{height} rows are not {rows.count} model widths")
    return rows.start * width, rows.total * width


@dataclass(frozen=True)
class Target:
    """Where an adapter goes in ComfyUI.

    Args:
        name: the key before the ending in a file for ComfyUI's loader.
        part: the part of the pipeline: "model", "clip_l", "clip_g" or "t5xxl".
        weight: ComfyUI's weight without `.weight`.
        rows: the slice of the weight; None means all of it.
        swap: whether its two halves are exchanged, see `Swap`.
    """

    name: str
    part: str
    weight: str
    rows: Rows | None = None
    swap: Swap = "never"

    @property
    def group(self) -> str:
        """The first word of the weight's place, for reports: `double_blocks`, `joint_blocks`, `clip_l` …"""
        return self.part if self.part != MODEL else self.weight.removeprefix(MODEL_PREFIX).split(".")[0]


@dataclass(frozen=True)
class Rule:
    """One module, or one per block.

    Args:
        source: a dotted name, in which `{}` is an index.
        native: the native name, written likewise, or a function of the indices when numbers change. It returns None for
            blocks that do not exist.
        rows, swap: as in `Target`.
        host: ComfyUI's key before the ending, written likewise; None = `transformer.<source>` for slices and swapped
            halves, which are left to ComfyUI because it knows the model's width and depth, else `native`'s.
    """

    source: str
    native: str | Callable[..., str | None]
    rows: Rows | None = None
    swap: Swap = "never"
    host: str | None = None

    def pattern(self, separator: str) -> re.Pattern[str]:
        """A pattern for `source` whose words are joined by `separator` ("." or "_")."""
        return _pattern(self.source, separator)

    def target(self, indices: Iterable[str]) -> Target | None:
        """The place in ComfyUI for these indices; None when the block does not exist."""
        numbers = [int(index) for index in indices]
        native = self.native.format(*numbers) if isinstance(self.native, str) else self.native(*numbers)
        if native is None:
            return None
        weight, host = MODEL_PREFIX + native, self._host
        name = weight if host is None else host.format(*numbers)
        return Target(name=name, part=MODEL, weight=weight, rows=self.rows, swap=self.swap)

    def renamed(self, source: str) -> Rule:
        """The same module under another name."""
        return replace(self, source=source, host=self._host)

    @property
    def _host(self) -> str | None:
        by_host = self.rows is not None or self.swap != "never"
        return self.host or (DIFFUSERS_PREFIX + self.source if by_host else None)


@lru_cache(maxsize=1 << 10)
def _pattern(source: str, separator: str) -> re.Pattern[str]:
    """Compiled when a file first needs it, because most files use few of a family's hundred rules."""
    return re.compile(re.escape(source.replace(".", separator)).replace(r"\{\}", r"(\d+)") + "$")


def same(*sources: str) -> tuple[Rule, ...]:
    """Rules for modules that keep their name."""
    return tuple(Rule(source, source) for source in sources)


@dataclass(frozen=True)
class NameTable:
    """All modules of one family that can carry an adapter.

    Args:
        native_rules: under the native names.
        diffusers_rules: under diffusers' names.
        others: names that only some trainers have, each with the native or diffusers' name of the same module.
    """

    native_rules: tuple[Rule, ...]
    diffusers_rules: tuple[Rule, ...]
    others: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str, separator: str = ".") -> Target | None:
        """Look up a module name of any kind, words joined by `separator`; None when the family has no such module."""
        return self.native(name, separator) or self.diffusers(name, separator) or self._other(name, separator)

    def native(self, name: str, separator: str = ".") -> Target | None:
        """Look up a native module name, words joined by `separator`; None when the family has no such module."""
        return _look_up(self._indexes["native", separator], name, separator)

    def diffusers(self, name: str, separator: str = ".") -> Target | None:
        """Look up a diffusers module name, words joined by `separator`; None when the family has no such module."""
        return _look_up(self._indexes["diffusers", separator], name, separator)

    def _other(self, name: str, separator: str) -> Target | None:
        return _look_up(self._indexes["others", separator], name, separator)

    @cached_property
    def _indexes(self) -> dict[tuple[str, str], _Index]:
        known = {rule.source: rule for rule in (*self.native_rules, *self.diffusers_rules)}
        others = tuple(known[name].renamed(other) for other, name in self.others.items())
        spellings = {"native": self.native_rules, "diffusers": self.diffusers_rules, "others": others}
        return {
            (spelling, separator): _index(rules, separator)
            for spelling, rules in spellings.items()
            for separator in (".", "_")
        }


# Rules by their name with every number replaced: a file has thousands of names and a family a hundred rules.
_Index = dict[str, list[Rule]]


def _index(rules: Iterable[Rule], separator: str) -> _Index:
    index: _Index = {}
    for rule in rules:
        shape = _without_numbers(rule.source.replace(".", separator), separator)
        index.setdefault(shape, []).append(rule)
    return index


def _look_up(index: _Index, name: str, separator: str) -> Target | None:
    for rule in index.get(_without_numbers(name, separator), ()):
        match = rule.pattern(separator).match(name)
        if match is not None:
            return rule.target(match.groups())
    return None


def _without_numbers(name: str, separator: str) -> str:
    return separator.join("{}" if word.isdecimal() else word for word in name.split(separator))
