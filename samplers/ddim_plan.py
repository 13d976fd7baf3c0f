"""Exact DDIM over the host's SIGMAS: which timesteps a schedule means, and which alphas its steps go between.

A SIGMAS tensor says one noise level per step, but diffusers' DDIM needs more: the previous timestep is
`t - 1000 // steps`, which is the next one in the list only for even spacings, and the final alpha need not be 1.
Nothing has to travel beside the tensor, though: `ddim_sigmas` writes levels that sit exactly on the noise table, and
`plan` recognises them there, whole or in pieces (image to image starts late; Split Sigmas cuts anywhere). Three or six
millionths more than the table's level tell trailing and linspace from each other and from the host's own schedulers,
which may hit the same timesteps. Sigmas from elsewhere are stepped from each to the next.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import torch
from torch import Tensor

from ..errors import NodeInputError
from .schedules import ddim_timesteps

#: The host stands in for alpha 0 (an infinite sigma) by this value: comfy.model_sampling's zero-SNR tables end on it.
ZERO_ALPHA: Final = 4.8973451890853435e-08

#: How much a schedule's levels lie above the table's, relatively: far more than float32 rounds, far less than matters.
MARKS: Final = {"leading": 0.0, "trailing": 3e-6, "linspace": 6e-6}
#: How far a level may be from its mark.
MARK_TOLERANCE: Final = 1.2e-6


@dataclass(frozen=True)
class Step:
    """One DDIM step: the sigma at which the model is asked, the alphas (products) it goes from and to."""

    model_sigma: float
    alpha: float
    alpha_next: float


@dataclass(frozen=True)
class Plan:
    """All steps. exact: the sigmas are (a piece of) one of diffusers' schedules, so that its own rules were followed.

    ends: the last step lands where that schedule ends; otherwise another sampler goes on from there.
    """

    steps: list[Step]
    exact: bool
    ends: bool


@dataclass(frozen=True)
class Origin:
    """What a run of timesteps was cut from: t - stride is the timestep before t; ends: nothing was cut off behind."""

    stride: int
    ends: bool


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


def ddim_sigmas(
    alphas: Tensor, steps: int, spacing: str, offset: int, final_alpha: str, total: int | None = None
) -> Tensor:
    """SIGMAS, float32 [steps + 1], of diffusers' DDIM timesteps on the table `alphas` [T].

    spacing: "leading" (offset counts), "trailing", "linspace". final_alpha: "alpha[0]" (set_alpha_to_one=False, SDXL)
    or "1": what the last step lands on when its previous timestep lies before the table; the last sigma says it.
    total: steps of the whole schedule, of which these are the last ones (image to image); None = all.
    Raises ValueError (NodeInputError) for steps and offsets that leave the table.
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
    levels = sigmas_from(alphas[timesteps]) * (1.0 + MARKS[spacing])
    return torch.cat([levels, ((1.0 - final) / final).sqrt().reshape(1)]).to(torch.float32)


def plan(sigmas: Tensor, table: Tensor) -> Plan:
    """The DDIM steps that `sigmas` [n + 1] mean on a model whose own noise table is `table` [T] (both VP sigmas)."""
    own = alphas_from(table)
    candidates = [own] if float(own[-1]) == 0.0 else [own, zero_terminal_snr(own)]
    for alphas in candidates:
        levels = sigmas_from(alphas)
        timesteps, spacing = _on_table(sigmas[:-1], levels)
        origin = find_origin(timesteps, spacing, float(sigmas[-1]), levels) if timesteps else None
        if origin is not None:
            return Plan(_exact_steps(timesteps, alphas, table, float(sigmas[-1]), origin), True, origin.ends)
    levels_of = [float(s) for s in sigmas]
    alphas_of = [1.0 / (1.0 + s * s) for s in levels_of]
    steps = [Step(s, a, b) for s, a, b in zip(levels_of[:-1], alphas_of[:-1], alphas_of[1:], strict=True)]
    return Plan(steps, False, levels_of[-1] <= float(table[0]) * 1.001)


def find_origin(timesteps: list[int], spacing: str, last_sigma: float, levels: Tensor) -> Origin | None:
    """The diffusers schedule that `timesteps` are a run of, None for none.

    last_sigma: the level behind them; levels [T]: the table's sigmas. It tells an end from a cut: at an end it is the
    level of t - stride (where that lies before the table: the final alpha's), at a cut that of the next timestep.
    A few timesteps may be a run of schedules of several lengths, whose strides differ by one: the commonest is taken.
    A single timestep steps to the level behind it; where that has the schedule's mark it is timestep 0, not the end.
    """
    train = len(levels)
    if len(timesteps) == 1:
        zero = _is_marked(last_sigma, float(levels[0]), spacing)
        return Origin(train, _before_table(last_sigma, levels) and not zero)
    found = [
        Origin(train // total, following is None)
        for total, offset in _schedules(timesteps, spacing, train)
        for following in _following(timesteps, total, offset, spacing, train)
        if _lands(timesteps[-1], following, train // total, last_sigma, levels)
    ]
    if not found:
        return None
    stride = Counter(origin.stride for origin in found).most_common(1)[0][0]
    # A run that may be a whole schedule or the head of a longer one: an end only if it can be nothing else.
    return Origin(stride, all(origin.ends for origin in found))


def _schedules(timesteps: list[int], spacing: str, train: int) -> list[tuple[int, int]]:
    """(steps, offset) of the schedules that may hold these timesteps, each to be compared number by number."""
    count, last = len(timesteps), timesteps[-1]
    if spacing != "leading":
        return [(total, 0) for total in _totals(timesteps, train)]
    # a whole schedule of any offset, or a run of one whose offset is the smallest possible, below its stride
    found = [(count, last)]
    gaps = {a - b for a, b in pairwise(timesteps)}
    if len(gaps) == 1 and (stride := gaps.pop()) > 0:
        totals = range(max(count, train // (stride + 1) + 1), train // stride + 1)
        found += [(total, last % stride) for total in totals]
    return found


def _totals(timesteps: list[int], train: int) -> range:
    """Numbers of steps whose even spacing, each timestep rounded, may give these timesteps."""
    count, width = len(timesteps), timesteps[0] - timesteps[-1]
    if width <= 0:
        return range(0)
    narrow, wide = max(width - 1.0, 0.5) / (count - 1), (width + 1.0) / (count - 1)
    return range(max(count, int((train - 1) / wide)), min(train, int(train / narrow) + 1) + 1)


def _following(timesteps: list[int], total: int, offset: int, spacing: str, train: int) -> list[int | None]:
    """The timestep after the run in that schedule (None at its end), in a list; an empty one if it is no run of it."""
    try:
        full = ddim_timesteps(total, spacing, offset, train).tolist()
    except ValueError:  # an offset out of range: not this schedule
        return []
    if timesteps[0] not in full:
        return []
    start = full.index(timesteps[0])
    end = start + len(timesteps)
    if full[start:end] != timesteps:
        return []
    return [full[end] if end < len(full) else None]


def _lands(last: int, following: int | None, stride: int, sigma: float, levels: Tensor) -> bool:
    if following is not None:
        return _close(sigma, float(levels[following]))
    previous = last - stride
    if previous >= 0:
        return _close(sigma, float(levels[previous]))
    return _before_table(sigma, levels)


def _is_marked(sigma: float, level: float, spacing: str) -> bool:
    """Whether `sigma` is the table's `level` as a spacing writes it, for those that leave a mark."""
    mark = MARKS[spacing]
    return mark > 0 and abs(math.log(max(sigma, 1e-30) / level) - math.log1p(mark)) < MARK_TOLERANCE


def _before_table(sigma: float, levels: Tensor) -> bool:
    return sigma <= float(levels[0]) * (1.0 + 1e-5)


def _close(first: float, second: float) -> bool:
    return math.isclose(first, second, rel_tol=1e-5)


def _on_table(sigmas: Tensor, table: Tensor) -> tuple[list[int], str]:
    """The timesteps whose levels these are, and the spacing they are marked with; no timesteps where they are others'.

    The first mark all of them agree with is taken: sigmas of the host's schedulers on the table count as leading.
    """
    if len(sigmas) == 0 or float(sigmas.min()) <= 0:
        return [], ""
    wanted, logs = sigmas.cpu().double().log(), table.log()
    index = (wanted[:, None] - logs[None, :]).abs().argmin(dim=1)
    above = wanted - logs[index]
    for spacing, mark in MARKS.items():
        if float((above - math.log1p(mark)).abs().max()) < MARK_TOLERANCE:
            return index.tolist(), spacing
    return [], ""


def _exact_steps(timesteps: list[int], alphas: Tensor, table: Tensor, last_sigma: float, origin: Origin) -> list[Step]:
    final = 1.0 / (1.0 + last_sigma**2)
    if math.isclose(final, float(alphas[0]), rel_tol=1e-6):
        final = float(alphas[0])
    steps = []
    for t in timesteps:
        previous = float(alphas[t - origin.stride]) if t >= origin.stride else final
        # The model is asked at its own table's sigma: that is how the host turns a sigma into timestep t.
        steps.append(Step(float(table[t]), float(alphas[t]), previous))
    return steps
