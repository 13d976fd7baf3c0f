"""What is said first of a config's pictures, against what came of the trainers' own runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfyui_eridiffusion.dev.trainer_tables import default_spec
from comfyui_eridiffusion.tests.parity.cells import CELLS, SAME_PIXEL
from comfyui_eridiffusion.tests.parity.graph_runs import cell_spec
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.trainers.claims import KINDS, OF_SAMPLING, RUNS, Kind
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import Match, explain
from comfyui_eridiffusion.workflows.verdict import Verdict, verdict

ROWS = [(trainer.id, way.family) for trainer in TRAINERS.values() for way in trainer.ways]
SEEN = ("same picture", "close")
FLOAT32 = replace(default_spec("native", "flux"), precision="float32")


@pytest.mark.parametrize("tag", CELLS)
def test_a_run_is_not_told_to_be_more_than_it_was(tag: str) -> None:
    """All runs are the same picture: none is called different, and where N is told, it held."""
    spec = cell_spec(tag)
    for item in spec.items:
        part = spec.part([item])
        told = verdict(part, explain(part))
        assert told.outcome != "different", item.index
        if told.outcome == "close":
            assert told.pixels is not None
            assert told.pixels >= SAME_PIXEL


def test_some_runs_are_told_as_the_same_picture_and_as_close() -> None:
    found = {tag: verdict(spec, explain(spec)) for tag in CELLS for spec in [cell_spec(tag)]}
    assert found["aitk_sd35"].outcome == found["aitk_sd35_lora"].outcome == "same picture"
    assert (found["kohya_flux"].outcome, found["kohya_flux"].pixels) == ("close", SAME_PIXEL)
    assert found["kohya_sd35"].outcome == "same picture"


def matches(kinds: dict[str, Kind], run: str = f"{RUNS}aitk_sd35", pixels: int | None = None) -> list[Match]:
    found = []
    for topic in (*OF_SAMPLING, "file layout"):
        kind = kinds.get(topic, "exact")
        shown = run if kind in ("exact", "close") else ""
        found.append(Match(topic, kind, "here. why", checked=shown, cause="why", pixels=pixels))
    return found


def told(kinds: dict[str, Kind], **more: object) -> Verdict:
    return verdict(FLOAT32, matches(kinds, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize("topic", OF_SAMPLING)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "exact"])
def test_one_topic_alone_takes_the_same_picture_away(topic: str, kind: Kind) -> None:
    """Whatever a kind that is added later means, it cannot give what only a run gives."""
    found = told({topic: kind})
    expected = {"close": "expected close", "different": "different", "not checked": "not checked"}
    assert found.outcome == expected.get(kind, "expected the same")
    assert topic in found.text
    assert [reason.topics for reason in found.reasons] == [(topic,)]


def test_what_was_checked_part_by_part_is_not_the_same_picture() -> None:
    assert told({}).outcome == "same picture"
    assert told({}, run="nodes/test_trainer_sampler.py::test_final_latent_is_the_schedulers").outcome not in SEEN
    apart = [replace(match, checked=f"{RUNS}{match.topic}") for match in matches({})]
    assert verdict(FLOAT32, apart).outcome == "expected the same"


def test_how_close_is_told_only_where_it_was_seen() -> None:
    found = told({"noise": "close"}, pixels=7)
    assert (found.outcome, found.pixels) == ("close", 7)
    assert found.text.startswith("Close: up to 7 of 255")
    assert told({"noise": "close"}).pixels is None
    assert told({"noise": "close", "LoRA scale": "as its source says"}, pixels=7).outcome == "expected close"


def test_file_names_do_not_count() -> None:
    assert told({"file layout": "different"}).outcome == "same picture"


def test_half_precision_that_was_only_read_is_no_more_than_close() -> None:
    only_read = matches(dict.fromkeys(OF_SAMPLING, "as its source says"))
    assert verdict(FLOAT32, only_read).outcome == "expected the same"
    for precision in ("bfloat16", "float16", None):
        assert verdict(replace(FLOAT32, precision=precision), only_read).outcome == "expected close"


def test_topics_with_one_cause_are_one_reason() -> None:
    found = told({"noise": "different", "size": "different"})
    assert [(reason.topics, reason.text) for reason in found.reasons] == [(("noise", "size"), "why")]
    assert found.text == "Different because of noise, size"


@pytest.mark.parametrize(("trainer", "family"), ROWS)
def test_the_graphs_note_begins_with_it(trainer: str, family: str) -> None:
    spec = default_spec(trainer, family)
    text = verdict(spec, explain(spec)).text
    note = next(node for node in build(spec).ui()["nodes"] if node["type"] == "MarkdownNote")
    assert note["widgets_values"][0].split("\n\n")[1] == f"{text}."
    stock = next(node for node in build(spec, style="stock").ui()["nodes"] if node["type"] == "MarkdownNote")
    assert text not in stock["widgets_values"][0]
