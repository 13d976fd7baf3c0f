"""EriDiffusion V2: command lines, configs that name prompts, prompt libraries and prompts files."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleSpec, SpecError, from_json, read_text
from comfyui_eridiffusion.workflows import build

CONFIG = {"model_type": "StableDiffusion35", "training_method": "Lora", "workspace_dir": "workspace/zorp"}


def config(prompts: str, name: str = "p.txt", **fields: Any) -> SampleSpec:
    return read_text(json.dumps(CONFIG | {"validation_prompts_file": name} | fields), files={name: prompts})


def test_prompts_file_counts_the_seed_up() -> None:
    spec = config("  a fox \n\n# no\n  # neither\nan owl --w 512\n")
    assert (spec.trainer, spec.family, spec.name) == ("eridiffusion-v2", "sd35", "zorp")
    assert [(item.prompt, item.seed, item.index) for item in spec.items] == [
        ("a fox", 42, 0),
        ("an owl --w 512", 43, 1),  # no inline flags here
    ]
    for item in spec.items:
        assert (item.width, item.height, item.steps, item.cfg_scale) == (1024, 1024, 28, 4.5)


def test_flux_defaults() -> None:
    (item,) = config("a fox", model_type="FluxDev1").items
    assert (item.width, item.steps, item.cfg_scale, item.guidance, item.seed) == (1024, 20, 1.0, 3.5, 42)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("FluxDev1", "flux"),
        ("FLUX_DEV_1", "flux"),
        ("STABLE_DIFFUSION_35", "sd35"),
        ("StableDiffusion3", "sd35"),
        ("STABLE_DIFFUSION_XL_10_BASE", "sdxl"),
    ],
)
def test_model_types_in_both_spellings(kind: str, family: str) -> None:
    assert config("a", model_type=kind).family == family
    with pytest.raises(SpecError, match="not supported"):
        config("a", model_type="Qwen")


@pytest.mark.parametrize("wrapped", [True, False])
def test_library(wrapped: bool) -> None:
    entries = [
        {"prompt": "a fox", "negative": "grey", "seeds": [7, 8]},
        {"prompt": "an owl"},
        {"prompt": "a hill", "size": 512, "seeds": []},
    ]
    text = json.dumps({"prompts": entries} if wrapped else entries)
    spec = config(text, "p.json", model_type="FluxDev1")
    assert [(item.prompt, item.seed, item.negative_prompt, item.width) for item in spec.items] == [
        ("a fox", 7, "grey", 1024),
        ("a fox", 8, "grey", 1024),
        ("an owl", 42, "", 1024),
        ("a hill", 42, "", 512),
    ]
    assert [item.index for item in spec.items] == [0, 1, 2, 3]


def test_sample_command() -> None:
    text = """#!/bin/sh
# samples of the run
cargo run --release --bin sample_flux -- \\
  --transformer 'models/flux1-dev.safetensors' \\
  --prompts-file prompts.txt --output-dir samples/zorp \\
  --steps=28 --size 768 --seed 7 --flux-guidance 2.5 --variant dev --offload
echo done
"""
    spec = read_text(text, files={"prompts.txt": "a fox\nan owl\n"})
    assert (spec.trainer, spec.family, spec.variant, spec.name) == ("eridiffusion-v2", "flux", "dev", "zorp")
    assert [(item.seed, item.width, item.steps, item.guidance) for item in spec.items] == [
        (7, 768, 28, 2.5),
        (8, 768, 28, 2.5),
    ]
    assert spec.ignored == ["offload"]


def test_training_command() -> None:
    text = (
        "train_sd35 --config c.json --transformer t --output-dir runs/zorp --sample-every 250 "
        "--sample-prompt \"a fox, 'quoted'\" --sample-neg-prompt grey --sample-steps 20 --sample-cfg 1.0 "
        "--sample-shift 2.0 --sample-seed 9"
    )
    spec = read_text(text)
    (item,) = spec.items
    assert (item.prompt, item.negative_prompt, item.seed) == ("a fox, 'quoted'", "grey", 9)
    assert (item.steps, item.cfg_scale, item.width) == (20, 1.0, 1024)
    assert (spec.sample_every, spec.sampling, spec.name) == (250, {"shift": 2.0}, "zorp")


def test_chromas_training_command() -> None:
    """EriTrainer@c2c7ac9 train_chroma.rs:170-198 (defaults), 536-552 (the file before the prompt), 1327 (names)."""
    library = '{"prompts": [{"prompt": "a fox", "negative": "grey", "seeds": [7], "size": 768}, {"prompt": "a hill"}]}'
    line = "train_chroma --config c.json --output-dir runs/zorp --sample-every 100 --sample-prompt other"
    spec = read_text(f"{line} --validation-prompts-file l.json", files={"l.json": library})
    assert [(item.prompt, item.negative_prompt) for item in spec.items] == [("a fox", "grey"), ("a hill", "")]
    assert {(item.seed, item.width, item.steps, item.cfg_scale) for item in spec.items} == {(42, 512, 50, 4.0)}
    assert (spec.family, spec.sample_every, spec.layout) == ("chroma", 100, "eritrainer")
    assert "sample_prompt" in spec.ignored
    assert [item.prompt for item in read_text(line).items] == ["other"]
    with pytest.raises(SpecError, match="multiples of 16"):
        read_text(f"{line} --sample-size 500")


def test_cfg_below_one_is_off_in_the_sampling_program_only() -> None:
    (item,) = read_text("sample_flux --prompt a --cfg 0.5 --transformer t").items
    assert item.cfg_scale == 1.0
    (item,) = read_text("train_sd35 --sample-prompt a --sample-cfg 0.5 --sample-every 5").items
    assert item.cfg_scale == 0.5


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("sample_sd35 --prompt a --size 512", "size"),
        ("sample_sd35 --prompt a --t5-max-len 256", "t5_max_len"),
        ("sample_flux --prompt a --steps many", "steps"),
        ("sample_flux --prompt a --steps 0", "steps"),
        ("sample_flux --prompt a --seed -1", "seed"),
        ("sample_flux --prompt a --flux-guidance x", "flux_guidance"),
        ("sample_flux --prompt a --variant krea", "variant"),
        ("sample_klein --prompt a", "program"),
    ],
)
def test_commands_that_would_stop(text: str, field: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_text(text)
    assert caught.value.field == field
    assert caught.value.line == 1
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text", ["sample_flux --prompt 'a", "sample_flux --prompt a\nsample_sd35 --prompt b\n", "sample_flux --steps 3"]
)
def test_broken_commands(text: str) -> None:
    with pytest.raises(SpecError):
        read_text(text)


def test_train_flux_never_samples() -> None:
    with pytest.raises(SpecError, match="no prompt is given"):
        read_text("train_flux --config c.json --sample-every 5")


@pytest.mark.parametrize("size", [512, 1024, 2048])
def test_mu_is_kept_within_its_limits(size: int) -> None:
    sampling = read_text(f"sample_flux --prompt a --size {size}").sampling
    shifts = {"base_shift": 1.15, "max_shift": 1.15} if size > 1024 else {}
    assert sampling == {**shifts, "lora_scale": 1.0}


def test_seeds_wrap_around() -> None:
    last = 2**64 - 1
    spec = read_text(f"sample_sd35 --prompts-file p --seed {last}", files={"p": "a\nb\n"})
    assert [item.seed for item in spec.items] == [last, 0]


PROMPT = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=30)


@settings(max_examples=80, deadline=None)
@given(PROMPT.filter(lambda text: not text.startswith("-")), st.integers(0, 2**64 - 1))
def test_any_quoted_prompt_is_kept(prompt: str, seed: int) -> None:
    (item,) = read_text(f"sample_sd35 --seed {seed} --prompt {shlex.quote(prompt)} --steps 5").items
    assert (item.prompt, item.seed, item.steps) == (prompt, seed, 5)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=5))
def test_any_library_is_kept(prompts: list[str]) -> None:
    text = json.dumps({"prompts": [{"prompt": prompt, "seeds": [1, 2]} for prompt in prompts]})
    spec = read_text(text, family="flux")
    assert [(item.prompt, item.seed) for item in spec.items] == [
        (prompt, seed) for prompt in prompts for seed in (1, 2)
    ]
    assert from_json(spec.to_json()) == spec


def test_what_stops_the_programs() -> None:
    with pytest.raises(SpecError, match="given twice") as caught:
        read_text("sample_flux --prompt 'a fox' --seed 4 \\\n  --seed 5")
    assert caught.value.remedy
    with pytest.raises(SpecError, match="as well") as caught:
        read_text("sample_sd35 --prompt 'a fox' --prompts-file p.txt", files={"p.txt": "an owl"})
    assert caught.value.field == "prompts_file"


@pytest.mark.parametrize(
    ("command", "sampler", "sampling"),
    [
        ("sample_sdxl --prompt a", None, {"lora_scale": 1 / 16}),
        ("sample_sdxl --prompt a --scheduler ddim --lora-alpha 8 --lora-rank 32", "ddim", {"lora_scale": 0.25}),
        (
            "sample_sdxl --prompt a --scheduler eulera --cfg-rescale 0.7 --v-prediction --lora-rank 4",
            "eulera",
            {"lora_scale": 0.25, "rescale": 0.7, "prediction": "v_prediction"},
        ),
        ("sample_sd35 --prompt a --shift 2", None, {"lora_scale": 1 / 16, "shift": 2.0}),
        ("sample_flux --prompt a", None, {"lora_scale": 1.0}),
        ("sample_flux --prompt a --lora-alpha 4", None, {"lora_scale": 0.25}),
        ("sample_chroma --prompt a --lora-rank 8", None, {"lora_scale": 1.0}),
        ("train_sd35 --sample-every 9 --sample-prompt a --lora-alpha 8", None, {}),
    ],
)
def test_flags_of_the_programs(command: str, sampler: str | None, sampling: dict[str, Any]) -> None:
    """Defaults: sample_sdxl.rs L63-85, sample_sd35.rs L72-74, sample_flux.rs L65-68, sample_chroma.rs L90-93."""
    spec = read_text(command)
    assert spec.items[0].sampler == sampler
    assert spec.sampling == sampling
    assert not {"scheduler", "cfg_rescale", "v_prediction", "lora_alpha", "lora_rank"} & set(spec.ignored)
    if "lora_scale" in sampling:
        assert build(spec, run="zorp", step=5).api()["lora"]["inputs"]["scale"] == sampling["lora_scale"]


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ("--scheduler lms", "field scheduler: there is no scheduler 'lms'. Write euler_a or ddim"),
        ("--scheduler Euler_A", "field scheduler: there is no scheduler"),
        ("--cfg-rescale 7", "field cfg_rescale: .* Write 0 to 1"),
        ("--cfg-rescale much", "field cfg_rescale: 'much' is no number"),
        ("--steps 1001", "field steps: .*1000"),
        ("--steps 501", "field steps: 501 steps begin at timestep 1000"),
        ("--lora-rank 0", "field lora_rank: '0' is no whole number from 1"),
        ("--lora-alpha -1", "field lora_alpha: .*negative"),
    ],
)
def test_flags_that_stop_sample_sdxl(flags: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        read_text(f"sample_sdxl --prompt a {flags}")


def test_the_graph_of_sdxl_samples_as_the_program() -> None:
    """Euler A from the first sigma, with rescaled guidance on a v model; with DDIM to alpha 1."""
    line = "sample_sdxl --prompt a --cfg-rescale 0.7 --v-prediction"
    graph = build(read_text(line)).api()
    sampler = graph["sampler"]["inputs"]
    words = [sampler[key] for key in ("sampler", "spacing", "offset", "start")]
    assert words == ["euler_a", "leading", 11, "first sigma"]
    assert sampler["noise"] == graph["noise"]["inputs"]["profile"] == "rust-stdrng-box-muller-1e-6/nchw/bfloat16"
    assert graph["prediction"]["inputs"]["sampling"] == "v_prediction"
    assert sampler["model"] == ["prediction", 0]
    assert (graph["guided"]["inputs"]["rescale"], graph["guided"]["inputs"]["model"]) == (0.7, ["prediction", 0])
    ddim = build(read_text(f"{line} --scheduler ddim")).api()
    assert [ddim["sigmas"]["inputs"][key] for key in ("spacing", "offset", "final_alpha")] == ["leading", 11, "1"]
    assert ddim["sampler"]["inputs"]["eta"] == 0.0
