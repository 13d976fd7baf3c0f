"""The routes that keep something with a run: which config belongs to it, favourites, rejects, notes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Final

from aiohttp import web

from ...errors import RequestError
from ...workflows.requests import ConfigOfRun, MarkRequest, NoteRequest, spec_of
from ...workflows.run_memory import RunMemory, read_memory, write_memory
from .routes import Routes, read_body
from .run_config import Place, fitting, place_of, read_fitting

#: A file is read, changed and written by one request at a time.
_WRITING: Final = threading.Lock()

Change = Callable[[Place, RunMemory], RunMemory]


async def _config(request: web.Request) -> web.Response:
    """PUT /eridiffusion/run-config/{name}"""
    body = await read_body(request, ConfigOfRun)
    if body.file is not None and body.config is not None:
        raise RequestError(400, "request", "file and config are both given", field="file", remedy="Give one.")

    def change(run: Place, memory: RunMemory) -> RunMemory:
        if body.file is not None:
            read_fitting(run, body.file)
            return memory.of_config(file=body.file)
        if body.config is None:
            return memory.of_config()
        spec = fitting(run, spec_of(body.config, body))
        return memory.of_config(source=body.source or spec.name, spec=spec.to_dict())

    return await _changed(request, change)


async def _mark(request: web.Request) -> web.Response:
    """PUT /eridiffusion/run-marks/{name}"""
    body = await read_body(request, MarkRequest)
    return await _changed(request, lambda _, memory: memory.marked(body.step, body.item, body.mark))


async def _note(request: web.Request) -> web.Response:
    """PUT /eridiffusion/run-notes/{name}"""
    body = await read_body(request, NoteRequest)
    return await _changed(request, lambda _, memory: memory.noted(body.step, body.item, body.note))


async def _changed(request: web.Request, change: Change) -> web.Response:
    """Change what is kept with the run, and say what that is now."""

    def work() -> RunMemory:
        run = place_of(request.match_info["name"])
        with _WRITING:
            memory = read_memory(run.memory)
            changed = change(run, memory)
            if changed != memory:
                write_memory(run.memory, changed)
        return changed

    kept = await asyncio.to_thread(work)
    return web.json_response({"config": kept.file or kept.source, "marks": len(kept.marks), "notes": len(kept.notes)})


ROUTES: Final[Routes] = (
    ("PUT", "/run-config/{name:(?s:.+)}", _config),
    ("PUT", "/run-marks/{name:(?s:.+)}", _mark),
    ("PUT", "/run-notes/{name:(?s:.+)}", _note),
)
