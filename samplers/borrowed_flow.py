"""Steps of flow models' schedulers, which trainers also take on a model that learned no flow (SDXL).

Each takes the latent `x` of unit variance, the model's raw `output`, its timestep and the next one, 0 .. 1000, and the
model's cumulative alphas `[1000]`; it returns the next latent.
"""

from __future__ import annotations

import math

from torch import Tensor

from .trainer_levels import WINDOWS


def euler(x: Tensor, output: Tensor, here: float, after: float, alphas: Tensor) -> Tensor:
    """The output is taken for the velocity. Source: diffusers `FlowMatchEulerDiscreteScheduler.step`."""
    return x + (after - here) / len(alphas) * output


def mean_flow(x: Tensor, output: Tensor, here: float, after: float, alphas: Tensor) -> Tensor:
    """The whole way, in every step. Source: ai-toolkit@27a03a9 toolkit/samplers/mean_flow_scheduler.py, `step`."""
    return x - output


def perflow(x: Tensor, output: Tensor, here: float, after: float, alphas: Tensor) -> Tensor:
    """On the straight line to the end of the quarter that the timestep is in, from the predicted noise.

    Source: SimpleTuner@bc8e6ab helpers/training/custom_schedule.py, `PeRFlowScheduler.step`; Yan et al. 2024 (PeRFlow).
    """
    train = len(alphas)
    now, then = here / train, after / train
    start = math.ceil(now * WINDOWS) / WINDOWS
    end = start - 1.0 / WINDOWS
    high, low = float(alphas[int(start * train) - 1]), float(alphas[max(int(end * train) - 1, 0)])
    scale = (low / high) ** 0.5
    rest = (1.0 - low) ** 0.5 - (low / high * (1.0 - high)) ** 0.5
    span = scale * (now - start) + end - now
    ends = scale * (end - start) / span * x + rest * (end - now) / span * output
    return x + (then - now) * (ends - x) / (end - now)
