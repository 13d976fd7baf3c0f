"""Flow-matching steps, against the host's samplers and the papers' formulas in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.samplers import flow, schedules
from comfyui_eridiffusion.tests.samplers.helpers import DTYPES, SHAPES, assert_rounded, latent, untouched, velocity

X = latent((1, 4, 6, 6), 1)
V = latent((1, 4, 6, 6), 2)
Z = latent((1, 4, 6, 6), 3)
SIGMAS = [
    schedules.flux_sigmas(7, 1024),
    schedules.flow_sigmas(5),
    schedules.flow_sigmas(6, 3.0, "linear"),
    schedules.flux_sigmas(4, 4096, shifted=False),
]


@pytest.fixture(scope="module")
def host(comfy_host: Any) -> ModuleType:
    import comfy.k_diffusion.sampling

    return comfy.k_diffusion.sampling


@pytest.fixture(scope="module")
def const(comfy_host: Any) -> Any:
    import comfy.model_sampling

    return comfy.model_sampling.CONST()


def denoiser(const: Any) -> Callable[..., Tensor]:
    """Wrap `velocity` as the host wraps a flow model."""

    def model(x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        out: Tensor = const.calculate_denoised(sigma, velocity(x, float(sigma[0])), x)
        return out

    # where newer hosts look for a noise scale of the model; CONST itself has none
    patcher = SimpleNamespace(get_model_object={"model_sampling": const}.__getitem__)
    model.inner_model = SimpleNamespace(model_patcher=patcher)  # type: ignore[attr-defined]
    return model


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigmas", SIGMAS)
@pytest.mark.parametrize("contiguous", [True, False])
@pytest.mark.parametrize("step", [flow.euler_step, flow.ddim_step], ids=["euler", "ddim"])
def test_euler_and_ddim_without_noise_are_the_hosts_euler_bit_for_bit(
    host: ModuleType, const: Any, shape: tuple[int, ...], sigmas: Tensor, contiguous: bool, step: Callable[..., Tensor]
) -> None:
    start = latent(shape, 5, contiguous=contiguous)
    theirs = host.sample_euler(denoiser(const), start, sigmas, disable=True)
    ours, with_floats = start, start
    for sigma, sigma_next in pairwise(sigmas):
        ours = step(ours, velocity(ours, float(sigma)), sigma, sigma_next)
        with_floats = step(with_floats, velocity(with_floats, float(sigma)), float(sigma), float(sigma_next))
    assert torch.equal(ours, theirs)
    assert torch.equal(with_floats, theirs)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_euler_is_its_formula_in_every_dtype(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x, v = latent(shape, 6, dtype, contiguous=False), latent(shape, 7, dtype)
    exact = x.double() + (0.37 - 0.82) * v.double()
    with untouched(x, v):
        assert_rounded(flow.euler_step(x, v, 0.82, 0.37), exact, dtype)


def vp_ddim(x: Tensor, v: Tensor, s: float, s_next: float, eta: float, z: Tensor) -> Tensor:
    """Song et al. 2021, eq. 12 and 16, on the variance-preserving twin of the flow state, in float64.

    x / c with c² = (1 - s)² + s² has cumulative alpha (1 - s)² / c².
    """
    x, v, z = x.double(), v.double(), z.double()
    clean, noise = x - s * v, x + (1.0 - s) * v
    scale, scale_next = math.hypot(1.0 - s, s), math.hypot(1.0 - s_next, s_next)
    alpha, alpha_next = ((1.0 - s) / scale) ** 2, ((1.0 - s_next) / scale_next) ** 2
    spread = eta * math.sqrt((1 - alpha_next) / (1 - alpha)) * math.sqrt(1 - alpha / alpha_next)
    result = math.sqrt(alpha_next) * clean + math.sqrt(1 - alpha_next - spread**2) * noise + spread * z
    return result * scale_next


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("s", "s_next"), [(1.0, 0.7), (0.7, 0.2), (0.2, 0.0), (0.9, 0.9)])
def test_ddim_is_songs_on_the_variance_preserving_twin(
    dtype: torch.dtype, shape: tuple[int, ...], eta: float, s: float, s_next: float
) -> None:
    x, v, z = latent(shape, 8, dtype), latent(shape, 9, dtype, contiguous=False), latent(shape, 10, dtype)
    with untouched(x, v, z):
        ours = flow.ddim_step(x, v, s, torch.tensor(s_next, dtype=torch.float64), eta, z)
    assert_rounded(ours, vp_ddim(x, v, s, s_next, eta, z), dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigmas", SIGMAS)
@pytest.mark.parametrize(("eta", "s_noise"), [(1.0, 1.0), (0.4, 1.0), (1.0, 0.9), (0.0, 1.0)])
def test_ancestral_is_the_hosts_bit_for_bit(
    host: ModuleType, const: Any, shape: tuple[int, ...], sigmas: Tensor, eta: float, s_noise: float
) -> None:
    noises = {float(s): latent(shape, 20 + i) for i, s in enumerate(sigmas)}
    start = latent(shape, 11, contiguous=False)
    theirs = host.sample_euler_ancestral_RF(
        denoiser(const), start, sigmas, disable=True, eta=eta, s_noise=s_noise,
        noise_sampler=lambda sigma, _: noises[float(sigma)],
    )  # fmt: skip
    ours = start
    for sigma, sigma_next in pairwise(sigmas):
        v, z = velocity(ours, float(sigma)), noises[float(sigma)]
        with untouched(ours, v, z):
            ours = flow.ancestral_step(ours, v, sigma, sigma_next, eta, s_noise, z)
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_ancestral_is_its_formula_in_every_dtype(dtype: torch.dtype) -> None:
    s, s_next, eta, s_noise = 0.8, 0.5, 0.6, 0.95
    x, v, z = (latent((2, 4, 5, 3), seed, dtype) for seed in (1, 2, 3))
    down = s_next * (1 + (s_next / s - 1) * eta)
    clean = x.double() - s * v.double()
    lower = down / s * x.double() + (1 - down / s) * clean
    ratio = (1 - s_next) / (1 - down)
    exact = ratio * lower + s_noise * math.sqrt(s_next**2 - (down * ratio) ** 2) * z.double()
    assert_rounded(flow.ancestral_step(x, v, s, s_next, eta, s_noise, z), exact, dtype)


def test_ancestral_keeps_still_where_the_sigma_does() -> None:
    for sigma in (1.0, 0.4):
        assert torch.equal(flow.ancestral_step(X, V, sigma, sigma, noise=Z), X)


@pytest.mark.parametrize(("s", "s_churn", "steps"), [(0.5, 3.0, 10), (0.9, 100.0, 10), (0.99, 0.2, 20), (0.05, 1.0, 4)])
def test_churn_adds_exactly_the_variance_that_is_missing(s: float, s_churn: float, steps: int) -> None:
    zero, one = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
    kept, raised = flow.churn(one, s, steps, s_churn, noise=zero)
    added, _ = flow.churn(zero, s, steps, s_churn, noise=one)
    assert raised == pytest.approx(min(s * (1 + min(s_churn / steps, math.sqrt(2) - 1)), 1.0), abs=1e-12)
    assert float(kept) * (1 - s) == pytest.approx(1 - raised, abs=1e-12)  # the signal of a flow state at sigma_hat
    assert (float(kept) * s) ** 2 + float(added) ** 2 == pytest.approx(raised**2, abs=1e-12)  # and its noise
    scaled, _ = flow.churn(zero, s, steps, s_churn, s_noise=1.1, noise=one)
    assert float(scaled) == pytest.approx(1.1 * float(added), abs=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_churn_is_its_formula_in_every_dtype(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    x, z = latent(shape, 12, dtype, contiguous=False), latent(shape, 13, dtype)
    sigma = torch.tensor(0.6)
    with untouched(x, z, sigma):
        ours, raised = flow.churn(x, sigma, 10, 2.0, noise=z)
    assert isinstance(raised, Tensor)
    assert raised.ndim == 0
    s, hat = float(sigma), float(sigma) * 1.2
    assert float(raised) == pytest.approx(hat, abs=1e-7)
    a = (1 - hat) / (1 - s)
    assert_rounded(ours, a * x.double() + math.sqrt(hat**2 - (a * s) ** 2) * z.double(), dtype)


@pytest.mark.parametrize(
    "options",
    [
        {"s_churn": 0.0},
        {"s_churn": 5.0, "s_tmin": 0.61},
        {"s_churn": 5.0, "s_tmax": 0.59},
        {"s_churn": 5.0, "sigma": 1.0},
        {"s_churn": 5.0, "sigma": 0.0},
    ],
)
def test_churn_does_nothing_outside_its_bounds(options: dict[str, float]) -> None:
    arguments = {"sigma": 0.6, **options}
    same, sigma = flow.churn(X, steps=10, **arguments)  # type: ignore[arg-type]
    assert torch.equal(same, X)
    assert sigma == arguments["sigma"]


def test_churn_bounds_are_sigmas_and_inclusive() -> None:
    changed, _ = flow.churn(X, 0.6, 10, 5.0, s_tmin=0.6, s_tmax=0.6, noise=Z)
    assert not torch.equal(changed, X)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.0, 0.3, 1.0])
def test_add_noise_is_the_hosts(const: Any, shape: tuple[int, ...], sigma: float) -> None:
    x0, z = latent(shape, 14, contiguous=False), latent(shape, 15)
    theirs = const.noise_scaling(torch.tensor(sigma), z, x0)
    with untouched(x0, z):
        assert torch.equal(flow.add_noise(x0, z, sigma), theirs)
        assert torch.equal(flow.add_noise(x0, z, torch.tensor(sigma)), theirs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_add_noise_rounds_once(dtype: torch.dtype) -> None:
    x0, z = latent((2, 4, 3, 5), 16, dtype), latent((2, 4, 3, 5), 17, dtype)
    assert_rounded(flow.add_noise(x0, z, 0.3), 0.7 * x0.double() + 0.3 * z.double(), dtype)


def test_steps_with_the_true_velocity_stay_on_the_straight_path() -> None:
    x0, noise = latent((2, 16, 9, 7), 18).double(), latent((2, 16, 9, 7), 19).double()
    x = noise
    for s, s_next in ((1.0, 0.6), (0.6, 0.25), (0.25, 0.0)):
        x = flow.euler_step(x, noise - x0, s, s_next)
        torch.testing.assert_close(x, flow.add_noise(x0, noise, s_next))
    torch.testing.assert_close(x, x0)


BAD: list[tuple[Callable[[], object], str]] = [
    (lambda: flow.euler_step(X[0], V[0], 0.5, 0.4), "x"),
    (lambda: flow.euler_step(X.long(), V, 0.5, 0.4), "x"),
    (lambda: flow.euler_step(None, V, 0.5, 0.4), "x"),  # type: ignore[arg-type]
    (lambda: flow.euler_step(X[:0], V[:0], 0.5, 0.4), "x"),
    (lambda: flow.euler_step(X, V[:, :2], 0.5, 0.4), "velocity"),
    (lambda: flow.euler_step(X, V.int(), 0.5, 0.4), "velocity"),
    (lambda: flow.euler_step(X, V, 0.0, 0.0), "sigma"),
    (lambda: flow.euler_step(X, V, 1.0001, 0.4), "sigma"),
    (lambda: flow.euler_step(X, V, math.nan, 0.4), "sigma"),
    (lambda: flow.euler_step(X, V, "0.5", 0.4), "sigma"),  # type: ignore[arg-type]
    (lambda: flow.euler_step(X, V, torch.tensor([0.5]), 0.4), "sigma"),
    (lambda: flow.euler_step(X, V, 0.5, -0.1), "sigma_next"),
    (lambda: flow.euler_step(X, V, 0.5, torch.tensor(1.5)), "sigma_next"),
    (lambda: flow.ddim_step(X, V, 0.5, 0.4, eta=0.5), "noise"),
    (lambda: flow.ddim_step(X, V, 0.5, 0.4, eta=0.5, noise=Z[:, :1]), "noise"),
    (lambda: flow.ddim_step(X, V, 0.5, 0.4, eta=0.0, noise=Z[:, :1]), "noise"),
    (lambda: flow.ddim_step(X, V, 0.5, 0.4, eta=1.1, noise=Z), "eta"),
    (lambda: flow.ddim_step(X, V, 0.5, 0.4, eta=-0.1, noise=Z), "eta"),
    (lambda: flow.ddim_step(X, V, 0.5, 0.6, eta=0.5, noise=Z), "sigma_next"),
    (lambda: flow.ancestral_step(X, V, 0.5, 0.4), "noise"),
    (lambda: flow.ancestral_step(X, V, 0.5, 0.6, noise=Z), "sigma_next"),
    (lambda: flow.ancestral_step(X, V, 0.5, 0.4, eta=-1.0, noise=Z), "eta"),
    (lambda: flow.ancestral_step(X, V, 0.5, 0.4, eta=1e4, noise=Z), "eta"),
    (lambda: flow.ancestral_step(X, V, 0.5, 0.4, s_noise=-1.0, noise=Z), "s_noise"),
    (lambda: flow.ancestral_step(X, V, 0.5, 0.4, s_noise=math.inf, noise=Z), "s_noise"),
    (lambda: flow.churn(X, 0.5, 10, s_churn=1.0), "noise"),
    (lambda: flow.churn(X, 0.5, 0, s_churn=1.0, noise=Z), "steps"),
    (lambda: flow.churn(X, 1.5, 10, s_churn=1.0, noise=Z), "sigma"),
    (lambda: flow.churn(X, 0.5, 10, s_churn=-1.0, noise=Z), "s_churn"),
    (lambda: flow.churn(X, 0.5, 10, s_tmin=math.nan), "s_tmin"),
    (lambda: flow.churn(X, 0.5, 10, s_tmax=-1.0), "s_tmax"),
    (lambda: flow.churn(X[0], 0.5, 10), "x"),
    (lambda: flow.add_noise(X, Z[:, :1], 0.5), "noise"),
    (lambda: flow.add_noise(X[0], Z[0], 0.5), "x0"),
    (lambda: flow.add_noise(X, Z, 1.5), "sigma"),
]


@pytest.mark.parametrize(("call", "name"), BAD)
def test_bad_arguments_are_named(call: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name}: "):
        call()
