"""`eri rank` and its logs: what is said of votes, which are added, which refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from comfyui_eridiffusion.commands.app import app


def vote(number: int, left: int, right: int, choice: str, voter: str = "Anna", run: str = "zorp") -> dict[str, Any]:
    sides = {"left": {"step": left, "axes": {}}, "right": {"step": right, "axes": {}}}
    about = {"version": 1, "run": run, "voter": voter, "made": str(number), "item": 0, "seed": 1}
    return {**about, **sides, "vote": choice}


def write_votes(path: Path, *votes: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in votes), encoding="utf-8")
    return path


def eri(*words: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout, done.stderr


def test_the_step_to_take_is_said_and_files_of_votes_are_added_once(tmp_path: Path) -> None:
    run = tmp_path / "zorp"
    run.mkdir()
    write_votes(run / "votes.jsonl", *[vote(number, 100, 200, "left") for number in range(20)])
    more = write_votes(tmp_path / "ben.jsonl", *[vote(number, 100, 200, "right", "Ben") for number in range(15)])
    for _ in range(2):
        code, said, told = eri("rank", run, "--votes", more)
        assert code == 0
    assert "0 votes of" in told
    assert "(35 votes)" in said
    assert "Ben prefers step 200 to step 100, and the others do not." in told
    code, said, _ = eri("rank", run, "--json")
    document = json.loads(said)
    assert [place["step"] for place in document["places"]] == [100, 200]
    assert set(document["voters"]) == {"Anna", "Ben"}


def test_votes_of_another_run_are_refused_by_name(tmp_path: Path) -> None:
    run = tmp_path / "zorp"
    run.mkdir()
    other = write_votes(tmp_path / "other.jsonl", vote(1, 100, 200, "left", run="quix"))
    code, _, told = eri("rank", run, "--votes", other)
    assert (code, "'quix'" in told, "'zorp'" in told) == (2, True, True)
    assert not (run / "votes.jsonl").exists()
    write_votes(run / "votes.jsonl", vote(1, 100, 200, "left"), {"version": 1})
    code, said, _ = eri("rank", run, "--json")
    assert (code, json.loads(said)["error"]["kind"]) == (2, "compare")
    assert "votes.jsonl, line 2" in json.loads(said)["error"]["message"]


def test_without_votes_that_is_said_and_where_to_vote(tmp_path: Path) -> None:
    code, said, told = eri("rank", tmp_path)
    assert (code, said, "Compare blind" in told) == (0, "There are no votes yet. (0 votes)\n", True)


@pytest.mark.parametrize("verb", ["rank", "measure", "gallery"])
def test_a_folder_that_is_not_there_is_refused(tmp_path: Path, verb: str) -> None:
    code, _, told = eri(verb, tmp_path / "zorp")
    assert (code, "there is no such folder" in told, "zorp" in told) == (2, True, True)


def test_a_chart_is_drawn_or_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_votes(tmp_path / "votes.jsonl", vote(1, 100, 200, "left"))
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, told = eri("rank", tmp_path, "--plot", tmp_path / "chart.svg")
    assert (code, 'pip install "matplotlib' in told) == (2, True)
    monkeypatch.undo()
    assert eri("rank", tmp_path, "--plot", tmp_path / "chart.pdf")[0] == 2
    pytest.importorskip("matplotlib")
    for name in ("chart.svg", "chart.png"):
        assert eri("rank", tmp_path, "--plot", tmp_path / name)[0] == 0
        assert (tmp_path / name).stat().st_size > 5000


def test_the_ranking_goes_to_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_votes(tmp_path / "votes.jsonl", vote(1, 100, 200, "left"), vote(2, 100, 200, "tie"))
    assert eri("rank", tmp_path, "--tensorboard", tmp_path / "logs")[0] == 0
    read = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert [event.step for event in read.Scalars("ranking/preferred")] == [100, 200]
    best = {event.step: event.value for event in read.Scalars("ranking/probability_of_best")}
    assert best[100] > 0.5 > best[200]
