"""`eri gallery`: a run's pictures as one folder with a page that opens from the disk."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from . import options
from .shared import err, near, notes, out, reported, run_folder, show

if TYPE_CHECKING:
    from rich.progress import Progress

    from ..gallery.write import Written


def gallery(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run's pictures, or its name in eri_samples.", show_default=False)
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write.", show_default="gallery in RUN")
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="The trainer's folder of this run: its own samples are shown, too.", file_okay=False),
    ] = None,
    title: Annotated[str, typer.Option(help="Title of the page.", show_default="the run's name")] = "",
    link: Annotated[
        bool, typer.Option("--link", help="Give the pictures a second name instead of copying them; takes no space.")
    ] = False,
    animation: Annotated[
        Literal["webp", "gif", "none"], typer.Option(help="A moving picture over the steps of each prompt.")
    ] = "webp",
    marks: Annotated[
        Path | None,
        typer.Option(help="Favourites, rejects and notes that a gallery saved, to be kept.", dir_okay=False),
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Serve it until Ctrl-C; what is chosen in it is kept with the run.")
    ] = False,
    serve_host: options.ServeHost = "127.0.0.1",
    port: options.ServePort = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a run's pictures as one folder with a page: prompts by steps, large view, comparison, moving pictures.

    The page opens from the disk and asks nobody for anything; the folder can be sent. Writing again adds what is new.

    Example: eri gallery eri_samples/my_run --samples output/my_run
    """
    from ..compare.collection import read_collection
    from ..gallery.marks import KeptMarks
    from ..gallery.serve import serving
    from ..gallery.votes import KeptVotes
    from ..gallery.write import write_gallery

    with reported(as_json):
        found = read_collection(run_folder(run), samples)
        kept = KeptMarks(found)
        if marks is not None:
            kept.take(marks)
        with _bar(as_json) as bar:
            task = bar.add_task("writing", total=None)
            done = write_gallery(
                found, output, title=title, link=link, animation=animation, marks=kept.all(),
                report=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip
        _tell(done, as_json)
        if serve:
            with serving(done.page.parent, {"marks": kept, "votes": KeptVotes(found)}, serve_host, port) as url:
                out.print(f"[bold]serving[/] {url} until Ctrl-C", highlight=False)
                threading.Event().wait()


def _bar(quiet: bool) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=err, disable=quiet or not err.is_interactive)


def _tell(done: Written, as_json: bool) -> None:
    if as_json:
        document = {"page": str(done.page), "pictures": done.pictures, "made": done.made, "linked": done.linked}
        show({**document, "notes": list(done.notes)})
        return
    notes(done.notes)
    out.print(f"[bold]gallery[/] {escape(near(done.page))}", highlight=False, soft_wrap=True)
    out.print(f"pictures: {done.pictures}, files made: {done.made}", highlight=False)
