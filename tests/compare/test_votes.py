"""The file of votes: what is kept, taken back, added once, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.compare.votes import Candidate, Vote, add_votes, read_votes, votes_file
from comfyui_eridiffusion.errors import CompareError


def line(**changes: Any) -> dict[str, Any]:
    left, right = {"step": 100, "axes": {}}, {"step": 200, "axes": {"cfg": 5.0, "strength": 0.8}}
    return {
        "version": 1, "run": "zorp", "voter": "Anna", "made": "2026-01-01T00:00:00Z", "item": 1, "seed": 7,
        "left": left, "right": right, "vote": "left", **changes,
    }  # fmt: skip


def written(folder: Path, *lines: dict[str, Any], end: str = "\n") -> Path:
    path = folder / "votes.jsonl"
    path.write_text("\n".join(json.dumps(entry) for entry in lines) + end, encoding="utf-8")
    return path


def test_votes_are_read_and_written_as_they_are(tmp_path: Path) -> None:
    path = written(tmp_path, line(), line(made="2", vote="tie", seed=None, left={"step": None, "axes": {}}))
    first, second = read_votes(path)
    assert first.right == Candidate(200, (("cfg", "5"), ("strength", "0.8")))
    assert first.right.label == "step 200, cfg 5, strength 0.8"
    assert (second.left.label, second.vote, second.seed) == ("newest checkpoint", "tie", None)
    other = tmp_path / "other.jsonl"
    assert add_votes(other, [first, second], "zorp") == 2
    assert read_votes(other) == [first, second]
    assert add_votes(other, [second, first], "zorp") == 0


def test_a_vote_is_taken_back_by_its_voter_only(tmp_path: Path) -> None:
    path = written(tmp_path, line(), line(voter="Ben"), line(vote=None))
    assert [vote.voter for vote in read_votes(path)] == ["Ben"]


def test_half_a_line_is_left_out_and_written_over(tmp_path: Path) -> None:
    path = written(tmp_path, line(), line(made="2"), end="")
    whole = path.read_bytes()
    for cut in (1, 40):
        path.write_bytes(whole[:-cut])
        assert len(read_votes(path)) == 1
    added = [Vote("zorp", "", "3", 0, None, Candidate(1), Candidate(2), "right")]
    assert add_votes(path, added, "zorp") == 1
    assert [vote.made for vote in read_votes(path)] == [line()["made"], "3"]
    path.write_bytes(whole)  # a whole line, but without its break
    add_votes(path, added, "zorp")
    assert len(read_votes(path)) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": "quix"}, "of the run 'quix', and not of 'zorp'"),
        ({"version": 2}, "of version 2"),
        ({"vote": "both"}, "'both' is no vote"),
        ({"item": "1"}, "of another type"),
        ({"item": True}, "of another type"),
        ({"left": {"axes": {}}}, "'step' is missing"),
        ({"left": {"step": -3}}, "-3 is no training step"),
        ({"left": 7}, "is no vote"),
        ({"right": line()["left"]}, "both sides are the same"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = written(tmp_path, line(), line(made="2", **changes))
    with pytest.raises(CompareError, match=said) as caught:
        read_votes(path)
    assert caught.value.place == f"{path}, line 2"
    assert caught.value.remedy


def test_votes_of_another_run_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = written(tmp_path, line())
    before = path.read_bytes()
    votes = read_votes(path)
    with pytest.raises(CompareError, match="of the run 'zorp', and this is 'quix'"):
        add_votes(tmp_path / "new.jsonl", votes, "quix")
    with pytest.raises(CompareError, match="of the run 'zorp', and not of 'quix'"):
        add_votes(path, [Vote("quix", "", "3", 0, None, Candidate(1), Candidate(2), "right")], "quix")
    assert path.read_bytes() == before
    assert not (tmp_path / "new.jsonl").exists()


def test_a_run_among_others_in_a_folder_has_its_own_file(tmp_path: Path) -> None:
    assert votes_file(tmp_path) == tmp_path / "votes.jsonl"
    assert votes_file(tmp_path / "zorp") == tmp_path / "zorp.votes.jsonl"
    assert read_votes(votes_file(tmp_path / "zorp")) == []
