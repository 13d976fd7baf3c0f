"""`eri sample` and `eri sweep`: pictures of one training step, or of several on one contact sheet."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from ..spec import SampleSpec
from ..workflows.models import Models
from . import interrupts, options
from .hosts import open_host
from .shared import err, near, notes, out, read_config, reported, show


def sample(
    file: options.ConfigFile,
    step: Annotated[int | None, typer.Option(min=0, help="Training step; 0 = no LoRA.", show_default="newest")] = None,
    run: options.Run = None,
    models: options.ModelsFile = None,
    host: options.HostUrl = None,
    output: options.Output = Path("eri_samples"),
    batch: options.Batch = 1,
    timeout: options.Timeout = None,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: options.Expand = None,
    wildcards: options.Wildcards = None,
    as_json: options.AsJson = False,
) -> None:
    """Sample one training step on a ComfyUI host.

    Example: eri sample train_flux.yaml --run output/my_run --step 500 --models flux.yaml
    """
    with reported(as_json):
        found = read_config(file, trainer, family, prompts, expand, wildcards)
        if run is None and step != 0:
            run = found.name
        document = sample_steps(
            found, [step], run, models, host, output, sheet=None, batch=batch, timeout=timeout, quiet=as_json
        )
    _print_images(document, as_json)


def sweep(
    file: options.ConfigFile,
    steps: Annotated[
        str, typer.Option(help="0,250,500; for a run folder on this machine also 500-1000, 500-, or all (0 included).")
    ] = "all",
    run: options.Run = None,
    models: options.ModelsFile = None,
    host: options.HostUrl = None,
    output: options.Output = Path("eri_samples"),
    batch: options.Batch = 1,
    again: options.Again = False,
    timeout: options.Timeout = None,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: options.Expand = None,
    wildcards: options.Wildcards = None,
    as_json: options.AsJson = False,
) -> None:
    """Sample several training steps and put them on one contact sheet, prompts × steps.

    Run again after an interruption it makes only what is missing: every image says in itself what made it. Another
    prompt, setting, model file or LoRA run makes the images anew.

    Example: eri sweep train_flux.yaml --run output/my_run --steps 0,250,500
    """
    with reported(as_json):
        found = read_config(file, trainer, family, prompts, expand, wildcards)
        run = run or found.name
        document = sample_steps(
            found, _steps(steps, run), run, models, host, output, sheet="contact_sheet.png", again=again,
            batch=batch, timeout=timeout, quiet=as_json,
        )  # fmt: skip
    _print_images(document, as_json)


def sample_steps(
    found: SampleSpec, steps: list[int | None], run: str | None, models: Path | None, url: str | None, output: Path,
    *, sheet: str | None, batch: int, timeout: float | None, quiet: bool, again: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Sweep `steps` on a host, unless all is there already; returns what was written, as JSON types."""
    from ..client.graphs import models_offered
    from ..client.grid import Made, plan_grid
    from ..client.jobs import document_of, sample_grid, worker_name
    from ..client.saving import check_folder

    chosen: Models = models
    plan = partial(plan_grid, found, steps, output.absolute(), runs={"": run}, again=again, batch=batch)
    grid = plan(models=chosen)
    check_folder(grid.root)
    made: Made = {}
    version = None
    if grid.jobs:
        with open_host(url, output, run, quiet=quiet) as (address, local_output):
            if models is None:
                chosen, choice = interrupts.run(models_offered(address, found))
                grid = plan(models=chosen)
                if quiet:
                    grid.notes.extend(choice)
                else:  # at once: should the host refuse the graph, they say what it lacks and where to get it
                    notes(choice)
            console, name = None if quiet else err, worker_name(url)
            work = sample_grid(address, grid, output, local_output, console, name=name, timeout=timeout)
            made, version = interrupts.run(work)
    else:
        grid.record_kept()
    return {**document_of(grid, made, sheet), "comfyui": version}


def _steps(text: str, run: str) -> list[int | None]:
    """The steps in "0,250,500"; "all" is 0 and every checkpoint's of the local folder `run`, "250-" a part of them."""
    from ..client.runs import select_steps_in

    parts = [part.replace(" ", "") for part in text.split(",")]
    if all(part.isdecimal() for part in parts):  # the run may lie on the host alone
        return [int(part) for part in dict.fromkeys(parts)]
    if not all(part == "all" or part.replace("-", "", 1).isdecimal() for part in parts):
        raise typer.BadParameter("write 'all', steps like 0,250,500, or ranges like 250-1000", param_hint="--steps")
    return [*select_steps_in(run, "0, all" if text.strip() == "all" else text)]


def _print_images(document: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(document)
        return
    for image in document["images"]:
        out.print(escape(near(Path(image["path"]))), highlight=False, soft_wrap=True)
    kept = sum(image["kept"] for image in document["images"])
    if kept:
        err.print(f"{kept} of these images were there already (--again makes them anew)", highlight=False)
    if document["sheet"]:
        out.print(f"[bold]contact sheet[/] {escape(near(Path(document['sheet'])))}", highlight=False, soft_wrap=True)
    notes(document["notes"])
