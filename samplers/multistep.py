"""Samplers of diffusers that ComfyUI has not, or has with other numbers; latents are x0 + sigma * noise.

Each takes `ask(x, sigma) -> x0`, which runs the model, the latent `x` to begin with, the falling `sigmas` `[n + 1]`,
and `report(i, x, x0)`, which is told of every step; it returns the latent at the last sigma. Multistep samplers forget
their past where a run ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from torch import Tensor

Ask = Callable[[Tensor, float], Tensor]
Report = Callable[[int, Tensor, Tensor], None]


def lms(ask: Ask, x: Tensor, sigmas: Tensor, report: Report, order: int = 4) -> Tensor:
    """Linear multistep over dx/dsigma, the last step included (ComfyUI's jumps to x0 there).

    Source: diffusers `LMSDiscreteScheduler.step`.
    """
    levels = sigmas.double().tolist()
    past: list[Tensor] = []
    for i in range(len(levels) - 1):
        x0 = ask(x, levels[i])
        report(i, x, x0)
        past = [(x - x0) / levels[i], *past][:order]
        weights = _lagrange_integrals(levels[max(i - order + 1, 0) : i + 1][::-1], levels[i], levels[i + 1])
        x = x + sum(weight * slope for weight, slope in zip(weights, past, strict=True))
    return x


def _lagrange_integrals(nodes: list[float], start: float, end: float) -> list[float]:
    """The integrals of the Lagrange polynomials over `nodes` from start to end."""
    found = []
    for node in nodes:
        others = [other for other in nodes if other != node]
        whole = np.polynomial.Polynomial([1.0])
        for other in others:
            whole = whole * np.polynomial.Polynomial([-other, 1.0]) / (node - other)
        integral = whole.integ()
        found.append(float(integral(end) - integral(start)))
    return found


def dpm_single(ask: Ask, x: Tensor, sigmas: Tensor, report: Report) -> Tensor:
    """DPM-Solver++(2S) over the listed sigmas: steps of first and second order in turn, the last of first order.

    Source: diffusers `DPMSolverSinglestepScheduler.step` (order 2, midpoint), Lu et al. 2022 (DPM-Solver++).
    """
    levels = sigmas.double().tolist()
    steps = len(levels) - 1
    before, x0_before = x, x
    for i in range(steps):
        x0 = ask(x, levels[i])
        report(i, x, x0)
        if i % 2 and i + 1 < steps:
            whole = math.log(levels[i - 1] / levels[i + 1])
            share = math.log(levels[i - 1] / levels[i]) / whole
            slope = (x0 - x0_before) / share
            ratio = levels[i + 1] / levels[i - 1]
            x = ratio * before + (1.0 - ratio) * (x0_before + 0.5 * slope)
        else:
            before, x0_before = x, x0
            ratio = levels[i + 1] / levels[i]
            x = ratio * x + (1.0 - ratio) * x0
    return x


#: From so many steps on DPM-Solver keeps its order in the last one (lower_order_final).
_MANY_STEPS: Final = 15


def dpm_multi(ask: Ask, x: Tensor, sigmas: Tensor, report: Report) -> Tensor:
    """DPM-Solver-2M, over the predicted noise (x - x0) / sigma; the last sigma is not 0.

    Source: diffusers `DPMSolverMultistepScheduler.step` with algorithm_type "dpmsolver" (order 2, midpoint), Lu et al.
    2022.
    """
    levels = sigmas.double().tolist()
    steps = len(levels) - 1
    before = x
    for i in range(steps):
        x0 = ask(x, levels[i])
        report(i, x, x0)
        noise = slope = (x - x0) / levels[i]
        if i > 0 and (i + 1 < steps or steps >= _MANY_STEPS):
            reach = math.log(levels[i] / levels[i + 1]) / math.log(levels[i - 1] / levels[i])
            slope = noise + 0.5 * reach * (noise - before)
        before = noise
        x = x + (levels[i + 1] - levels[i]) * slope
    return x


#: How sharply a latent consistency model's output is trusted at low timesteps: sigma_data, timestep_scaling.
_LCM_DATA, _LCM_SCALE = 0.5, 10.0


def lcm(
    ask: Ask, x: Tensor, sigmas: Tensor, report: Report, timesteps: Sequence[float], draw: Callable[[], Tensor]
) -> Tensor:
    """Latent consistency sampling: x0 in every step, with fresh noise from `draw` but after the last.

    timesteps: one for each sigma but the last. Source: diffusers `LCMScheduler.step`, Luo et al. 2023.
    """
    levels = sigmas.double().tolist()
    for i, timestep in enumerate(timesteps):
        x0 = ask(x, levels[i])
        report(i, x, x0)
        far = timestep * _LCM_SCALE
        skip, out = _LCM_DATA**2 / (far**2 + _LCM_DATA**2), far / (far**2 + _LCM_DATA**2) ** 0.5
        x = out * x0 + skip / (1.0 + levels[i] ** 2) ** 0.5 * x
        if i + 1 < len(timesteps):
            x = x + levels[i + 1] * draw()
    return x


def unipc(ask: Ask, x: Tensor, sigmas: Tensor, report: Report) -> Tensor:
    """UniPC of order 2 with B(h) = e^h - 1 (bh2), on x0, each step corrected by the next call of the model.

    Source: diffusers `UniPCMultistepScheduler.step`, Zhao et al. 2023.
    """
    levels = sigmas.double().tolist()
    steps = len(levels) - 1
    past: list[Tensor] = []  # x0 of the steps before, the newest first
    last, order = x, 1
    for i in range(steps):
        x0 = ask(x, levels[i])
        report(i, x, x0)
        if i > 0:
            x = _corrected(levels, i, order, last, past, x0)
        order = min(2, steps - i, i + 1)
        past, last = [x0, *past][:2], x
        ratio = levels[i + 1] / levels[i]
        x = ratio * x + (1.0 - ratio) * x0
        if order == 2:
            reach = math.log(levels[i] / levels[i - 1]) / math.log(levels[i] / levels[i + 1])
            x = x + 0.5 * (1.0 - ratio) * (past[1] - x0) / reach
    return x


def _corrected(levels: list[float], i: int, order: int, last: Tensor, past: list[Tensor], x0: Tensor) -> Tensor:
    """The latent at levels[i] again, now that the model was asked there; last: the one at levels[i - 1]."""
    ratio = levels[i] / levels[i - 1]
    h = math.log(levels[i - 1] / levels[i])
    plain = ratio * last + (1.0 - ratio) * past[0]
    if order == 1:
        return plain + 0.5 * (1.0 - ratio) * (x0 - past[0])
    reach = math.log(levels[i - 1] / levels[i - 2]) / h
    grown = math.expm1(-h)
    first = grown / -h - 1.0
    second = 2.0 * (first / -h - 0.5)
    weights = np.linalg.solve(np.array([[1.0, 1.0], [reach, 1.0]]), np.array([first, second]) / grown)
    change = float(weights[0]) * (past[1] - past[0]) / reach + float(weights[1]) * (x0 - past[0])
    return plain + (1.0 - ratio) * change


@dataclass(frozen=True)
class PNDM:
    """PNDM / PLMS in diffusers' own variables: latents of unit variance, the model's raw output, whole timesteps.

    Args:
        predict: `predict(x, timestep)` -> the model's raw output.
        prediction: what that is, "epsilon" or "v_prediction".
        alphas: cumulative alphas of the model, float64 `[T]`.
        stride: how far two timesteps are apart.

    Source: diffusers `PNDMScheduler.step_prk` and `step_plms`, Liu et al. 2022.
    """

    predict: Callable[[Tensor, int], Tensor]
    prediction: str
    alphas: Tensor
    stride: int

    def run(self, x: Tensor, timesteps: list[int], report: Report, warm_up: bool) -> Tensor:
        """The latent after the falling `timesteps`, four or more.

        warm_up: the first three by Runge-Kutta (not skip_prk_steps). report: is given no x0, but the latent twice.
        """
        past: list[Tensor] = []
        for i, t in enumerate(timesteps):
            early = warm_up and i < 3
            x = self._runge_kutta(x, t, timesteps[i + 1], past) if early else self._multistep(x, t, past)
            report(i, x, x)
        return x

    def _runge_kutta(self, x: Tensor, t: int, below: int, past: list[Tensor]) -> Tensor:
        half = self.stride // 2
        first = self.predict(x, t)
        past.append(first)
        second = self.predict(self._moved(x, t, t - half, first), below + half)
        third = self.predict(self._moved(x, t, below + half, second), below + half)
        fourth = self.predict(self._moved(x, t, below, third), below)
        return self._moved(x, t, below, first / 6 + second / 3 + third / 3 + fourth / 6)

    def _multistep(self, x: Tensor, t: int, past: list[Tensor]) -> Tensor:
        """Adams-Bashforth of as many outputs as there are, up to four; the very first step is done twice."""
        newest = self.predict(x, t)
        past.append(newest)
        del past[:-4]
        lands = t - self.stride
        if len(past) == 1:
            if lands < 0:
                return self._moved(x, t, lands, newest)
            again = self.predict(self._moved(x, t, lands, newest), lands)
            return self._moved(x, t, lands, (newest + again) / 2)
        weights = {2: (3 / 2, -1 / 2), 3: (23 / 12, -16 / 12, 5 / 12), 4: (55 / 24, -59 / 24, 37 / 24, -9 / 24)}
        mixed = newest * weights[len(past)][0]
        for weight, output in zip(weights[len(past)][1:], reversed(past[:-1]), strict=True):
            mixed = mixed + weight * output
        return self._moved(x, t, lands, mixed)

    def _moved(self, x: Tensor, t: int, to: int, output: Tensor) -> Tensor:
        """From timestep t to another; before the first one lies alpha[0] (set_alpha_to_one=False)."""
        here, there = float(self.alphas[t]), float(self.alphas[max(to, 0)])
        if self.prediction == "v_prediction":
            output = here**0.5 * output + (1.0 - here) ** 0.5 * x
        spread = here * (1.0 - there) ** 0.5 + (here * (1.0 - here) * there) ** 0.5
        return (there / here) ** 0.5 * x - (there - here) / spread * output
