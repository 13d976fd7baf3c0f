"""The ComfyUI that a command works with: a named one, the one in the background, or one of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

from ..errors import HostError
from .shared import err


def from_dev(name: str) -> ModuleType:
    """Return a module of `dev/`, which sets up and starts a ComfyUI; the registry's copy of the pack has no such part.

    Raises HostError where it is not there.
    """
    home = __package__.rpartition(".")[0] + ".dev"
    try:
        return import_module(f"{home}.{name}")
    except ModuleNotFoundError as missing:
        if missing.name != home:
            raise
    raise HostError(
        "This copy of the pack comes from ComfyUI's registry and cannot set up or start a ComfyUI",
        remedy="Name a running one with --host URL, or use a clone of the pack's repository.",
    )


@contextlib.contextmanager
def open_host(
    url: str | None, output: Path, run: str | None, *, quiet: bool, background: bool = True
) -> Iterator[tuple[str, Path | None]]:
    """Address of a ComfyUI and its output folder if that is here: the named one, the background one, or a new one.

    Raises HostError where none is named and none can be started.
    """
    if url is not None:
        yield url, None
        return
    local_host = from_dev("local_host")
    running = local_host.background_host() if background else None
    if running is not None:
        yield running.url, Path(running.output_dir)
        return
    loras = [Path(run).absolute().parent] if run and Path(run).exists() else []
    new = local_host.LocalHost(output_dir=output.absolute(), model_paths={"loras": loras})
    try:
        with err.status("starting ComfyUI …") if not quiet else contextlib.nullcontext():
            new.start()
        yield new.url, new.output_dir
    finally:
        new.stop()
