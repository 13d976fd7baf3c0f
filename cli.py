"""`eri`: training configs and LoRA runs in, samples from a ComfyUI host out.

Exit codes: 0 done, 1 failed, 2 bad usage or bad input, 130 interrupted.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ModuleNotFoundError as missing:
    raise SystemExit(
        f"eri needs the package {missing.name!r}, part of the extra 'cli'. "
        'Install it from the folder of the pack with: pip install -e ".[cli]"'
    ) from None

from .commands import options
from .commands.explain import explain
from .commands.graph import graph
from .commands.host import host_app
from .commands.hosts import open_host
from .commands.lora import lora
from .commands.shared import EXIT_CODES, EriGroup, err, near, notes, out, print_any_text, reported, show
from .commands.watch import watch
from .spec import SampleSpec, expand_prompts, read_spec
from .workflows.models import Models

app = typer.Typer(
    cls=EriGroup, no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help=f"A training run's samples, reproduced and compared in ComfyUI.\n\n{EXIT_CODES}\n\nExample: eri demo",
)  # fmt: skip
app.command(name="explain")(explain)
app.command(name="graph")(graph)
app.command(name="lora")(lora)
app.command(name="watch")(watch)
app.add_typer(host_app, name="host")


@app.command()
def spec(
    file: options.ConfigFile,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: Annotated[
        int | None, typer.Option(help="Choose one of every {a|b} and __wildcard__, with this seed.", show_default="off")
    ] = None,
    wildcards: Annotated[Path | None, typer.Option(help="Folder of wildcards for --expand: colour.txt, ...")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Show what the trainer will sample, fully resolved, and every field of the config that has no part in it.

    Reads configs of EriDiffusion V1 (YAML) and V2 (JSON, command line),
    ai-toolkit, kohya sd-scripts, SimpleTuner, OneTrainer and musubi-tuner,
    kohya's and EriDiffusion V2's prompt files, and what --json writes.

    Example: eri spec train_flux.yaml
    Example: eri spec prompts.txt --trainer kohya --family sdxl
    Example: eri spec config.json --trainer eridiffusion-v2 --prompts prompts.txt
    """
    with reported(as_json):
        found = read_spec(file, trainer=trainer, family=family, prompts=prompts)
        if expand is not None:
            found = expand_prompts(found, expand, wildcards)
    if as_json:
        show(found.to_dict())
        return
    kind = f"{found.family}{f' {found.variant}' if found.variant else ''}"
    every = f", every {found.sample_every} steps" if found.sample_every else ""
    out.print(f"[bold]{escape(found.name)}[/]  {kind}, {found.trainer}{every}, {len(found.items)} samples")
    table = Table("", "prompt", "negative", "size", "seed", "steps", "cfg", "guidance", "LoRA")
    for item in found.items:
        table.add_row(
            str(item.index), escape(item.prompt), escape(item.negative_prompt), f"{item.width}×{item.height}",
            "random" if item.seed is None else str(item.seed), str(item.steps), f"{item.cfg_scale:g}",
            "–" if item.guidance is None else f"{item.guidance:g}", f"{item.lora_scale:g}",
        )  # fmt: skip
    out.print(table)
    notes(found.notes)
    if found.ignored:
        notes([f"not used: {', '.join(found.ignored)}"])


@app.command()
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
    as_json: options.AsJson = False,
) -> None:
    """Sample one training step on a ComfyUI host.

    Example: eri sample train_flux.yaml --run output/my_run --step 500 --models flux.yaml
    """
    with reported(as_json):
        found = read_spec(file, trainer=trainer, family=family, prompts=prompts)
        if run is None and step != 0:
            run = found.name
        document = _sample(
            found, [step], run, models, host, output, sheet=None, batch=batch, timeout=timeout, quiet=as_json
        )
    _print_images(document, as_json)


@app.command()
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
    as_json: options.AsJson = False,
) -> None:
    """Sample several training steps and put them on one contact sheet, prompts × steps.

    Run again after an interruption it makes only what is missing: every image says in itself what made it. Another
    prompt, setting, model file or LoRA run makes the images anew.

    Example: eri sweep train_flux.yaml --run output/my_run --steps 0,250,500
    """
    with reported(as_json):
        found = read_spec(file, trainer=trainer, family=family, prompts=prompts)
        run = run or found.name
        document = _sample(
            found, _steps(steps, run), run, models, host, output, sheet="contact_sheet.png", again=again,
            batch=batch, timeout=timeout, quiet=as_json,
        )  # fmt: skip
    _print_images(document, as_json)


@app.command()
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
    from .dev.demo import DEMOS, jobs, run_demo

    wanted = [name.strip() for name in families.split(",") if name.strip()]
    if not wanted or not set(wanted) <= set(DEMOS):
        raise typer.BadParameter(f"choose from {', '.join(DEMOS)}", param_hint="--families")
    with reported(as_json):
        work = jobs(wanted, columns)
        with open_host(host, output, None, quiet=as_json, background=False) as (url, local_output):
            console = Console(quiet=True) if as_json else out
            outcomes = asyncio.run(run_demo(url, work, output.absolute(), local_output, console))
    if as_json:
        show({"families": [outcome.as_dict() for outcome in outcomes]})
        return
    for outcome in outcomes:
        out.print(f"\n[bold]{outcome.family}[/]: {outcome.images} images in {outcome.seconds:.1f} s")
        out.print(f"  contact sheet  {escape(near(outcome.sheet))}", highlight=False, soft_wrap=True)
        out.print(f"  images         {escape(near(outcome.folder))}", highlight=False, soft_wrap=True)
    notes(tuple(dict.fromkeys(note for outcome in outcomes for note in outcome.notes)))


def _sample(
    found: SampleSpec, steps: list[int | None], run: str | None, models: Path | None, url: str | None, output: Path,
    *, sheet: str | None, batch: int, timeout: float | None, quiet: bool, again: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Sweep `steps` on a host, unless all is there already; returns what was written, as JSON types."""
    from .client.graphs import models_offered
    from .client.jobs import document_of, sample_plan
    from .client.resume import plan_sweep

    chosen: Models = models
    plan = plan_sweep(found, steps, output.absolute(), models=chosen, run=run, again=again, batch=batch)
    made = {}
    if plan.todo:
        with open_host(url, output, run, quiet=quiet) as (address, local_output):
            if models is None:
                chosen, choice = asyncio.run(models_offered(address, found))
                plan = plan_sweep(found, steps, output.absolute(), models=chosen, run=run, again=again, batch=batch)
                if quiet:
                    plan.notes.extend(choice)
                else:  # at once: should the host refuse the graph, they say what it lacks and where to get it
                    notes(choice)
            console = None if quiet else err
            work = sample_plan(address, plan, run, chosen, output, local_output, console, timeout=timeout)
            made = asyncio.run(work)
    return document_of(plan, steps, made, sheet)


def _steps(text: str, run: str) -> list[int | None]:
    """The steps in "0,250,500"; "all" is 0 and every checkpoint's of the local folder `run`, "250-" a part of them."""
    from .client.runs import select_steps_in

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


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of `eri`; ends the program with its exit code."""
    print_any_text()
    signal.signal(signal.SIGTERM, _terminate)  # stop the host we started as on Ctrl-C
    app()
