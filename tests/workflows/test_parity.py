"""What `explain` claims, against the trainers' own runs, their formulas written out here and diffusers' schedulers."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from comfyui_eridiffusion.dev.trainer_tables import default_spec, made
from comfyui_eridiffusion.samplers.schedules import ddim_timesteps, flow_sigmas, flux_sigmas
from comfyui_eridiffusion.tests.parity.cells import CELLS
from comfyui_eridiffusion.tests.parity.graph_runs import cell_spec
from comfyui_eridiffusion.tests.samplers.test_noise_generators import CUDA_BOUND
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.trainers.claims import FIGURES, SEEN_IN_A_PICTURE, TOPICS, Claim
from comfyui_eridiffusion.trainers.profiles import profile_for
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import Match, explain

ROOT = Path(__file__).parents[2]
ROWS = [(trainer.id, way.family) for trainer in TRAINERS.values() for way in trainer.ways]
STEPS = range(2, 61)
#: Largest differences of float32 schedules from the formulas in double precision.
FLUX_FIGURE, SD35_FIGURE = 3.1e-8, 1.4e-7
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
    if trainer == "ai-toolkit":  # its subclass of diffusers' scheduler keeps the shift at 1
        return np.append(np.linspace(1, 1e-3, steps), 0.0)
    return np.append(shifted(np.linspace(1, shifted(np.array(1e-3), 3.0), steps), 3.0), 0.0)


def difference(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.double().numpy() - theirs).max())


@pytest.mark.parametrize("trainer", ["native", "ai-toolkit", "kohya", "simpletuner", "onetrainer", "musubi"])
def test_flux_sigmas_are_the_trainers_formula(trainer: str) -> None:
    row = profile_for(default_spec(trainer, "flux"))
    worst = max(
        difference(
            flux_sigmas(steps, tokens, row.base_shift, row.max_shift, row.shifted, row.spacing),
            flux_times(trainer, steps, tokens),
        )
        for steps in STEPS
        for tokens in TOKENS
    )
    assert FLUX_FIGURE / 2 < worst <= FLUX_FIGURE


@pytest.mark.parametrize("trainer", ["native", "eridiffusion-v2", "ai-toolkit", "kohya", "simpletuner", "onetrainer"])
def test_sd35_sigmas_are_the_trainers_formula(trainer: str) -> None:
    row = profile_for(default_spec(trainer, "sd35"))
    worst = max(difference(flow_sigmas(steps, row.shift, row.spacing), sd35_times(trainer, steps)) for steps in STEPS)
    assert 0 < worst <= SD35_FIGURE


@pytest.mark.parametrize("trainer", DDIM)
def test_ddim_timesteps_are_equal(trainer: str) -> None:
    row, theirs = profile_for(default_spec(trainer, "sdxl")), DDIMScheduler(**BETAS, **DDIM[trainer])
    for steps in (4, 20, 30, 50):
        theirs.set_timesteps(steps)
        assert ddim_timesteps(steps, row.spacing, row.offset).tolist() == theirs.timesteps.tolist()
    assert row.clip_sample == theirs.config["clip_sample"]
    assert (row.final_alpha == "1") == theirs.config["set_alpha_to_one"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_one_rounding_is_the_figure(dtype: str) -> None:
    values = torch.linspace(1.0, 2.0, 100001, dtype=torch.float64)
    share = ((values.to(getattr(torch, dtype)).double() - values).abs() / values).max().item()
    assert FIGURES[dtype] * 0.9 < share <= FIGURES[dtype]


def test_the_figure_of_cuda_noise_is_the_bound_of_its_tests() -> None:
    assert FIGURES["torch-cuda"] == CUDA_BOUND


# --- evidence --------------------------------------------------------------------------------------------------------


def functions(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def evidence() -> list[str]:
    """Names that the claims give as evidence; that of a run is its tag, and test_cells.py asks what it shows."""
    claims = [claim for trainer in TRAINERS.values() for way in trainer.ways for claim in way.claims]
    claims += [trainer.layout_claim for trainer in TRAINERS.values() if trainer.layout_claim]
    return sorted({name for claim in claims for name in claim.evidence})


@pytest.mark.parametrize("name", evidence())
def test_evidence_is_there(name: str) -> None:
    file, _, function = name.partition("::")
    if file == "parity/test_trainer_runs.py":
        assert function in CELLS
    else:
        assert function.partition("[")[0] in functions(file)


def kinds(matches: list[Match]) -> dict[str, set[str]]:
    return {topic: {match.kind for match in matches if match.topic == topic} for topic in TOPICS}


@pytest.mark.parametrize("tag", CELLS)
def test_the_same_picture_is_told_to_be_exact(tag: str) -> None:
    """In all that a picture shows; noise that the trainer draws on CUDA is close, that of its steps was not run."""
    spec, cell = cell_spec(tag), CELLS[tag]
    for item in spec.items:
        found = kinds(explain(spec.part([item])))
        on_cuda = "as its source says" if cell.fed_steps else "close"
        assert found["noise"] == ({"exact"} if cell.noise == "drawn" else {on_cuda})
        assert all(found[topic] == {"exact"} for topic in SEEN_IN_A_PICTURE if topic != "noise"), (item, found)


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("trainer", "family"), ROWS)
def test_every_topic_is_answered(trainer: str, family: str) -> None:
    matches = explain(default_spec(trainer, family))
    assert all(kinds(matches).values())
    assert [match.topic for match in matches] == sorted((match.topic for match in matches), key=TOPICS.index)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "exact"}, "needs the test"),
        ({"kind": "close", "evidence": ("a::b",)}, "needs a figure"),
        ({"kind": "different"}, "says why"),
        ({"kind": "as documented"}, "the statement"),
        ({"kind": "equal"}, "no kind 'equal'"),
        ({"kind": "exact", "topic": "colour", "evidence": ("a::b",)}, "no topic 'colour'"),
    ],
)
def test_a_claim_without_its_ground_is_refused(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Claim(**{"topic": "noise", **changes})  # type: ignore[arg-type]


def test_settings_of_a_config_change_the_answer() -> None:
    spec = replace(default_spec("simpletuner", "flux"), precision="float32")
    assert kinds(explain(spec))["noise"] == {"exact"}
    assert kinds(explain(spec))["precision"] == {"exact"}
    half = replace(spec, precision="bfloat16")
    assert kinds(explain(half))["noise"] == {"as its source says"}
    assert kinds(explain(half))["precision"] == {"close"}
    gpu = replace(spec, sampling={"noise": "torch-cuda/nchw/float32"})
    assert kinds(explain(gpu))["noise"] == {"as its source says"}
    random = replace(spec, items=[replace(spec.items[0], seed=None)])
    assert "different" in kinds(explain(random))["noise"]
    guided = replace(spec, items=[replace(spec.items[0], cfg_scale=2.5)])
    assert kinds(explain(guided))["guidance"] == {"exact"}
    zero = replace(default_spec("simpletuner", "sdxl"), sampling={"zero_snr": True})
    euler = replace(zero, items=[replace(zero.items[0], sampler="euler")])
    assert kinds(explain(zero))["sigmas"] == {"as its source says"}
    assert kinds(explain(euler))["sigmas"] == {"different"}
    schnell = replace(spec, variant="schnell")
    assert kinds(explain(schnell))["sigmas"] == {"as its source says"}


def test_words_of_samplers_and_prompts_change_the_answer() -> None:
    spec = default_spec("kohya", "sdxl")
    for word, kind in (("ddim", "exact"), ("k_euler", "exact"), ("dpmsolver", "exact"), ("unipc", "exact")):
        items = [replace(spec.items[0], sampler=word)]
        assert kinds(explain(replace(spec, items=items)))["sigmas"] == {kind}
    for prompt, kind in (("a (cat:1.2)", "exact"), ("a “cat”", "exact"), ("a cat!", "exact"), ("a cafÃ©", "different")):
        items = [replace(spec.items[0], prompt=prompt)]
        assert kinds(explain(replace(spec, items=items)))["token lengths"] == {kind}
    medium = replace(default_spec("kohya", "sd35"), variant="medium")
    assert kinds(explain(replace(medium, precision="float32")))["model"] == {"exact"}
    published = replace(medium, sampling={"swapped_heads": False})
    assert kinds(explain(published))["model"] == {"different"}
    assert "swapped" in " ".join(build(medium, style="stock").notes)
    assert kinds(explain(replace(medium, variant="large")))["model"] == {"as its source says"}


def test_a_trainer_that_nobody_knows_is_not_checked() -> None:
    spec = replace(default_spec("native", "flux"), trainer="nobody", layout="nobody")
    assert set(map(frozenset, kinds(explain(spec)).values())) == {frozenset({"not checked"})}


@pytest.mark.parametrize(("trainer", "family"), ROWS)
def test_the_graphs_note_says_what_does_not_match(trainer: str, family: str) -> None:
    spec = default_spec(trainer, family)
    *_, note = [node for node in build(spec).ui()["nodes"] if node["type"] == "MarkdownNote"]
    (text,) = note["widgets_values"]
    together = {
        "exact": "As in the trainer",
        "as its source says": "As the trainer's source",
        "as documented": "As the trainer's documents",
        "not checked": "Not checked",
    }
    for match in explain(spec):
        if match.kind in together:
            line = next(line for line in text.splitlines() if line.startswith(f"- {together[match.kind]}"))
            assert re.search(rf"[:,] {match.topic}[,.]", line)
            continue
        assert f"- {match.topic.capitalize()}, {match.kind}" in text
        assert match.detail.rstrip(".") in text
        assert match.figure is None or f"{match.figure:.2g} {match.unit}" in text
    stock = next(node for node in build(spec, style="stock").ui()["nodes"] if node["type"] == "MarkdownNote")
    assert "As in the trainer:" not in stock["widgets_values"][0]


@pytest.mark.parametrize(("trainer", "family"), ROWS)
@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
def test_the_graphs_note_says_nothing_twice(trainer: str, family: str, precision: str) -> None:
    """A profile's remark is beside the graph where no sentence of its own is on its topics, and only there."""
    spec = replace(default_spec(trainer, family), precision=precision)
    notes = [node for node in build(spec).ui()["nodes"] if node["type"] == "MarkdownNote"]
    lines = "\n".join(node["widgets_values"][0] for node in notes).splitlines()
    own = {line[2:].partition(",")[0].lower() for line in lines if re.match(r"- [A-Z][\w ]+, (close|different)", line)}
    remarks = profile_for(spec).remarks
    for remark in remarks:
        assert set(remark.topics) <= set(TOPICS)
        assert (f"- {remark.text}" in lines) is (not remark.topics or not set(remark.topics) <= own)
    assert not (precision == "float32" and any("half precision" in remark.text for remark in remarks))


def test_v1_is_as_documented_and_its_noise_different() -> None:
    for family in ("flux", "sd35", "sdxl"):
        found = kinds(explain(default_spec("eridiffusion", family)))
        assert (found["noise"], found["sigmas"]) == ({"different"}, {"as documented"})


@pytest.mark.parametrize("name", made())
def test_the_documented_tables_are_those_of_the_registry(name: str) -> None:
    remedy = "write them anew: python -m comfyui_eridiffusion.dev.trainer_tables"
    assert (ROOT / name).read_text(encoding="utf-8") == made()[name], remedy
