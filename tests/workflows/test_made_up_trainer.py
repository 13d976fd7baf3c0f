"""A trainer that somebody adds: refused by the name of the part it lacks, and claimed to match in nothing."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_eridiffusion.configs.fields import Reading
from comfyui_eridiffusion.configs.parse import Notations
from comfyui_eridiffusion.configs.tree import Document, has_any
from comfyui_eridiffusion.images.template import Layout
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, read_text
from comfyui_eridiffusion.trainers import TRAINERS, registered
from comfyui_eridiffusion.trainers.claims import TOPICS
from comfyui_eridiffusion.trainers.trainer import (
    FLOW_SAMPLERS,
    SOURCES,
    Noise,
    Sizes,
    Trainer,
    Way,
    no_placeholder,
    nobody_else,
)
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import explain

CONFIG = "acme: 1\nbase: flux-dev\nshots:\n- a fox in the snow\n"


def read_acme(document: Document, family: str | None) -> SampleSpec:
    root = Reading(document).root()
    shots = [root.as_text(node, "shots") for node in root.items("shots") or []]
    items = [SampleItem(index, shot, 512, 512, 8, seed=7, guidance=3.5) for index, shot in enumerate(shots)]
    return SampleSpec(family or "flux", "acme", items, layout="acme")


WAY: dict[str, Any] = {
    "differs": {"t5_length": 128},
    "variants": {},
    "noise": Noise("torch-cpu", "nchw", "precision", "torch.randn."),
    "sizes": Sizes(16, "floor", 0),
    "samplers": FLOW_SAMPLERS,
    "negative": "never",
    "remarks": (),
    "claims": (),
}
PARTS: dict[str, Any] = {
    "id": "acme",
    "title": "Acme",
    "repository": "acme/acme",
    "sources": dict.fromkeys(SOURCES, "nowhere"),
    "listed": 99,
    "families": ("flux",),
    "files": "YAML",
    "family_told_by": "nothing",
    "seeds": ("7", "the same"),
    "notations": Notations(),
    "recognise": lambda document: has_any(document, "acme"),
    "doubt": nobody_else,
    "read": read_acme,
    "variables": False,
    "tells_placeholder": no_placeholder,
    "model_files": {"base": "model"},
    "ways": (Way("acme", "flux", **WAY),),
    "layout": Layout("{run}/{step}_{index}"),
    "layout_claim": None,
    "saved": (),
    "checkpoints": (),
    "checkpoints_beside": (),
}


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAINERS, "acme", Trainer(**PARTS))


@pytest.mark.usefixtures("acme")
def test_nothing_is_claimed_of_it() -> None:
    spec = read_text(CONFIG)
    assert (spec.trainer, [item.prompt for item in spec.items]) == ("acme", ["a fox in the snow"])
    matches = explain(spec)
    assert [match.topic for match in matches] == list(TOPICS)
    assert {match.kind for match in matches} == {"not checked"}
    assert not any(match.checked or match.figure for match in matches)


@pytest.mark.usefixtures("acme")
def test_its_graph_says_so() -> None:
    workflow = build(read_text(CONFIG))
    assert workflow.api()["noise"]["inputs"]["profile"] == "torch-cpu/nchw/bfloat16"
    assert workflow.api()["positive"]["inputs"]["t5_length"] == 128
    assert read_text(workflow.api()["spec"]["inputs"]["config"]).trainer == "acme"
    assert f"Not checked against the trainer: {', '.join(TOPICS)}." in workflow.beside()


@pytest.mark.usefixtures("acme")
def test_a_family_that_it_does_not_train_is_refused() -> None:
    with pytest.raises(SpecError, match="Acme does not train sdxl"):
        read_text(CONFIG, family="sdxl")


@pytest.mark.parametrize("part", PARTS)
def test_a_missing_part_is_named(part: str) -> None:
    with pytest.raises(TypeError, match=rf"^trainer {'without an id' if part == 'id' else 'acme'}: .* {part}$"):
        Trainer(**{name: value for name, value in PARTS.items() if name != part})


@pytest.mark.parametrize("part", WAY)
def test_a_missing_part_of_a_way_is_named(part: str) -> None:
    with pytest.raises(TypeError, match=rf"^trainer acme × flux: .* {part}$"):
        Way("acme", "flux", **{name: value for name, value in WAY.items() if name != part})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"families": ("flux", "sdxl")}, "acme: ways: it reads sdxl, but has 0 ways"),
        ({"families": ()}, "acme: ways: acme × flux is none of its families'"),
        ({"ways": PARTS["ways"] * 2}, "acme: ways: it reads flux, but has 2 ways"),
        ({"ways": (Way("other", "flux", **WAY),)}, "acme: ways: other × flux"),
        ({"sources": {"read": "acme.py"}}, "acme: sources: nothing is said of its resolved, noise"),
    ],
)
def test_what_does_not_fit_is_named(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Trainer(**{**PARTS, **changes})


def test_a_setting_that_no_profile_has_is_named() -> None:
    with pytest.raises(ValueError, match="acme × flux: differs: a profile has no colour"):
        Way("acme", "flux", **{**WAY, "differs": {"colour": "red"}})


@pytest.mark.parametrize(("id", "said"), [("acme", "id 'acme'"), ("acme2", "listed 99")])
def test_two_of_one_name_or_place_are_refused(id: str, said: str) -> None:
    other = Trainer(**{**PARTS, "id": id, "ways": (), "families": ()})
    with pytest.raises(ValueError, match=f"two trainers have the {said}"):
        registered(Trainer(**PARTS), other)
