"""No search for garbage while only such objects are made as stay."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def all_stays() -> Iterator[None]:
    """For many small objects at once: each search takes in all that the program holds, torch and ComfyUI too, and
    takes longer than to make them."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
