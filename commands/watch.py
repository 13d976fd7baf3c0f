"""`eri watch`: samples of every new checkpoint of a training run, as it appears."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from ..errors import SpecError
from ..spec import SampleSpec
from ..workflows.models import read_models
from . import interrupts, options
from .hosts import open_host
from .shared import err, near, notes, out, read_config, reported, show
from .sweep import check_sheets, chosen

if TYPE_CHECKING:  # what talks to ComfyUI takes longer to import than --help may take
    from ..client.sweep import Report
    from ..client.watch import Log, Summary, Told, Watch
    from .watched_gallery import WatchedGallery


_Timeout = Annotated[
    float | None,
    typer.Option(min=1, help="End after so many seconds without a new checkpoint.", show_default="never"),
]
_Interval = Annotated[
    float, typer.Option(min=0.2, max=3600, help="Seconds between looks at the folder where no change is seen.")
]
_Measure = Annotated[
    bool, typer.Option("--measure", help="Sample without LoRA once, and measure what each checkpoint changes.")
]
_Board = Annotated[Path | None, typer.Option(help="Also write into this run folder of SerenityBoard (board.db).")]


def watch(
    run_dir: Annotated[Path, typer.Argument(help="Run folder that the trainer writes into.", show_default=False)],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Training config.", show_default="the one in RUN_DIR")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Sample what is there and end.")] = False,
    new_only: Annotated[bool, typer.Option("--new-only", help="Leave out checkpoints that are there already.")] = False,
    again: options.Again = False,
    timeout: _Timeout = None,
    interval: _Interval = 10.0,
    tensorboard: Annotated[Path | None, typer.Option(help="Also write TensorBoard events into this folder.")] = None,
    wandb: Annotated[str | None, typer.Option(help="Also log to this W&B project.")] = None,
    serenityboard: _Board = None,
    measure: _Measure = False,
    strengths: options.Strengths = None,
    seeds: options.Seeds = None,
    cfg: options.Cfg = None,
    guidance: options.Guidance = None,
    sampler: options.Sampler = None,
    items: options.Items = "",
    rows: options.Rows = None,
    columns: options.Columns = None,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the gallery, renewed after each checkpoint.")] = False,
    serve_host: options.ServeHost = "127.0.0.1",
    port: options.ServePort = None,
    models: options.ModelsFile = None,
    host: options.HostUrl = None,
    output: options.Output = Path("eri_samples"),
    batch: options.Batch = 1,
    trainer: options.Trainer = None,
    family: options.Family = None,
    prompts: options.Prompts = None,
    expand: options.Expand = None,
    wildcards: options.Wildcards = None,
    as_json: options.AsJson = False,
) -> None:
    """Sample each checkpoint of a run as it appears, until Ctrl-C. A restart goes on where it was.

    Exit code 1 where a checkpoint could not be sampled, 130 after Ctrl-C.

    Example: eri watch output/my_run --config train_flux.yaml --tensorboard logs
    """
    with reported(as_json):
        from ..client.watch import Watch, no_progress

        found = read_config(config or _config_in(run_dir), trainer, family, prompts, expand, wildcards).select(items)
        read_models(models, found)  # a mistake there is told before a host is started
        check_sheets(found, every := chosen(found, strengths, seeds, cfg, guidance, sampler), rows, columns)
        _say_how(None if once else interval)
        watcher = Watch(
            found, run_dir, output, models=models, new_only=new_only, again=again, batch=batch, variants=every,
            rows=rows, columns=columns, worker=_worker(host), plain=measure, tell=_tell,
            progress=no_progress if as_json else _bar, logs=_logs(found, run_dir, tensorboard, wandb, serenityboard),
        )  # fmt: skip
        served = _gallery(watcher, serve_host, port) if serve else None
        watcher.after = _after(watcher, measure, served)
        stopped = _watch(watcher, served, host, None if once else interval, timeout, as_json)
    _print_summary(watcher.summary, as_json)
    if stopped or watcher.summary.failed:
        raise typer.Exit(interrupts.EXIT_CODE if stopped else 1)


def _say_how(interval: float | None) -> None:
    """Tell of looks at the folder where its changes cannot be seen. interval: seconds between them, None = one look."""
    from ..client.changes import sees_changes

    if interval is not None and not sees_changes():
        notes([f"watchfiles is not installed: the folder is looked at every {interval:g} s"])


def _worker(host: str | None) -> str:
    from ..client.jobs import worker_name

    return worker_name(host)


def _gallery(watcher: Watch, host: str, port: int | None) -> WatchedGallery:
    from .watched_gallery import WatchedGallery

    return WatchedGallery(watcher.root, watcher.run, host, port)


def _after(watcher: Watch, measure: bool, served: WatchedGallery | None) -> Callable[[], None]:
    """What is done when a checkpoint is."""
    from ..client.numbers import WatchedNumbers
    from ..client.watch import Told

    def tell(problem: str) -> None:
        _tell(Told("not measured" if measure else "not ranked", problem))

    numbers = WatchedNumbers(watcher.root, watcher.run, measure, watcher.logs, watcher.summary.made, tell)

    def work() -> None:
        numbers.write()
        if served is not None:
            served.write()

    return work


def _watch(
    watcher: Watch, served: WatchedGallery | None, host: str | None, interval: float | None, timeout: float | None,
    quiet: bool,
) -> bool:  # fmt: skip
    """Watch until there is nothing more to do; whether that was stopped. interval: None = one look."""
    from ..client.saving import check_folder

    check_folder(watcher.root)
    try:
        with served or contextlib.nullcontext():
            if served is not None:
                served.write()
            if interval is None and not any(watcher.pending()):
                notes(["nothing to sample, so no host was asked"])
            else:
                with open_host(host, watcher.folder, [str(watcher.run)], quiet=quiet) as (url, local_output):
                    watcher.local_output = local_output
                    interrupts.run(_work(watcher, url, interval, timeout))
    except KeyboardInterrupt:
        return True
    finally:
        for log in watcher.logs:
            log.close()
    return False


async def _work(watcher: Watch, url: str, interval: float | None, timeout: float | None) -> None:
    from ..client.host_client import HostClient

    async with HostClient(url) as client:
        await (watcher.once(client) if interval is None else watcher.forever(client, interval, timeout))


def _config_in(run_dir: Path) -> Path:
    """The only training config in a run folder; SpecError where there is none or several."""
    if not run_dir.is_dir():
        raise SpecError(f"there is no run folder {run_dir}", remedy="Name the folder that the trainer writes into.")
    from ..workflows.run_overview import find_configs

    found = find_configs(run_dir)
    if len(found.read) != 1:
        there = ", ".join(path.name for path in found.read) or "none that can be read"
        reasons = "".join(f"\n  {reason.told_to('cli')}" for reason in found.refused.values())
        raise SpecError(
            f"{run_dir}: one training config was expected in the run folder, there is: {there}{reasons}",
            remedy="Name it with --config FILE.",
        )
    return next(iter(found.read))


def _logs(
    spec: SampleSpec, run_dir: Path, tensorboard: Path | None, wandb: str | None, serenityboard: Path | None
) -> tuple[Log, ...]:
    from ..client.training_logs import SerenityBoardLog

    logs: list[Log] = [*options.open_logs(tensorboard, wandb, spec.name, run_dir)]
    if serenityboard is not None:
        logs.append(SerenityBoardLog(serenityboard, spec.name))
    return tuple(logs)


def _bar(title: str, spec: SampleSpec) -> AbstractContextManager[Report]:
    from ..client.console import sweep_progress

    return sweep_progress(err, title, len(spec.items))


def _tell(told: Told) -> None:
    colour = {"sampled": "green", "broken": "red", "failed": "red"}.get(told.what, "yellow")
    err.print(f"[{colour}]{told.what}:[/] {escape(told.text)}", highlight=False, soft_wrap=True)


def _print_summary(summary: Summary, as_json: bool) -> None:
    if as_json:
        show(summary.as_dict())
        return
    images = sum(len(paths) for paths in summary.made.values())
    out.print(f"{images} images of {len(summary.made)} checkpoints, {len(summary.failed)} failed")
    for path in (path for _, paths in sorted(summary.made.items()) for path in paths):
        out.print(escape(near(path)), highlight=False, soft_wrap=True)
    for sheet in summary.sheets:
        out.print(f"[bold]contact sheet[/] {escape(near(sheet))}", highlight=False, soft_wrap=True)
    notes(summary.notes)
