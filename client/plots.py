"""Small charts of rankings and measures, drawn by matplotlib, which is optional."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import CompareError

if TYPE_CHECKING:
    from ..compare.ranking import Ranking

_FORMS: Final = (".svg", ".png")


def plot_ranking(ranking: Ranking, path: Path) -> None:
    """A row for each candidate: how often it is preferred, with the interval of 95 %, and its chance to be the best.

    Raises CompareError where matplotlib is not there, or the file cannot be written.
    """
    figure, axes = new_figure(path, height=1.2 + 0.3 * len(ranking.places))
    places = ranking.places[::-1]
    rows, middle = range(len(places)), [100 * place.preferred for place in places]
    reach = [
        [100 * (place.preferred - place.low) for place in places],
        [100 * (place.high - place.preferred) for place in places],
    ]
    axes.errorbar(middle, rows, xerr=reach, fmt="o", capsize=3, color="#1f77b4")
    for row, place in zip(rows, places, strict=True):
        axes.text(101, row, f"{100 * place.best:.0f} %", va="center", fontsize=8)
    axes.text(101, len(places) - 0.4, "best", fontsize=8)
    axes.axvline(50, color="#999", linewidth=0.8)
    axes.set(xlim=(0, 100), ylim=(-0.6, len(places) - 0.4), yticks=list(rows))
    axes.set_yticklabels([place.candidate.label for place in places])
    axes.set_xlabel("preferred to a step of average strength, %")
    save(figure, path)


def plot_lines(titles: Sequence[str], lines: Sequence[Mapping[str, Mapping[int, float]]], path: Path) -> None:
    """Charts below each other, one for each title: name of a line -> training step -> value.

    Raises CompareError where matplotlib is not there, or the file cannot be written.
    """
    figure, charts = new_figure(path, height=1.8 * len(titles), rows=len(titles))
    for chart, title, named in zip([charts] if len(titles) == 1 else charts, titles, lines, strict=True):
        for name, values in named.items():
            chart.plot(list(values), list(values.values()), marker="o", markersize=3, label=name or None)
        chart.set_title(title, fontsize=9, loc="left")
        chart.grid(alpha=0.3)
        if len(named) > 1:
            chart.legend(fontsize=7)
    figure.supxlabel("training step", fontsize=9)
    save(figure, path)


def new_figure(path: Path, height: float, rows: int = 1) -> tuple[Any, Any]:
    """A figure for `save`, and its axes, one for each row. height: in inches. Raises CompareError as `plot_lines`."""
    if path.suffix.lower() not in _FORMS:
        raise CompareError("a chart's form is not known", place=str(path), remedy=f"Name it {' or '.join(_FORMS)}.")
    try:
        import matplotlib
    except ImportError as error:
        remedy = 'Install it: pip install "matplotlib>=3.8"'
        raise CompareError("charts need the package matplotlib, which is not there", remedy=remedy) from error
    matplotlib.use("agg")  # no window
    from matplotlib import pyplot

    return pyplot.subplots(rows, 1, figsize=(7, height), layout="constrained", sharex=True)


def save(figure: Any, path: Path) -> None:
    """Write a figure, and forget it. Raises CompareError where the file cannot be written."""
    from matplotlib import pyplot

    try:
        figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
    except OSError as error:
        remedy = "Name a folder that is there and can be written."
        raise CompareError(f"it cannot be written ({error.strerror})", place=str(path), remedy=remedy) from error
    finally:
        pyplot.close(figure)
