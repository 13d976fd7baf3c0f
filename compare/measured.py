"""The file of measures beside a run's pictures, as `eri measure` writes it, and their means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from .axes import Variant
from .json_lines import finite, read_lines

FILE: Final = "measures.jsonl"
#: Each measure with its title, in the order for people.
TITLES: Final = {
    "change": "change against no LoRA, mean of 255",
    "change_ssim": "structural similarity to no LoRA",
    "change_before": "difference to the step before, mean of 255",
    "sharpness": "sharpness, variance of the Laplacian",
    "training": "similarity to the nearest training picture",
    "each_other": "similarity to the step's other prompts",
}
#: Measure -> variant's key -> training step -> mean over the prompts.
Means = dict[str, dict[str, dict[int, float]]]


def means_of(values: Iterable[tuple[str, str, int, float]]) -> Means:
    """The means of values, each with its measure, variant's key and training step."""
    groups: dict[str, dict[tuple[str, int], list[float]]] = {}
    for name, key, step, value in values:
        groups.setdefault(name, {}).setdefault((key, step), []).append(value)
    found: Means = {}
    for name in TITLES:
        for (key, step), own in sorted(groups.get(name, {}).items()):
            found.setdefault(name, {}).setdefault(key, {})[step] = sum(own) / len(own)
    return found


def read_means(folder: Path) -> Means:
    """The means of a run's measures; {} where nothing was measured. Raises CompareError as `read_lines` does."""
    return means_of(_values(folder / FILE))


def _values(path: Path) -> Iterator[tuple[str, str, int, float]]:
    """Those at a known step."""
    for _, line in read_lines(path):
        step, axes = line.get("step"), line.get("axes")
        if not isinstance(step, int) or not isinstance(axes, dict):
            continue
        for name in TITLES:
            value = finite(line.get(name))
            if value is not None:
                yield name, Variant(axes).key, step, value
