"""The host that a command works with: a named one, the one in the background, or one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..dev import local_host
from .shared import err


@contextlib.contextmanager
def open_host(
    url: str | None, output: Path, run: str | None, *, quiet: bool, background: bool = True
) -> Iterator[tuple[str, Path | None]]:
    """Address of a host and its output folder if that is here: the named one, the background one, or a new one."""
    running = local_host.background_host() if background and url is None else None
    if url is not None or running is not None:
        yield (url, None) if url is not None else (running.url, Path(running.output_dir))  # type: ignore[union-attr]
        return
    loras = [Path(run).absolute().parent] if run and Path(run).exists() else []
    new = local_host.LocalHost(output_dir=output.absolute(), model_paths={"loras": loras})
    try:
        with err.status("starting ComfyUI …") if not quiet else contextlib.nullcontext():
            new.start()
        yield new.url, new.output_dir
    finally:
        new.stop()
