"""Exact DDIM over the host's SIGMAS: which timesteps a schedule means, and which alphas its steps go between.

A SIGMAS tensor says one noise level per step, but diffusers' DDIM needs more: the previous timestep is
`t - 1000 // steps`, which is the next one in the list only for even spacings, and the final alpha need not be 1.
Nothing has to travel beside the tensor, though: `ddim_sigmas` writes levels that sit exactly on the noise table, and
`plan` recognises them there. Sigmas from elsewhere (another scheduler, a slice) are stepped from each to the next.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from ..samplers.schedules import ddim_timesteps
from ._schema import NodeInputError

SPACINGS: Final = ("leading", "trailing", "linspace")

#: The host stands in for alpha 0 (an infinite sigma) by this value: comfy.model_sampling's zero-SNR tables end on it.
ZERO_ALPHA: Final = 4.8973451890853435e-08


@dataclass(frozen=True)
class Step:
    """One DDIM step: the sigma at which the model is asked, the alphas (products) it goes from and to."""

    model_sigma: float
    alpha: float
    alpha_next: float


@dataclass(frozen=True)
class Plan:
    """All steps; `exact` where the sigmas are one of diffusers' schedules, so that its own rules were followed."""

    steps: list[Step]
    exact: bool


def alphas_from(sigmas: Tensor) -> Tensor:
    """Cumulative alphas 1 / (1 + sigma^2), float64 [T], of a VP table `sigmas` [T]; the host's stand-in for 0 is 0."""
    alphas = 1.0 / (1.0 + sigmas.detach().cpu().double() ** 2)
    return torch.where(alphas < ZERO_ALPHA * 1.01, torch.zeros_like(alphas), alphas)


def zero_terminal_snr(alphas: Tensor) -> Tensor:
    """Cumulative alphas [T] rescaled so that the last one is 0 and the first stays (Lin et al. 2023, algorithm 1)."""
    root = alphas.sqrt()
    rescaled = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return rescaled**2


def sigmas_from(alphas: Tensor) -> Tensor:
    """Float64 sigmas of cumulative alphas; alpha 0 gives the host's largest sigma, about 4518, instead of infinity."""
    alphas = alphas.clamp_min(ZERO_ALPHA)
    return ((1.0 - alphas) / alphas).sqrt()


def ddim_sigmas(alphas: Tensor, steps: int, spacing: str, offset: int, final_alpha: str) -> Tensor:
    """SIGMAS, float32 [steps + 1], of diffusers' DDIM timesteps on the table `alphas` [T].

    spacing: "leading" (offset counts), "trailing", "linspace". final_alpha: "alpha[0]" (set_alpha_to_one=False, SDXL)
    or "1": what the last step lands on when its previous timestep lies before the table; the last sigma says it.
    Raises ValueError (NodeInputError) for steps and offsets that leave the table.
    """
    timesteps = ddim_timesteps(steps, spacing, offset, len(alphas))
    if int(timesteps[0]) >= len(alphas) or int(timesteps[-1]) < 0:
        raise NodeInputError(
            f"{steps} steps with offset {offset} need timesteps {int(timesteps[-1])} to {int(timesteps[0])}, but the "
            f"model has 0 to {len(alphas) - 1}. Use fewer steps or a smaller offset."
        )
    previous = int(timesteps[-1]) - len(alphas) // steps
    final = alphas[previous] if previous >= 0 else alphas[0] if final_alpha == "alpha[0]" else alphas.new_ones(())
    levels = torch.cat([sigmas_from(alphas[timesteps]), ((1.0 - final) / final).sqrt().reshape(1)])
    return levels.to(torch.float32)


def plan(sigmas: Tensor, table: Tensor) -> Plan:
    """The DDIM steps that `sigmas` [n + 1] mean on a model whose own noise table is `table` [T] (both VP sigmas)."""
    own = alphas_from(table)
    candidates = [own] if float(own[-1]) == 0.0 else [own, zero_terminal_snr(own)]
    for alphas in candidates:
        timesteps = _on_table(sigmas[:-1], sigmas_from(alphas))
        if timesteps is not None and _is_ddim(timesteps, len(alphas)):
            return Plan(_exact_steps(timesteps, alphas, table, float(sigmas[-1])), True)
    levels = [float(s) for s in sigmas]
    alphas_of = [1.0 / (1.0 + s * s) for s in levels]
    return Plan([Step(s, a, b) for s, a, b in zip(levels[:-1], alphas_of[:-1], alphas_of[1:], strict=True)], False)


def _on_table(sigmas: Tensor, table: Tensor) -> list[int] | None:
    if len(sigmas) == 0 or float(sigmas.min()) <= 0:
        return None
    wanted, logs = sigmas.cpu().double().log(), table.log()
    distance, index = (wanted[:, None] - logs[None, :]).abs().min(dim=1)
    return [int(i) for i in index] if float(distance.max()) < 1e-5 else None


def _is_ddim(timesteps: list[int], train: int) -> bool:
    steps = len(timesteps)
    for spacing in SPACINGS:
        try:
            expected = ddim_timesteps(steps, spacing, timesteps[-1], train)
        except ValueError:  # more steps than timesteps, an offset out of range: not this spacing
            continue
        if expected.tolist() == timesteps:
            return True
    return False


def _exact_steps(timesteps: list[int], alphas: Tensor, table: Tensor, last_sigma: float) -> list[Step]:
    stride = len(alphas) // len(timesteps)
    final = 1.0 / (1.0 + last_sigma**2)
    if math.isclose(final, float(alphas[0]), rel_tol=1e-6):
        final = float(alphas[0])
    steps = []
    for t in timesteps:
        previous = float(alphas[t - stride]) if t >= stride else final
        # The model is asked at its own table's sigma: that is how the host turns a sigma into timestep t.
        steps.append(Step(float(table[t]), float(alphas[t]), previous))
    return steps
