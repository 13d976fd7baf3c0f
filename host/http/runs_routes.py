"""The routes for the sidebar: the training runs that ComfyUI can see, and what exists of one of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import folder_paths
from aiohttp import web
from server import PromptServer

from ...errors import ImagesError, LoraError, NodeInputError, OutsideError, RequestError
from ...images.found import samples_by_name
from ...images.layouts import SampleFile, sample_name
from ...images.thumbnails import thumbnail
from ...lora import Checkpoint
from ...spec import SampleSpec, read_spec
from ...workflows.run_overview import Configs, find_configs
from ..lora.runs import find_run, list_runs, runs_version
from ..paths import check_name, input_roots, without_folders
from ..spec import config_path
from .routes import PREFIX, answered


def register() -> None:
    """Add the routes to the running ComfyUI, once; without a server there are none."""
    server = getattr(PromptServer, "instance", None)
    if server is None or any(getattr(route, "path", "").startswith(f"{PREFIX}/runs") for route in server.routes):
        return
    server.routes.get(f"{PREFIX}/runs")(answered(_runs))
    server.routes.get(f"{PREFIX}/runs/{{name:(?s:.+)}}")(answered(_run))
    server.routes.get(f"{PREFIX}/runs-version")(answered(_version))
    server.routes.get(f"{PREFIX}/thumbnail")(answered(_thumbnail))


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


async def _thumbnail(request: web.Request) -> web.Response:
    """GET /eridiffusion/thumbnail?filename=NAME&subfolder=FOLDER&version=TEXT"""
    name, folder = request.query.get("filename", ""), request.query.get("subfolder", "")
    body = await asyncio.to_thread(_small_copy, name, folder)
    # The version changes when the file does, so that the browser need not ask again.
    headers = {"Cache-Control": "private, max-age=604800, immutable"} if request.query.get("version") else {}
    return web.Response(body=body, content_type="image/webp", headers=headers)


def _small_copy(name: str, folder: str) -> bytes:
    """A small copy of a picture below the output folder; RequestError 403 outside, 404 missing, 422 not whole."""
    output = Path(folder_paths.get_output_directory()).resolve()
    try:
        check_name(str(output / folder / name), "filename")
        path = (output / folder / name).resolve()
    except NodeInputError as error:
        raise RequestError(404, "missing_picture", str(error)) from error
    if not path.is_relative_to(output):
        raise RequestError(403, "outside", f"{name!r} is not below the output folder.", field="filename")
    if not path.is_file():
        raise RequestError(404, "missing_picture", f"there is no {name!r} in {folder!r} any more.", field="filename")
    try:
        return thumbnail(path)
    except ImagesError as error:
        raise RequestError(422, "picture", str(error), field="filename") from error


def _all_runs() -> list[dict[str, Any]]:
    """Every run folder with its steps. A run that cannot be listed has the reason instead."""
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
        entries += [{"name": run, **_steps(found)} for run, found in by_run.items()]
    return list({entry["name"]: entry for entry in entries}.values())


def _steps(checkpoints: list[Checkpoint]) -> dict[str, Any]:
    """The steps that a graph can name, ascending, and the number of checkpoints of unknown step."""
    steps = sorted({entry.step for entry in checkpoints if entry.step is not None})
    return {"steps": steps, "unknown": sum(entry.step is None for entry in checkpoints)}


def _overview(name: str, config: str) -> dict[str, Any]:
    """One run. RequestError 403 when name or config lie outside, 404 when there is no such run or config."""
    try:
        place, checkpoints = find_run(name)
    except NodeInputError as error:
        raise RequestError(403, "outside", str(error), field="name") from error
    except LoraError as error:
        raise RequestError(404, "unknown_run", str(error), field="name") from error
    folder = place if place.is_dir() else place.parent
    found = find_configs(folder, input_roots())
    chosen, spec = _chosen(name, config, found)
    answer = {
        "name": name,
        **_steps(checkpoints),
        "configs": [_relative(path) for path in found.read],
        "unreadable": [
            {"file": path.name, "reason": without_folders(reason)} for path, reason in found.refused.items()
        ],
    }
    return answer if spec is None else {**answer, "config": chosen, "spec": spec.to_dict(), "samples": _samples(spec)}


def _chosen(name: str, config: str, found: Configs) -> tuple[str, SampleSpec | None]:
    """The wanted config, else the one in the folder with the run's name, else the newest there."""
    if config:
        try:
            path = config_path(config)
        except NodeInputError as error:
            status, kind = (403, "outside") if isinstance(error, OutsideError) else (404, "missing_config")
            raise RequestError(status, kind, str(error), field="config") from error
        if path is None:
            raise RequestError(403, "outside", f"config: {config!r} is no config file of this ComfyUI", field="config")
        return config, read_spec(path, roots=input_roots())
    own = Path(name).name
    for path, spec in sorted(found.read.items(), key=lambda pair: pair[1].name != own):
        return _relative(path), spec
    return "", None


def _samples(spec: SampleSpec) -> list[dict[str, Any]]:
    """The pictures of this spec in ComfyUI's output folder, by step and item."""
    output = Path(folder_paths.get_output_directory())
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
    entries = []
    for (step, index), path in sorted(samples_by_name(output, spec.layout, wanted).items()):
        folder = path.parent.relative_to(output).as_posix()
        query = {"filename": path.name, "subfolder": "" if folder == "." else folder, "type": "output"}
        version = path.stat().st_mtime_ns // 1_000_000
        entries.append({"step": step, "item": index, "url": f"/view?{urlencode(query)}", "version": version})
    return entries


def _relative(path: Path) -> str:
    """A config's name as `?config=` takes it: relative to the allowed folder that it lies in."""
    for root in input_roots():
        if path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return str(path)
