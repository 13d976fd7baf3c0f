"""The table of LoRA dialects and families: does the stock host load such a file, do we, and how far is the change off?

Run from anywhere: `python benchmarks/lora_dialects.py [--write docs/lora-dialects.md]`. The files are the tests' own
(tests/lora/dialect_files.py), on small instances of the host's own models; "off" is the largest difference between the
host's change of a weight and strength · alpha / rank · up @ down in float64, over the largest change.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


@dataclass(frozen=True)
class Row:
    """One file: how many of its tensors are taken, and how far the change is off (None = nothing changed)."""

    dialect: str
    variant: str
    family: str
    tensors: int
    stock_taken: int
    stock_off: float
    our_taken: int
    our_off: float

    @property
    def stock(self) -> str:
        if self.stock_taken == 0:
            return "nothing"
        if self.stock_taken < self.tensors:
            return f"{self.stock_taken} of {self.tensors}"
        return "yes" if self.stock_off < 1e-4 else "all, wrong strength"

    @property
    def ours(self) -> str:
        return "yes" if self.our_taken == self.tensors else f"{self.our_taken} of {self.tensors}"


def start_host() -> None:
    """Put the host on the path as the tests do; models stay on the CPU."""
    from comfyui_eridiffusion.dev.host_install import find_host, write_shim

    install = find_host()
    shim = write_shim(install)
    sys.path[:0] = [str(install.path), *([str(shim)] if shim else [])]
    from comfy.cli_args import args

    args.cpu = True


def off(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> float:
    """Largest difference over all weights, relative to the largest change."""
    largest = max(change.abs().max().item() for change in expected.values())
    worst = 0.0
    for name, change in expected.items():
        other = found.get(name)
        worst = max(worst, (change if other is None else other.double() - change).abs().max().item())
    return worst / largest


def measure(case: Any, folder: Path) -> Row:
    import comfy.lora_convert
    from safetensors.torch import load_file

    from comfyui_eridiffusion.lora import load_report, read_lora, to_host_keys
    from comfyui_eridiffusion.tests.lora import host_models
    from comfyui_eridiffusion.tests.lora.lora_files import expected_changes

    path, pairs = case.write(folder)
    expected = expected_changes(case.places, pairs)
    raw = load_file(path)
    stock, taken = host_models.loaded_changes(case.family, comfy.lora_convert.convert_lora(raw))
    lora = read_lora(path, family=case.family)
    ours, _ = host_models.loaded_changes(case.family, to_host_keys(lora))
    report = load_report(lora, host_models.host_key_map(case.family).keys())
    adapter = [name for name in raw if not name.startswith("__opt__/")]
    return Row(
        case.dialect, case.variant, case.family, len(adapter), len(taken), off(stock, expected), report.matched,
        off(ours, expected),
    )  # fmt: skip


def table(rows: list[Row]) -> list[str]:
    """Markdown lines, sorted by dialect."""
    lines = [
        "| dialect | file | family | tensors | stock host | off | this pack | off |",
        "|---|---|---|---:|---|---:|---|---:|",
    ]
    for row in sorted(rows, key=lambda row: (row.dialect, row.variant, row.family)):
        stock_off = "–" if row.stock_taken == 0 else f"{row.stock_off:.1e}"
        lines.append(
            f"| {row.dialect} | {row.variant} | {row.family} | {row.tensors} | {row.stock} | {stock_off} "
            f"| {row.ours} | {row.our_off:.1e} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", type=Path, help="put the table between the markers of this file")
    arguments = parser.parse_args()
    start_host()
    from comfyui_eridiffusion.tests.lora.dialect_files import CASES

    torch.set_num_threads(2)
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(case, Path(folder)))
        sys.stderr.write(f"{len(rows)} of {len(CASES)}: {case}\n")
    lines = table(rows)
    sys.stdout.write("\n".join([*lines, ""]))
    if arguments.write is not None:
        text = arguments.write.read_text(encoding="utf-8")
        head, tail = text.split(BEGIN)[0], text.split(END)[1]
        arguments.write.write_text("\n".join([head + BEGIN, *lines, END + tail]), encoding="utf-8")


if __name__ == "__main__":
    main()
