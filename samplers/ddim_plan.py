"""The exact DDIM plan: which sigmas diffusers' DDIMScheduler visits, and between which alphas its steps go.

A SIGMAS tensor holds one noise level per step. diffusers' DDIM needs more than that. The timestep before t is
`t - train_timesteps // steps`, which is not always the next one in the list, and the last step ends at a final alpha.
`ddim_sigmas` writes the sigmas of the timesteps. `plan` finds the timesteps in them again, whole or in a piece (image
to image starts late, SplitSigmas cuts anywhere), and says what each step does. Neither needs ComfyUI.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from ..errors import NodeInputError
from .schedules import LAST_FIRST, ddim_timesteps, rescale_zero_terminal_snr

#: ComfyUI's alpha where there is none left (an infinite sigma): comfy.model_sampling's zero-SNR tables end on it.
ZERO_ALPHA: Final = 4.8973451890853435e-08
#: How far a sigma may be, relatively, from the timestep's that it is taken for: what float32 rounds.
_TOLERANCE: Final = 1e-6


@dataclass(frozen=True)
class Step:
    """One DDIM step: the sigma that the model gets, and the cumulative alphas from which and to which it goes."""

    model_sigma: float
    alpha: float
    alpha_next: float


@dataclass(frozen=True)
class Plan:
    """All steps of a run.

    Args:
        steps: the steps in order.
        exact: whether the sigmas are one of diffusers' schedules or a piece of one, so that diffusers' rules are
            followed.
        ends: whether the last step ends where that schedule ends. If not, another sampler continues from there.
    """

    steps: list[Step]
    exact: bool
    ends: bool


@dataclass(frozen=True)
class _Piece:
    """The schedule that a run of timesteps is a piece of.

    Args:
        stride: t - stride is the timestep before t.
        ends: whether nothing of the schedule is cut off after the timesteps.
    """

    stride: int
    ends: bool


def alphas_from(sigmas: Tensor) -> Tensor:
    """Return the cumulative alphas 1 / (1 + sigma^2), float64 `[T]`, of a VP table `sigmas` `[T]`.

    ComfyUI's stand-in for alpha 0 becomes 0.
    """
    alphas = 1.0 / (1.0 + sigmas.detach().cpu().double() ** 2)
    return torch.where(alphas < ZERO_ALPHA * 1.01, torch.zeros_like(alphas), alphas)


def sigmas_from(alphas: Tensor) -> Tensor:
    """Return the sigmas of cumulative alphas; alpha 0 gives ComfyUI's largest sigma, about 4518, not infinity."""
    alphas = alphas.clamp_min(ZERO_ALPHA)
    return ((1.0 - alphas) / alphas).sqrt()


def ddim_sigmas(
    alphas: Tensor, steps: int, spacing: str, offset: int, final_alpha: str, total: int | None = None
) -> Tensor:
    """Return the sigmas, float32 `[steps + 1]`, of diffusers' DDIM timesteps.

    Args:
        alphas: the model's cumulative alphas `[T]`, see `alphas_from` and `schedules.alphas_cumprod`.
        steps: the number of steps.
        spacing: one of `schedules.DDIM_SPACINGS` or LAST_FIRST, see `schedules.ddim_timesteps`.
        offset: diffusers' steps_offset, used with leading ones.
        final_alpha: where a step ends whose previous timestep lies before the table: "alpha[0]"
            (set_alpha_to_one=False, SDXL) or "1". The last sigma belongs to that alpha.
        total: the steps of the whole schedule, of which these are the last ones (image to image); None takes all.

    Raises:
        ValueError: for steps and offsets that leave the table; it is a NodeInputError when there are more steps than
            timesteps.

    Source: diffusers `DDIMScheduler.set_timesteps` and `step`.
    """
    whole = steps if total is None else total
    if whole > len(alphas):
        raise NodeInputError(
            f"the schedule would have {whole} steps, but the model knows {len(alphas)} timesteps. Use fewer steps"
            + (" or a denoise nearer to 1." if whole > steps else ".")
        )
    timesteps = ddim_timesteps(whole, spacing, offset, len(alphas))[-steps:]
    previous = int(timesteps[-1]) - len(alphas) // whole
    final = alphas[previous] if previous >= 0 else alphas[0] if final_alpha == "alpha[0]" else alphas.new_ones(())
    last = ((1.0 - final) / final).sqrt()
    return torch.cat([sigmas_from(alphas[timesteps]), last.reshape(1)]).to(torch.float32)


def plan(sigmas: Tensor, table: Tensor, spacing: str = "auto", offset: int = 1) -> Plan:
    """Return the DDIM steps that `sigmas` mean on a model.

    With "auto", sigmas that are no schedule of diffusers are stepped from each to the next.

    Args:
        sigmas: the noise levels `[n + 1]`: those of `ddim_sigmas`, a piece of them, or any others.
        table: the model's own VP sigmas `[T]`. A schedule with zero terminal SNR is found on any table.
        spacing: the spacing that made the sigmas. "auto" finds it from the timesteps as far as they tell it. A linspace
            schedule down to sigma 0 has the numbers of ComfyUI's `normal` scheduler, and is stepped like that one, from
            each sigma to the next.
        offset: the offset that made them; used with leading ones.

    Raises:
        NodeInputError: when `sigmas` do not have the spacing that is named.

    Source: diffusers `DDIMScheduler.step`.
    """
    own = alphas_from(table)
    for alphas in [own] if float(own[-1]) == 0.0 else [own, rescale_zero_terminal_snr(own)]:
        levels = sigmas_from(alphas)
        timesteps = _timesteps(sigmas[:-1], levels)
        last = float(sigmas[-1])
        found = _find(timesteps, last, levels, spacing, offset) if timesteps else None
        if found is not None:
            return Plan(_exact_steps(timesteps, alphas, table, last, found.stride), True, found.ends)
    if spacing != "auto":
        by = f" of offset {offset}" if spacing.endswith("leading") else ""
        raise NodeInputError(
            f"sigmas are not those of a {spacing} DDIM schedule{by} on this model. Set spacing and offset as in "
            "EriDDIMSchedule, or spacing to auto for other sigmas."
        )
    listed = [float(sigma) for sigma in sigmas]
    alphas_of = [1.0 / (1.0 + sigma * sigma) for sigma in listed]
    steps = [Step(sigma, a, b) for sigma, (a, b) in zip(listed, pairwise(alphas_of), strict=False)]
    return Plan(steps, False, listed[-1] <= float(table[0]) * 1.001)


def _timesteps(sigmas: Tensor, levels: Tensor) -> list[int]:
    """The timesteps to whose levels these sigmas belong; empty when a sigma belongs to none."""
    if len(sigmas) == 0 or float(sigmas.min()) <= 0:
        return []
    wanted = sigmas.cpu().double()
    index = (wanted[:, None].log() - levels.log()[None, :]).abs().argmin(dim=1)
    return index.tolist() if torch.allclose(wanted, levels[index], rtol=_TOLERANCE, atol=0.0) else []


def _find(timesteps: list[int], last_sigma: float, levels: Tensor, spacing: str, offset: int) -> _Piece | None:
    """The schedule that `timesteps`, followed by `last_sigma`, are a piece of, or None.

    A few timesteps may be a piece of schedules of several lengths, whose strides differ by one. The shortest schedule
    is taken, so that a whole one is always found as such.
    """
    train, count = len(levels), len(timesteps)
    for kind, steps_offset, total in _candidates(timesteps, last_sigma, train, spacing, offset):
        stride = train // total
        leading = total - (kind != "leading")  # steps of that spacing
        if kind.endswith("leading") and leading and steps_offset + (leading - 1) * (train // leading) >= train:
            continue  # it leads past the last timestep
        full = ddim_timesteps(total, kind, steps_offset, train).tolist()
        start = full.index(timesteps[0]) if timesteps[0] in full else 0
        if full[start : start + count] != timesteps:
            continue
        following = full[start + count :]
        lands = following[0] if following else timesteps[-1] - stride
        if _lands(last_sigma, lands, levels):
            return _Piece(stride, ends=not following)
    return None


def _candidates(
    timesteps: list[int], last_sigma: float, train: int, spacing: str, offset: int
) -> Iterator[tuple[str, int, int]]:
    """Spacing, offset and number of steps of each schedule that may hold these timesteps."""
    count, width, last = len(timesteps), timesteps[0] - timesteps[-1], timesteps[-1]
    if spacing == LAST_FIRST:
        yield from ((spacing, offset, total) for total in range(count, min(count + 500, train) + 1))
        return
    # Timesteps lie at least train // total apart, at most as far as linspace's; but for rounding.
    totals = [
        total
        for total in range(count, train + 1)
        if (count - 1) * (train // total) - 1 <= width <= (count - 1) * train / max(total - 1, 1) + 1
    ]
    if spacing != "auto":
        yield from ((spacing, offset, total) for total in totals)
        return
    yield from (("leading", last % (train // total), total) for total in totals)
    yield "leading", last, count  # a whole schedule whose offset is a stride or more
    if count > 1:
        yield from (("trailing", 0, total) for total in totals)
    if last == 0 and last_sigma > 0:
        yield from (("linspace", 0, total) for total in totals)
    if timesteps[0] == train - 1 and last > 0:
        yield LAST_FIRST, last, count


def _lands(sigma: float, timestep: int, levels: Tensor) -> bool:
    """Whether `sigma` belongs to the timestep. Before the table, whether it is a final alpha's: 0 or the first one."""
    if timestep < 0:
        return sigma <= float(levels[0]) * (1.0 + _TOLERANCE)
    return math.isclose(sigma, float(levels[timestep]), rel_tol=_TOLERANCE)


def _exact_steps(timesteps: list[int], alphas: Tensor, table: Tensor, last_sigma: float, stride: int) -> list[Step]:
    final = 1.0 / (1.0 + last_sigma**2)
    if math.isclose(final, float(alphas[0]), rel_tol=1e-6):
        final = float(alphas[0])
    # The model is asked at its own table's sigma: that is how ComfyUI turns a sigma into timestep t.
    return [
        Step(float(table[t]), float(alphas[t]), float(alphas[t - stride]) if t >= stride else final) for t in timesteps
    ]
