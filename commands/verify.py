"""`eri verify`: the samples that the trainer saved, made again in ComfyUI and compared picture by picture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from ..spec import read_spec
from . import options
from .explain import print_verdict
from .sampling import sample_steps
from .shared import err, near, notes, out, reported, show

if TYPE_CHECKING:
    from ..client.verify import Result

_COLOURS = {"same picture": "green", "close": "yellow", "different": "red"}


def verify(
    file: options.ConfigFile,
    run: Annotated[Path, typer.Option(help="The trainer's folder of this run, with checkpoints and samples.")],
    step: Annotated[
        int | None, typer.Option(min=0, help="Training step; 0 = before training.", show_default="newest with both")
    ] = None,
    samples: Annotated[
        Path | None, typer.Option(help="Folder of the trainer's samples.", show_default="in the run's folder")
    ] = None,
    models: options.ModelsFile = None,
    host: options.HostUrl = None,
    output: options.Output = Path("eri_samples"),
    again: options.Again = False,
    timeout: options.Timeout = None,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    as_json: options.AsJson = False,
) -> None:
    """Make the samples that your trainer saved again in ComfyUI, and compare them picture by picture.

    Writes a sheet theirs | made again | difference. --json prints a report without prompts and paths, for bug reports.
    Ends with 1 where a picture differs.

    Example: eri verify train_flux.yaml --run output/my_run --step 500 --models flux.yaml
    """
    from ..client.sample_records import samples_root
    from ..client.trainer_runs import samples_at
    from ..client.verify import compare_samples, open_pictures, report, write_sheets

    with reported(as_json):
        found = replace(read_spec(file, trainer=trainer, family=family, prompts=prompts), image_format="png")
        theirs = samples_at(found, run, step, samples)
        pictures = open_pictures(found, theirs)
        part = [item for item in found.items if item.index in pictures.theirs]
        made = None
        if part:
            made = sample_steps(
                found.part(part), [theirs.step], str(theirs.run) if theirs.step else None, models, host, output,
                again=again, batch=1, timeout=timeout, quiet=as_json,
            )  # fmt: skip
            notes(made["notes"])
        result = compare_samples(found, pictures, made)
        sheet = write_sheets(result, samples_root(output.absolute(), found))
    if as_json:
        show(report(result))
    else:
        _print(result)
    if sheet is not None:
        (err if as_json else out).print(f"[bold]sheet[/] {escape(near(sheet))}", highlight=False, soft_wrap=True)
    raise typer.Exit(1 if result.outcome == "different" else 0)


def _print(result: Result) -> None:
    """The verdict on all, a row for each picture, what `eri explain` says where they are not the same."""
    from ..workflows.parity import explain
    from ..workflows.verdict import verdict

    out.print(
        f"[bold]{escape(result.spec.name)}[/] step {result.step}: "
        f"[bold {_COLOURS[result.outcome]}]{result.text}[/]", highlight=False, soft_wrap=True,
    )  # fmt: skip
    table = Table("", "verdict", "largest", "mean", "SSIM", "compared as", Column("can be the reason", overflow="fold"))
    for item in result.items():
        found, reasons = result.compared.get(item.index), ", ".join(result.reasons(item))
        if found is None:
            table.add_row(str(item.index), "[red]different[/]", "", "", "", "", result.sizes[item.index])
            continue
        if not reasons and found.outcome != "same picture":
            reasons = "nothing that eri explain knows of: is it the same base model?"
        numbers = (str(found.largest), f"{found.mean:.3g}", f"{found.ssim:.4f}", found.shown_as)
        table.add_row(str(item.index), f"[{_COLOURS[found.outcome]}]{found.text}[/]", *numbers, reasons)
    out.print(table)
    notes([f"item {index} was not compared: {why}" for index, why in sorted(result.problems.items())])
    if result.outcome != "same picture":
        print_verdict(verdict(result.spec, explain(result.spec, result.instead)))
