"""The routes for the sidebar: the training runs that ComfyUI can see, and what exists of one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import folder_paths
from aiohttp import web

from ...compare.axes import shown, variant_named
from ...errors import EriError, ImagesError, LoraError, NodeInputError, RequestError
from ...images.found import samples_by_name
from ...images.layouts import SampleFile, sample_name
from ...images.template import safe_name
from ...lora import Checkpoint
from ...spec import SampleSpec
from ...whole_files import written_at
from ...workflows.run_memory import RunMemory, marks_in, memory_file, notes_in, read_memory
from ..lora.runs import find_run, list_runs, runs_version
from ..paths import leading_inside, without_folders
from .own_samples import name_of_file, own_of
from .routes import PREFIX, Routes
from .run_config import Place, choose, configs_in, place_of, shown_name


async def _runs(_: web.Request) -> web.Response:
    """GET /eridiffusion/runs"""
    version = await asyncio.to_thread(runs_version)  # before: what comes while the runs are listed is another version
    return web.json_response({"runs": await asyncio.to_thread(_all_runs), "version": version})


async def _version(_: web.Request) -> web.Response:
    """GET /eridiffusion/runs-version"""
    return web.json_response({"version": await asyncio.to_thread(runs_version)})


async def _run(request: web.Request) -> web.Response:
    """GET /eridiffusion/runs/{name}?config=FILE"""
    name, config = request.match_info["name"], request.query.get("config", "")
    return web.json_response(await asyncio.to_thread(_overview, name, config))


def _all_runs() -> list[dict[str, Any]]:
    """Every run folder with its steps, the newest first. A run that cannot be listed has the reason instead."""
    entries: list[dict[str, Any]] = []
    for name in list_runs():
        if name.endswith(".safetensors"):
            continue
        try:
            place, checkpoints = find_run(name)
        except (NodeInputError, LoraError) as error:
            entries.append({"name": name, "steps": [], "unknown": 0, "error": without_folders(str(error))})
            continue
        by_run: dict[str, list[Checkpoint]] = {}
        for checkpoint in checkpoints if place.is_dir() else ():
            by_run.setdefault(f"{name}/{checkpoint.run}" if checkpoint.run else name, []).append(checkpoint)
        entries += [
            {"name": run, **_steps(found), "newest": _newest(found), "favourites": _favourites(place, run, name)}
            for run, found in by_run.items()
        ]
    entries.sort(key=lambda entry: (-entry.get("newest", 0), entry["name"]))
    return list({entry["name"]: entry for entry in entries}.values())


def _favourites(place: Path, run: str, name: str) -> int:
    """How many samples of a run in the folder `name` are favourites; 0 where its file cannot be read, as it says."""
    memory = memory_file(place / run[len(name) + 1 :])
    try:
        marks = read_memory(memory).marks if leading_inside([memory]) else {}
    except RequestError:
        return 0
    return list(marks.values()).count("favourite")


def _newest(checkpoints: list[Checkpoint]) -> int:
    """When the newest checkpoint was written."""
    return max((_ms(entry.path) for entry in checkpoints), default=0)


def _ms(path: Path) -> int:
    """When a file was written, in milliseconds since 1970; 0 where it has gone meanwhile."""
    return (written_at(path) or 0) // 1_000_000


def _steps(checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    """The steps that a graph can name, ascending, and the number of checkpoints of unknown step."""
    steps = sorted({entry.step for entry in checkpoints if entry.step is not None})
    return {"steps": steps, "unknown": sum(entry.step is None for entry in checkpoints)}


def _overview(name: str, config: str) -> dict[str, Any]:
    """One run. RequestError 403 when name or config lie outside, 404 when there is no such run or config."""
    run = place_of(name)
    found = configs_in(run)
    unreadable = [_unreadable(path.name, reason) for path, reason in found.refused.items()]
    try:
        memory = read_memory(run.memory)
    except RequestError as error:
        memory = RunMemory()
        unreadable.insert(0, _unreadable(run.memory.name, error))
    chosen = choose(run, config, memory, found)
    answer: dict[str, Any] = {
        "name": name,
        **_steps(run.checkpoints),
        "configs": [shown_name(path) for path in found.read],
        "unreadable": unreadable,
        "marks": marks_in(memory),
        "notes": notes_in(memory),
        "problem": without_folders(chosen.problem),
    }
    spec = chosen.spec
    if spec is None:
        return answer
    theirs: list[dict[str, Any]] = []
    try:
        theirs = _theirs(run, spec)
    except ImagesError as error:
        unreadable.append(_unreadable(Path(error.place).name or spec.layout, error))
    config_from = {"config": chosen.label, "config_from": chosen.origin}
    pictures = {"samples": _samples(spec), "variants": _variants(spec), "theirs": theirs}
    shown = replace(spec, source=shown_name(Path(spec.source)))
    return {**answer, **config_from, "spec": shown.to_dict(), **pictures}


def _unreadable(file: str, error: EriError) -> dict[str, str]:
    """A file that is of no use, and why, for the person at the canvas."""
    return {"file": file, "kind": error.kind, "reason": without_folders(str(error.told_to("canvas")))}


def _theirs(run: Place, spec: SampleSpec) -> list[dict[str, Any]]:
    """The trainer's own samples as the route tells them."""
    drawn = {item.index for item in spec.items if item.seed is None}
    entries = []
    for (step, index), sample in own_of(run, spec).items():
        file = name_of_file(run, sample.path)
        entry = {
            "step": step,
            "item": index,
            "file": file,
            "url": f"{PREFIX}/run-picture?{urlencode({'run': run.name, 'file': file})}",
            "version": _ms(sample.path),
            "problem": sample.problem or ("the config leaves its seed to chance" if index in drawn else ""),
        }
        entries.append(entry)
    return entries


def pictures_of(spec: SampleSpec, place: str = "") -> dict[tuple[int, int], Path]:
    """The pictures of this spec in ComfyUI's output folder, by step and item; place: a folder in the run's."""
    blank = SampleFile(run=spec.name, step=0, index=0, count=len(spec.items), trainer=spec.trainer, family=spec.family)
    wanted = [
        replace(
            blank,
            index=item.index,
            name=sample_name(item.index),
            prompt=item.prompt,
            width=item.width,
            height=item.height,
            label=item.label,
        )
        for item in spec.items
    ]
    return samples_by_name(Path(folder_paths.get_output_directory()), spec.layout, wanted, place)


def _variants(spec: SampleSpec) -> list[dict[str, Any]]:
    """The pictures that sweeps made under further settings, each in a folder of its own in the run's."""
    root = Path(folder_paths.get_output_directory()) / safe_name(spec.name)
    folders = [path for path in root.iterdir() if path.is_dir() and not path.is_symlink()] if root.is_dir() else []
    entries = []
    for variant in filter(None, map(variant_named, sorted(path.name for path in folders))):
        if samples := _samples(spec, variant.key):
            axes = {axis: shown(value) for axis, value in variant.values.items()}
            entries.append({"key": variant.key, "title": variant.title, "axes": axes, "samples": samples})
    return entries


def _samples(spec: SampleSpec, place: str = "") -> list[dict[str, Any]]:
    """The pictures of this spec as the route tells them. place: as for `pictures_of`."""
    output = Path(folder_paths.get_output_directory())
    entries = []
    for (step, index), path in sorted(pictures_of(spec, place).items()):
        folder = path.parent.relative_to(output).as_posix()
        query = {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output"}
        entries.append({"step": step, "item": index, "url": f"/view?{urlencode(query)}", "version": _ms(path)})
    return entries


ROUTES: Final[Routes] = (
    ("GET", "/runs", _runs),
    ("GET", "/runs/{name:(?s:.+)}", _run),
    ("GET", "/runs-version", _version),
)
