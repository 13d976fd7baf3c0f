"""Training runs on disk: which files are checkpoints, of which step, and which of them to take.

These are the rules. There is one entry per step, in numeric order. The number in the name wins. A final file without a
number takes its step from its header or from the state JSON beside it. When two files have the same step, the numbered
one is kept. Files of unknown step come last and are found only with "latest".
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from ..errors import LoraError, shorten
from ..trainers import TRAINERS
from .dialects import taken_apart
from .file_names import CONTAINERS, STEP_FOLDER, SUFFIX, Reading, is_clutter_folder, read_name
from .header import read_header
from .metadata import header_step, read_json, state_step
from .remembered import Remembered, look
from .suffixes import EVIDENCE

Mode = Literal["exact", "nearest", "at_or_before", "latest"]
BACKUPS = "backup"  # OneTrainer's folder of whole states, whose weights are not averaged; `<run>/backup` names them all
AVERAGED = "ema"  # SimpleTuner's folder of averaged weights in that of each checkpoint; `<run>/ema` names them all
_NESTED = 3  # levels of folders above runs, e.g. output/project/run


@dataclass(frozen=True)
class Checkpoint:
    """One saved step of a run.

    Args:
        step: the training step, or None when it is unknown.
        path: the file.
        trainer: the id of the trainer that names its files like this.
        run: the run's name when a folder holds several, else None.
        epoch: the epoch when the file tells it, else None.
    """

    step: int | None
    path: Path
    trainer: str
    run: str | None = None
    epoch: int | None = None


@dataclass(frozen=True)
class _Candidate:
    """A file with a checkpoint's name, and its step."""

    path: Path
    reading: Reading
    step: int | None

    @property
    def preference(self) -> tuple[bool, bool, bool, bool, int, str]:
        """Sorts the files of one step; the first one is kept."""
        reading, text = self.reading, str(self.path)
        return (reading.step is None, reading.epoch is None, reading.twin, reading.rolling, len(text), text)


_FOUND: Remembered[Checkpoint] = Remembered()


def find_checkpoints(run_dir: str | Path) -> list[Checkpoint]:
    """List the LoRA checkpoints of a training run, ascending by step, with those of unknown step last.

    `run_dir` is a run folder, `<folder>/<name>` for one of several runs in a folder, `<run>/ema` for
    the averaged weights beside a run's checkpoints, OneTrainer's `<run>/backup`, or a single file. A folder with
    several runs gives all of them, and each entry has its `.run`. A folder that holds no checkpoint itself gives those
    of the run folders below it, with their path as `.run`. An existing folder without checkpoints gives []. A folder is
    searched again only when something in it has changed.

    Raises LoraError, naming what is there, when the path is neither a folder nor a run in one.
    """
    return _FOUND.ask(Path(run_dir), _search)


def _search(path: Path) -> list[Checkpoint]:
    if path.is_dir():
        return _entries(_candidates(path), folder=path.name) or sorted(_nested(path, _NESTED), key=_order)
    if path.is_file():
        return [_single(path)]
    if not path.parent.is_dir():
        raise LoraError("no such folder", path=path, remedy="Check the path of the run folder")
    if path.name == AVERAGED:
        return _averages(path.parent)
    found = _entries(_candidates(path.parent), folder=path.parent.name, name_runs=True)
    chosen = [entry for entry in found if entry.run in (path.name, f"{path.name}_lora")]
    if not chosen:
        runs = sorted({entry.run or "" for entry in found} | _subfolders(path.parent))
        close = difflib.get_close_matches(path.name, runs) or runs
        there = f"There is: {shorten(close)}" if close else "The folder holds no LoRA checkpoints"
        raise LoraError(f"no such run folder, and no run of this name in {path.parent}", path=path, remedy=there)
    return chosen


def _averages(run: Path) -> list[Checkpoint]:
    """The averaged weights (EMA) that lie in a folder of their own beside the checkpoints of a run."""
    found = []
    for entry in _entries(_candidates(run), folder=run.name):
        beside = _listing(entry.path.parent / AVERAGED) if entry.path.parent != run else []
        file = next((path for path in beside if path.suffix == SUFFIX), None)
        if file is not None:
            found.append(replace(entry, path=file, run=None))
    if not found:
        remedy = "Load the run itself; its checkpoints may have been saved without use_ema"
        raise LoraError("no checkpoint of this run has averaged weights (EMA) beside it", path=run, remedy=remedy)
    return found


def select_checkpoint(checkpoints: Iterable[Checkpoint], step: int | None, mode: str = "exact") -> Checkpoint:
    """Return one checkpoint of one run by training step.

    Args:
        checkpoints: those of the run.
        step: the wanted training step.
        mode: "exact"; "nearest" (of two that are equally near, the earlier); "at_or_before" (the last one not after
            `step`); or "latest" (`step` is not used, and a final file of unknown step counts as the latest).

    Raises LoraError when there are no checkpoints, when they belong to several runs, or when none fits. The text lists
    the steps that exist.
    """
    entries = list(checkpoints)
    if mode not in get_args(Mode):
        raise LoraError(f"unknown mode '{mode}'", remedy=f"Use one of {', '.join(get_args(Mode))}")
    if not entries:
        raise LoraError("the run has no LoRA checkpoints yet", remedy="Check the run folder, or train further")
    refuse_several_runs(entries)
    if mode == "latest":
        return max(entries, key=_order)
    if isinstance(step, bool) or not isinstance(step, int):
        raise LoraError(f"step is {step!r}, but mode '{mode}' needs a whole number", remedy="Give the training step")
    known = [(entry.step, entry) for entry in entries if entry.step is not None]
    fitting = [(found, entry) for found, entry in known if _fits(found, step, mode)]
    if not fitting:
        raise LoraError(_nothing_fits(entries, step, mode), path=entries[0].path.parent, remedy=_steps_there(known))
    return min(fitting, key=lambda pair: (abs(pair[0] - step), pair[0]))[1]


def step_of(path: str | Path) -> int | None:
    """The training step of one file: the number in its name, else that of its header or of a state JSON beside it."""
    return _single(Path(path)).step


def _fits(found: int, step: int, mode: str) -> bool:
    return mode == "nearest" or found == step or (mode == "at_or_before" and found < step)


def _nothing_fits(entries: Sequence[Checkpoint], step: int, mode: str) -> str:
    if all(entry.step is None for entry in entries):
        return "no checkpoint here has a known step; they can be reached only with mode 'latest'"
    return f"no checkpoint at or before step {step}" if mode == "at_or_before" else f"no checkpoint of step {step}"


def _steps_there(known: Sequence[tuple[int, Checkpoint]]) -> str:
    if not known:
        return "Use mode 'latest'"
    return f"Steps there are: {shorten(map(str, sorted(step for step, _ in known)), limit=20)}"


def refuse_several_runs(entries: Sequence[Checkpoint]) -> None:
    """Raise LoraError, naming the runs, when the checkpoints belong to more than one."""
    runs = sorted({entry.run or "" for entry in entries})
    if len(runs) > 1:
        folder = Path(os.path.commonpath([entry.path.parent for entry in entries]))
        raise LoraError(
            f"the folder holds several runs: {shorten(runs, limit=20)}",
            path=folder,
            remedy=f"Name one of them, for example '{folder / runs[-1]}'",
        )


def _order(entry: Checkpoint) -> tuple[bool, int, bool, int, str, str]:
    """Ascending by step. Unknown steps come last: first epochs in order, then a file without any number."""
    epoch = entry.epoch if entry.step is None else 0
    return (entry.step is None, entry.step or 0, epoch is None, epoch or 0, entry.run or "", entry.path.name)


def _entries(candidates: Iterable[_Candidate], folder: str, name_runs: bool = False) -> list[Checkpoint]:
    best: dict[tuple[str, int | None, int | None], _Candidate] = {}
    for candidate in sorted(candidates, key=lambda one: one.preference):
        reading = candidate.reading
        epoch = reading.epoch if candidate.step is None else None
        best.setdefault((reading.run, candidate.step, epoch), candidate)
    runs = {candidate.reading.run for candidate in best.values()}
    label = name_runs or len(runs) > 1
    entries = [
        Checkpoint(
            step=candidate.step,
            path=candidate.path,
            trainer=_trainer(candidate),
            run=(candidate.reading.run or folder) if label else None,
            epoch=candidate.reading.epoch,
        )
        for candidate in best.values()
    ]
    return sorted(entries, key=_order)


def _nested(root: Path, levels: int) -> Iterator[Checkpoint]:
    """The checkpoints of run folders below a folder that is none itself. Each run's name is its path."""
    for folder in _listing(root) if levels else ():
        if not folder.is_dir() or is_clutter_folder(folder.name):
            continue
        inside = _entries(_candidates(folder), folder=folder.name) or list(_nested(folder, levels - 1))
        for entry in inside:
            yield replace(entry, run=f"{folder.name}/{entry.run}" if entry.run else folder.name)


def _candidates(root: Path) -> list[_Candidate]:
    read = [
        (path, _not_a_date(path, reading))
        for path, relative in _files(root)
        if (reading := read_name(relative)) is not None
    ]
    if STEP_FOLDER.match(root.name) and not any(reading.numbered for _, reading in read):
        inside = [(path, read_name(f"{root.name}/{path.name}")) for path, _ in read]
        read = [(path, reading) for path, reading in inside if reading is not None]
    numbered = {reading.run for _, reading in read if reading.numbered}
    joined = [(path, _join_backup(path, _join_final(reading, numbered), numbered)) for path, reading in read]
    return [_resolve(path, reading) for path, reading in joined if _is_checkpoint(path, reading, root.name, numbered)]


def _is_checkpoint(path: Path, reading: Reading, folder: str, numbered: set[str]) -> bool:
    """Whether a file is a checkpoint: by its name when that is enough, else by what its header shows."""
    if reading.sure:
        return True
    facts = _facts(path)
    # ai-toolkit names the files like their folder; an embedding of the same run is named after its trigger word.
    expected = reading.run in numbered and (not reading.numbered or reading.run == folder or folder not in numbered)
    if expected:
        return facts is None or not facts.embedding
    return not numbered if facts is None else facts.adapter


def _not_a_date(path: Path, reading: Reading) -> Reading:
    """Undo the reading of `name-240501` as epoch 240501 when sd-scripts' header says that this is the run's name."""
    if reading.step is None and reading.epoch is not None:
        facts = _facts(path)
        if facts is not None and facts.output_name == path.stem:
            return Reading(run=path.stem, trainer=reading.trainer)
    return reading


def _join_final(reading: Reading, numbered: set[str]) -> Reading:
    """Give a final file the run whose numbered files it belongs to (ai-toolkit may add `_LoRA` to either)."""
    plain = reading.run.removesuffix("_LoRA")
    joins = not reading.numbered and reading.run not in numbered and plain in numbered
    return replace(reading, run=plain) if joins else reading


def _join_backup(path: Path, reading: Reading, numbered: set[str]) -> Reading:
    """Give OneTrainer's backups, whose names lack the prefix of its saves, the only run that has one."""
    named = numbered - {""}
    joins = not reading.run and len(named) == 1 and path.parents[2].name == BACKUPS
    return replace(reading, run=named.pop()) if joins else reading


def _files(root: Path, containers: bool = True) -> Iterator[tuple[Path, str]]:
    """Files that may be checkpoints, with their path relative to the run folder (containers left out)."""
    for entry in _listing(root):
        if entry.suffix.lower() == SUFFIX and entry.is_file():
            yield entry, entry.name
        elif not entry.is_dir():
            continue
        elif STEP_FOLDER.match(entry.name):
            yield from ((file, f"{entry.name}/{file.name}") for file in _listing(entry) if file.is_file())
        elif containers and entry.name in CONTAINERS:
            yield from _files(entry, containers=False)
        elif containers and entry.name == BACKUPS:
            yield from _files(entry)
        elif root.name == BACKUPS:
            yield from ((file, f"{entry.name}/lora/{file.name}") for file in _listing(entry / "lora"))


def _listing(folder: Path) -> list[Path]:
    if not look(folder).is_dir():
        return []
    try:
        with os.scandir(folder) as entries:
            listed = [(folder / entry.name, entry.is_symlink()) for entry in entries]
        return sorted(look(path) if linked else path for path, linked in listed)
    except OSError as error:
        raise LoraError(f"cannot be listed ({error.strerror})", path=folder, remedy="Check its permissions") from error


def _subfolders(folder: Path) -> set[str]:
    return {entry.name for entry in _listing(folder) if entry.is_dir() and not entry.name.startswith(".")}


def _single(path: Path) -> Checkpoint:
    reading = read_name(path.name)
    if reading is None or not reading.numbered:  # then the number may be in the name of a folder above
        reading = read_name("/".join(path.parts[-2:])) or read_name("/".join(path.parts[-3:])) or reading
    candidate = _resolve(path, reading or Reading(run=path.stem, trainer="unknown", sure=False))
    return Checkpoint(candidate.step, path, _trainer(candidate), None, candidate.reading.epoch)


def _resolve(path: Path, reading: Reading) -> _Candidate:
    step = reading.step
    if step is None:
        facts = _facts(path)
        step = facts.step if facts is not None and facts.step is not None else state_step(path)
    return _Candidate(path, reading, step)


class _Facts(NamedTuple):
    """What the search needs from a header: whether it shows an adapter or an embedding, its step, its run's name."""

    adapter: bool
    embedding: bool
    step: int | None
    output_name: str | None


def _facts(path: Path) -> _Facts | None:
    try:
        stat = look(path).stat()
        return _cached_facts(path, stat.st_mtime_ns, stat.st_size)
    except (OSError, LoraError):
        return None  # half written, damaged or gone: discovery goes by the name, read_lora says what is wrong


@lru_cache(maxsize=4096)
def _cached_facts(path: Path, mtime_ns: int, size: int) -> _Facts:
    header = read_header(path)
    kinds = {part.kind for part in taken_apart(header).parts.values()}
    embedding, name = "emb_params" in header.shapes, header.metadata.get("ss_output_name")
    return _Facts(bool(kinds & EVIDENCE), embedding, header_step(header), name)


def _trainer(candidate: _Candidate) -> str:
    """The trainer behind a name that several trainers use, found from the files beside it."""
    named_by, path = candidate.reading.trainer, candidate.path
    look(path.parent)
    for trainer in TRAINERS.values():
        for beside in trainer.checkpoints_beside:
            file = path.with_name(beside.file)
            if named_by == beside.named_by and (beside.key in read_json(file, path) if beside.key else file.exists()):
                return trainer.id
    return named_by
