"""Samples in the trainer's log viewers: SerenityBoard, and TensorBoard and W&B, which are optional packages."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import HostError
from ..images import serenity_board
from ..images.opened import open_picture


class TensorBoardLog:
    """Event files in `folder` that `tensorboard --logdir` shows; written by the tensorboard package, without torch.

    Tags: "samples/00", "samples/01", … by item (of further axes "samples/00/strength=0.8"), and "contact_sheet", each
    with the training step. Raises HostError where the package is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise _not_installed("tensorboard", "--tensorboard") from error
        self._writer: Any = EventFileWriter(str(folder))

    def step(self, step: int, images: Mapping[str, Path], prompts: Mapping[str, str], sheet: Path) -> None:
        """Write the images of a step and the sheet."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata

        shown = [(f"samples/{name}", path, prompts.get(name, "")) for name, path in images.items()]
        values = []
        for tag, path, about in [*shown, ("contact_sheet", sheet, "")]:
            width, height, data = _png(path)
            image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=data)
            values.append(Summary.Value(tag=tag, image=image, metadata=SummaryMetadata(summary_description=about)))
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
        self._writer.flush()

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of a step, tag -> value."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        written = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=written)))
        self._writer.flush()

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()


class SerenityBoardLog:
    """A run folder of SerenityBoard, the trainer's own or another one: its `board.db` and `blobs/`.

    Tags are those of TensorBoard, and "prompts/00", "prompts/01", … for the texts. The state of a run that a trainer
    writes stays the trainer's. Raises ImagesError where the board cannot be written.
    """

    def __init__(self, folder: Path, run_name: str) -> None:
        self._folder, self._name = folder, run_name
        with serenity_board.opened_board(folder) as board:
            serenity_board.set_status(board, run_name, "running")

    def step(self, step: int, images: Mapping[str, Path], prompts: Mapping[str, str], sheet: Path) -> None:
        """Write the images of a step, their prompts and the sheet."""
        shown = [(f"samples/{name}", path) for name, path in images.items()]
        with serenity_board.opened_board(self._folder) as board:
            for tag, path in [*shown, ("contact_sheet", sheet)]:
                width, height, data = _png(path)
                serenity_board.add_image(board, self._folder, tag, step, data, width, height)
            for name in images:
                serenity_board.add_text(board, f"prompts/{name}", step, prompts.get(name, ""))

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of a step, tag -> value."""
        with serenity_board.opened_board(self._folder) as board:
            for tag, value in values.items():
                serenity_board.add_number(board, tag, step, value)

    def close(self) -> None:
        """Say that the run is complete."""
        with serenity_board.opened_board(self._folder) as board:
            serenity_board.set_status(board, self._name, "complete")


class WandbLog:
    """A W&B run in `project`, one per training run: a restart goes on in it. WANDB_MODE=offline is respected.

    Raises HostError where the package is not installed or W&B refuses.
    """

    def __init__(self, project: str, run_name: str, run: Path) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _not_installed("wandb", "--wandb") from error
        self._wandb: Any = wandb
        run_id = hashlib.sha256(f"{run_name}\n{run.absolute()}".encode()).hexdigest()[:16]
        try:
            self._run: Any = wandb.init(project=project, name=run_name, id=run_id, resume="allow")
        except wandb.Error as error:
            raise HostError(
                f"W&B did not open the project {project!r}: {error}",
                remedy="Log in with: wandb login; or set WANDB_MODE=offline.",
            ) from error
        # W&B's own step only grows; a checkpoint may be sampled after a later one.
        self._run.define_metric("*", step_metric="train_step")

    def step(self, step: int, images: Mapping[str, Path], prompts: Mapping[str, str], sheet: Path) -> None:
        """Log the images of a step, captioned with their prompts, and the sheet."""
        logged: dict[str, Any] = {
            f"samples/{name}": self._wandb.Image(str(path), caption=prompts.get(name)) for name, path in images.items()
        }
        self._run.log({"train_step": step, **logged, "contact_sheet": self._wandb.Image(str(sheet))})

    def numbers(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers of a step, name -> value."""
        self._run.log({"train_step": step, **values})

    def close(self) -> None:
        """Finish the run."""
        self._run.finish()


def _not_installed(package: str, option: str) -> HostError:
    return HostError(
        f"{option} needs the package {package}, which is not installed here",
        remedy=f"Install it with: pip install {package}",
    )


def _png(path: Path) -> tuple[int, int, bytes]:
    with open_picture(path) as picture:
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "PNG")
        return picture.width, picture.height, buffer.getvalue()
