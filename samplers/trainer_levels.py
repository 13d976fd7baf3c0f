"""Noise levels and timesteps of the diffusers schedulers that trainers sample SDXL with.

A scheduler visits sigmas that lie between the table's entries, and asks the model at timesteps that need not be whole
numbers. `levels` gives both. Source: `set_timesteps` and `init_noise_sigma` of each scheduler in diffusers 0.38.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from . import _checks

F64 = NDArray[np.float64]
SPACINGS: Final = ("leading", "trailing", "linspace")
SCHEDULERS, FIRST_SIGMA = "scheduler", "first sigma"
#: What the noise is multiplied by at first: what the scheduler has for it, or the first sigma.
STARTS: Final = (SCHEDULERS, FIRST_SIGMA)


@dataclass(frozen=True)
class Algorithm:
    """What is to be known of a scheduler before it runs.

    Args:
        scheduler: its class in diffusers.
        timesteps: "fractions": evenly spaced, as they come; "whole": rounded, one more interval than steps; "pndm":
            rounded. "lcm": some of the 50 that latent consistency models learn. "flow": evenly from 1000 to 1.
            "windows": evenly in each quarter, from 1000 on.
        karras: whether it can have Karras' sigmas, and whether the timesteps are rounded then.
        draws: whether it draws noise in its steps: in the precision of the initial noise, or always in float32.
        unit: whether it starts from the noise as it is drawn (variance preserving) for every spacing.
    """

    scheduler: str
    timesteps: Literal["fractions", "whole", "pndm", "lcm", "flow", "windows"] = "fractions"
    karras: Literal["", "fractions", "rounded"] = ""
    draws: Literal["", "as drawn first", "float32"] = ""
    unit: bool = False


#: By the word of EriTrainerSampler.
ALGORITHMS: Final[Mapping[str, Algorithm]] = MappingProxyType(
    {
        "euler": Algorithm("EulerDiscreteScheduler", karras="fractions"),
        "euler_a": Algorithm("EulerAncestralDiscreteScheduler", draws="as drawn first"),
        "heun": Algorithm("HeunDiscreteScheduler", karras="fractions"),
        "dpm_2": Algorithm("KDPM2DiscreteScheduler", karras="rounded"),
        "dpm_2_a": Algorithm("KDPM2AncestralDiscreteScheduler", karras="rounded", draws="as drawn first"),
        "lms": Algorithm("LMSDiscreteScheduler", karras="fractions"),
        "ddpm": Algorithm("DDPMScheduler", "pndm", draws="as drawn first", unit=True),
        "pndm": Algorithm("PNDMScheduler", "pndm", unit=True),
        "plms": Algorithm("PNDMScheduler with skip_prk_steps", "pndm", unit=True),
        "dpmsolver++": Algorithm("DPMSolverMultistepScheduler", "whole", "rounded", unit=True),
        "sde-dpmsolver++": Algorithm(
            "DPMSolverMultistepScheduler with noise", "whole", "rounded", "float32", unit=True
        ),
        "dpmsingle": Algorithm("DPMSolverSinglestepScheduler", "whole", "rounded", unit=True),
        "unipc": Algorithm("UniPCMultistepScheduler", "whole", "rounded", unit=True),
        "dpmsolver": Algorithm("DPMSolverMultistepScheduler that ends on sigma_min", "whole", "rounded", unit=True),
        "lcm": Algorithm("LCMScheduler", "lcm", draws="as drawn first", unit=True),
        "custom_lcm": Algorithm("CustomLCMScheduler of ai-toolkit", "lcm", draws="as drawn first", unit=True),
        "flowmatch": Algorithm("FlowMatchEulerDiscreteScheduler", "flow", unit=True),
        "mean_flow": Algorithm("MeanFlowScheduler of ai-toolkit", "flow", unit=True),
        "perflow": Algorithm("PeRFlowScheduler of SimpleTuner", "windows", unit=True),
    }
)
#: Those that end on the table's lowest sigma instead of 0.
_END_LOW: Final = ("pndm", "plms", "dpmsolver")
#: Timesteps that latent consistency models learn (original_inference_steps).
_LCM_STEPS: Final = 50
#: Time windows of piecewise rectified flow (num_time_windows); the fewest steps that it makes.
WINDOWS: Final = 4


@dataclass(frozen=True)
class Levels:
    """Where a scheduler asks the model.

    Args:
        sigmas: float32 `[steps + 1]`, falling; the last is where the run ends.
        timesteps: one for each sigma but the last.
        start: what unit noise is multiplied by at first, where latents are x0 + sigma * noise.
    """

    sigmas: Tensor
    timesteps: tuple[float, ...]
    start: float


def levels(
    table: Tensor,
    sampler: str,
    steps: int,
    spacing: str = "linspace",
    offset: int = 0,
    karras: bool = False,
    start: str = SCHEDULERS,
) -> Levels:
    """Return the levels of the scheduler that `sampler` stands for.

    Args:
        table: the model's sigmas `[T]`, rising.
        sampler: a key of `ALGORITHMS`.
        steps: number of steps, at most T; perflow makes 4 where there are fewer.
        spacing: diffusers' timestep_spacing; dpmsingle always has linspace; lcm, custom_lcm, flowmatch, mean_flow and
            perflow their own.
        offset: diffusers' steps_offset, used with "leading".
        karras: Karras et al. (2022) sigmas between the first and the last one; dpmsolver, dpmsolver++, dpmsingle and
            unipc take the ends of the table.
        start: one of `STARTS`; EriDiffusion V2's euler_a multiplies by the first sigma.

    Raises:
        ValueError: for a name that there is not, a sampler without Karras' sigmas, and timesteps outside the table.
    """
    kind = ALGORITHMS[_checks.choice("sampler", sampler, tuple(ALGORITHMS))]
    _checks.choice("spacing", spacing, SPACINGS)
    _checks.choice("start", start, STARTS)
    _checks.integer("steps", steps, 1, len(table))
    _checks.integer("offset", offset, 0, len(table) - 1)
    if karras and not kind.karras:
        raise ValueError(f"karras: {sampler} has no Karras sigmas; those that do: {', '.join(with_karras())}")
    if sampler == "pndm" and steps < 4:
        raise ValueError(f"steps: pndm needs 4 or more, got {steps}")
    if kind.timesteps == "lcm" and steps > _LCM_STEPS:
        raise ValueError(f"steps: {sampler} has at most {_LCM_STEPS}, got {steps}")
    known = table.detach().cpu().double().numpy()
    if kind.timesteps == "lcm":
        asked = _lcm(len(known), steps, to_the_last=sampler == "custom_lcm")
    elif kind.timesteps == "flow":
        asked = np.linspace(len(known), 1, steps)
    elif kind.timesteps == "windows":
        asked = _windows(len(known), max(steps, WINDOWS))
    else:
        asked = _spaced(kind, len(known), steps, "linspace" if sampler == "dpmsingle" else spacing, offset)
    if asked[0] > len(known) - 1 and kind.timesteps not in ("flow", "windows"):
        raise ValueError(f"offset: {steps} steps with offset {offset} lead past the last timestep {len(known) - 1}")
    sigmas = np.interp(asked, np.arange(len(known)), known)
    if karras:
        ends = (known[-1], known[0]) if kind.timesteps == "whole" else (sigmas[0], sigmas[-1])
        sigmas = _karras(*ends, steps)
        asked = np.array([timestep_of(sigma, known) for sigma in sigmas])
        asked = asked.round() if kind.karras == "rounded" else asked
    last = known[0] if sampler in _END_LOW else 0.0
    unit = start == SCHEDULERS and (kind.unit or spacing == "leading")
    factor = float((sigmas[0] ** 2 + 1.0) ** 0.5 if unit else sigmas[0])
    listed = torch.from_numpy(np.append(sigmas, last).astype(np.float32))
    return Levels(listed, tuple(asked.astype(np.float32).tolist()), factor)


def with_karras() -> tuple[str, ...]:
    """The samplers that can have Karras' sigmas."""
    return tuple(name for name, kind in ALGORITHMS.items() if kind.karras)


def timestep_of(sigma: float, table: F64) -> float:
    """Return the timestep of a sigma, linear in its logarithm between the table's. Source: diffusers `_sigma_to_t`."""
    return float(np.interp(np.log(max(sigma, 1e-10)), np.log(table), np.arange(len(table))))


def _spaced(kind: Algorithm, train: int, steps: int, spacing: str, offset: int) -> F64:
    whole = kind.timesteps == "whole"
    if spacing == "linspace":
        count = steps + whole
        even: F64 = np.linspace(0, train - 1, count, dtype=np.float64)[::-1][:steps]
        return even if kind.timesteps == "fractions" else even.round()
    if spacing == "leading":
        early: F64 = np.arange(steps + whole, dtype=np.float64)[::-1][:steps] * (train // (steps + whole)) + offset
        return early
    late: F64 = np.arange(train, 0, -train / steps, dtype=np.float64)[:steps].round() - 1.0
    return late


def _lcm(train: int, steps: int, *, to_the_last: bool) -> F64:
    """Evenly among the learned timesteps; to_the_last: the lowest one included."""
    learned = np.arange(_LCM_STEPS, 0, -1, dtype=np.float64) * (train // _LCM_STEPS) - 1.0
    end = _LCM_STEPS - 1 if to_the_last else _LCM_STEPS
    chosen: F64 = learned[np.linspace(0, end, steps, endpoint=to_the_last).astype(np.int64)]
    return chosen


def _windows(train: int, steps: int) -> F64:
    """The first windows have a step more where they do not divide the steps. Source: SimpleTuner@bc8e6ab
    helpers/training/custom_schedule.py, `PeRFlowScheduler.set_timesteps`, whose truncation makes 99 of 0.1.
    """
    each, more = divmod(steps, WINDOWS)
    starts = [1.0 - i / WINDOWS for i in range(WINDOWS)]
    parts = [
        np.linspace(start, start - 1.0 / WINDOWS, each + (i < more), endpoint=False) for i, start in enumerate(starts)
    ]
    whole: F64 = (np.concatenate(parts) * train).astype(np.int64).astype(np.float64)
    return whole


def _karras(highest: float, lowest: float, steps: int, rho: float = 7.0) -> F64:
    """Eq. 5 of Karras et al. (2022)."""
    ramp = np.linspace(0, 1, steps)
    falling: F64 = (highest ** (1 / rho) + ramp * (lowest ** (1 / rho) - highest ** (1 / rho))) ** rho
    return falling
