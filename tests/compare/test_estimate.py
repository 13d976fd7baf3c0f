"""How long a sweep takes: by what pictures took before, then by what these take."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from comfyui_eridiffusion.compare.estimate import Estimate, Pace, estimate, spoken, work
from comfyui_eridiffusion.compare.manifest import ManifestLine

NUMBERS = itertools.count()


def line(seconds: float | None, width: int = 64, steps: int | None = 4, worker: str = "local") -> ManifestLine:
    file = f"{next(NUMBERS)}.png"
    return ManifestLine(
        "r", "t", "f", 0, "p", "", 1, width, 64, 0, file, sampling_steps=steps, seconds=seconds, worker=worker
    )


def test_pictures_of_this_size_on_this_worker_count() -> None:
    twice = line(9.0)
    lines = [
        twice,
        replace(twice, axes={"strength": 1}),
        line(2.0),
        line(2.0),
        line(500.0, worker="other"),
        line(None),
        line(7.0, steps=None),
    ]
    assert estimate(lines, "local", [(64, 64, 4)] * 3) == Estimate(6.0, 3, False)
    assert estimate(lines, "nobody", [(64, 64, 4)]) is None
    assert estimate([], "local", [(64, 64, 4)]) is None
    assert estimate(lines, "local", [(128, 64, 4), (64, 64, 8)]) == Estimate(8.0, 3, True)


def test_time_left() -> None:
    now = 0.0
    known, unknown = (Pace(4 * work((64, 64, 4)), guess, lambda: now) for guess in (40.0, None))
    assert (known.left(), unknown.left()) == (40.0, None)
    now = 5.0
    assert (known.left(), unknown.left()) == (35.0, None)
    now = 20.0  # a picture took twice as long as was guessed
    for pace in (known, unknown):
        pace.at(work((64, 64, 4)))
    assert unknown.left() == pytest.approx(60.0)
    assert 30.0 < (known.left() or 0) < 60.0
    now = 80.0
    for pace in (known, unknown):
        pace.at(1e12)
        pace.at(0.0)
        assert pace.left() == 0.0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (12000, "3 h 20 min")]
)
def test_times_as_people_say_them(seconds: float, text: str) -> None:
    assert spoken(seconds) == text
