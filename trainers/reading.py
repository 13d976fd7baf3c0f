"""What the readers of several trainers do alike."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any, Final, Protocol

from ..configs.fields import Reading
from ..errors import OtherModelError, Remedy, SpecError
from ..families import FAMILIES
from ..spec.model import UNNAMED, SampleItem, SampleSpec

NO_PROMPT: Final = "there is no prompt, so there is nothing to sample"


class Texts(Protocol):
    """Fields of a config that may be texts."""

    def text(self, key: str) -> str | None: ...
    def error(self, key: str, problem: str, remedy: Remedy, /) -> SpecError: ...


def spec_of(reading: Reading, trainer: str, family: str, items: list[SampleItem], **more: Any) -> SampleSpec:
    """The spec of what was read, with the notes on it and the fields that do not act; to be made last.

    Args:
        reading: the pass over the config.
        trainer, family: ids; the files are named as this trainer does.
        items: the images.
        more: further fields of SampleSpec.
    """
    variant = FAMILIES[family].variant(more.get("variant"))
    if variant is not None and variant.note:
        reading.note(variant.note)
    if variant is not None and variant.difference:
        reading.differs("model", variant.difference)
    own = {"notes": reading.notes, "ignored": reading.ignored(), "loras": reading.loras}
    more = {"source": reading.document.source, **own, "differences": reading.differences, **more}
    return SampleSpec(family, trainer, items, layout=trainer, **more)


def take_over(reading: Reading, second: Reading) -> None:
    """Report what was noted in a file that the config names, and which of its fields do not act."""
    for note in second.notes:
        reading.note(note)
    for topic, texts in second.differences.items():
        for text in texts:
            reading.differs(topic, text)
    reading.elsewhere += [f"{second.document.source}: {path}" for path in second.ignored()]


def note_random(reading: Reading, items: list[SampleItem], text: str) -> None:
    """Add a note where an image has no seed of its own."""
    if any(item.seed is None for item in items):
        reading.note(text)


def texts_of(section: Texts | None, keys: Iterable[str]) -> dict[str, str]:
    """The fields of these names that are given, e.g. what a config says about model files."""
    values = {key: section.text(key) for key in keys} if section else {}
    return {key: value for key, value in values.items() if value is not None}


def run_name(folder: str | None) -> str:
    """The name of a run that is called as its folder."""
    return PurePosixPath((folder or "").replace("\\", "/")).name or UNNAMED


def flags_in(text: str) -> Iterator[tuple[str, str]]:
    """The flags in a text, split at blanks, and their values: `--key=value`, `--key value`; bare `--key` is "true"."""
    for word, following in pairwise([*text.split(), "--"]):
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            yield key, value if equals else "true" if following.startswith("--") else following


def unsupported(section: Texts, key: str, said: str, known: Iterable[str] = FAMILIES) -> SpecError:
    """The SpecError to raise for another model family. said: as the message shows it. known: what may stand there."""
    at = section.error(key, f"the model family {said} is not supported", f"Supported are {', '.join(known)}.")
    return OtherModelError(
        at.problem, remedy=at.remedies, source=at.source, line=at.line, column=at.column, field=at.field
    )


def no_prompt(source: str, remedy: str) -> SpecError:
    """The SpecError to raise for a config without prompts."""
    return SpecError(NO_PROMPT, source=source, remedy=remedy)


def name_family(more: str = "", known: Iterable[str] = FAMILIES) -> Remedy:
    """What to do where a config leaves the model family open. more: another way out, as ", or …"."""
    listed = ", ".join(known)
    return {
        "python": f"Name the family with family=, one of {listed}{more}.",
        "cli": f"Name the family with --family, one of {listed}{more}.",
        "http": f"Send the family, one of {listed}{more}.",
        "canvas": f"Choose the family: {listed}{more}.",
        "node": f"Choose the family in this node{more}.",
    }


def quantised(reading: Reading, field: str, what: str, how: str = "") -> None:
    """Count it as a difference that a trainer samples with weights in fewer bits.

    Args:
        field: where the config says so.
        what: the part of the model.
        how: the number format, "" = the field tells it.
    """
    shown = f" ({how})" if how else ""
    reading.differs(
        "model",
        f"{field}{shown}: the trainer samples with its {what} quantised; here it is as its file holds it, so that the "
        "pictures differ.",
    )


def masked(reading: Reading, field: str) -> None:
    """Count it as a difference that a trainer hides the padding of T5."""
    reading.differs("token lengths", f"{field}: the trainer masks padding tokens; here they are attended to.")


def rescaling(reading: Reading, field: str, phi: float) -> dict[str, str | float | bool]:
    """The setting for diffusers' `guidance_rescale` of this value; beyond 1 it is counted as a difference."""
    if not 0.0 <= phi <= 1.0:
        reading.differs("guidance", f"{field} {phi:g} is not reproduced: guidance is rescaled by 0 to 1 here.")
        return {}
    return {"rescale": phi} if phi else {}
