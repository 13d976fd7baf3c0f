"""The routes for blind comparisons of a run's samples: votes, kept beside the run's checkpoints, and what they say."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any, Final

from aiohttp import web

from ...compare.ranking import rank
from ...compare.votes import FILE, Candidate, Vote, add_votes, read_votes
from ...errors import RequestError
from ...workflows.requests import VoteRequest
from ...workflows.run_memory import FILE as MEMORY
from ..paths import leading_inside
from .routes import Routes, read_body
from .run_config import place_of

#: A file is read and written by one request at a time.
_WRITING: Final = threading.Lock()
#: Most bytes of the file: some 30,000 votes.
MAX_BYTES: Final = 8 << 20


async def _votes(request: web.Request) -> web.Response:
    """GET /eridiffusion/run-votes/{name}"""
    return web.json_response(await asyncio.to_thread(_said, request.match_info["name"]))


async def _vote(request: web.Request) -> web.Response:
    """POST /eridiffusion/run-votes/{name}"""
    body = await read_body(request, VoteRequest)
    left, right = (Candidate.of(side.step, side.axes) for side in (body.left, body.right))
    if left == right:
        raise RequestError(400, "request", "both sides are the same", field="right", remedy="Compare two steps.")
    vote = Vote(body.run, body.voter.strip(), body.made, body.item, body.seed, left, right, body.vote)

    def add() -> int:
        path = _file(request.match_info["name"])
        with _WRITING:
            add_votes(path, [vote], body.run)
            return len(read_votes(path))

    return web.json_response({"votes": await asyncio.to_thread(add)})


def _said(name: str) -> dict[str, Any]:
    votes = read_votes(_file(name))
    return {"votes": [vote.to_dict() for vote in votes], "ranking": rank(votes).to_dict()}


def _file(name: str) -> Path:
    """The run's file of votes. RequestError 403 where it lies outside, 404 without a run, 422 where it is huge."""
    memory = place_of(name).memory
    path = memory.with_name(memory.name.removesuffix(MEMORY) + FILE)
    if not leading_inside([path]):
        raise RequestError(403, "outside", f"{path.name} is a link out of the allowed folders", field="name")
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        remedy = "Move it away, and rank its votes with: eri rank RUN --votes FILE."
        raise RequestError(422, "compare", f"{path.name} has more than {MAX_BYTES} bytes", remedy=remedy)
    return path


ROUTES: Final[Routes] = (
    ("GET", "/run-votes/{name:(?s:.+)}", _votes),
    ("POST", "/run-votes/{name:(?s:.+)}", _vote),
)
