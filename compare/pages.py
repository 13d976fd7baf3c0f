"""Which axes of a sweep become rows and columns of a contact sheet, and which become pages."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..errors import CompareError

#: The axes that every sweep has; the others are those of `compare.axes`.
PROMPT: Final = "prompt"
STEP: Final = "step"


@dataclass(frozen=True)
class Sheets:
    """The contact sheets of a sweep.

    Args:
        rows, columns: Axes of every sheet.
        pages: The other axes with several values; there is a sheet for each choice of them.
    """

    rows: str
    columns: str
    pages: tuple[str, ...]

    def choices(self, values: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
        """The values that each sheet is of, those of rows and columns left out. values: of every axis."""
        fixed = [axis for axis in values if axis not in (self.rows, self.columns)]
        for chosen in itertools.product(*(values[axis] for axis in fixed)):
            yield dict(zip(fixed, chosen, strict=True))


def choose(counts: Mapping[str, int], rows: str | None = None, columns: str | None = None) -> Sheets:
    """The sheets of a sweep: prompts × steps, or of the first further axes where there is one prompt or one step.

    Args:
        counts: How many values each axis has, `PROMPT` and `STEP` among them, in the order of pages.
        rows, columns: Axes that the user wants there.

    Raises CompareError for an axis that the sweep does not have, and for the same one twice.
    """
    for option, axis in (("--rows", rows), ("--columns", columns)):
        if axis is not None and axis not in counts:
            known = ", ".join(counts)
            raise CompareError("the sweep has no such axis", place=f"{option} {axis}", remedy=f"Its axes: {known}.")
    if rows is not None and rows == columns:
        raise CompareError("rows and columns are the same axis", place=f"--columns {columns}", remedy="Choose two.")
    several = [axis for axis in counts if counts[axis] > 1 and axis not in (PROMPT, STEP)]

    def free(usual: str, *taken: str | None) -> str:
        """The usual axis, or the first with several values where that one has none."""
        wanted = [axis for axis in (usual, PROMPT, STEP) if counts[axis] > 1]
        return next(axis for axis in (*wanted, *several, usual, PROMPT, STEP) if axis not in taken)

    right = columns or free(STEP, rows, PROMPT if rows is None else None)
    down = rows or free(PROMPT, right)
    pages = tuple(axis for axis in counts if counts[axis] > 1 and axis not in (down, right))
    return Sheets(down, right, pages)
