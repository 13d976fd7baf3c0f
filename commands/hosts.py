"""The ComfyUI that a command works with: a named one, the one in the background, or one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from .shared import err


@contextlib.contextmanager
def open_host(
    url: str | None, output: Path, runs: Iterable[str | None], *, quiet: bool, background: bool = True
) -> Iterator[tuple[str, Path | None]]:
    """Address of a ComfyUI and its output folder if that is here: the named one, the background one, or a new one.

    Args:
        runs: Run folders that it is to see.

    Raises HostError where none is named and none can be started.
    """
    if url is not None:
        yield url, None
        return
    from ..dev import local_host

    running = local_host.background_host() if background else None
    if running is not None:
        yield running.url, Path(running.output_dir)
        return
    loras = [Path(run).absolute().parent for run in runs if run and Path(run).exists()]
    new = local_host.LocalHost(output_dir=output.absolute(), model_paths={"loras": list(dict.fromkeys(loras))})
    try:
        with err.status("starting ComfyUI …") if not quiet else contextlib.nullcontext():
            new.start()
        yield new.url, new.output_dir
    finally:
        new.stop()
