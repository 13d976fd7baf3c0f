"""The routes for trainers, beside ComfyUI's own: from a config's text to a graph, or to a queued prompt and its files.

docs/openapi.yaml describes them. ComfyUI's middleware refuses requests whose Origin is another site's. Here a body must
also be declared as JSON, which a page of another site cannot send unless ComfyUI allows it.
"""

from __future__ import annotations

import asyncio
import functools
import math
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from comfy.cli_args import args

from ...errors import (
    CompareError,
    EriError,
    FamilyOpenError,
    FamilyUnknownError,
    HostError,
    NodeInputError,
    RequestError,
    SpecError,
    WorkflowError,
)
from ...families import FAMILIES
from ...protocol.pack_version import pack_version
from ...spec import SampleSpec
from ...workflows import Workflow
from ...workflows.requests import MAX_BODY, GraphRequest, QueueRequest, Request, graph_for, read_request
from ..paths import candidates, run_roots, without_folders
from .descriptions import description_beside
from .queue import described, node_info, offered_files, queue, state

PREFIX: Final = "/eridiffusion"
#: Longest `?wait=` in seconds, and how often ComfyUI's history is looked at meanwhile.
MAX_WAIT: Final = 300.0
_POLL: Final = 0.2
#: Seconds in which a body must have arrived.
BODY_WITHIN: Final = 30.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: Method, path below PREFIX, and handler of each route.
Routes = tuple[tuple[str, str, Handler], ...]


def answered(handler: Handler) -> Handler:
    """The handler with this pack's errors as JSON. Any other error is a defect, which aiohttp answers with 500."""

    @functools.wraps(handler)
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            _check_site(request)
            return await handler(request)
        except RequestError as error:
            return _error(error.status, error, field=error.field)
        except SpecError as error:
            source = None if error.source is None else without_folders(error.source)
            places: dict[str, Any] = {"line": error.line, "column": error.column, "source": source}
            places["field"] = error.field
            if isinstance(error, FamilyOpenError | FamilyUnknownError):
                places["families"] = [{"id": family.id, "title": family.title} for family in FAMILIES.values()]
            return _error(400, error, **places)
        except WorkflowError as error:
            return _error(400, error, field=error.field)
        except CompareError as error:
            return _error(422, error)
        except HostError as error:
            return web.json_response({"error": described(error)}, status=422)
        except ConnectionError:
            raise  # the caller went away
        except OSError as error:
            name = f"{Path(error.filename).name}: " if isinstance(error.filename, str) else ""
            problem = f"{name}the disk refuses it ({error.strerror or error})"
            remedy = "Look whether the file or its drive is there, and whether ComfyUI may open it."
            return _error(422, RequestError(422, "disk", problem, remedy=remedy))

    return answer


def _error(status: int, error: EriError, **places: Any) -> web.Response:
    message, on_canvas = (without_folders(str(error.told_to(caller))) for caller in ("http", "canvas"))
    entry = {"kind": error.kind, "message": message, "on_canvas": None if on_canvas == message else on_canvas, **places}
    return web.json_response(
        {"error": {key: value for key, value in entry.items() if value is not None}}, status=status
    )


def _check_site(request: web.Request) -> None:
    """Refuse what a browser itself marks as another site's, also when ComfyUI is not on a loopback address."""
    if request.headers.get("Sec-Fetch-Site") == "cross-site" and not args.enable_cors_header:
        raise RequestError(
            403, "origin", "the request comes from another site's page", remedy="Send it from a program."
        )


async def _graph(request: web.Request) -> web.Response:
    """POST /eridiffusion/graph"""
    workflow, ui = await _built(await read_body(request, GraphRequest))
    return web.json_response({**_summary(workflow), "api": workflow.api(), "ui": ui})


async def _queue(request: web.Request) -> web.Response:
    """POST /eridiffusion/queue"""
    wanted = await read_body(request, QueueRequest)
    workflow, ui = await _built(wanted)
    prompt_id, number = await queue(workflow, ui, client_id=wanted.client_id, front=wanted.front)
    place = f"{PREFIX}/prompts/{prompt_id}"
    return web.json_response({**_summary(workflow), "prompt_id": prompt_id, "number": number, "result": place})


async def _description(request: web.Request) -> web.Response:
    """GET /eridiffusion/description?family=FAMILY&folder=FOLDER&file=FILE"""
    family, folder, file = (request.query.get(key, "") for key in ("family", "folder", "file"))
    if family not in FAMILIES:
        remedy = f"Families are {', '.join(FAMILIES)}."
        raise RequestError(400, "request", f"{family!r} is no family", field="family", remedy=remedy)
    if file not in offered_files().get(folder, ()):
        raise RequestError(404, "missing_file", f"ComfyUI lists no {file!r} in {folder!r}", field="file")
    spec = SampleSpec(family=family, trainer="native", items=[])
    description, notes = await asyncio.to_thread(description_beside, spec, folder, file)
    return web.json_response({"description": description, "notes": notes})


async def _prompt(request: web.Request) -> web.Response:
    """GET /eridiffusion/prompts/{prompt_id}?wait=SECONDS"""
    prompt_id = request.match_info["prompt_id"]
    until = time.monotonic() + _wait(request.query.get("wait", "0"))
    while True:
        found = state(prompt_id)
        if found is None:
            raise RequestError(
                404,
                "unknown_prompt",
                f"ComfyUI does not know the prompt {prompt_id!r}",
                remedy="It was restarted, or its queue or history was cleared: queue the config again.",
            )
        left = until - time.monotonic()
        if found["status"] not in ("queued", "running") or left <= 0:
            return web.json_response(found)
        await asyncio.sleep(min(_POLL, left))


def _wait(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= MAX_WAIT:
        raise RequestError(
            400, "request", f"{text!r} is no waiting time", field="wait", remedy="Give 0 to 300 seconds."
        )
    return seconds


async def read_body(request: web.Request, kind: type[Request]) -> Request:
    """The body, checked; RequestError 415, 413 or 400."""
    if request.content_type != "application/json":
        raise RequestError(
            415, "content_type", f"the body is {request.content_type}", remedy="Send Content-Type: application/json."
        )
    too_large = RequestError(
        413,
        "too_large",
        f"the body has more than {MAX_BODY} bytes",
        remedy="Send only the config and its prompt files.",
    )
    if (request.content_length or 0) > MAX_BODY:
        raise too_large
    try:
        body = await asyncio.wait_for(_body(request, too_large), BODY_WITHIN)
    except asyncio.TimeoutError as error:
        raise RequestError(
            408, "slow", f"the body did not arrive within {BODY_WITHIN:g} seconds", remedy="Send it again."
        ) from error
    return await asyncio.to_thread(read_request, kind, body)


async def _body(request: web.Request, too_large: RequestError) -> bytes:
    """The whole body, unpacked and counted so: it may come compressed."""
    body = bytearray()
    try:
        async for chunk in request.content.iter_any():
            body += chunk
            if len(body) > MAX_BODY:
                raise too_large
    except web.RequestPayloadError as error:
        encoding = request.headers.get("Content-Encoding", "identity")
        raise RequestError(
            400, "request", f"the body is not encoded as {encoding!r}", remedy="Send it as plain JSON."
        ) from error
    return bytes(body)


async def _built(request: GraphRequest) -> tuple[Workflow, dict[str, Any]]:
    """The graph and its form for the canvas. Large configs take a while, and ComfyUI answers others meanwhile."""
    run = None if request.run is None else _run_name(request.run)
    offered = offered_files() if request.models is None else None
    workflow = await asyncio.to_thread(graph_for, request, run, offered, description_beside)
    return workflow, await asyncio.to_thread(workflow.ui, node_info(workflow))


def _run_name(run: str) -> str:
    """The run as ComfyUI's nodes name it, relative to an allowed folder. RequestError 403 when it lies outside.

    The run need not exist yet, because a graph may be made before its run. Queueing a graph without its run is refused
    later.
    """
    try:
        places = candidates(run.strip(), run_roots(), "run")
    except NodeInputError as error:
        raise RequestError(403, "outside", str(error)) from error
    place = next((path for path in places if path.exists()), places[0])
    bases = [Path(os.path.abspath(root)) for root in run_roots()]
    return next(place.relative_to(base) for base in bases if place.is_relative_to(base)).as_posix()


def _summary(workflow: Workflow) -> dict[str, Any]:
    """What both answers say about the graph: its samples with every default filled in, and the notes for people."""
    return {
        "spec": workflow.spec.to_dict(),
        "trainer": workflow.trainer,
        "notes": workflow.notes,
        "instead": list(workflow.instead),
    }


async def _version(_: web.Request) -> web.Response:
    """GET /eridiffusion/version"""
    return web.json_response({"version": await asyncio.to_thread(pack_version)})


ROUTES: Final[Routes] = (
    ("GET", "/version", _version),
    ("POST", "/graph", _graph),
    ("POST", "/queue", _queue),
    ("GET", "/description", _description),
    ("GET", "/prompts/{prompt_id}", _prompt),
)
