"""What Sample tells a client beside its latents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...protocol.events import SIGMAS


def told_sigmas(sigmas: Any, rows: Sequence[int] | None = None) -> dict[str, list[Any]]:
    """The UI output that tells a client at which noise levels rows are sampled: their numbers and hashes.

    Args:
        sigmas: EriSample's input, one tensor or a list with one for all rows or one for each.
        rows: numbers from 0, None = all.
    """
    every = sigmas if isinstance(sigmas, list) else [sigmas]
    numbers = range(len(every)) if rows is None else rows
    return {SIGMAS: [[number, _hash(every[number % len(every)])] for number in numbers]}


def _hash(sigmas: Tensor) -> str:
    return hashlib.sha256(sigmas.detach().float().cpu().contiguous().numpy().tobytes()).hexdigest()
