"""The routes for a run's pictures: small copies, the trainer's own samples, and how far two pictures are apart."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import folder_paths
from aiohttp import web

from ...errors import ImagesError, NodeInputError, RequestError
from ...images.compare import verdict_on
from ...images.thumbnails import SIZE, SIZES, thumbnail
from ..paths import check_name
from .own_samples import folder_and_file
from .routes import Routes
from .run_config import place_of

_TYPES: Final = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
#: One comparison at a time: each takes all processors.
_COMPARING: Final = asyncio.Semaphore(1)


async def _thumbnail(request: web.Request) -> web.Response:
    """GET /eridiffusion/thumbnail?filename=NAME&subfolder=FOLDER&version=TEXT, or ?run=NAME&file=FILE&version=TEXT"""
    query = request.query
    size = query.get("size", str(SIZE))
    if size not in map(str, SIZES):
        raise RequestError(400, "request", f"{size!r} is no size of small copies", field="size", remedy=_SIZES_REMEDY)

    def small_copy() -> bytes:
        return thumbnail(_theirs(query) if "run" in query else _ours(query), int(size))

    body = await asyncio.to_thread(_as_picture, small_copy)
    return web.Response(body=body, content_type="image/webp", headers=_kept(query))


_SIZES_REMEDY: Final = f"Sizes are {', '.join(map(str, SIZES))}."


async def _run_picture(request: web.Request) -> web.StreamResponse:
    """GET /eridiffusion/run-picture?run=NAME&file=FILE&version=TEXT"""
    path = await asyncio.to_thread(_theirs, request.query)
    headers = {"Content-Type": _TYPES[path.suffix.lower()], "X-Content-Type-Options": "nosniff"}
    return web.FileResponse(path, headers={**_kept(request.query), **headers})


async def _verdict(request: web.Request) -> web.Response:
    """GET /eridiffusion/verdict?run=NAME&file=FILE&filename=NAME&subfolder=FOLDER"""

    def compared() -> dict[str, Any]:
        theirs, ours = _theirs(request.query), _ours(request.query)
        return _compared(theirs, theirs.stat().st_mtime_ns, ours, ours.stat().st_mtime_ns)

    async with _COMPARING:
        return web.json_response(await asyncio.to_thread(_as_picture, compared))


@lru_cache(maxsize=10_000)
def _compared(theirs: Path, _: int, ours: Path, __: int) -> dict[str, Any]:
    return verdict_on(theirs, ours)


def _as_picture(work: Any) -> Any:
    """What `work()` gives; RequestError 422 for a picture that is not whole."""
    try:
        return work()
    except ImagesError as error:
        raise RequestError(422, "picture", str(error), field="filename") from error


def _kept(query: Any) -> dict[str, str]:
    """The version changes when the file does, so that the browser need not ask again."""
    return {"Cache-Control": "private, max-age=604800, immutable"} if query.get("version") else {}


def _ours(query: Any) -> Path:
    """A picture below the output folder; RequestError 403 outside, 404 missing."""
    output = Path(folder_paths.get_output_directory())
    return _picture(output, Path(query.get("subfolder", "")) / query.get("filename", ""), "filename")


def _theirs(query: Any) -> Path:
    """A sample that a trainer saved, by its name in addresses; RequestError 403 outside or no picture, 404 missing."""
    return _picture(*folder_and_file(place_of(query.get("run", "")), query.get("file", "")), "file")


def _picture(folder: Path, name: Path, field: str) -> Path:
    """A picture below a folder, links followed. RequestError 403 where it is none of that folder, 404 missing."""
    place = folder.resolve()
    try:
        check_name(str(place / name), field)
        path = (place / name).resolve()
    except NodeInputError as error:
        raise RequestError(404, "missing_picture", str(error)) from error
    if not path.is_relative_to(place):
        raise RequestError(403, "outside", f"{str(name)!r} is not below the folder.", field=field)
    if not path.is_file():
        raise RequestError(404, "missing_picture", f"there is no {str(name)!r} any more.", field=field)
    if path.suffix.lower() not in _TYPES:
        raise RequestError(403, "outside", f"{str(name)!r} is no picture.", field=field)
    return path


ROUTES: Final[Routes] = (
    ("GET", "/thumbnail", _thumbnail),
    ("GET", "/run-picture", _run_picture),
    ("GET", "/verdict", _verdict),
)
