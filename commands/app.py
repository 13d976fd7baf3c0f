"""The whole command line, put together."""

from __future__ import annotations

import typer

from .demo import demo
from .explain import explain
from .gallery import gallery
from .graph import graph
from .host import host_app
from .lora import lora
from .measure import measure
from .rank import rank
from .sample import sample
from .shared import EXIT_CODES, EriGroup
from .spec import spec
from .sweep import sweep
from .verify import verify
from .watch import watch

app = typer.Typer(
    cls=EriGroup, no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help=f"A training run's samples, reproduced and compared in ComfyUI.\n\n{EXIT_CODES}\n\nExample: eri demo",
)  # fmt: skip
for command in (spec, explain, graph, sample, sweep, verify, watch, gallery, rank, measure, lora, demo):
    app.command()(command)
app.add_typer(host_app, name="host")
