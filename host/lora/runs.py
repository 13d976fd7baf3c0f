"""Which runs a graph may name, and which of a run's checkpoints it means."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Final

import folder_paths

from ...errors import LoraError, NodeInputError, shorten
from ...lora import Checkpoint, find_checkpoints, select_checkpoint, select_steps
from ...lora.file_names import run_names
from ...lora.step_lists import spread
from ..paths import ALLOW, RUNS_KIND, candidates, leading_inside, run_kinds, run_roots

#: What the list of runs holds where there is none: ComfyUI would else say only that an input is missing.
NO_RUNS: Final = "no runs yet"
_SHOWN_RUNS: Final = 12
#: As of LoRA at Step.
_MOST_STRENGTH: Final = 100


@dataclass(frozen=True)
class Choice:
    """The wanted checkpoint: `run` below an allowed folder, `step`, and `mode` (see lora.select_checkpoint)."""

    run: str
    step: int
    mode: str = "exact"


def list_runs() -> list[str]:
    """All runs below the allowed folders, by the names of their .safetensors files, followed by all these files."""
    return list(_listed(tuple(_file_names())))


@functools.lru_cache(maxsize=1)  # a schema is asked for many times in one prompt, and always for the same files
def _listed(names: tuple[str, ...]) -> list[str]:
    paths = map(PurePath, names)
    files = {path.as_posix() for path in paths if path.suffix == ".safetensors"}
    return [*run_names(files), *sorted(files)]


def _file_names() -> Iterator[str]:
    """Names below the allowed folders, as ComfyUI lists them: anew where the time of a folder has changed."""
    for kind in run_kinds():
        yield from folder_paths.get_filename_list(kind)


def runs_version() -> str:
    """A text that changes when a file below an allowed folder appears or disappears."""
    names = "\n".join(_file_names())
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def find(choice: Choice) -> Checkpoint | None:
    """Return the checkpoint that `choice` names; None is the model before training: step 0 of a run that saved none.

    `choice.run` is a run folder, `<folder>/<name>` for one of several runs in a folder, or a file. Raises
    NodeInputError when it is empty, outside the allowed folders or a link that leads out of them, and LoraError when
    there is no such run or step.
    """
    place, checkpoints = find_run(choice.run)
    if place.is_file():
        return checkpoints[0]
    if choice.step == 0 and choice.mode == "exact" and not any(entry.step == 0 for entry in checkpoints):
        return None
    return select_checkpoint(checkpoints, choice.step, choice.mode)


def find_run(run: str) -> tuple[Path, list[Checkpoint]]:
    """Return the first place below the allowed folders at which `run` exists, and the checkpoints there."""
    if not run.strip():
        raise NodeInputError("run is empty. Choose a run folder or a LoRA file below a loras folder.")
    places = candidates(run.strip(), run_roots(), "run")
    reasons = []
    for place in sorted(places, key=lambda path: not path.exists()):
        try:
            return place, _allowed(place, find_checkpoints(place))
        except LoraError as error:
            reasons.append(error)
    inside = (place.parent.is_dir() and place.parent not in run_roots() for place in places)
    raise reasons[0] if any(place.exists() for place in places) or any(inside) else _unknown_run(run)


def _unknown_run(run: str) -> LoraError:
    """The error for a run that is nowhere: where runs are looked for, and which there are."""
    folders = "; ".join(map(str, run_roots()))
    there = [name for name in list_runs() if not name.endswith(".safetensors")]
    if not there:
        return LoraError(
            f"no such run as {run!r}: there is none below {folders}",
            remedy=f"Put a run's folder there, or list it under {RUNS_KIND} in ComfyUI's extra_model_paths.yaml",
        )
    listed = shorten(there, _SHOWN_RUNS)
    return LoraError(f"no such run as {run!r} below {folders}", remedy=f"Choose one that is there: {listed}")


def steps_of(run: str, steps: str, at_most: int) -> tuple[list[int], list[Checkpoint]]:
    """Return the training steps that `steps` names (see lora.select_steps), spread to `at_most`; 0 sets no limit.

    Also returns the run's checkpoints of unknown step, which no step reaches. Raises as `find_run` and `select_steps`.
    """
    checkpoints = find_run(run)[1]
    chosen = select_steps(checkpoints, steps)
    if at_most == 1:
        chosen = chosen[-1:]
    return spread(chosen, at_most) if at_most > 1 else chosen, [entry for entry in checkpoints if entry.step is None]


def strengths_of(text: str) -> list[float]:
    """The numbers in a text like "0.6, 0.8, 1". NodeInputError where it holds none, or one that is no strength."""
    words = text.replace(",", " ").split()
    try:
        strengths = [float(word) for word in words]
    except ValueError:
        strengths = []
    if not strengths or not all(-_MOST_STRENGTH <= strength <= _MOST_STRENGTH for strength in strengths):
        raise NodeInputError(
            f"strengths is {text!r}. Write numbers from -{_MOST_STRENGTH} to {_MOST_STRENGTH}, like 0.6, 0.8, 1."
        )
    return strengths


def fingerprint(choice: Choice) -> str:
    """Path, time and size of the chosen file; changes when another file is chosen or its content does."""
    try:
        checkpoint = find(choice)
        return "base" if checkpoint is None else _stamp(checkpoint)
    except (ValueError, OSError) as error:
        return f"unreadable: {error}"


def fingerprint_run(run: str) -> str:
    """Path, time and size of every checkpoint of a run; changes when one appears, disappears or is written again."""
    try:
        return "\n".join(_stamp(checkpoint) for checkpoint in find_run(run)[1])
    except (ValueError, OSError) as error:
        return f"unreadable: {error}"


def _stamp(checkpoint: Checkpoint) -> str:
    stat = checkpoint.path.stat()
    return f"{checkpoint.path}|{stat.st_mtime_ns}|{stat.st_size}"


def _allowed(place: Path, checkpoints: list[Checkpoint]) -> list[Checkpoint]:
    """The checkpoints without links that lead out. NodeInputError when none is left."""
    allowed = set(leading_inside(entry.path for entry in checkpoints))
    inside = [entry for entry in checkpoints if entry.path in allowed]
    if checkpoints and not inside:
        raise NodeInputError(f"run: the checkpoints of {place} are links out of the allowed folders. {ALLOW}")
    return inside
