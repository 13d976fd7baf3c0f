"""Which name ComfyUI knows a run folder by, and which training steps a local run folder holds."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ..errors import HostError, LoraError
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
