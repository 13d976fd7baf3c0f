"""Rows, columns and pages of a sweep's contact sheets."""

from __future__ import annotations

import pytest

from comfyui_eridiffusion.compare.pages import choose
from comfyui_eridiffusion.errors import CompareError


@pytest.mark.parametrize(
    ("counts", "wanted", "rows", "columns", "pages"),
    [
        ({"prompt": 4, "step": 3}, {}, "prompt", "step", ()),
        ({"prompt": 1, "step": 1}, {}, "prompt", "step", ()),
        ({"prompt": 4, "step": 1, "strength": 3}, {}, "prompt", "strength", ()),
        ({"prompt": 1, "step": 5, "strength": 3}, {}, "strength", "step", ()),
        ({"prompt": 1, "step": 1, "strength": 3, "cfg": 2}, {}, "cfg", "strength", ()),
        ({"prompt": 4, "step": 3, "strength": 2, "seed": 1, "cfg": 2}, {}, "prompt", "step", ("strength", "cfg")),
        ({"prompt": 4, "step": 3, "strength": 2}, {"rows": "strength"}, "strength", "step", ("prompt",)),
        ({"prompt": 4, "step": 3, "strength": 2}, {"columns": "strength"}, "prompt", "strength", ("step",)),
        ({"prompt": 4, "step": 3, "strength": 2}, {"rows": "step"}, "step", "prompt", ("strength",)),
        ({"prompt": 4, "step": 3}, {"columns": "prompt"}, "step", "prompt", ()),
        ({"prompt": 4, "step": 3, "cfg": 1}, {"rows": "cfg", "columns": "prompt"}, "cfg", "prompt", ("step",)),
    ],
)
def test_choice(
    counts: dict[str, int], wanted: dict[str, str], rows: str, columns: str, pages: tuple[str, ...]
) -> None:
    sheets = choose(counts, **wanted)
    assert (sheets.rows, sheets.columns, sheets.pages) == (rows, columns, pages)
    values = {axis: list(range(count)) for axis, count in counts.items()}
    seen = [
        (*sorted(page.items()), row, column)
        for page in sheets.choices(values)
        for row in values[rows]
        for column in values[columns]
    ]
    cells = 1
    for count in counts.values():
        cells *= count
    assert len(set(seen)) == len(seen) == cells


def test_axes_that_are_not_there() -> None:
    with pytest.raises(CompareError, match="--rows cfg: the sweep has no such axis"):
        choose({"prompt": 1, "step": 1}, rows="cfg")
    with pytest.raises(CompareError, match="the same axis"):
        choose({"prompt": 1, "step": 1}, rows="step", columns="step")
