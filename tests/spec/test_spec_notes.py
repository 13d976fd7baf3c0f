"""What a trainer does that its samples cannot be made with, or that a person may not expect, is said in the notes."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from comfyui_eridiffusion.spec import read_text

ONETRAINER = {
    "training_method": "LORA",
    "base_model_name": "a/b",
    "sample_after": 50,
    "sample_after_unit": "STEP",
}


def notes(trainer: str, text: str, family: str | None = None, **files: str) -> list[str]:
    return read_text(text, trainer, family, files={name.replace("_", "."): file for name, file in files.items()}).notes


Later = Callable[[], list[str]]


def later(read: Callable[..., list[str]]) -> Callable[..., Later]:
    """Read when the test runs, not when the table is made."""
    return lambda *given, **options: partial(read, *given, **options)


@later
def ai_toolkit(*more: dict[str, Any], **sample: Any) -> list[str]:
    process = {"type": "sd_trainer", "model": {"name_or_path": "a/b", "is_xl": True}}
    process["sample"] = {"prompts": ["a fox"], **sample}
    return notes("ai-toolkit", json.dumps({"job": "extension", "config": {"name": "x", "process": [process, *more]}}))


@later
def kohya(line: str = "a fox --d 1", family: str = "sdxl") -> list[str]:
    return notes("kohya", line, family)


@later
def kohya_config(family: str = "sdxl", **arguments: Any) -> list[str]:
    lines = [f"{key} = {json.dumps(value)}" for key, value in arguments.items()]
    text = "\n".join(['pretrained_model_name_or_path = "a"', 'sample_prompts = "p.txt"', *lines])
    return notes("kohya", text, family, p_txt="a fox --d 1")


@later
def simpletuner(**options: Any) -> list[str]:
    return notes("simpletuner", json.dumps({"model_family": "sdxl", "validation_prompt": "a fox"} | options))


@later
def simpletuner_library(**entry: Any) -> list[str]:
    options = {"model_family": "sdxl", "user_prompt_library": "p.json"}
    return notes("simpletuner", json.dumps(options), p_json=json.dumps({"fox": {"prompt": "a fox", **entry}}))


@later
def onetrainer(kind: str = "FLUX_DEV_1", sample: dict[str, Any] | None = None, **config: Any) -> list[str]:
    samples = [{"prompt": "a fox", **(sample or {})}]
    return notes("onetrainer", json.dumps({**ONETRAINER, "model_type": kind, "samples": samples, **config}))


SD35, SDXL = "STABLE_DIFFUSION_35", "STABLE_DIFFUSION_XL_10_BASE"


@pytest.mark.parametrize(
    ("with_it", "without", "words"),
    [
        (ai_toolkit(prompts=["a fox --gr 0.7"]), ai_toolkit(), "--gr is not part of an item"),
        (ai_toolkit(seed=-5), ai_toolkit(seed=5), f"the seed -5 is {2**64 - 5} to the generator"),
        (ai_toolkit({"type": "extract"}), ai_toolkit(), "Only config.process[0] is read"),
        (kohya("a fox --d 1 --g 3"), kohya("a fox --d 1 --g 3", "flux"), "(--g) is not used"),
        (kohya("a fox --d 1 --cn x.png"), kohya(), "controlnet_image is not used"),
        (kohya("a fox"), kohya(), "Prompts without a seed"),
        (kohya("a fox --d 1 --l 0.5"), kohya("a fox --d 1 --l 1.5"), "a scale of 0.5 means no guidance"),
        (kohya_config(), kohya_config(sample_every_n_steps=5), "The trainer itself makes no samples"),
        (kohya_config(v_parameterization=True), kohya_config(), "predicts v (v_prediction)"),
        (kohya_config("sd35", apply_t5_attn_mask=True), kohya_config("sd35"), "apply_t5_attn_mask: the trainer masks"),
        (simpletuner(controlnet=True), simpletuner(), "follow control images"),
        (simpletuner(num_validation_images=2), simpletuner(), "only the first image of each prompt"),
        (simpletuner_library(bbox_entities=[]), simpletuner_library(), "bbox_entities is not used"),
        (onetrainer(sample={"sample_inpainting": True}), onetrainer(), "sample_inpainting is not reproduced"),
        (onetrainer(sample={"negative_prompt": "x"}), onetrainer(), "Negative prompts are kept but have no effect"),
        (onetrainer(sample={"seed": -5}), onetrainer(), f"the seed -5 is {2**64 - 5} to the generator"),
        (onetrainer(sample_skip_first=2), onetrainer(), "leaves out its first 2 samples"),
        (onetrainer(sample_after_unit="EPOCH"), onetrainer(), "every 50 epoch, which is no number of steps"),
        (onetrainer(SDXL, text_encoder_layer_skip=1), onetrainer(SDXL), "text_encoder_layer_skip is not 0"),
        (onetrainer(SD35, transformer={"attention_mask": True}), onetrainer(SD35), "attention_mask: the trainer masks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_said_where_it_is_so_and_only_there(with_it: Later, without: Later, words: str) -> None:
    assert any(words in note for note in with_it())
    assert not any(words in note for note in without())
