"""Serves a gallery to browsers: its own files and nothing else, and what a person chooses in it is kept.

Only who loaded the page from here may write: it carries a token that no other page can read. Requests that name another
host are refused, so that no page of the internet reaches the server under a name of its own (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import re
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from ..errors import CompareError, EriError
from .page import policy_of, served
from .write import PAGE, read_marker

if TYPE_CHECKING:
    from aiohttp import web

#: Where a gallery is served if nobody says otherwise; the next free port where that is taken.
HOST: Final = "127.0.0.1"
PORT: Final = 8190
_TRIED: Final = 20
_FILE: Final = re.compile(r"(?:pictures|small|moving)/[0-9a-f]{20}(?:-[0-9]+)?\.(?:png|jpg|jpeg|webp|gif)")
_LONGEST: Final = 1 << 16  # bytes of what a page may send
_HEADER: Final = "X-Eridiffusion-Token"



class Keeper(Protocol):
    """Keeps what people choose: marks, votes, notes."""

    def all(self) -> Any:
        """Everything that is kept, in JSON's types. EriError where it cannot be read."""
        ...

    def keep(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keep one thing, and return what the page is told. EriError refuses it."""
        ...


def application(folder: Path, token: str, keepers: Mapping[str, Keeper], host: str = HOST) -> web.Application:
    """What answers for a gallery: GET /, its pictures and /version; GET and POST /keep/<name> for each keeper."""
    from aiohttp import web

    routes = _Routes(folder, token, keepers)
    app = web.Application(client_max_size=_LONGEST, middlewares=[_guard(host)])
    app.add_routes([
        web.get("/", routes.page),
        web.get("/version", routes.version),
        web.get("/{file:(?:pictures|small|moving)/.+}", routes.file),
        web.get("/keep/{name}", routes.kept),
        web.post("/keep/{name}", routes.keep),
    ])  # fmt: skip
    return app


@contextlib.contextmanager
def serving(
    folder: Path, keepers: Mapping[str, Keeper], host: str = HOST, port: int | None = None
) -> Iterator[str]:
    """Serve a gallery while the `with` block runs, which gets its URL.

    Args:
        folder: of a gallery that was written; what is written later is served as well.
        keepers: by name: what keeps marks, votes and notes.
        host: the address to listen at; others than this machine's own let others look and choose.
        port: None = PORT, or the next one that is free.

    Raises CompareError where the folder is no gallery or the address cannot be had.
    """
    read_marker(folder)
    listener = _listen(host, port)
    token = secrets.token_urlsafe(24)
    loop, started, ended = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def run() -> None:
        from aiohttp import web

        runner = web.AppRunner(application(folder, token, keepers, host), access_log=None, shutdown_timeout=1)
        try:
            await runner.setup()
            await web.SockSite(runner, listener).start()
        finally:
            started.set()
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(run(),), name="gallery", daemon=True)
    thread.start()
    started.wait()
    try:
        yield f"http://{_shown(host)}:{listener.getsockname()[1]}/"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def _listen(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last: OSError | None = None
    for number in [port] if port is not None else range(PORT, PORT + _TRIED):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, number))
            listener.listen()
        except OSError as error:
            listener.close()
            last = error
        else:
            return listener
    remedy = "Choose another address or port with --serve-host and --port."
    problem = f"nobody can listen there ({last.strerror or last if last else 'no port is free'})"
    raise CompareError(problem, place=f"{host}:{PORT if port is None else port}", remedy=remedy)


class _Routes:
    def __init__(self, folder: Path, token: str, keepers: Mapping[str, Keeper]) -> None:
        self.folder, self.token, self.keepers = folder, token, keepers

    async def page(self, _: web.Request) -> web.Response:
        from aiohttp import web

        text = served(await asyncio.to_thread((self.folder / PAGE).read_bytes), self.token)
        headers = {"Content-Security-Policy": f"{policy_of(text)}; frame-ancestors 'none'", "Cache-Control": "no-store"}
        return web.Response(body=text, content_type="text/html", charset="utf-8", headers=headers)

    async def version(self, _: web.Request) -> web.Response:
        from aiohttp import web

        return web.Response(text=str((self.folder / PAGE).stat().st_mtime_ns), headers={"Cache-Control": "no-store"})

    async def file(self, request: web.Request) -> web.StreamResponse:
        from aiohttp import web

        name = request.match_info["file"]
        path = self.folder / name
        if not _FILE.fullmatch(name) or path.is_symlink() or not path.is_file():
            raise web.HTTPNotFound(text="no such picture")
        return web.FileResponse(path, headers={"Cache-Control": "private, max-age=604800, immutable"})

    def _keeper(self, request: web.Request) -> Keeper:
        from aiohttp import web

        keeper = self.keepers.get(request.match_info["name"])
        if keeper is None:
            raise web.HTTPNotFound(text="this gallery keeps nothing of the kind")
        return keeper

    async def kept(self, request: web.Request) -> web.Response:
        from aiohttp import web

        try:
            found = await asyncio.to_thread(self._keeper(request).all)
        except EriError as error:
            raise web.HTTPConflict(text=_told(error)) from error
        return web.json_response({"kept": found}, headers={"Cache-Control": "no-store"})

    async def keep(self, request: web.Request) -> web.Response:
        from aiohttp import web

        given = request.headers.get(_HEADER, "").encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(given, self.token.encode()):
            raise web.HTTPForbidden(text="Open the gallery's page anew: it was started again since.")
        keeper = self._keeper(request)
        try:
            body = json.loads((await request.read()).decode("utf-8"))
        except (ValueError, RecursionError, web.RequestPayloadError) as error:
            raise web.HTTPBadRequest(text="the body is not JSON") from error
        if not isinstance(body, dict):
            raise web.HTTPBadRequest(text="the body is no JSON object")
        try:
            return web.json_response(await asyncio.to_thread(keeper.keep, body))
        except EriError as error:
            raise web.HTTPBadRequest(text=_told(error)) from error


def _told(error: EriError) -> str:
    """An error without the place, which is a path of this machine."""
    return " ".join(filter(None, (f"{error.problem.rstrip('.')}.", error.remedy)))


def _guard(host: str) -> Any:
    """A middleware: only requests that name this machine are answered, and every answer is closed to other pages."""
    from aiohttp import web

    @web.middleware
    async def guard(request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Any:
        if not _may_be_called(request.host, host):
            raise web.HTTPForbidden(text="this server is not called like that")
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            answer = error
        except ConnectionError:
            raise  # the caller went away
        except OSError:
            answer = web.HTTPNotFound(text="the gallery is not there any more; write it again")
        answer.headers["X-Content-Type-Options"] = "nosniff"
        answer.headers["Referrer-Policy"] = "no-referrer"
        answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        if isinstance(answer, web.HTTPException):
            raise answer
        return answer

    return guard


def _may_be_called(called: str, host: str) -> bool:
    """Whether a request's Host may be meant for a server at `host`: an address, this machine's name, or that very name.

    An address is none that somebody else could have a name point to; a name is one that was chosen here.
    """
    name = called.rpartition(":")[0] if re.search(r":[0-9]+$", called) else called
    name = name.strip("[]").lower()
    if name in {"localhost", host.lower()}:
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return not _is_loopback(host) and name == socket.gethostname().lower()
    return address.is_loopback or not _is_loopback(host)


def _shown(host: str) -> str:
    """The host in a URL that a browser on this machine opens."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "localhost"
    return f"[{host}]" if address.version == 6 else host


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
