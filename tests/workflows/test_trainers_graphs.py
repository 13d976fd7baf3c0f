"""From each trainer's own file to a graph: what the trainer does differently stands in the graph in numbers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from comfyui_eridiffusion.spec import read_text
from comfyui_eridiffusion.workflows import build

ONETRAINER = {"training_method": "LORA", "model_type": "FLUX_DEV_1", "samples": [{"prompt": "a", "width": 1024}]}
SIMPLETUNER = {"model_family": "sdxl", "validation_prompt": "a", "validation_seed_source": "gpu"}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, dict[str, Any]]]] = {
    "kohya flux": (
        "a --d 1 --w 1024 --h 1024",
        {"trainer": "kohya", "family": "flux"},
        {"noise": {"profile": "torch-cuda/packed/bfloat16"}, "positive": {"t5_length": 512}},
    ),
    "kohya sdxl": (
        "a --d 1 --l 6",
        {"trainer": "kohya", "family": "sdxl"},
        {
            "sigmas": {"spacing": "leading", "offset": 0, "final_alpha": "1"},
            "sampler": {"clip_sample": True},
            "positive": {"weighting": True},
            "save": {"rounding": "round", "layout": "kohya"},
        },
    ),
    "musubi": (
        "a --d 1 --fs 3",
        {"trainer": "musubi"},
        {"sigmas": {"base_shift": pytest.approx(1.0986123), "max_shift": pytest.approx(1.0986123)}},
    ),
    "onetrainer": (
        json.dumps(ONETRAINER),
        {},
        {
            "noise": {"profile": "torch-cuda/nchw/float32"},
            "positive": {"t5_length": 77},
            "sigmas": {"spacing": "timesteps"},
        },
    ),
    "simpletuner": (
        json.dumps(SIMPLETUNER),
        {},
        {"noise": {"profile": "torch-cuda/nchw/bfloat16"}, "sigmas": {"spacing": "trailing"}},
    ),
    "eridiffusion-v2": (
        "sample_sd35 --prompt a --shift 2",
        {},
        {
            "noise": {"profile": "rust-stdrng-box-muller/nchw/bfloat16"},
            "sigmas": {"spacing": "linear", "shift": 2.0},
            "positive": {"t5_length": 77},
        },
    ),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_graph_says_how_the_trainer_samples(name: str) -> None:
    text, options, expected = CASES[name]
    spec = read_text(text, **options)
    workflow = build(spec)
    graph = workflow.api()
    for node, inputs in expected.items():
        assert {key: graph[node]["inputs"][key] for key in inputs} == inputs
    # the graph is self-contained: its spec node reads back what was read
    carried = read_text(graph["spec"]["inputs"]["config"])
    assert (carried.items, carried.sampling, carried.trainer) == (workflow.spec.items, spec.sampling, spec.trainer)
    assert all(note in workflow.notes for note in spec.notes)
