"""Reads a checkpoint that its trainer may still be writing."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

import comfy.model_management
import comfy.utils

from ...errors import LoraError
from ...lora import Lora, read_lora
from ...lora.header import bytes_written

log = logging.getLogger(__name__)
_POLL: Final = 0.2  # seconds between two looks at the file


def read_when_written(path: Path, family: str | None, wait: float) -> Lora:
    """Read a LoRA file. A half-written one is read again for up to `wait` seconds, with progress shown.

    ComfyUI's interrupt ends the wait. Raises LoraError as `read_lora` does, and for a file that is still incomplete
    after `wait` seconds.
    """
    began = time.monotonic()
    bar = None
    while True:
        try:
            return read_lora(path, family=family)
        except LoraError as error:
            if not error.retryable or wait <= 0:
                raise
            waited = time.monotonic() - began
            if waited >= wait:
                raise _given_up(error, waited) from error
            if bar is None:
                log.info("EriLoraAtStep: %s Waiting up to %g s.", error, wait)
        comfy.model_management.throw_exception_if_processing_interrupted()
        bar = _show(path, bar)
        time.sleep(min(_POLL, wait - waited))


def _given_up(error: LoraError, waited: float) -> LoraError:
    text = str(error).removeprefix(f"{error.path}: ").removesuffix(f". {error.remedy}")
    return LoraError(
        f"{text}, and still after {waited:.0f} s of waiting",
        path=error.path,
        keys=error.keys,
        remedy="If the trainer is slow, raise wait; if it has stopped, this checkpoint is lost: choose another step",
        retryable=True,
    )


def _show(path: Path, bar: comfy.utils.ProgressBar | None) -> comfy.utils.ProgressBar | None:
    """Show how much of the file is there, once its header says how long it will be."""
    try:
        there, promised = bytes_written(path)
    except (OSError, ValueError):
        return bar  # being replaced at this moment; reading it says what is wrong
    if promised is None:
        return bar
    bar = bar or comfy.utils.ProgressBar(promised)
    bar.update_absolute(min(there, promised), promised)
    return bar
