"""Prompts of trainers with tokenizers of their own, in graphs of stock nodes only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfyui_eridiffusion.dev.trainer_tables import default_spec
from comfyui_eridiffusion.errors import WorkflowError
from comfyui_eridiffusion.workflows import Workflow, build


def stock(trainer: str, family: str, prompt: str) -> Workflow:
    spec = default_spec(trainer, family)
    return build(replace(spec, items=[replace(spec.items[0], prompt=prompt)]), style="stock")


def test_kohyas_weights_are_written_as_comfyuis_and_told_to_be_others() -> None:
    workflow = stock("kohya", "sdxl", r"a (red:1.3) “fine” [white] \(cat\) ((x) y)")
    text = workflow.api()["prompt_1"]["inputs"]["text"]
    assert text == r'a (red:1.3) "fine" (white:0.909091) \(cat\) (x:1.21)( y:1.1)'
    assert any("34 of 255" in note for note in workflow.notes)
    assert not any("34 of 255" in note for note in stock("kohya", "sdxl", r"a \(cat\)").notes)
    with pytest.raises(WorkflowError, match=r"no number"):
        stock("kohya", "sdxl", "(a:1.2.3)")


@pytest.mark.parametrize("family", ["flux", "sd35"])
def test_kohyas_clip_gets_plain_quotes_and_its_t5_the_typed_ones(family: str) -> None:
    inputs = stock("kohya", family, "a “cat”").api()["prompt_1"]["inputs"]
    assert (inputs["clip_l"], inputs["t5xxl"]) == ('a "cat"', "a “cat”")
    assert inputs.get("clip_g") in (None, 'a "cat"')


@pytest.mark.parametrize(
    ("trainer", "family", "told"),
    [
        ("ai-toolkit", "sdxl", True),
        ("onetrainer", "sd35", True),
        ("simpletuner", "flux", False),
        ("kohya", "sd35", False),
    ],
)
def test_an_exclamation_mark_is_told_of_where_clip_g_pads_with_it(trainer: str, family: str, told: bool) -> None:
    assert any("xclamation mark" in note for note in stock(trainer, family, "a cat!").notes) is told
    assert not any("xclamation mark" in note for note in stock(trainer, family, "a cat").notes)
