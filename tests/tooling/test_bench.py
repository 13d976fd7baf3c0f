"""What `make bench` makes of its figures: ratios, tables and the plot. What it measures is not run here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui_eridiffusion.benchmarks.bench import BEGIN, END, GROUPS, known, write
from comfyui_eridiffusion.benchmarks.rows import Row, shown


def test_ratios_are_of_runs_that_took_turns() -> None:
    row = Row("work", "other", "≤ 0.5", [1.0, 3.0, 2.0], [2.0, 4.0, 8.0])
    assert row.ratios() == [0.5, 0.75, 0.25]
    assert row.limit() == 0.5
    assert row.cells() == ["work", "other", "2.00 s (1.00 s–3.00 s)", "0.50 (0.25–0.75)", "≤ 0.5", ""]


@pytest.mark.parametrize(("aim", "others"), [("≤ 0.15 s more", [1.0]), ("", [1.0]), ("≤ 0.5", [])])
def test_what_is_no_ratio_has_no_limit(aim: str, others: list[float]) -> None:
    assert Row("work", "other", aim, [1.0], others).limit() is None


@pytest.mark.parametrize(("seconds", "text"), [(2.5, "2.50 s"), (0.0321, "32.1 ms"), (-5e-5, "-50 µs")])
def test_a_time_has_the_unit_that_suits_it(seconds: float, text: str) -> None:
    assert shown(seconds) == text


def test_a_document_keeps_what_is_around_the_tables(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    rows = [{"work": "a", "other": "b", "aim": "≤ 2", "ours": [1.0], "others": [2.0], "note": ""}]
    document, figures = tmp_path / "page.md", tmp_path / "page.json"
    document.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    figures.write_text(json.dumps({"lora": {"machine": "one", "rows": rows}}), encoding="utf-8")
    write(document, known(figures))
    text = document.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{BEGIN}\n")
    assert text.endswith(f"{END}\nafter\n")
    table = "| work | beside | ours | ratio | aim |\n|---|---|---|---|---|\n| a | b | 1.00 s"
    assert f"### {GROUPS['lora'].title}\n\none\n\n{table}" in text
    assert "old" not in text
    assert (tmp_path / "page.svg").read_text(encoding="utf-8").startswith("<?xml")
