"""`eri demo`: the example configs in a real ComfyUI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from . import interrupts, options
from .hosts import open_host
from .shared import near, notes, out, reported, show


def demo(
    host: options.HostUrl = None,
    output: options.Output = Path("demo_output"),
    families: Annotated[str, typer.Option(help="Which of the examples to run.")] = "flux,sd35,sdxl",
    columns: Annotated[int, typer.Option(min=3, max=20, help="Training steps per contact sheet, step 0 included.")] = 5,
    as_json: options.AsJson = False,
) -> None:
    """Run the three example configs against their LoRA runs in a real ComfyUI, and show where the images are.

    Example: eri demo
    """
    wanted = [name.strip() for name in families.split(",") if name.strip()]
    with reported(as_json):
        from ..dev import demo as examples

        examples.require_examples()
        if not wanted or not set(wanted) <= set(examples.DEMOS):
            raise typer.BadParameter(f"choose from {', '.join(examples.DEMOS)}", param_hint="--families")
        work = examples.jobs(wanted, columns)
        with open_host(host, output, [], quiet=as_json, background=False) as (url, local_output):
            console = Console(quiet=True) if as_json else out
            outcomes = interrupts.run(examples.run_demo(url, work, output.absolute(), local_output, console))
    if as_json:
        show({"families": [outcome.as_dict() for outcome in outcomes]})
        return
    for outcome in outcomes:
        out.print(f"\n[bold]{outcome.family}[/]: {outcome.images} images in {outcome.seconds:.1f} s")
        out.print(f"  contact sheet  {escape(near(outcome.sheet))}", highlight=False, soft_wrap=True)
        out.print(f"  images         {escape(near(outcome.folder))}", highlight=False, soft_wrap=True)
    notes(tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes)))
