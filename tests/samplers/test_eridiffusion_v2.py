"""EriDiffusion V2's sample programs beside ours: what its own functions printed, compiled with rand 0.8.5 (rustc 1.95).

The functions are those of CodeAlexx/EriDiffusion@8f1309b (branch master): `timesteps` and `compute_alpha_bar` of
crates/eridiffusion-core/src/sampler/sdxl_sampler.rs (L56-86), `schedule` of flux_sampler.rs (L21-49), and
`sample_normal` of crates/eridiffusion-cli/src/bin/sample_sdxl.rs (L303-318), here in one stream of draws of 36 values;
`dpmpp_2m_step` and what it calls (flux_sampler.rs L122-231), in the loop of sample_chroma.rs L301-358 on six values,
whose velocity is `A * x + B * t * t`.
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from comfyui_eridiffusion.samplers import flow
from comfyui_eridiffusion.samplers._rust_rng import box_muller
from comfyui_eridiffusion.samplers.noise import initial_noise
from comfyui_eridiffusion.samplers.schedules import alphas_cumprod, flux_sigmas
from comfyui_eridiffusion.samplers.step_noise import NoiseStream
from comfyui_eridiffusion.samplers.trainer_levels import levels
from comfyui_eridiffusion.spec import read_text
from comfyui_eridiffusion.trainers.profiles import profile_for

PRINTED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "eridiffusion_v2.json").read_text("utf-8"))
NOISE = "rust-stdrng-box-muller-1e-6/nchw/float32"
#: The figure that is claimed of the noise.
FIGURE = 5e-7


def printed(kind: str) -> list[Any]:
    return [pytest.param(*map(int, key.split()[1:]), id=key) for key in PRINTED if key.startswith(kind)]


@pytest.mark.parametrize(("size", "steps"), printed("flux"))
@pytest.mark.parametrize("program", ["flux --variant dev", "flux --variant schnell", "chroma"])
def test_flux_sigmas_are_the_programs(size: int, steps: int, program: str) -> None:
    """schnell's are shifted, too: the program only leaves out its guidance (sample_flux.rs L225-237, L308)."""
    sides = f"--width {size} --height {size}" if program == "chroma" else f"--size {size}"
    command = f"sample_{program} --prompt 'a fox' --steps {steps} {sides}"
    profile = profile_for(read_text(command))
    assert profile.shifted
    ours = flux_sigmas(steps, (size // 16) ** 2, profile.base_shift, profile.max_shift)
    assert torch.allclose(ours, torch.tensor(PRINTED[f"flux {size} {steps}"]), rtol=0.0, atol=1.4e-7)


@pytest.mark.parametrize(("width", "height", "steps"), printed("dpmpp_2m"))
def test_dpmpp_2m_is_the_programs(width: int, height: int, steps: int) -> None:
    slope, offset = torch.tensor([0.9, 0.5, 0.1, -0.2, 0.7, 0.3]), torch.tensor([0.4, -0.8, 0.6, 1.0, -0.5, 0.2])
    x, before = torch.tensor([1.2, -0.7, 0.3, -1.5, 0.05, 2.0]), None
    for sigma, after in pairwise(flux_sigmas(steps, width * height // 256)):
        denoised = x - (slope * x + offset * sigma * sigma) * sigma
        x, before = flow.dpmpp_2m_from_denoised(x, denoised, sigma, after, before), (denoised, sigma)
    assert torch.allclose(x, torch.tensor(PRINTED[f"dpmpp_2m {width} {height} {steps}"]), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("steps", [steps.values[0] for steps in printed("sdxl")])
def test_sdxl_levels_are_the_programs(steps: int) -> None:
    program = PRINTED[f"sdxl {steps}"]
    profile = profile_for(read_text(f"sample_sdxl --prompt 'a fox' --steps {steps}"))
    alphas = alphas_cumprod()
    table = ((1 - alphas) / alphas).sqrt()
    made = levels(table, profile.sampler, steps, profile.spacing, profile.offset, start=profile.start)
    assert list(made.timesteps) == program["timesteps"]
    # the program multiplies its alphas up in float32
    assert np.allclose(made.sigmas[:-1].numpy(), program["sigmas"], rtol=1.5e-5, atol=0.0)
    assert float(made.sigmas[-1]) == 0.0
    assert made.start == pytest.approx(program["sigmas"][0], rel=1.5e-5)


@pytest.mark.parametrize("seed", [42, 43])
def test_noise_is_the_programs(seed: int) -> None:
    """The initial noise, and that of the steps from the same stream; 36 values are no multiple of ChaCha's block."""
    first, *steps = (torch.tensor(PRINTED[f"noise {seed} {draw}"]).reshape(1, 4, 3, 3) for draw in range(4))
    assert float((initial_noise(NOISE, seed, 1, 4, 3, 3) - first).abs().max()) <= FIGURE
    stream = NoiseStream(NOISE, seed, (1, 4, 3, 3))
    for step in steps:
        assert float((stream.draw() - step).abs().max()) <= FIGURE
    rounded = NoiseStream("rust-stdrng-box-muller-1e-6/nchw/bfloat16", seed, (1, 4, 3, 3)).draw()
    assert rounded.dtype == torch.bfloat16
    assert torch.allclose(rounded.float(), steps[0], rtol=2.0**-8, atol=0.0)


def test_an_uneven_draw_leaves_its_last_pairs_second_value_out() -> None:
    """`sample_normal` cuts a draw of 35 values; the next one begins with new uniforms (L307-315)."""
    uneven = NoiseStream(NOISE, 42, (1, 1, 5, 7))
    whole = torch.tensor(PRINTED["noise 42 1"])
    assert float((uneven.draw().flatten() - whole[:35]).abs().max()) <= FIGURE


def test_the_first_uniform_is_at_least_a_millionth() -> None:
    """One pair in a million is another one than with a floor of 1e-10: two of seed 7's."""
    for pair, *values in PRINTED["floor 7"]:
        assert np.allclose(box_muller(7, 2, 1e-6, pair), values, rtol=3e-7)
        assert not np.allclose(box_muller(7, 2, turn=pair), values, rtol=1e-4)
