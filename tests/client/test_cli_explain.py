"""`eri explain` as a person or a program calls it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from comfyui_eridiffusion.tests.client.test_cli import CONFIGS, eri

TOPICS = {
    *("noise", "sigmas", "token lengths", "negative", "size", "guidance", "file layout", "LoRA scale", "precision"),
    "model",
}


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_json_has_every_topic(capsys: pytest.CaptureFixture[str], family: str) -> None:
    assert eri("explain", CONFIGS / f"{family}.yaml", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["trainer"], found["family"]) == ("eridiffusion", family)
    assert {match["topic"] for match in found["matches"]} == TOPICS
    assert set(found) == {"trainer", "family", "verdict", "matches", "notes"}
    assert set(found["verdict"]) == {"outcome", "pixels", "reasons", "text"}
    differ = any(match["kind"] == "different" and match["topic"] != "file layout" for match in found["matches"])
    assert (found["verdict"]["outcome"] == "different") is differ
    assert {"topics", "kind", "text"} == {key for reason in found["verdict"]["reasons"] for key in reason}
    for match in found["matches"]:
        assert set(match) == {"topic", "kind", "detail", "figure", "unit", "checked", "cause", "pixels"}
        assert match["kind"] in ("exact", "close", "as its source says", "as documented", "different", "not checked")
        assert match["figure"] is None or isinstance(match["figure"], float)
        assert match["kind"] != "close" or match["figure"] > 0
        assert all(isinstance(match[key], str) for key in ("detail", "unit", "checked"))
    assert all(isinstance(note, str) for note in found["notes"])


def test_text_names_a_close_match_with_its_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("a cat --w 512 --h 512 --d 1\n", encoding="utf-8")
    assert eri("explain", path, "--trainer", "kohya", "--family", "flux") == 0
    shown = "".join(capsys.readouterr().out.split())
    assert "noise" in shown
    assert "close" in shown
    assert "0.0039" in shown


def test_nothing_is_cut_at_eighty_columns(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    noise = "torch-cuda@rtx-3090/packed/bfloat16/float16"
    item = {"prompt": "a cat", "width": 1024, "height": 1024, "steps": 20}
    spec = {"eri_spec": 1, "family": "flux", "items": [item], "sampling": {"noise": noise}}
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(spec), encoding="utf-8")
    assert eri("explain", path, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    found, json_told = document["matches"], document["verdict"]
    assert eri("explain", path) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[1] == json_told["text"]
    table = [line for line in shown.splitlines() if line.startswith("│")]
    assert max(map(len, table)) <= 80
    together = re.sub(r"[│\s]", "", shown)
    assert noise in together
    for match in found:
        for text in (match["topic"], match["detail"], match["checked"]):
            assert re.sub(r"\s", "", text) in together


def test_a_broken_config_is_told_with_its_place(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("job: extension\nconfig: [1,\nprocess: }\n", encoding="utf-8")
    assert eri("explain", path) == 2
    assert "line 3, column" in " ".join(capsys.readouterr().err.split())
    assert eri("explain", path, "--json") == 2
    assert "matches" not in capsys.readouterr().out  # no half answer for a program


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
