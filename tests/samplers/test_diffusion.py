"""DDIM on discrete timesteps, against diffusers and the formulas in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from comfyui_eridiffusion.samplers import diffusion, schedules
from comfyui_eridiffusion.tests.samplers.helpers import DTYPES, SHAPES, assert_rounded, latent, untouched

ALPHAS = schedules.alphas_cumprod()
X, OUT, Z = (latent((2, 4, 5, 3), seed) for seed in (1, 2, 3))
PREDICTIONS = ["epsilon", "v_prediction", "sample"]


def theirs(**config: object) -> DDIMScheduler:
    settings: dict[str, object] = {
        "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
        "clip_sample": False, "set_alpha_to_one": False, **config,
    }  # fmt: skip
    return DDIMScheduler(**settings)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("limits", "config"),
    [
        ({}, {}),
        ({"clip_sample": True, "clip_range": 0.8}, {"clip_sample": True, "clip_sample_range": 0.8}),
        (
            {"threshold": (0.9, 1.5), "clip_sample": True},
            {"thresholding": True, "dynamic_thresholding_ratio": 0.9, "sample_max_value": 1.5, "clip_sample": True},
        ),
    ],
    ids=["free", "clipped", "thresholded"],
)
@pytest.mark.parametrize("clipped_output", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_step_is_that_of_diffusers(
    prediction: str,
    eta: float,
    limits: dict[str, object],
    config: dict[str, object],
    clipped_output: bool,
    shape: tuple[int, ...],
) -> None:
    x, out, z = latent(shape, 4, contiguous=False), latent(shape, 5), latent(shape, 6)
    for (steps, spacing), to_one in product([(20, "leading"), (7, "trailing")], [False, True]):
        scheduler = theirs(prediction_type=prediction, timestep_spacing=spacing, set_alpha_to_one=to_one, **config)
        scheduler.set_timesteps(steps)
        for t in (int(scheduler.timesteps[i]) for i in (0, steps // 2, steps - 1)):
            expected = scheduler.step(
                out, t, x, eta=eta, use_clipped_model_output=clipped_output, variance_noise=z if eta else None
            )
            with untouched(x, out, z):
                ours, x0 = diffusion.ddim_step(
                    x, out, t, t - 1000 // steps, scheduler.alphas_cumprod, eta, z, prediction,
                    1.0 if to_one else None, use_clipped_model_output=clipped_output, **limits,  # type: ignore[arg-type]
                )  # fmt: skip
            torch.testing.assert_close(x0, expected.pred_original_sample, rtol=1e-6, atol=1e-6)
            torch.testing.assert_close(ours, expected.prev_sample, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 0.5, 0.9])
def test_a_step_from_zero_terminal_snr_is_that_of_diffusers(prediction: str, eta: float) -> None:
    scheduler = theirs(prediction_type=prediction, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    scheduler.set_timesteps(20)
    assert int(scheduler.timesteps[0]) == 999
    alphas = schedules.alphas_cumprod(zero_terminal_snr=True)
    for t in (999, 949, 49):
        expected = scheduler.step(OUT, t, X, eta=eta, variance_noise=Z if eta else None)
        ours, x0 = diffusion.ddim_step(X, OUT, t, t - 50, scheduler.alphas_cumprod, eta, Z, prediction)
        torch.testing.assert_close(ours, expected.prev_sample, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(x0, expected.pred_original_sample, rtol=1e-6, atol=1e-6)
        exact, _ = diffusion.ddim_step(X, OUT, t, t - 50, alphas, eta, Z, prediction)
        torch.testing.assert_close(exact, expected.prev_sample, rtol=0, atol=2e-3)  # their float32 table


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_an_ancestral_step_from_zero_terminal_snr(prediction: str) -> None:
    """DDIM paper, eq. 12 and 16, at alpha 0 and eta 1: beside x0 there is nothing but noise.

    diffusers takes the root of what is then left over, 0 but for rounding, below which some processors' results lie.
    """
    scheduler = theirs(prediction_type=prediction, rescale_betas_zero_snr=True, timestep_spacing="trailing")
    scheduler.set_timesteps(20)
    x0 = scheduler.step(OUT, 999, X, eta=0.0).pred_original_sample
    previous = scheduler.alphas_cumprod[949]
    ours, ours_x0 = diffusion.ddim_step(X, OUT, 999, 949, scheduler.alphas_cumprod, 1.0, Z, prediction)
    torch.testing.assert_close(ours_x0, x0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours, previous.sqrt() * x0 + (1 - previous).sqrt() * Z, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_a_step_to_the_same_timestep_is_none_at_zero_terminal_snr(prediction: str) -> None:
    """There x is noise alone, and eq. 16 has 0 / 0 for the share of it that is new."""
    alphas = schedules.alphas_cumprod(zero_terminal_snr=True)
    torch.testing.assert_close(diffusion.ddim_step(X, OUT, 999, 999, alphas, 0.5, Z, prediction)[0], X)


@pytest.mark.parametrize(("spacing", "steps"), [("leading", 30), ("leading", 20), ("trailing", 30), ("linspace", 25)])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_whole_run_ends_where_diffusers_ends(spacing: str, steps: int, prediction: str) -> None:
    def model(x: Tensor, t: int) -> Tensor:
        return torch.tanh(x) * 0.9 + 0.1 * math.sin(t / 100.0)

    scheduler = theirs(prediction_type=prediction, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    expected = latent((2, 4, 9, 7), 7)
    ours = expected
    for t in scheduler.timesteps:
        expected = scheduler.step(model(expected, int(t)), int(t), expected).prev_sample
    for t in schedules.ddim_timesteps(steps, spacing):  # 0-d tensors
        ours, _ = diffusion.ddim_step(ours, model(ours, int(t)), t, t - 1000 // steps, ALPHAS, prediction=prediction)
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
def test_a_step_rounds_once(prediction: str, dtype: torch.dtype) -> None:
    """Song et al. 2021, eq. 12 and 16, in float64."""
    x, out, z = (latent((2, 4, 5, 3), seed, dtype, contiguous=False) for seed in (8, 9, 10))
    a, b, eta = float(ALPHAS[601]), float(ALPHAS[551]), 0.7
    xd, od = x.double(), out.double()
    if prediction == "epsilon":
        noise, clean = od, (xd - math.sqrt(1 - a) * od) / math.sqrt(a)
    elif prediction == "v_prediction":
        noise, clean = math.sqrt(a) * od + math.sqrt(1 - a) * xd, math.sqrt(a) * xd - math.sqrt(1 - a) * od
    else:
        noise, clean = (xd - math.sqrt(a) * od) / math.sqrt(1 - a), od
    spread = eta * math.sqrt((1 - b) / (1 - a)) * math.sqrt(1 - a / b)
    exact = math.sqrt(b) * clean + math.sqrt(1 - b - spread**2) * noise + spread * z.double()
    ours, x0 = diffusion.ddim_step(x, out, 601, 551, ALPHAS, eta, z, prediction)
    assert_rounded(ours, exact, dtype)
    assert_rounded(x0, clean, dtype)


def test_the_last_step_lands_on_the_final_alpha() -> None:
    on_first, x0 = diffusion.ddim_step(X, OUT, 1, -49, ALPHAS)
    first = float(ALPHAS[0])
    torch.testing.assert_close(on_first, math.sqrt(first) * x0 + math.sqrt(1 - first) * OUT)
    on_one, x0 = diffusion.ddim_step(X, OUT, 1, -49, ALPHAS, final_alpha_cumprod=torch.tensor(1.0))
    torch.testing.assert_close(on_one, x0)
    at_zero, _ = diffusion.ddim_step(X, OUT, 1, 0, ALPHAS)
    torch.testing.assert_close(at_zero, on_first)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_a_final_alpha_given_as_a_number_is_not_rounded(eta: float) -> None:
    """From timestep 0 to alphas[0], as after linspace: there is no noise to put in, and nothing moves."""
    noise = Z if eta else None
    stay, x0 = diffusion.ddim_step(X, OUT, 0, -1, ALPHAS, eta, noise, final_alpha_cumprod=float(ALPHAS[0]))
    again, _ = diffusion.ddim_step(X, OUT, 0, -1, ALPHAS, eta, noise, final_alpha_cumprod=ALPHAS[0])
    assert torch.equal(stay, again)
    first = float(ALPHAS[0])
    torch.testing.assert_close(stay, math.sqrt(first) * x0 + math.sqrt(1 - first) * OUT, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(stay, X, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("t", [0, 500, 999])
def test_add_noise_is_its_formula_and_that_of_diffusers(dtype: torch.dtype, shape: tuple[int, ...], t: int) -> None:
    x0, z = latent(shape, 11, dtype, contiguous=False), latent(shape, 12, dtype)
    with untouched(x0, z):
        ours = diffusion.add_noise(x0, z, torch.tensor(t), ALPHAS)
    a = float(ALPHAS[t])
    assert_rounded(ours, math.sqrt(a) * x0.double() + math.sqrt(1 - a) * z.double(), dtype)
    if dtype == torch.float32:
        expected = theirs().add_noise(x0, z, torch.tensor([t]))
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("prediction", PREDICTIONS)
def test_results_share_no_memory_with_arguments(prediction: str) -> None:
    with untouched(X, OUT):
        for result in diffusion.ddim_step(X, OUT, 601, 551, ALPHAS, prediction=prediction):
            result.zero_()


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: diffusion.ddim_step(X[0], OUT[0], 9, 8, ALPHAS), "x"),
    (lambda: diffusion.ddim_step(X, OUT[:1], 9, 8, ALPHAS), "model_output"),
    (lambda: diffusion.ddim_step(X, torch.cat([OUT, OUT], 1), 9, 8, ALPHAS), "model_output"),
    (lambda: diffusion.ddim_step(X, OUT, 1000, 8, ALPHAS), "t"),
    (lambda: diffusion.ddim_step(X, OUT, -1, -2, ALPHAS), "t"),
    (lambda: diffusion.ddim_step(X, OUT, 9.0, 8, ALPHAS), "t"),  # type: ignore[arg-type]
    (lambda: diffusion.ddim_step(X, OUT, torch.tensor(9.0), 8, ALPHAS), "t"),
    (lambda: diffusion.ddim_step(X, OUT, torch.tensor([9]), 8, ALPHAS), "t"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 1000, ALPHAS), "t_prev"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 20, ALPHAS, eta=0.5, noise=Z), "t_prev"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS[None]), "alphas_cumprod"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS.flip(0)), "alphas_cumprod"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, eta=0.5), "noise"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, eta=0.5, noise=Z[0]), "noise"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, noise=Z[0]), "noise"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, eta=1.5, noise=Z), "eta"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, prediction="velocity"), "prediction"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, final_alpha_cumprod=0.0), "final_alpha_cumprod"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, final_alpha_cumprod=1.1), "final_alpha_cumprod"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, clip_range=0.0), "clip_range"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, threshold=(0.9,)), "threshold"),  # type: ignore[arg-type]
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, threshold=(1.9, 2.0)), "percentile"),
    (lambda: diffusion.ddim_step(X, OUT, 9, 8, ALPHAS, threshold=(0.9, 0.5)), "max_value"),
    (lambda: diffusion.ddim_step(X, OUT, 999, 949, schedules.alphas_cumprod(zero_terminal_snr=True)), "prediction"),
    (lambda: diffusion.add_noise(X, Z, 1000, ALPHAS), "t"),
    (lambda: diffusion.add_noise(X, Z[:1], 10, ALPHAS), "noise"),
    (lambda: diffusion.add_noise(X[0], Z[0], 10, ALPHAS), "x0"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_arguments_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
