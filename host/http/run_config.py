"""Which config belongs to a run: the one that was chosen for it, one in its folder, or what its pictures say."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import folder_paths

from ...errors import LoraError, NodeInputError, OutsideError, RequestError, SpecError
from ...images.recorded_spec import recorded_spec
from ...images.template import safe_name
from ...lora import Checkpoint
from ...lora.file_names import read_name
from ...spec import SampleSpec, read_spec
from ...spec.model import UNNAMED
from ...spec.readers import from_json
from ...workflows.run_memory import RunMemory, memory_file, read_memory
from ...workflows.run_overview import Configs, find_configs
from ..lora.runs import find_run
from ..paths import input_roots, leading_inside
from ..spec import config_path


@dataclass(frozen=True)
class Place:
    """A run: its name in lists, its folder, its checkpoints, and the file that is kept with it."""

    name: str
    folder: Path
    checkpoints: Sequence[Checkpoint]
    memory: Path


@dataclass(frozen=True)
class Chosen:
    """A run's config.

    Args:
        label: its name, as `?config=` takes it where it is a file.
        origin: "asked", "remembered", "folder" or "pictures"; "" = there is none.
        spec: None where there is none.
        problem: why the one that was remembered is not used.
    """

    label: str = ""
    origin: str = ""
    spec: SampleSpec | None = None
    problem: str = ""


def place_of(name: str) -> Place:
    """The run of this name. RequestError 403 when it lies outside, 404 when there is none."""
    try:
        place, checkpoints = find_run(name)
    except NodeInputError as error:
        raise RequestError(403, "outside", str(error), field="name") from error
    except LoraError as error:
        raise RequestError(404, "unknown_run", str(error), field="name") from error
    memory = memory_file(place)
    if not leading_inside([memory]):
        raise RequestError(403, "outside", f"{memory.name} is a link out of the allowed folders", field="name")
    return Place(name, place if place.is_dir() else place.parent, checkpoints, memory)


def configs_in(run: Place) -> Configs:
    """The configs in the run's folder."""
    return find_configs(run.folder, input_roots())


def choose(run: Place, asked: str, memory: RunMemory, found: Configs) -> Chosen:
    """The config that was asked for, else the remembered one, else one in the folder, else what its pictures say."""
    if asked:
        return Chosen(asked, "asked", read_fitting(run, asked))
    problem = ""
    try:
        if memory.file:
            return Chosen(memory.file, "remembered", read_fitting(run, memory.file))
        if memory.spec is not None:
            return Chosen(memory.source, "remembered", from_json(json.dumps(memory.spec)))
    except (RequestError, SpecError) as error:
        problem = str(error.told_to("canvas"))
    own = Path(run.name).name
    for path, spec in sorted(found.read.items(), key=lambda pair: pair[1].name != own):
        return Chosen(shown_name(path), "folder", spec, problem)
    output = Path(folder_paths.get_output_directory())
    recorded = recorded_spec(output / safe_name(own), run.name)
    return Chosen("", "" if recorded is None else "pictures", recorded, problem)


def spec_of_run(run: Place) -> SampleSpec:
    """The run's config, as `choose` finds it. RequestError 409 without one, 422 where the run's file cannot be read."""
    spec = choose(run, "", read_memory(run.memory), configs_in(run)).spec
    if spec is None:
        raise RequestError(409, "no_config", "no config is known for this run", remedy="Choose the run's config.")
    return spec


def read_fitting(run: Place, config: str) -> SampleSpec:
    """The config in a file that ComfyUI opens. RequestError 403 outside, 404 missing, 409 of another run."""
    try:
        path = config_path(config)
    except NodeInputError as error:
        status, kind = (403, "outside") if isinstance(error, OutsideError) else (404, "missing_config")
        raise RequestError(status, kind, str(error).removeprefix("config: "), field="config") from error
    if path is None:
        raise RequestError(403, "outside", f"config: {config!r} is no config file of this ComfyUI", field="config")
    spec = read_spec(path, roots=input_roots())
    return spec if path.is_relative_to(run.folder) else fitting(run, spec)


def fitting(run: Place, spec: SampleSpec) -> SampleSpec:
    """A config as this run's, called like it where the config names no run.

    RequestError 409 for one of another run, told by its name: neither the folder nor a checkpoint is called like it.
    """
    last = Path(run.name).name
    if spec.name == UNNAMED:
        return replace(spec, name=last)
    names = {last, run.folder.name, *(entry.run for entry in run.checkpoints if entry.run)}
    readings = (read_name(entry.path.name) for entry in run.checkpoints)
    names |= {reading.run for reading in readings if reading is not None and reading.run}
    if safe_name(spec.name) in {safe_name(name) for name in names}:
        return spec
    raise RequestError(
        409,
        "other_run",
        f"this is the config of {spec.name!r}; neither the folder of {last!r} nor its checkpoints are called like that",
        remedy="Choose this run's config. Was the run renamed? Then put its config into the run's folder.",
    )


def shown_name(path: Path) -> str:
    """A config's name as `?config=` takes it: relative to the allowed folder that it lies in."""
    for root in input_roots():
        base = Path(os.path.abspath(root))
        if path.is_relative_to(base):
            return path.relative_to(base).as_posix()
    return str(path)
