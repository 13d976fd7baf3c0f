"""How far the pictures of a gallery are from the trainer's own, by `eri verify`'s measure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..compare.collection import Collection, Place
from ..errors import ImagesError
from ..images.compare import verdict_on


class Verdicts(NamedTuple):
    """What is known of a gallery's pairs.

    Args:
        rows: step, item and verdict, as the page takes them.
        known: verdict by the names of both pictures, which are those of their contents.
        notes: what could not be compared, and why.
    """

    rows: list[tuple[int, int, dict[str, Any]]]
    known: dict[str, Any]
    notes: list[str]


def verdicts(
    found: Collection, names: Mapping[Path, str], pictures: Path, before: Mapping[str, Any],
    report: Callable[[int, int], None] | None,
) -> Verdicts:  # fmt: skip
    """Compare each picture as trained with the trainer's own of its step; one whose seed is open has none to compare.

    Args:
        names: what is shown, by its name in the gallery.
        pictures: the gallery's folder of these.
        before: what is known already.
        report: told how many pairs are compared, of how many.
    """
    seeds = {item.index: item.seed for item in found.items}
    pairs = []
    for (step, item), theirs in sorted(found.theirs.items()):
        ours = found.pictures.get(Place("", step, item))
        if ours is not None and ours in names and theirs in names and seeds.get(item) is not None:
            pairs.append((step, item, names[theirs], names[ours]))
    told, failed = Verdicts([], {}, []), Counter[str]()
    for number, (step, item, theirs_name, ours_name) in enumerate(pairs, 1):
        key = f"{theirs_name} {ours_name}"
        try:
            said = before[key] if key in before else verdict_on(pictures / theirs_name, pictures / ours_name)
        except ImagesError as error:
            failed[" ".join(filter(None, (f"{error.problem}.", error.remedy)))] += 1
            continue
        told.known[key] = said
        told.rows.append((step, item, said))
        if report is not None:
            report(number, len(pairs))
    told.notes.extend(f"Not compared with the trainer's own: {count} pictures. {why}" for why, count in failed.items())
    return told
