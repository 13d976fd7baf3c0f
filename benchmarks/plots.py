"""The plot of `make bench`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from comfyui_eridiffusion.benchmarks.rows import Row
from comfyui_eridiffusion.client.plots import new_figure, save


def plot_ratios(rows: Sequence[Row], path: Path) -> None:
    """Each row's ratio by the one aimed at, median and from least to most; left of the line an aim is reached.

    Raises CompareError where matplotlib is not there, or the file cannot be written.
    """
    aimed = [(row, limit) for row in rows if (limit := row.limit()) is not None][::-1]
    figure, axes = new_figure(path, height=1.0 + 0.24 * len(aimed))
    for place, (row, limit) in enumerate(aimed):
        shares = [ratio / limit for ratio in row.ratios()]
        middle = statistics.median(shares)
        color = "#2ca02c" if middle <= 1 else "#d62728"
        axes.plot([min(shares), max(shares)], [place, place], color=color, linewidth=1)
        axes.plot(middle, place, marker="o", markersize=4, color=color)
    axes.axvline(1, color="#999", linewidth=0.8)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    ticks = [tick for tick in (0.1, 0.2, 0.5, 1, 2, 5, 10) if low < tick < high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set(yticks=range(len(aimed)), ylim=(-0.6, len(aimed) - 0.4), xlabel="ratio by the one aimed at")
    labels = [f"{row.work} / {row.other}".replace("`", "") for row, _ in aimed]
    axes.set_yticklabels(labels, fontsize=7)
    axes.grid(axis="x", alpha=0.3)
    figure.set_figwidth(10)
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": path.stem}):  # text as text: a tenth of the size
        save(figure, path)
