"""The titles of groups: contrast as WCAG 2.1 reckons it, on what LiteGraph's `LGraphGroup.draw` puts behind them.

That is two layers of the title's own colour, each a quarter opaque, on the palette's canvas.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from comfyui_eridiffusion.workflows.canvas.layout import FONT
from comfyui_eridiffusion.workflows.canvas.stages import STAGES
from comfyui_eridiffusion.workflows.canvas.ui import READABLE

SCRIPT = Path(__file__).parents[2] / "web" / "js" / "groups.js"
TABLE = [re.findall(r"#\w{6}", row) for row in re.findall(r"^  \[(.+)\],$", SCRIPT.read_text("utf-8"), re.MULTILINE)]
#: CLEAR_BACKGROUND_COLOR of the front end's palettes `dark` and `light`.
CANVAS = {"dark": "#141414", "light": "#d3d3d3"}
#: WCAG: enough for letters of 24 pixels and more.
LARGE = 3.0


def channels(colour: str) -> list[float]:
    return [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]


def luminance(rgb: list[float]) -> float:
    linear = [value / 12.92 if value <= 0.03928 else ((value + 0.055) / 1.055) ** 2.4 for value in rgb]
    return sum(weight * value for weight, value in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(title: str, canvas: str) -> float:
    behind = [7 / 16 * one + 9 / 16 * other for one, other in zip(channels(title), channels(canvas), strict=True)]
    dark, light = sorted((luminance(channels(title)), luminance(behind)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("theme", "column"), [("dark", 0), ("light", 1)])
def test_titles_stand_out(theme: str, column: int) -> None:
    found = {row[column]: contrast(row[column], CANVAS[theme]) for row in TABLE}
    assert {colour: ratio for colour, ratio in found.items() if ratio < LARGE} == {}
    assert FONT * READABLE >= 24


def test_every_stage_has_its_colours() -> None:
    assert {stage.colour for stage in STAGES.values()} == {row[0] for row in TABLE}


def test_front_ends_that_lighten_dark_titles_leave_these_alone() -> None:
    """Front end 1.58.1's `luminance` and `darkBgLuminanceThreshold`."""
    for row in TABLE:
        assert 255 * sum(w * v for w, v in zip((0.299, 0.587, 0.114), channels(row[2]), strict=True)) >= 80
