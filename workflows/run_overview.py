"""Configs that lie with a training run: which files describe its samples, and why others do not."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ..errors import Remedy, SpecError, UnknownConfigError
from ..spec import SampleSpec, read_spec
from ..whole_files import written_at
from .run_memory import FILE

_SUFFIXES: Final = frozenset((".yaml", ".yml", ".json", ".jsonc", ".toml"))
#: Looked at where none of those describes samples: fluxgym keeps no more than its launch script.
_SCRIPTS: Final = frozenset((".sh", ".bat", ".cmd", ".ps1", ".env"))
#: Folders of a run in which trainers keep its config.
_FOLDERS: Final = ("", "config")
#: Most files tried, and their bytes together: a config is far smaller, and a second of a request reads no more.
MAX_TRIED: Final = 40
MAX_BYTES: Final = 1 << 20


@dataclass
class Configs:
    """What was found. read: file -> its spec, the likeliest first. refused: file -> why it describes no samples."""

    read: dict[Path, SampleSpec] = field(default_factory=dict)
    refused: dict[Path, SpecError] = field(default_factory=dict)


def find_configs(folder: Path, roots: Sequence[str | os.PathLike[str]] | None = None) -> Configs:
    """The training configs in a run's folder (and its `config` folder), told by their content.

    roots: folders that a config, and the files that it names, must lie in after links are followed; None = anywhere. At
    most MAX_TRIED files are read, the newest ones, and of these the smallest that have MAX_BYTES together. A file that
    cannot be read is in `refused`.
    """
    found = Configs()
    _look(found, _newest_first(found, folder, _SUFFIXES), roots)
    if not found.read:
        _look(found, _newest_first(found, folder, _SCRIPTS), roots)
    return found


def _look(found: Configs, paths: list[Path], roots: Sequence[str | os.PathLike[str]] | None) -> None:
    """Read these files: of the first MAX_TRIED the smallest, as many as have MAX_BYTES together."""
    sizes = {path: _size(path) for path in paths[:MAX_TRIED]}
    smallest = sorted(sizes, key=lambda path: sizes[path])
    together = dict(zip(smallest, itertools.accumulate(sizes[path] for path in smallest), strict=True))
    for path in paths:
        try:
            if path not in sizes:
                raise SpecError(f"not looked at: {MAX_TRIED} newer files were", source=path.name)
            if together[path] > MAX_BYTES:
                problem = f"not looked at: with the smaller files here it has more than {MAX_BYTES} bytes"
                raise UnknownConfigError(problem, source=path.name)
            found.read[path] = _read(path, roots)
        except SpecError as error:
            found.refused[path] = error


def _read(path: Path, roots: Sequence[str | os.PathLike[str]] | None) -> SampleSpec:
    """The spec of one file. SpecError where it is none, or not to be opened."""
    if roots is not None and not any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots):
        problem = "a link out of the folders that this host opens"
        raise SpecError(problem, source=path.name, remedy="Copy the config itself here.")
    try:
        return read_spec(path, roots=roots)
    except OSError as error:
        raise SpecError(f"cannot be opened ({error.strerror})", source=path.name) from error


def _size(path: Path) -> int:
    """In bytes; 0 where it has gone meanwhile, as reading it will say."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _newest_first(found: Configs, folder: Path, suffixes: frozenset[str]) -> list[Path]:
    """Files of these suffixes; a folder that cannot be listed is refused."""
    paths: list[Path] = []
    for name in _FOLDERS:
        place = folder / name
        try:
            paths += [path for path in place.iterdir() if path.suffix.lower() in suffixes] if place.is_dir() else []
        except OSError as error:
            found.refused[place] = SpecError(f"cannot be listed ({error.strerror})", source=place.name)
    paths = [path for path in paths if path.name != FILE and not path.name.endswith(f".{FILE}")]
    dated = [(-written, path.name, path) for path in paths if (written := written_at(path)) is not None]
    return [path for *_, path in sorted(dated)]


def name_run(name: str) -> Remedy:
    """What to do where a config wants its LoRA and no run was named. name: that of the config's run."""
    after = f"or a step: the run is then {name!r}, and step 0 is the model before training"
    without = "use_lora: false samples without"
    return {
        "python": f"Name the run's folder or a checkpoint with run=, {after}. {without}.",
        "cli": f"Name the run's folder or a checkpoint with --run, {after}. {without}.",
        "http": f"Send the run's folder or a checkpoint as run, {after}. {without}.",
        "canvas": f"Put the run's folder into ComfyUI's loras folder as {name!r}, and drop it again. {without}.",
    }
