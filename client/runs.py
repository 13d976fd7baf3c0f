"""Which name ComfyUI knows a run folder by, and which training steps a local run folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..errors import CompareError, HostError, LoraError, shorten
from ..lora import Checkpoint
from .host_client import HostClient


async def host_run_name(client: HostClient, run: str | Path) -> str:
    """The name under which ComfyUI offers `run` to EriLoraAtStep; `run` is such a name or a local path that it sees.

    A path is recognised by its last parts: `/data/runs/hexa` is ComfyUI's `hexa` or `runs/hexa`, whichever is longer.
    Raises HostError listing what ComfyUI offers where nothing fits or several fit equally well.
    """
    choices = await client.choices("EriLoraAtStep", "run")
    parent = PurePosixPath(str(run)).parent.as_posix()  # `<folder>/<run name>`, where a folder holds several runs
    if choices is None or str(run) in choices or parent in choices:
        return str(run)
    asked = PurePosixPath(Path(run).absolute().as_posix()).parts
    fitting: dict[int, list[str]] = {}
    for choice in choices:
        parts = PurePosixPath(choice.replace("\\", "/")).parts
        if parts and parts == asked[-len(parts) :]:
            fitting.setdefault(len(parts), []).append(choice)
    best = fitting[max(fitting)] if fitting else []
    if len(best) == 1:
        return best[0]
    names = [name for name in choices if PurePosixPath(name).parent.as_posix() not in choices]  # no run's single files
    offered = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    raise HostError(
        f"ComfyUI at {client.url} does not offer the run {str(run)!r}",
        remedy="Put it into ComfyUI's models/loras folder, list its folder under eri_runs in ComfyUI's "
        "extra_model_paths.yaml, or start ComfyUI with: eri host start --loras FOLDER. "
        f"It offers: {offered or 'no run at all'}.",
        kind="validation",
        field="run",
    )


def possible_names(run: str | Path) -> list[str]:
    """All names that `host_run_name` may give `run`, whatever a host offers; the shortest first."""
    parts = PurePosixPath(Path(run).absolute().as_posix()).parts
    ends = ["/".join(parts[-count:]) for count in range(1, len(parts))]
    return list(dict.fromkeys([*ends, str(run)]))


def checkpoints_here(run: str | Path | None) -> list[Checkpoint]:
    """The checkpoints of a run folder on this machine; [] where it is none, or holds several runs."""
    from ..lora import find_checkpoints
    from ..lora.checkpoints import refuse_several_runs

    if run is None:
        return []
    try:
        found = find_checkpoints(run)
        refuse_several_runs(found)
    except LoraError:
        return []
    return found


def steps_in(run: str | Path) -> list[int]:
    """Training steps of the checkpoints in a local run folder, ascending, each once.

    Checkpoints of unknown step are left out. Raises LoraError where the folder does not exist or nothing is left.
    """
    steps = sorted({checkpoint.step for checkpoint in _local(run) if checkpoint.step is not None})
    if not steps:
        raise LoraError("holds no checkpoint of a known step", path=run, remedy="Look at it with: eri lora DIR")
    return steps


def select_steps_in(run: str | Path, text: str) -> list[int]:
    """The training steps of a local run folder that `text` names: "all", "0, 250", "250-1000" (see lora.select_steps).

    Raises LoraError where the folder does not exist, and as select_steps does.
    """
    from ..lora import select_steps

    return select_steps(_local(run), text)


def _local(run: str | Path) -> list[Checkpoint]:
    from ..lora import find_checkpoints

    try:
        return find_checkpoints(run)
    except LoraError as error:
        raise LoraError(
            "no run folder on this machine", path=run, remedy="Give --run DIR, or list the steps: --steps 0,250"
        ) from error


def named_runs(text: str) -> dict[str, str]:
    """The runs in "A,B", by the shortest ends of their paths that tell them apart; CompareError for the same twice."""
    runs = [part.strip() for part in text.split(",")]
    ends = [[*PurePosixPath(Path(run).absolute().as_posix()).parts[1:]] for run in runs]
    if not all(runs) or len({tuple(end) for end in ends}) < len(runs):
        raise CompareError(
            "every run once, with commas between them", place=f"--runs {text}", remedy="Write --runs output/A,output/B."
        )
    count = 1
    while len({tuple(end[-count:]) for end in ends}) < len(runs):
        count += 1
    return {"/".join(end[-count:]): run for end, run in zip(ends, runs, strict=True)}


def check_family(run: str, family: str) -> None:
    """Refuse a run of `--runs` on this machine whose LoRAs are for another family; CompareError.

    A run that is only on ComfyUI's machine is looked at there, when its LoRA is loaded.
    """
    from ..lora.dialects import taken_apart
    from ..lora.family import detect_family
    from ..lora.header import read_header

    for entry in checkpoints_here(run):
        try:
            found = detect_family(taken_apart(read_header(entry.path)))
        except LoraError:  # a broken file is told when it is its turn
            continue
        if found not in (None, family):
            problem = f"its LoRAs are for {found}, the config is for {family}"
            remedy = "Runs side by side are of one family: give each its own sweep."
            raise CompareError(problem, place=f"--runs {run}", remedy=remedy)
        return


def common_steps(runs: Mapping[str, str], text: str) -> tuple[list[int], list[str]]:
    """The training steps that `text` names and every run has, and a note of those that only some have.

    A step that is written as a number must be in every run. Raises CompareError, LoraError.
    """
    asked = "0, all" if text.strip() == "all" else text
    numbers = {int(part) for part in asked.replace(" ", "").split(",") if part.isdecimal()} - {0}
    local = {label: run for label, run in runs.items() if Path(run).exists()}
    if not text.replace(",", "").replace(" ", "").isdecimal():  # numbers may be of runs that are on the host alone
        local = dict(runs)
    there = {label: set(steps_in(run)) for label, run in local.items()}
    for label, steps in there.items():
        if numbers - steps:
            lacking = ", ".join(map(str, sorted(numbers - steps)))
            known = shorten(map(str, sorted(steps)), limit=20)
            problem, remedy = f"the run {label} has no checkpoint of step {lacking}", f"It has the steps {known}."
            raise CompareError(problem, place=f"--steps {text}", remedy=remedy)
    if len(local) < len(runs):
        return sorted(numbers | {0} if "0" in asked.replace(" ", "").split(",") else numbers), []
    chosen = {label: set(select_steps_in(run, asked)) for label, run in runs.items()}
    common = set.intersection(*chosen.values())
    partly = sorted(set.union(*chosen.values()) - common)
    if not common - {0}:
        raise CompareError(
            "the runs have no step in common", place=f"--steps {text}", remedy="Give each its own sweep."
        )
    note = f"Steps that not every run has are left out: {', '.join(map(str, partly))}."
    return sorted(common), [note] if partly else []
