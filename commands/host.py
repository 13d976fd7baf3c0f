"""`eri host`: set up, start, stop and look at a local ComfyUI."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from . import options
from .shared import err, out, reported, show

host = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Set up, start, stop and look at a local ComfyUI.\n\nExample: eri host start",
)


@host.command("setup")
def host_setup(as_json: options.AsJson = False) -> None:
    """Find a ComfyUI, or fetch one, and make it ready.

    Example: eri host setup
    """
    shown = err if as_json else out
    with reported(as_json):
        from ..dev.host_install import set_up_host

        install = set_up_host(
            report=lambda line: shown.print(escape(line), highlight=False, soft_wrap=True)
        )
    if as_json:
        show({"path": str(install.path), "origin": install.origin})
        return
    out.print(f"ready: {escape(str(install.path))}", highlight=False, soft_wrap=True)


@host.command("start")
def host_start(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port to answer at.", show_default="a free one")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The host's output folder.")] = None,
    loras: Annotated[list[Path] | None, typer.Option(help="Folder that holds LoRA runs; may be repeated.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Start a local ComfyUI with this pack and leave it running.

    Example: eri host start --loras output
    """
    paths = {"loras": [folder.absolute() for folder in loras or ()]}
    with reported(as_json), err.status("starting ComfyUI …"):
        from ..dev.local_host import start_background

        state = start_background(
            port=port, output_dir=None if output is None else output.absolute(), model_paths=paths
        )
    if as_json:
        show({"running": True, **asdict(state)})
        return
    out.print(f"running at {state.url} (process {state.pid}), images in {state.output_dir}", soft_wrap=True)


@host.command("stop")
def host_stop(as_json: options.AsJson = False) -> None:
    """Stop the ComfyUI that `eri host start` started.

    Example: eri host stop
    """
    with reported(as_json):
        from ..dev.local_host import stop_background

        stopped = stop_background()
    if as_json:
        show({"stopped": stopped})
        return
    out.print("stopped" if stopped else "no ComfyUI was running")


@host.command("status")
def host_status(as_json: options.AsJson = False) -> None:
    """Say whether a ComfyUI started by `eri host start` is running. Exit code 1 when none is.

    Example: eri host status --json
    """
    with reported(as_json):
        from ..dev.local_host import background_host

        state = background_host()
    if as_json:
        show({"running": state is not None, **(asdict(state) if state else {})})
    else:
        out.print(f"running at {state.url} (process {state.pid})" if state else "no ComfyUI is running", soft_wrap=True)
    if state is None:
        raise typer.Exit(1)
