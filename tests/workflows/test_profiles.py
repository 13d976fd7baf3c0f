"""What each trainer's profile makes of a family, against diffusers' schedulers and the trainers' own numbers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from comfyui_eridiffusion.errors import WorkflowError
from comfyui_eridiffusion.families.profile import Profile
from comfyui_eridiffusion.samplers.noise import NoiseProfile
from comfyui_eridiffusion.samplers.schedules import ddim_timesteps, flow_sigmas, flux_sigmas
from comfyui_eridiffusion.samplers.trainer_levels import levels
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, read_text
from comfyui_eridiffusion.spec.model import SAMPLING
from comfyui_eridiffusion.trainers import TRAINERS
from comfyui_eridiffusion.trainers.profiles import profile_for
from comfyui_eridiffusion.workflows import build

ROWS = [(trainer.id, way.family) for trainer in TRAINERS.values() for way in trainer.ways]
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def profile(trainer: str, family: str, sampler: str | None = None, **changes: object) -> Profile:
    item = SampleItem(0, "a", 1024, 1024, 20)
    spec = SampleSpec(family, trainer, [item], **changes)  # type: ignore[arg-type]
    return profile_for(spec, sampler)


@pytest.mark.parametrize(("trainer", "family"), sorted(ROWS))
def test_noise_is_a_profile_that_can_be_drawn(trainer: str, family: str) -> None:
    NoiseProfile.parse(profile(trainer, family).noise)


@pytest.mark.parametrize(
    ("trainer", "family", "noise"),
    [
        ("kohya", "flux", "torch-cuda/packed/bfloat16"),
        ("kohya", "sd35", "torch-cpu/nchw/float32/bfloat16"),
        ("kohya", "sdxl", "torch-cuda/nchw/bfloat16"),
        ("musubi", "flux", "torch-cuda/packed/bfloat16"),
        ("onetrainer", "flux", "torch-cuda/nchw/float32"),
        ("onetrainer", "sd35", "torch-cuda/nchw/float32"),
        ("onetrainer", "sdxl", "torch-cuda/nchw/bfloat16"),
        ("simpletuner", "flux", "torch-cpu/nchw/bfloat16"),
        ("simpletuner", "sdxl", "torch-cpu/nchw/bfloat16"),
    ],
)
def test_noise_sources(trainer: str, family: str, noise: str) -> None:
    assert profile(trainer, family, precision="bfloat16").noise == noise


@pytest.mark.parametrize(
    ("trainer", "family", "tokens"),
    [
        ("kohya", "flux", 512),
        ("kohya", "sd35", 256),
        ("simpletuner", "flux", 512),
        ("simpletuner", "sd35", 154),
        ("onetrainer", "flux", 77),
        ("onetrainer", "sd35", 77),
        ("musubi", "flux", 512),
        ("eridiffusion-v2", "flux", 512),
        ("eridiffusion-v2", "sd35", 77),
    ],
)
def test_t5_tokens(trainer: str, family: str, tokens: int) -> None:
    assert profile(trainer, family).t5_length == tokens
    assert profile(trainer, family, t5_length=99).t5_length == 99


@pytest.mark.parametrize("trainer", ["kohya", "simpletuner"])
def test_schnell_is_shifted_like_dev_with_fewer_tokens(trainer: str) -> None:
    found = profile(trainer, "flux", variant="schnell")
    assert (found.shifted, found.t5_length) == (True, 256)


def flux(found: Profile, steps: int) -> torch.Tensor:
    return flux_sigmas(steps, 4096, found.base_shift, found.max_shift, found.shifted, found.spacing)


def test_onetrainers_flux_schedule() -> None:
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    theirs.set_timesteps(20, mu=1.15)
    torch.testing.assert_close(flux(profile("onetrainer", "flux"), 20), theirs.sigmas, rtol=0, atol=1e-6)


@pytest.mark.parametrize("trainer", ["simpletuner", "kohya", "ai-toolkit"])
def test_flux_pipelines_schedule(trainer: str) -> None:
    theirs = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0)
    theirs.set_timesteps(sigmas=np.linspace(1.0, 1 / 20, 20).tolist(), mu=1.15)
    torch.testing.assert_close(flux(profile(trainer, "flux"), 20), theirs.sigmas, rtol=0, atol=1e-6)


def test_musubis_schedule_has_one_shift_for_every_size() -> None:
    found = profile("musubi", "flux")
    times = np.linspace(1, 0, 21)
    expected = 14.5 * times / (1 + 13.5 * times)
    for tokens in (256, 1024, 4096):
        ours = flux_sigmas(20, tokens, found.base_shift, found.max_shift)
        np.testing.assert_allclose(ours.double(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("trainer", ["kohya", "simpletuner", "onetrainer"])
def test_sd35_schedules_are_those_of_diffusers(trainer: str) -> None:
    found, theirs = profile(trainer, "sd35"), FlowMatchEulerDiscreteScheduler(shift=3.0)
    theirs.set_timesteps(28)
    torch.testing.assert_close(flow_sigmas(28, found.shift, found.spacing), theirs.sigmas, rtol=0, atol=1e-6)


def test_v2s_sd35_schedule() -> None:
    found = profile("eridiffusion-v2", "sd35")
    times = np.array([1 - i / 28 for i in range(29)])
    ours = flow_sigmas(28, found.shift, found.spacing).double()
    np.testing.assert_allclose(ours, 3 * times / (1 + 2 * times), rtol=0, atol=1e-6)


DDIM = {
    "kohya": DDIMScheduler(**BETAS),
    "onetrainer": DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    "simpletuner": DDIMScheduler(
        **BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1, timestep_spacing="trailing"
    ),
}


@pytest.mark.parametrize("trainer", sorted(DDIM))
@pytest.mark.parametrize("steps", [20, 30])
def test_sdxl_ddim_is_that_of_diffusers(trainer: str, steps: int) -> None:
    found, theirs = profile(trainer, "sdxl"), DDIM[trainer]
    theirs.set_timesteps(steps)
    assert ddim_timesteps(steps, found.spacing, found.offset).tolist() == theirs.timesteps.tolist()
    assert found.clip_sample == theirs.config["clip_sample"]
    final = theirs.alphas_cumprod[0] if found.final_alpha == "alpha[0]" else torch.tensor(1.0)
    assert theirs.final_alpha_cumprod == final


@pytest.mark.parametrize(("trainer", "word"), [("kohya", "euler"), ("kohya", "k_euler"), ("onetrainer", "EULER")])
def test_sdxl_euler_has_the_levels_of_diffusers(trainer: str, word: str) -> None:
    found, theirs = profile(trainer, "sdxl", word), EulerDiscreteScheduler(**BETAS)
    table = theirs.sigmas[:-1].flip(0)
    theirs.set_timesteps(20)
    ours = levels(table, found.sampler, 20, found.spacing, found.offset, found.karras)
    torch.testing.assert_close(ours.sigmas, theirs.sigmas, rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.tensor(ours.timesteps), theirs.timesteps, rtol=1e-6, atol=1e-5)
    assert ours.start == pytest.approx(float(theirs.init_noise_sigma), rel=1e-6)
    assert not found.clip_sample


def test_kohya_takes_ddim_for_words_it_does_not_know() -> None:
    for word in ("unipc", "Euler", "k_heun"):
        assert profile("kohya", "sdxl", word) == profile("kohya", "sdxl", "ddim")


@pytest.mark.parametrize(
    ("trainer", "known"), [("ai-toolkit", "custom_lcm"), ("onetrainer", "unipc"), ("simpletuner", "perflow")]
)
def test_a_word_at_which_the_trainer_stops_is_an_error(trainer: str, known: str) -> None:
    """ai-toolkit's get_sampler, OneTrainer's NoiseScheduler and SimpleTuner's SCHEDULER_NAME_MAP have no other."""
    with pytest.raises(WorkflowError, match=rf"sampler.*no sampler 'dpm\+\+ 2m'.*{known}"):
        profile(trainer, "sdxl", "dpm++ 2m")


@pytest.mark.parametrize("word", ["flow_unipc", "rectified_flow_ab2", "twinflow", "flow_matching"])
def test_schedulers_that_simpletuners_parser_does_not_take_are_errors(word: str) -> None:
    with pytest.raises(WorkflowError, match=rf"no sampler '{word}'"):
        profile("simpletuner", "sdxl", word)


def test_diffusers_refuses_kohyas_dpmsolver() -> None:
    with pytest.raises(ValueError, match="final_sigmas_type"):
        DPMSolverMultistepScheduler(**BETAS, algorithm_type="dpmsolver")
    assert any("ends on sigma_min" in note for note in profile("kohya", "sdxl", "dpmsolver").notes)


def test_only_kohya_reads_weights_in_prompts() -> None:
    weighting = {key for key in ROWS if profile(*key).weighting}
    assert weighting == {("kohya", "sdxl")}


def test_truncation_is_where_the_trainer_converts_pixels_itself() -> None:
    truncating = {key for key in ROWS if profile(*key).rounding == "truncate"}
    assert {key for key in truncating if key[0] in ("kohya", "musubi", "simpletuner", "onetrainer")} == {
        ("kohya", "flux"),
        ("kohya", "sd35"),
        ("kohya", "chroma"),
        ("musubi", "flux"),
    }


def test_a_config_changes_what_it_names() -> None:
    found = profile("simpletuner", "sdxl", sampling={"spacing": "leading", "zero_snr": True})
    assert (found.spacing, found.zero_snr) == ("leading", True)
    zero = {"model_type": "STABLE_DIFFUSION_XL_10_BASE", "rescale_noise_scheduler_to_zero_terminal_snr": True}
    graph = build(read_text(json.dumps(zero | {"training_method": "LORA", "samples": [{"prompt": "a"}]}))).api()
    assert graph["sigmas"]["inputs"]["spacing"] == graph["sampler"]["inputs"]["spacing"] == "last, then leading"
    assert graph["sigmas"]["inputs"]["zero_terminal_snr"] is False
    mu = math.log(3.0)
    assert profile("musubi", "flux", sampling={"base_shift": mu, "max_shift": mu}).max_shift == mu
    assert profile("simpletuner", "flux", sampling={"noise": "torch-cuda/nchw/float16"}).noise == (
        "torch-cuda/nchw/float16"
    )


@pytest.mark.parametrize(
    ("family", "sampling", "field", "words"),
    [
        ("flux", {"noise": "none"}, "sampling.noise", "torch-cpu/nchw/float32"),
        ("sd35", {"noise": ""}, "sampling.noise", "torch-cpu/nchw/float32"),
        ("sdxl", {"noise": "numpy/nchw/float32"}, "sampling.noise", "rust-stdrng-uniform"),
        ("flux", {"noise": "torch-cpu/rows/float32"}, "sampling.noise", "patches"),
        ("flux", {"noise": "torch-cuda@rtx-1/nchw/float32"}, "sampling.noise", "rtx-3090"),
        ("flux", {"noise": "torch-cpu/packed/float32", "eta": 0.5}, "sampling.eta", "no noise"),
        ("sd35", {"noise": "rust-stdrng-uniform/nchw/float32", "s_churn": 2.0}, "sampling.s_churn", "no noise"),
        ("sdxl", {"noise": "rust-stdrng-ziggurat/nchw/float32", "s_churn": 2.0}, "sampling.s_churn", "no noise"),
    ],
)
def test_noise_that_there_is_not_is_refused(family: str, sampling: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(WorkflowError, match=re.escape(words)) as caught:
        profile("native", family, sampling=sampling)
    assert caught.value.field == field


@pytest.mark.parametrize(("family", "whose"), [("flux", []), ("sd35", []), ("sdxl", ["noise"])])
def test_only_ddim_takes_the_noise_of_its_steps_from_comfyui(family: str, whose: list[str]) -> None:
    found = profile("native", family, sampling={"noise": "torch-cuda/nchw/float32", "eta": 0.5})
    assert [topic for remark in found.remarks for topic in remark.topics if "every step" in remark.text] == whose


def test_everything_a_config_may_change_is_part_of_a_profile() -> None:
    """sampler, karras and start follow from the word for the sampler, which stands with each sample."""
    kinds = {entry.name: entry.type for entry in fields(Profile)}
    assert {name: kind.__name__ for name, kind in SAMPLING.items()} == {
        name: kind for name, kind in kinds.items() if name not in ("remarks", "t5_length", "sampler", "karras", "start")
    }
