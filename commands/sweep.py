"""`eri sweep`: pictures of several training steps, and of any further axes, on contact sheets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from ..client.sheets import SHEET, axis_values
from ..compare.axes import Variant, variants
from ..compare.pages import choose
from ..compare.values import read_values
from ..errors import CompareError
from ..spec import SampleSpec
from . import options
from .many import several
from .plan import plan_of, print_plan
from .sampling import Asked, make, print_images
from .shared import read_config, reported, show


def sweep(
    file: options.ConfigFile,
    steps: Annotated[
        str, typer.Option(help="0,250,500; for a run folder on this machine also 500-1000, 500-, or all (0 included).")
    ] = "all",
    strengths: options.Strengths = None,
    seeds: options.Seeds = None,
    cfg: options.Cfg = None,
    guidance: options.Guidance = None,
    sampler: options.Sampler = None,
    runs: options.Runs = None,
    items: options.Items = "",
    rows: options.Rows = None,
    columns: options.Columns = None,
    run: options.Run = None,
    models: options.ModelsFile = None,
    host: options.HostUrls = None,
    engine: options.Engine = None,
    address: options.RayAddress = None,
    workers: options.Workers = None,
    output: options.Output = Path("eri_samples"),
    batch: options.Batch = 1,
    again: options.Again = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be made; no ComfyUI is asked.")] = False,
    timeout: options.Timeout = None,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: options.Expand = None,
    wildcards: options.Wildcards = None,
    as_json: options.AsJson = False,
) -> None:
    """Sample several training steps, and any further axes, and put them on contact sheets, prompts × steps.

    Every option that lists values is an axis: all choices of them are sampled. Run again after an interruption it makes
    only what is missing: every image says in itself what made it. Another prompt, setting, model file or LoRA run makes
    the images anew.

    Example: eri sweep train_flux.yaml --run output/my_run --steps 0,250,500 --strengths 0.8,1
    """
    with reported(as_json):
        where, one = several(host, engine, address, workers), host[0] if host else None
        found = read_config(file, trainer, family, prompts, expand, wildcards).select(items)
        every = chosen(found, strengths, seeds, cfg, guidance, sampler)
        numbers, named, every, more = _cells(found, steps, run, runs, every)
        check_sheets(found, every, rows, columns)
        asked = Asked(found, numbers, named, models, output, every, again, batch, SHEET, rows, columns, more)
        grid = asked.plan(models)
        plan = plan_of(grid, asked, one)
        if dry_run:
            show(plan) if as_json else print_plan(plan)
            return
        if not as_json:
            print_plan(plan)
        document = make(asked, grid, where or one, timeout=timeout, quiet=as_json)
    print_images(document, as_json)


def chosen(
    found: SampleSpec, strengths: str | None, seeds: str | None, cfg: str | None, guidance: str | None,
    sampler: str | None,
) -> list[Variant]:  # fmt: skip
    """The variants that the options of axes mean; raises CompareError."""
    given = {"strength": strengths, "seed": seeds, "cfg": cfg, "guidance": guidance, "sampler": sampler}
    return variants(read_values(found, {axis: text for axis, text in given.items() if text is not None}))


def check_sheets(found: SampleSpec, every: Sequence[Variant], rows: str | None, columns: str | None) -> None:
    """Refuse axes of the sheets that the sweep does not have; CompareError."""
    choose({axis: len(of) for axis, of in axis_values(found, [], every).items()}, rows, columns)


def _cells(
    found: SampleSpec, steps: str, run: str | None, runs: str | None, every: list[Variant]
) -> tuple[list[int | None], dict[str, str | None], list[Variant], list[str]]:
    """Steps, runs (as for `Asked`), variants and notes that the options mean. Raises CompareError, LoraError."""
    from ..client.runs import check_family, common_steps, named_runs

    if runs is None:
        return _steps(steps, run or found.name), {"": run or found.name}, every, []
    if run is not None:
        raise CompareError("there is --run, too", place=f"--runs {runs}", remedy="Give one of the two.")
    named = named_runs(runs)
    for one in named.values():
        check_family(one, found.family)
    _check_steps(steps)
    common, more = common_steps(named, steps)
    return [*common], {**named}, [Variant({"run": label, **one.values}) for label in named for one in every], more


def _steps(text: str, run: str) -> list[int | None]:
    """The steps in "0,250,500"; "all" is 0 and every checkpoint's of the local folder `run`, "250-" a part of them."""
    from ..client.runs import select_steps_in

    parts = _check_steps(text)
    if all(part.isdecimal() for part in parts):  # the run may lie on the host alone
        return [int(part) for part in dict.fromkeys(parts)]
    return [*select_steps_in(run, "0, all" if text.strip() == "all" else text)]


def _check_steps(text: str) -> list[str]:
    parts = [part.replace(" ", "") for part in text.split(",")]
    if not all(part == "all" or part.replace("-", "", 1).isdecimal() for part in parts):
        raise typer.BadParameter("write 'all', steps like 0,250,500, or ranges like 250-1000", param_hint="--steps")
    return parts
