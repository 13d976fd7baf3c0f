"""What `explain` claims, against the trainers' formulas written out here and diffusers' schedulers."""

from __future__ import annotations

import ast
import importlib
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from comfyui_eridiffusion.samplers.schedules import ddim_timesteps, flow_sigmas, flux_sigmas
from comfyui_eridiffusion.tests.samplers.test_noise_generators import BOX_MULLER_ULP, CUDA_BOUND
from comfyui_eridiffusion.tests.workflows import parity_evidence
from comfyui_eridiffusion.tests.workflows.parity_table import default_spec, markdown
from comfyui_eridiffusion.trainers.profiles import PROFILES, profile_for
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import FIGURES, SIGMAS, TOPICS, Match, explain

ROOT = Path(__file__).parents[2]
STEPS = range(2, 61)
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
OPEN = {"clip_sample": False, "set_alpha_to_one": False}
#: As each trainer sets diffusers' DDIM up; the native form follows SDXL's own scheduler_config.json.
DDIM = {
    "native": {**OPEN, "steps_offset": 1},
    "ai-toolkit": {**OPEN, "steps_offset": 0},
    "kohya": {},
    "simpletuner": {**OPEN, "steps_offset": 1, "timestep_spacing": "trailing"},
    "onetrainer": {**OPEN, "steps_offset": 1},
}
TOKENS = (256, 1024, 2304, 4096, 6144)


def shifted(times: np.ndarray, factor: float) -> np.ndarray:
    """Esser et al. 2024, equation 23; with factor e^mu it is Black Forest Labs' shift."""
    return factor * times / (1 + (factor - 1) * times)


def flux_times(trainer: str, steps: int, tokens: int) -> np.ndarray:
    """The trainer's Flux sigmas in double precision."""
    if trainer == "musubi":
        return shifted(np.linspace(1, 0, steps + 1), 14.5)
    factor = math.exp(0.5 + (1.15 - 0.5) * (tokens - 256) / (4096 - 256))
    if trainer == "onetrainer":
        return np.append(shifted(np.linspace(1, 1e-3, steps), factor), 0.0)
    return shifted(np.linspace(1, 0, steps + 1), factor)


def sd35_times(trainer: str, steps: int) -> np.ndarray:
    """The trainer's SD 3.5 sigmas in double precision."""
    if trainer == "eridiffusion-v2":
        return shifted(1 - np.arange(steps + 1) / steps, 3.0)
    return np.append(shifted(np.linspace(1, shifted(np.array(1e-3), 3.0), steps), 3.0), 0.0)


def difference(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.double().numpy() - theirs).max())


def claimed(family: str) -> list[str]:
    return [trainer for (trainer, kind), entry in SIGMAS.items() if kind == family and not isinstance(entry, str)]


@pytest.mark.parametrize("trainer", claimed("flux"))
def test_flux_sigmas_differ_by_the_figure(trainer: str) -> None:
    row = profile_for(default_spec(trainer, "flux"))
    worst = max(
        difference(
            flux_sigmas(steps, tokens, row.base_shift, row.max_shift, row.shifted, row.spacing),
            flux_times(trainer, steps, tokens),
        )
        for steps in STEPS
        for tokens in TOKENS
    )
    assert FIGURES["flux sigmas"] / 2 < worst <= FIGURES["flux sigmas"]


@pytest.mark.parametrize("trainer", claimed("sd35"))
def test_sd35_sigmas_differ_by_the_figure(trainer: str) -> None:
    row = profile_for(default_spec(trainer, "sd35"))
    worst = max(difference(flow_sigmas(steps, row.shift, row.spacing), sd35_times(trainer, steps)) for steps in STEPS)
    figure = FIGURES[SIGMAS[trainer, "sd35"][0]]
    assert figure / 2 < worst <= figure


@pytest.mark.parametrize("trainer", claimed("sdxl"))
def test_ddim_timesteps_are_equal(trainer: str) -> None:
    row, theirs = profile_for(default_spec(trainer, "sdxl")), DDIMScheduler(**BETAS, **DDIM[trainer])
    for steps in (4, 20, 30, 50):
        theirs.set_timesteps(steps)
        assert ddim_timesteps(steps, row.spacing, row.offset).tolist() == theirs.timesteps.tolist()
    assert row.clip_sample == theirs.config["clip_sample"]
    assert (row.final_alpha == "1") == theirs.config["set_alpha_to_one"]


@pytest.mark.parametrize("trainer", ["kohya", "onetrainer"])
def test_eulers_timesteps_differ_by_the_figure(trainer: str) -> None:
    row, worst = profile_for(default_spec(trainer, "sdxl"), "euler"), 0.0
    theirs = EulerDiscreteScheduler(**BETAS)
    for steps in STEPS:
        theirs.set_timesteps(steps)
        worst = max(
            worst, difference(ddim_timesteps(steps, row.spacing, row.offset), theirs.timesteps.double().numpy())
        )
    assert FIGURES["euler timesteps"] * 0.9 < worst <= FIGURES["euler timesteps"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_one_rounding_is_the_figure(dtype: str) -> None:
    values = torch.linspace(1.0, 2.0, 100001, dtype=torch.float64)
    share = ((values.to(getattr(torch, dtype)).double() - values).abs() / values).max().item()
    assert FIGURES[dtype] * 0.9 < share <= FIGURES[dtype]


def test_noise_figures_are_the_bounds_of_the_noise_tests() -> None:
    assert FIGURES["torch-cuda"] == CUDA_BOUND
    assert FIGURES["box-muller"] == BOX_MULLER_ULP


def kinds(matches: list[Match]) -> dict[str, set[str]]:
    return {topic: {match.kind for match in matches if match.topic == topic} for topic in TOPICS}


@pytest.mark.parametrize(("trainer", "family"), sorted(PROFILES))
def test_every_topic_is_answered(trainer: str, family: str) -> None:
    matches = explain(default_spec(trainer, family))
    assert all(kinds(matches).values())
    assert [match.topic for match in matches] == sorted((match.topic for match in matches), key=TOPICS.index)
    assert set(PROFILES) == set(SIGMAS)


def test_a_close_match_needs_a_figure() -> None:
    with pytest.raises(ValueError, match="figure"):
        Match("noise", "close", "near")


def test_settings_of_a_config_change_the_answer() -> None:
    spec = default_spec("simpletuner", "sd35")
    assert kinds(explain(spec))["noise"] == {"exact"}
    gpu = replace(spec, sampling={"noise": "torch-cuda/nchw/bfloat16"})
    assert kinds(explain(gpu))["noise"] == {"close"}
    skipped = replace(spec, sampling={"skip_layers": "7, 8, 9"})
    assert kinds(explain(skipped))["guidance"] == {"exact", "different"}
    random = replace(spec, items=[replace(spec.items[0], seed=None)])
    assert "different" in kinds(explain(random))["noise"]
    full = replace(spec, precision="float32")
    assert kinds(explain(full))["precision"] == {"exact"}


def test_words_of_samplers_and_weights_change_the_answer() -> None:
    spec = default_spec("kohya", "sdxl")
    for word, kind in (("ddim", "exact"), ("euler", "close"), ("euler_a", "different")):
        items = [replace(spec.items[0], sampler=word)]
        assert kinds(explain(replace(spec, items=items)))["sigmas"] == {kind}
    weighted = replace(spec, items=[replace(spec.items[0], prompt="a (cat:1.2)")])
    assert kinds(explain(spec))["token lengths"] == {"exact"}
    assert kinds(explain(weighted))["token lengths"] == {"different"}


@pytest.mark.parametrize(("trainer", "family"), sorted(PROFILES))
def test_the_graphs_note_says_what_does_not_match(trainer: str, family: str) -> None:
    spec = default_spec(trainer, family)
    (note,) = [node for node in build(spec).ui()["nodes"] if node["type"] == "MarkdownNote"]
    (text,) = note["widgets_values"]
    for match in explain(spec):
        if match.kind == "exact":
            continue
        assert f"- {match.topic.capitalize()}, {match.kind}" in text
        assert match.detail.rstrip(".") in text
        assert match.figure is None or f"{match.figure:.2g} {match.unit}" in text
    exact = [topic for topic, found in kinds(explain(spec)).items() if found == {"exact"}]
    assert f"As in the trainer: {', '.join(exact)}." in text
    stock = next(node for node in build(spec, style="stock").ui()["nodes"] if node["type"] == "MarkdownNote")
    assert "As in the trainer:" not in stock["widgets_values"][0]


@pytest.mark.parametrize(("trainer", "family"), sorted(PROFILES))
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_graphs_note_says_nothing_twice(trainer: str, family: str, precision: str) -> None:
    """A profile's remark is beside the graph where no sentence of its own is on its topics, and only there."""
    spec = replace(default_spec(trainer, family), precision=precision)
    (note,) = [node for node in build(spec).ui()["nodes"] if node["type"] == "MarkdownNote"]
    lines = note["widgets_values"][0].splitlines()
    own = {line[2:].partition(",")[0].lower() for line in lines if re.match(r"- [A-Z][\w ]+, (close|different)", line)}
    remarks = profile_for(spec).remarks
    for remark in remarks:
        assert set(remark.topics) <= set(TOPICS)
        assert (f"- {remark.text}" in lines) is (not remark.topics or not set(remark.topics) <= own)
    assert not (precision == "float32" and any("half precision" in remark.text for remark in remarks))


def test_nothing_of_v1s_schedule_or_noise_is_claimed() -> None:
    for family in ("flux", "sd35", "sdxl"):
        found = kinds(explain(default_spec("eridiffusion", family)))
        assert found["noise"] == found["sigmas"] == {"different"}


#: Per trainer and family what its code draws with torch or Rust, in bfloat16 training; see the sources in the docs.
NOISE = {
    ("native", "flux"): "torch-cpu/nchw/float32",
    ("native", "sd35"): "torch-cpu/nchw/float32",
    ("native", "sdxl"): "torch-cpu/nchw/float32",
    ("eridiffusion-v2", "flux"): "rust-stdrng-ziggurat/packed/bfloat16",
    ("eridiffusion-v2", "sd35"): "rust-stdrng-box-muller/nchw/bfloat16",
    ("ai-toolkit", "flux"): "torch-cpu/nchw/bfloat16",
    ("ai-toolkit", "sd35"): "torch-cpu/nchw/bfloat16",
    ("ai-toolkit", "sdxl"): "torch-cpu/nchw/bfloat16",
    ("kohya", "flux"): "torch-cuda/packed/bfloat16",
    ("kohya", "sd35"): "torch-cpu/nchw/float32/bfloat16",
    ("kohya", "sdxl"): "torch-cuda/nchw/bfloat16",
    ("simpletuner", "flux"): "torch-cpu/nchw/bfloat16",
    ("simpletuner", "sd35"): "torch-cpu/nchw/bfloat16",
    ("simpletuner", "sdxl"): "torch-cpu/nchw/bfloat16",
    ("onetrainer", "flux"): "torch-cuda/nchw/float32",
    ("onetrainer", "sd35"): "torch-cuda/nchw/float32",
    ("onetrainer", "sdxl"): "torch-cuda/nchw/bfloat16",
    ("musubi", "flux"): "torch-cuda/packed/bfloat16",
}
#: T5 tokens by default. SDXL has no T5.
TOKENS_OF = {
    ("native", "flux"): 512,
    ("native", "sd35"): 256,
    ("eridiffusion-v2", "flux"): 512,
    ("eridiffusion-v2", "sd35"): 77,
    ("ai-toolkit", "flux"): 512,
    ("ai-toolkit", "sd35"): 256,
    ("kohya", "flux"): 512,
    ("kohya", "sd35"): 256,
    ("simpletuner", "flux"): 512,
    ("simpletuner", "sd35"): 154,
    ("onetrainer", "flux"): 77,
    ("onetrainer", "sd35"): 77,
    ("musubi", "flux"): 512,
}


def claims(topic: str) -> set[tuple[str, str]]:
    """The rows of the documented table that say "exact" or "close" of a topic."""
    return {row for row in PROFILES if kinds(explain(default_spec(*row)))[topic] <= {"exact", "close"}}


@pytest.mark.parametrize(("trainer", "family"), sorted(NOISE))
def test_noise_is_drawn_as_the_trainer_draws_it(trainer: str, family: str) -> None:
    assert profile_for(default_spec(trainer, family)).noise == NOISE[trainer, family]
    assert set(NOISE) == claims("noise")


@pytest.mark.parametrize(("trainer", "family"), sorted(TOKENS_OF))
def test_t5_lengths_are_the_trainers(trainer: str, family: str) -> None:
    assert profile_for(default_spec(trainer, family)).t5_length == TOKENS_OF[trainer, family]
    assert set(TOKENS_OF) == {row for row in claims("token lengths") if row[1] != "sdxl"}
    assert all(profile_for(default_spec(*row)).t5_length == 0 for row in PROFILES if row[1] == "sdxl")


def test_every_claim_about_sigmas_is_held_by_a_test() -> None:
    tested = {(trainer, family) for family in ("flux", "sd35", "sdxl") for trainer in claimed(family)}
    assert claims("sigmas") == tested


def test_the_documented_tables_are_the_tables() -> None:
    document = (ROOT / "docs" / "parity.md").read_text(encoding="utf-8")
    for table in (markdown(), parity_evidence.markdown(), parity_evidence.files()):
        assert table in document


@pytest.mark.parametrize("trainer", sorted(parity_evidence.EVIDENCE))
def test_the_tests_named_as_evidence_exist_and_are_about_the_trainer(trainer: str) -> None:
    assert {trainer for trainer, _ in PROFILES} == set(parity_evidence.EVIDENCE)
    cells = parity_evidence.EVIDENCE[trainer]
    assert len(cells) == len(parity_evidence.COLUMNS)
    for name in (name for _, tests in cells for name in tests):
        file, _, function = name.partition("::")
        place = ROOT / "tests" / file
        found = [
            node for node in ast.parse(place.read_text(encoding="utf-8")).body if getattr(node, "name", "") == function
        ]
        assert len(found) == 1, name
        if trainer.replace("-", "_") in place.name or trainer == "native" or name.startswith("samplers/"):
            continue
        module = importlib.import_module(f"comfyui_eridiffusion.tests.{file.removesuffix('.py').replace('/', '.')}")
        marks = [mark for mark in getattr(getattr(module, function), "pytestmark", ()) if mark.name == "parametrize"]
        values = [value for mark in marks for value in mark.args[1]]
        about = {value if isinstance(value, str) else value[0] for value in values}
        assert not marks or trainer in about, name
