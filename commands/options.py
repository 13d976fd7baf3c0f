"""The options that several commands share, as types of their parameters: `options.Run`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..families import FAMILIES
from ..trainers import TRAINERS
from ..workflows.batch import AUTO_BATCH, MAX_BATCH

if TYPE_CHECKING:
    from ..client.training_logs import TensorBoardLog, WandbLog

    Logs = Iterator[TensorBoardLog | WandbLog]

ConfigFile = Annotated[Path, typer.Argument(help="Training config, or a trainer's prompt file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document for programs, errors included.")]
Trainer = Annotated[
    str | None,
    typer.Option(help=f"Whose config it is: {', '.join(TRAINERS)}.", show_default="recognised"),
]
Prompts = Annotated[
    Path | None,
    typer.Option(help="Prompts file to take instead of the one the config names.", exists=True, dir_okay=False),
]
Expand = Annotated[
    int | None,
    typer.Option(help="Choose one of every {a|b} and __wildcard__ in prompts, with this seed.", show_default="off"),
]
Wildcards = Annotated[Path | None, typer.Option(help="Folder of wildcards for --expand: colour.txt, ...")]
Family = Annotated[str | None, typer.Option(help=f"{', '.join(FAMILIES)}.", show_default="from the config")]
ModelsFile = Annotated[
    Path | None,
    typer.Option(help="YAML naming the base model's files or loader nodes.", show_default="chosen by name"),
]
Run = Annotated[str | None, typer.Option(help="Run folder: a path, or a name below ComfyUI's loras folders.")]
HostUrl = Annotated[
    str | None,
    typer.Option("--host", help="A running ComfyUI, e.g. http://127.0.0.1:8188.", show_default="a local one"),
]
HostUrls = Annotated[
    list[str] | None,
    typer.Option(
        "--host",
        help="A running ComfyUI, e.g. http://127.0.0.1:8188; several share the work.",
        show_default="a local one",
    ),
]
Engine = Annotated[
    str | None, typer.Option(help="ray: on the workers of a Ray cluster.", show_default="this program, over HTTP")
]
RayAddress = Annotated[
    str | None,
    typer.Option("--address", help="The Ray cluster's address.", show_default="RAY_ADDRESS, else this machine"),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="ComfyUIs to start on the Ray cluster.", show_default="one for each GPU, else each node"),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for images, in the trainer's layout.")]


def _batch(text: str | int) -> int:
    """A number of samples, or "auto"."""
    words = str(text)
    if words == "auto":
        return AUTO_BATCH
    if not (words.isdecimal() and 1 <= int(words) <= MAX_BATCH):
        raise typer.BadParameter(f"write a number from 1 to {MAX_BATCH}, or auto")
    return int(words)


Batch = Annotated[
    int,
    typer.Option(
        parser=_batch,
        metavar="NUMBER|auto",
        help="The most samples to denoise at once, where they fit each other; auto: as many as the device has room "
        "for. Faster; the last digits change.",
    ),
]
TensorBoard = Annotated[Path | None, typer.Option(help="Also write the numbers as TensorBoard events here.")]
Wandb = Annotated[str | None, typer.Option(help="Also log the numbers to this W&B project.")]
Again = Annotated[bool, typer.Option("--again", help="Make images anew that are there already.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=1, help="Seconds for one training step, restarts of ComfyUI included.", show_default="as long as it takes"
    ),
]
ServeHost = Annotated[str, typer.Option(help="Address to serve the gallery at; 0.0.0.0 lets others look and choose.")]
ServePort = Annotated[
    int | None, typer.Option(min=0, max=65535, help="Port to serve it at.", show_default="8190, or the next one free")
]

# Axes of a sweep: all choices of their values are sampled.
Strengths = Annotated[str | None, typer.Option(help="LoRA strengths: 0.6,0.8,1.", show_default="the config's")]
Seeds = Annotated[str | None, typer.Option(help="Seeds, each for all prompts: 1,2,3.", show_default="the config's")]
Cfg = Annotated[
    str | None, typer.Option(help="Scales of classifier-free guidance: 3,5,7.", show_default="the config's")
]
Guidance = Annotated[
    str | None, typer.Option(help="Flux: values of its embedded guidance: 2,3.5.", show_default="the config's")
]
Sampler = Annotated[
    str | None, typer.Option(help="The trainer's words for samplers: ddim,euler_a.", show_default="the config's")
]
Runs = Annotated[str | None, typer.Option(help="Runs of one family, side by side: output/A,output/B.")]
Items = Annotated[str, typer.Option(help="Prompts by their numbers in the config: 0,2-4.", show_default="all")]
Rows = Annotated[
    str | None, typer.Option(help="Axis of the sheet's rows: prompt, step, strength, …", show_default="prompt")
]
Columns = Annotated[
    str | None, typer.Option(help="Axis of the sheet's columns; the others become sheets.", show_default="step")
]


def open_logs(tensorboard: Path | None, wandb: str | None, name: str, run: Path) -> Logs:
    """The logs that these options name; HostError where their package is not installed."""
    from ..client.training_logs import TensorBoardLog, WandbLog

    if tensorboard is not None:
        yield TensorBoardLog(tensorboard)
    if wandb is not None:
        yield WandbLog(wandb, name, run)


def log_numbers(numbers: Mapping[int, Mapping[str, float]], logs: Logs) -> None:
    """Write numbers of training steps into logs, and close these."""
    for log in logs:
        for step, values in sorted(numbers.items()):
            log.numbers(step, values)
        log.close()
