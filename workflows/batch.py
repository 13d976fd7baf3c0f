"""How many samples are denoised at once: what may be asked for, and what is said of it."""

from __future__ import annotations

from typing import Final

from ..errors import WorkflowError

#: The most images that EriSample takes at once, and what stands for as many as the device has room for.
MAX_BATCH: Final = 64
AUTO_BATCH: Final = 0


def of_batch(batch: int) -> list[str]:
    """What to say of samples that are denoised at once."""
    if batch == 1:
        return []
    most = f"Up to {batch} samples" if batch else "As many samples as the device has room for, of those"
    return [
        f"{most} that fit each other are denoised at once. The trainer makes them one at a time, "
        "which sums in another order: the last digits differ."
    ]


def check_batch(batch: int, style: str) -> None:
    """Refuse a number of samples at once that there cannot be; WorkflowError."""
    if batch != AUTO_BATCH and not 1 <= batch <= MAX_BATCH:
        raise WorkflowError(f"batch is {batch}", field="batch", remedy=f"Give 1 to {MAX_BATCH} samples at once.")
    if batch != 1 and style == "stock":
        raise WorkflowError(
            f"batch is {batch}, but in style stock every sample has a KSampler of its own",
            field="batch",
            remedy="Leave batch at 1, or use style eri.",
        )
