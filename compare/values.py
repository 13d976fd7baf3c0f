"""The values of a sweep's axes as people write them, and which of them a model and its trainer know."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from ..errors import CompareError
from ..families import FAMILIES
from ..spec import SampleSpec
from ..spec.model import MAX_SEED
from ..trainers.profiles import way_of
from .axes import AXES, Value, Variant

#: Axis -> its option of `eri sweep`.
OPTIONS: Final[Mapping[str, str]] = {
    "run": "--runs", "strength": "--strengths", "seed": "--seeds", "cfg": "--cfg", "guidance": "--guidance",
    "sampler": "--sampler",
}  # fmt: skip
#: Axis -> the least and the greatest value; those of strength are EriLoraAtStep's, of cfg and guidance ComfyUI's.
_LIMITS: Final = {"strength": (-100.0, 100.0), "cfg": (1.0, 100.0), "guidance": (0.0, 100.0)}


def read_values(spec: SampleSpec, given: Mapping[str, str]) -> dict[str, list[Value]]:
    """The values of each axis, each once, in the order in which they are written.

    Args:
        spec: Its family, variant and trainer decide what is known.
        given: By axis (all of `AXES` but `run`), text like "0.6, 0.8, 1".

    Raises CompareError naming the option, the value and what is known.
    """
    found: dict[str, list[Value]] = {}
    for axis in (axis for axis in AXES if axis in given):
        parts = [part.strip() for part in given[axis].split(",")]
        if not all(parts):
            _refuse(axis, given[axis], "a value is empty", f"Write values with commas between them: {_EXAMPLES[axis]}.")
        _check_axis(spec, axis, given[axis])
        found[axis] = list(dict.fromkeys(_READERS[axis](spec, axis, part) for part in parts))
    return found


def variant_of(spec: SampleSpec, given: Mapping[str, str]) -> Variant:
    """The variant with one value of each of these axes. Raises CompareError."""
    values = {axis: found[0] for axis, found in read_values(spec, given).items()}
    for axis, text in given.items():
        if "," in text:
            _refuse(axis, text, "one value is meant", "Write one.")
    return Variant(values)


def axes_of(spec: SampleSpec) -> list[str]:
    """The options that act on this model."""
    return [OPTIONS[axis] for axis in AXES if not _lacks(spec, axis)]


def _check_axis(spec: SampleSpec, axis: str, text: str) -> None:
    problem = _lacks(spec, axis)
    if problem:
        _refuse(axis, text, problem, f"What acts on it: --steps, --items, {', '.join(axes_of(spec))}.")


def _lacks(spec: SampleSpec, axis: str) -> str:
    """Why an axis changes nothing on this model, "" where it does."""
    family = FAMILIES[spec.family]
    variant = family.variant(spec.variant)
    name = f"{family.title} {spec.variant or ''}".rstrip()
    if axis == "guidance" and not family.embedded_guidance:
        return f"{name} has no guidance embedding; its guidance is classifier-free (--cfg)"
    if axis == "guidance" and variant is not None and variant.guidance_note:
        return variant.guidance_note.rstrip(".")
    if axis == "cfg" and variant is not None and not variant.takes_cfg:
        return f"{name} is distilled to run without classifier-free guidance"
    if axis == "sampler" and way_of(spec.trainer, spec.family) is None:
        return f"no sampler words of the trainer {spec.trainer!r} are known for {name}"
    return ""


def _number(spec: SampleSpec, axis: str, text: str) -> Value:
    low, high = _LIMITS[axis]
    try:
        value = float(text)
    except ValueError:
        _refuse(axis, text, "that is no number", f"Write numbers: {_EXAMPLES[axis]}.")
    if not (math.isfinite(value) and low <= value <= high):
        _refuse(axis, text, "that is out of range", f"Write numbers from {low:g} to {high:g}.")
    return value + 0.0  # -0 is 0


def _seed(spec: SampleSpec, axis: str, text: str) -> Value:
    if not (text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) <= MAX_SEED):
        _refuse(axis, text, "that is no seed", f"Write whole numbers from 0 to {MAX_SEED}.")
    return int(text)


def _word(spec: SampleSpec, axis: str, text: str) -> Value:
    way = way_of(spec.trainer, spec.family)
    words = {} if way is None else way.samplers.words
    plain = text if way is None else way.samplers.plain(text)  # kohya takes any other word for its usual one
    if plain not in words or plain.casefold() != text.casefold():
        known = ", ".join(words)
        title = FAMILIES[spec.family].title
        _refuse(axis, text, f"{spec.trainer} knows no such sampler for {title}", f"Known ones: {known or 'none'}.")
    return text


_READERS: Final[Mapping[str, Callable[[SampleSpec, str, str], Value]]] = {
    "strength": _number, "seed": _seed, "cfg": _number, "guidance": _number, "sampler": _word,
}  # fmt: skip
_EXAMPLES: Final = {"strength": "0.6,0.8,1", "seed": "1,2,3", "cfg": "3,5,7", "guidance": "2,3.5", "sampler": "euler"}


def _refuse(axis: str, text: str, problem: str, remedy: str) -> NoReturn:
    shown = text if len(text) <= 60 else f"{text[:57]}..."
    raise CompareError(problem, place=f"{OPTIONS[axis]} {shown}", remedy=remedy)
