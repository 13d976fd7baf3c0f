"""A typed asyncio client of a ComfyUI host: queue a graph, follow it, fetch its images."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp

from ..errors import HostError
from ..protocol.events import (
    FINAL,
    Disconnected,
    Event,
    Executed,
    Failed,
    ImageRef,
    Interrupted,
    Reconnected,
    ending_in,
    images_of,
    outputs_in,
)
from ..protocol.refusals import failed, missing_node, refused
from ..protocol.schemas import combo_choices
from .event_socket import EventSocket
from .outages import forgotten, no_comfyui, no_record, stayed_away, unreachable
from .saving import save_file

#: Seconds of silence until ComfyUI's history is looked into: at first, as the prompt may have ended before it was
#: followed (then after twice as long, and so on); at most, and once events flow; while the WebSocket is down.
_FIRST_POLL: Final = 0.5
_QUIET_POLL: Final = 5.0
_DOWN_POLL: Final = 0.5


@dataclass(frozen=True)
class PromptResult:
    """What a finished prompt left. images: per output node, in the node's order; outputs: the nodes' UI outputs."""

    prompt_id: str
    images: Mapping[str, tuple[ImageRef, ...]] = field(default_factory=dict)
    outputs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


class HostClient:
    """A client of the ComfyUI at `url` ("http://127.0.0.1:8188"; without a scheme, http is meant).

    timeout: seconds for one HTTP answer. patience: seconds a host that answered before may be unreachable while a
    prompt is followed. Use as an async context manager, inside one event loop. Every method raises HostError.
    """

    def __init__(self, url: str, *, timeout: float = 30.0, patience: float = 30.0) -> None:
        self.url = (url if "://" in url else f"http://{url}").rstrip("/")
        self.client_id = uuid.uuid4().hex
        self.patience = patience
        self._timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, 10.0))
        self._session: aiohttp.ClientSession | None = None
        self._socket: EventSocket | None = None
        self._away_since: float | None = None

    async def __aenter__(self) -> HostClient:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the connections; prompts that are queued or running go on."""
        if self._socket is not None:
            await self._socket.close()
            self._socket = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def system_stats(self) -> dict[str, Any]:
        """ComfyUI's versions, devices and memory; raises HostError of kind "protocol" where it is no ComfyUI."""
        stats = await self._json("GET", "/system_stats")
        if not isinstance(stats, dict) or "system" not in stats:
            raise no_comfyui(self.url, "its /system_stats is of another form")
        return stats

    async def object_info(self, class_type: str | None = None) -> dict[str, Any]:
        """Schemas of all nodes by class, or of one; raises HostError of kind "missing_node" for an unknown class."""
        path = "/object_info" if class_type is None else f"/object_info/{class_type}"
        info = await self._json("GET", path)
        if not isinstance(info, dict):
            raise no_comfyui(self.url, "its /object_info is no object")
        if class_type is not None and class_type not in info:
            raise missing_node(class_type)
        return info

    async def choices(self, class_type: str, name: str) -> list[str] | None:
        """What a node's combo input offers now; None where the input is no combo or does not exist."""
        return combo_choices((await self.object_info(class_type))[class_type], name)

    async def queue_prompt(self, prompt: Mapping[str, Any], *, prompt_id: str | None = None) -> str:
        """Queue an API graph and return its prompt id; its events can be followed from here on.

        prompt_id: id to ask for, a UUID. Raises HostError naming node and input where ComfyUI objects to any part of
        the graph; one that it would run only in part is taken back.
        """
        socket = await self._connected()
        prompt_id = prompt_id or str(uuid.uuid4())
        socket.subscribe(prompt_id)
        body: dict[str, Any] = {"prompt": prompt, "client_id": self.client_id, "prompt_id": prompt_id}
        try:
            status, answer = await self._request("POST", "/prompt", json_body=body, accept=(200, 400))
            document = self._parse(answer, "/prompt")
            if status == 400 or document.get("error"):
                raise refused(document)
            given = str(document.get("prompt_id") or prompt_id)
            if document.get("node_errors"):
                await self.cancel(given)
                raise refused(document)
        except HostError:
            socket.unsubscribe(prompt_id)
            raise
        if given != prompt_id:  # hosts that number prompts themselves
            socket.rename(prompt_id, given)
        return given

    async def events(self, prompt_id: str) -> AsyncIterator[Event]:
        """Events of a prompt queued by this client, ending with Succeeded, Failed or Interrupted.

        Survives a dropped WebSocket: ComfyUI's history then tells how it ended, outputs included. Raises HostError of
        kind "lost" where ComfyUI no longer knows the prompt and "down" where it stays away longer than `patience`.
        """
        socket = await self._connected()
        queue = socket.subscribe(prompt_id)
        seen: set[str] = set()
        silence = _FIRST_POLL
        try:
            while True:
                reachable = socket.connected and self._away_since is None
                event = await _next(queue, silence if reachable else _DOWN_POLL)
                if event is not None:
                    yield event
                if event is not None and not isinstance(event, Disconnected | Reconnected):
                    silence = _QUIET_POLL
                    if isinstance(event, Executed) and event.whole:
                        seen.add(event.node)
                    if isinstance(event, FINAL):
                        return
                    continue
                silence = min(2 * silence, _QUIET_POLL)
                try:
                    ending = await self._ending(prompt_id)
                except HostError as error:
                    self._bear(error)
                    continue
                for late in ending:
                    if not (isinstance(late, Executed) and late.node in seen):
                        yield late
                if ending:
                    return
        finally:
            socket.unsubscribe(prompt_id)

    @property
    def met(self) -> bool:
        """Whether the WebSocket was ever up: ComfyUI was there, and what fails now may mend itself."""
        return self._socket is not None

    async def until_back(self, check: Callable[[], object] = lambda: None) -> None:
        """Wait for a host that went away; HostError "down" or "timeout" once it is away longer than `patience`.

        check: called before each look; what it raises ends the waiting.
        """
        while True:
            check()
            try:
                await self.system_stats()
                return
            except HostError as error:
                self._bear(error)
                await asyncio.sleep(_DOWN_POLL)

    async def knows(self, prompt_id: str) -> bool:
        """Whether the prompt waits, runs or is in ComfyUI's history; a restarted host has forgotten all three."""
        try:
            await self._ending(prompt_id)
        except HostError as error:
            if error.kind != "lost":
                raise
            return False
        return True

    def _bear(self, error: HostError) -> None:
        """Return while an unreachable host may still come back; raise what is wrong otherwise."""
        if error.kind not in ("down", "timeout"):
            raise error
        if self._away_since is not None and time.monotonic() - self._away_since > self.patience:
            raise stayed_away(self.url, self.patience, error) from error

    async def wait(
        self, prompt_id: str, on_event: Callable[[Event], None] | None = None, timeout: float | None = None
    ) -> PromptResult:
        """Follow a prompt to its end and return what it wrote.

        on_event: called with every event. timeout: seconds for the whole prompt, None = as long as it takes; when it
        is over the prompt is cancelled. Raises HostError: "execution" or "out_of_memory" naming the node that failed,
        "interrupted", "timeout", "lost", "down".
        """
        following = asyncio.ensure_future(self._follow(prompt_id, on_event))
        try:
            await asyncio.wait({following}, timeout=timeout)
        except asyncio.CancelledError:
            await _end(following)
            raise
        if not following.done():
            await _end(following)
            await self._cancel_quietly(prompt_id)
            problem = f"The prompt was not done after {timeout:g} s and was cancelled"
            raise HostError(problem, remedy="Allow more time, or sample less.", kind="timeout")
        following.result()
        return await self._result(prompt_id)

    async def _follow(self, prompt_id: str, on_event: Callable[[Event], None] | None) -> None:
        async for event in self.events(prompt_id):
            if on_event is not None:
                on_event(event)
            if isinstance(event, Failed):
                raise failed(event)
            if isinstance(event, Interrupted):
                raise HostError("The prompt was interrupted", kind="interrupted", node=event.node or None)

    async def run(
        self,
        prompt: Mapping[str, Any],
        on_event: Callable[[Event], None] | None = None,
        timeout: float | None = None,
        prompt_id: str | None = None,
    ) -> PromptResult:
        """Queue a graph and wait for it; cancelling the task (Ctrl-C) also cancels the prompt on ComfyUI."""
        prompt_id = prompt_id or str(uuid.uuid4())
        queueing = asyncio.ensure_future(self.queue_prompt(prompt, prompt_id=prompt_id))
        try:
            await asyncio.wait({queueing})  # is not cancelled with us: what is on its way would be queued all the same
            return await self.wait(queueing.result(), on_event, timeout)
        except asyncio.CancelledError:
            await asyncio.shield(self._take_back(queueing, prompt_id))
            raise

    async def _take_back(self, queueing: asyncio.Future[str], asked: str) -> None:
        await asyncio.wait({queueing})
        done = not queueing.cancelled() and queueing.exception() is None
        await self._cancel_quietly(queueing.result() if done else asked)

    async def _cancel_quietly(self, prompt_id: str) -> None:
        with contextlib.suppress(HostError):  # we end anyway, and a host that is gone has nothing left to cancel
            await self.cancel(prompt_id)

    async def history(self, prompt_id: str) -> dict[str, Any] | None:
        """ComfyUI's record of a finished prompt (`prompt`, `outputs`, `status`), None while it is not finished."""
        record = (await self._json("GET", f"/history/{prompt_id}")).get(prompt_id)
        return record if isinstance(record, dict) else None

    async def queued(self) -> tuple[list[str], list[str]]:
        """Prompt ids that run and that wait, in order."""
        queue = await self._json("GET", "/queue")
        running, pending = queue.get("queue_running") or (), queue.get("queue_pending") or ()
        return [str(entry[1]) for entry in running], [str(entry[1]) for entry in sorted(pending, key=lambda e: e[0])]

    async def found(self, path: str, query: Mapping[str, str]) -> Any:
        """What a route answers as JSON; None where there is nothing, or no such route."""
        status, answer = await self._request("GET", path, query=query, accept=(200, 404))
        return self._parse(answer, path) if status == 200 else None

    async def send_form(self, path: str, form: aiohttp.FormData) -> None:
        """Post a form, as uploads are."""
        await self._request("POST", path, form=form)

    async def interrupt(self, prompt_id: str | None = None) -> None:
        """Stop the running prompt: this one if it runs, or whichever runs."""
        await self._request("POST", "/interrupt", json_body={"prompt_id": prompt_id} if prompt_id else {})

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, and stop it if it runs."""
        await self._request("POST", "/queue", json_body={"delete": [prompt_id]})
        await self.interrupt(prompt_id)

    async def free(self) -> None:
        """Ask ComfyUI to unload its models and free their memory."""
        await self._request("POST", "/free", json_body={"unload_models": True, "free_memory": True})

    async def view(self, image: ImageRef) -> bytes:
        """The bytes of an image file, as ComfyUI wrote it."""
        return (await self._request("GET", "/view", query=vars(image)))[1]

    async def download(self, image: ImageRef, target: Path) -> Path:
        """Write an image to `target`, whole or not at all; folders are made. Raises HostError."""
        save_file(target, await self.view(image))
        return target

    async def _ending(self, prompt_id: str) -> list[Event]:
        """Outputs and final event of a prompt as the history has them, [] while it runs or waits."""
        record = await self.history(prompt_id)
        if record is None:
            running, pending = await self.queued()
            if prompt_id in running or prompt_id in pending:
                return []
            record = await self.history(prompt_id)  # it may have ended between the two questions
        if record is None:
            raise forgotten()
        return ending_in(prompt_id, record)

    async def _result(self, prompt_id: str) -> PromptResult:
        """What the history holds; ComfyUI files it a moment after it announces the end."""
        for _ in range(100):
            record = await self.history(prompt_id)
            if record is not None:
                outputs = outputs_in(record)
                images = {node: images_of(output) for node, output in outputs.items()}
                return PromptResult(prompt_id, images, outputs)
            await asyncio.sleep(0.05)
        raise no_record()

    async def _connected(self) -> EventSocket:
        if self._socket is None:
            socket = EventSocket(self._open_session(), self.url, self.client_id)
            try:
                await socket.connect(self._timeout.sock_connect or 10.0)
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                await socket.close()
                raise unreachable(self.url, error) from error
            self._socket = socket
        return self._socket

    def _open_session(self) -> aiohttp.ClientSession:
        self._session = self._session or aiohttp.ClientSession(timeout=self._timeout)
        return self._session

    async def _json(self, method: str, path: str) -> Any:
        return self._parse((await self._request(method, path))[1], path)

    def _parse(self, answer: bytes, path: str) -> Any:
        try:
            return json.loads(answer)
        except (ValueError, RecursionError):
            raise no_comfyui(self.url, f"its answer to {path} is no JSON") from None

    async def _request(
        self,
        method: str,
        path: str,
        *,
        json_body: object = None,
        form: aiohttp.FormData | None = None,
        query: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (200,),
    ) -> tuple[int, bytes]:
        asked = time.monotonic()
        try:
            sent: dict[str, Any] = {"json": json_body, "data": form, "params": query}
            async with self._open_session().request(method, self.url + path, **sent) as response:
                body = await response.read()
        except aiohttp.InvalidURL as error:
            raise HostError(f"{self.url} is no URL", remedy="Write it like http://127.0.0.1:8188.") from error
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            self._away_since = self._away_since or asked
            raise unreachable(self.url, error) from error
        self._away_since = None
        if response.status not in accept:
            raise HostError(
                f"{self.url} answered {response.status} to {method} {path}",
                remedy="Is this a ComfyUI, and does its log say more?",
                kind="protocol",
                details=body[:2000].decode("utf-8", "replace"),
            )
        return response.status, body


async def _next(queue: asyncio.Queue[Event], timeout: float) -> Event | None:
    """The next event, None where `timeout` seconds bring none."""
    getter = asyncio.ensure_future(queue.get())
    try:
        # asyncio.wait, not wait_for: the latter swallows cancellation up to Python 3.11.
        await asyncio.wait({getter}, timeout=timeout)
        return getter.result() if getter.done() else None
    finally:
        getter.cancel()


async def _end(task: asyncio.Future[None]) -> None:
    """Cancel a task and wait until it is over, whatever it says."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
