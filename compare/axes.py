"""The axes of a sweep beside training step and prompt: what a value changes, and what a variant's folder is called."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ..spec import SampleItem, SampleSpec

Value = str | int | float

#: Axis -> the field of a sample that it changes; "" = none: another LoRA run. The order is that of folders' names.
AXES: Final[Mapping[str, str]] = {
    "run": "",
    "strength": "lora_scale",
    "seed": "seed",
    "cfg": "cfg_scale",
    "guidance": "guidance",
    "sampler": "sampler",
}
#: Axes that change nothing in a picture without LoRA.
OF_THE_LORA: Final = ("run", "strength")
#: What is no part of a folder's name.
_NOT_IN_NAMES: Final = re.compile(r"[^\w.+-]+")
_MOST: Final = 40
_PART: Final = f"(?:{'|'.join(AXES)})=[^,]+"
#: A folder's name that is a variant's key.
_KEY: Final = re.compile(f"{_PART}(?:,{_PART})*")


@dataclass(frozen=True)
class Variant:
    """One choice of values of every axis but training step and prompt; without values the samples as the config has
    them.

    Args:
        values: Value of each axis, in the order of `AXES`.
    """

    values: Mapping[str, Value] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(tuple(self.values.items()))

    @property
    def key(self) -> str:
        """The name of its folder, "" = none of its own: `strength=0.8,cfg=5`."""
        return ",".join(f"{axis}={_in_names(value)}" for axis, value in self.values.items())

    @property
    def title(self) -> str:
        """What people read: `strength 0.8, cfg 5`."""
        return ", ".join(f"{axis} {shown(value)}" for axis, value in self.values.items())

    def of(self, spec: SampleSpec) -> SampleSpec:
        """The spec with these values in every item."""
        changes = {AXES[axis]: value for axis, value in self.values.items() if AXES[axis]}
        return replace(spec, items=[_changed(item, changes) for item in spec.items]) if changes else spec

    def without_lora(self) -> Variant:
        """The variant that its pictures without LoRA are of: the same for every strength and every run."""
        return Variant({axis: value for axis, value in self.values.items() if axis not in OF_THE_LORA})


def variant_named(folder: str) -> Variant | None:
    """The variant whose pictures lie in a folder of this name, None = it is no variant's."""
    if not _KEY.fullmatch(folder):
        return None
    return Variant({axis: _value(value) for axis, _, value in (part.partition("=") for part in folder.split(","))})


#: The samples as the config has them.
PLAIN: Final = Variant()


def variants(values: Mapping[str, Sequence[Value]]) -> list[Variant]:
    """Every choice of one value of each axis, the first axis changing slowest, in the order of `AXES`.

    Args:
        values: The values of each axis of the sweep; {} gives the one variant without values.
    """
    axes = [axis for axis in AXES if axis in values]
    return [Variant(dict(zip(axes, chosen, strict=True))) for chosen in itertools.product(*(values[a] for a in axes))]


def shown(value: Value) -> str:
    """A value as people write it: 1.0 and 1 are the same."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _changed(item: SampleItem, changes: Mapping[str, object]) -> SampleItem:
    return replace(item, **changes)  # type: ignore[arg-type]


def _value(text: str) -> Value:
    try:
        number = float(text)
    except ValueError:
        return text
    return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else number


def _in_names(value: Value) -> str:
    """A value as a part of a folder's name, another one for every value."""
    text = repr(value) if isinstance(value, float) else str(value)
    text = text.removesuffix(".0")
    safe = _NOT_IN_NAMES.sub("_", text)
    if safe == text and len(text) <= _MOST and not text.endswith("."):
        return text
    return f"{safe[:_MOST]}~{hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()[:6]}"
