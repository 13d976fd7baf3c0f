"""`eri explain` as a person or a program calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from comfyui_eridiffusion.tests.client.test_cli import CONFIGS, eri

TOPICS = {
    *("noise", "sigmas", "token lengths", "negative", "size", "guidance", "file layout", "LoRA scale", "precision"),
}


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_json_has_every_topic(capsys: pytest.CaptureFixture[str], family: str) -> None:
    assert eri("explain", CONFIGS / f"{family}.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trainer"], found["family"]) == ("eridiffusion", family)
    assert {match["topic"] for match in found["matches"]} == TOPICS


def test_text_names_a_close_match_with_its_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a cat --w 512 --h 512 --d 1\n", encoding="utf-8")
    assert eri("explain", path, "--trainer", "kohya", "--family", "flux") == 0
    shown = "".join(capsys.readouterr().out.split())
    assert "noise" in shown
    assert "close" in shown
    assert "3e-06" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/no/such.yaml"], "/no/such.yaml"),
        ([CONFIGS / "flux.yaml", "--trainer", "nobody"], "nobody"),
        ([], "file"),
    ],
)
def test_mistakes_are_explained(capsys: pytest.CaptureFixture[str], arguments: list[object], words: str) -> None:
    assert eri("explain", *arguments) == 2
    shown = capsys.readouterr()
    assert words in "".join(shown.err.split()).lower()
    assert "Traceback" not in shown.err
    assert shown.out == ""


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert eri("explain", "--help") == 0
    assert "Example: eri explain" in capsys.readouterr().out
