"""`eri measure`: how a run's pictures change over its steps, in numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from . import options
from .shared import err, near, out, reported, run_folder, show

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..compare.collection import Collection
    from ..compare.measures import Embeddings

    Means = Mapping[str, Mapping[str, Mapping[int, float]]]


def measure(
    run: Annotated[Path, typer.Argument(help="Folder of a run's pictures.", show_default=False)],
    training: Annotated[
        Path | None, typer.Option(help="The training pictures; with --clip-vision.", exists=True, file_okay=False)
    ] = None,
    clip_vision: Annotated[
        str | None, typer.Option(help="A CLIP vision model of ComfyUI, for similarity.", show_default="none")
    ] = None,
    host: options.HostUrl = None,
    plot: Annotated[Path | None, typer.Option(help="Write charts: .svg or .png. Needs matplotlib.")] = None,
    tensorboard: options.TensorBoard = None,
    wandb: options.Wandb = None,
    as_json: options.AsJson = False,
) -> None:
    """Measure how a run's pictures change over its steps. No number says which picture is good.

    Writes measures.jsonl beside the pictures, and prints the means over the prompts.

    Example: eri measure eri_samples/my_run --plot measures.svg
    """
    from ..client.numbers import of_measures
    from ..compare.collection import read_collection
    from ..compare.measured import TITLES
    from ..compare.measures import means, write_measures
    from ..compare.measures import measure as measured

    if training is not None and clip_vision is None:
        raise typer.BadParameter("the training pictures are compared by a CLIP vision model: add --clip-vision NAME")
    with reported(as_json):
        found = read_collection(run_folder(run))
        with err.status(f"measuring {len(found.pictures)} pictures"):
            alike = None if clip_vision is None else _embedded(found, training, clip_vision, host, as_json)
            values = measured(found, alike)
        path = write_measures(found, values)
        shown = means(values)
        if plot is not None:
            from ..client.plots import plot_lines

            plot_lines([TITLES[name] for name in shown], list(shown.values()), plot)
        options.log_numbers(of_measures(shown), options.open_logs(tensorboard, wandb, found.name, found.root))
    if as_json:
        show({"file": str(path), "pictures": len(values), "means": _as_json(shown)})
        return
    _print(found, shown)
    out.print(f"[bold]measures[/] {escape(near(path))}", highlight=False, soft_wrap=True)


def _embedded(
    found: Collection, training: Path | None, clip_vision: str, host: str | None, quiet: bool
) -> Embeddings:
    """What ComfyUI's model makes of the run's pictures and of the training pictures."""
    import numpy as np

    from ..client.embeddings import embed
    from ..client.host_client import HostClient
    from ..compare.measures import Embeddings
    from . import interrupts
    from .hosts import open_host

    files = {f"{number}": path for number, path in enumerate(found.pictures.values())}
    shown = {} if training is None else {path.relative_to(training).as_posix(): path for path in _pictures(training)}

    async def work(url: str) -> dict[str, list[float]]:
        async with HostClient(url) as client:
            return await embed(client, clip_vision, {**files, **{f"training/{name}": shown[name] for name in shown}})

    with open_host(host, found.root, (), quiet=quiet) as (url, _):
        vectors = {name: np.array(vector) for name, vector in interrupts.run(work(url)).items()}
    ours = {place: vectors[str(number)] for number, place in enumerate(found.pictures)}
    return Embeddings(ours, {name: vectors[f"training/{name}"] for name in shown})


def _pictures(folder: Path) -> list[Path]:
    """The pictures below a folder; CompareError where there are none."""
    from ..compare.collection import pictures_in
    from ..errors import CompareError

    found = sorted(pictures_in(folder))
    if not found:
        raise CompareError("there are no pictures", place=str(folder), remedy="Name the folder that was trained on.")
    return found


def _as_json(shown: Means) -> dict[str, dict[str, dict[str, float]]]:
    return {
        name: {key: {str(step): round(value, 6) for step, value in steps.items()} for key, steps in variants.items()}
        for name, variants in shown.items()
    }


def _print(found: Collection, shown: Means) -> None:
    """A table for each variant, a row for each step."""
    for variant in found.variants:
        table = Table("step", *shown, title=escape(variant.key) or None)
        for step in found.steps:
            cells = [_cell(shown[name].get(variant.key, {}).get(step)) for name in shown]
            if any(cells):
                table.add_row("newest" if step < 0 else str(step), *cells)
        out.print(table)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
