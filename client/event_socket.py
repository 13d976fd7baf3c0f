"""The WebSocket to a host: keeps itself connected and sorts events by prompt."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any, Final

import aiohttp

from ..protocol.events import Disconnected, Event, Preview, Reconnected, from_frame, from_message

log = logging.getLogger(__name__)

_FIRST_RETRY: Final = 0.1
_LAST_RETRY: Final = 5.0
_HEARTBEAT: Final = 20.0
_MAX_MESSAGE: Final = 64 * 1024 * 1024


class EventSocket:
    """One client's WebSocket. `connect` raises aiohttp's errors; later drops are repaired in the background.

    Subscribers get a queue per prompt. A drop puts Disconnected, a repair Reconnected into every queue; what was said
    in between is lost, so a subscriber then asks ComfyUI's history.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, client_id: str) -> None:
        self._session, self._url, self._client_id = session, url, client_id
        self._queues: dict[str, asyncio.Queue[Event]] = {}
        self._shown: dict[str, str] = {}
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def connected(self) -> bool:
        """Whether the WebSocket is up right now."""
        return self._socket is not None and not self._socket.closed

    async def connect(self, timeout: float) -> None:
        """Open the WebSocket within `timeout` seconds and begin to read."""
        opening = asyncio.ensure_future(self._open())
        try:
            # asyncio.wait, not wait_for: the latter swallows cancellation up to Python 3.11.
            await asyncio.wait({opening}, timeout=timeout)
            if not opening.done():
                raise asyncio.TimeoutError
            opening.result()
        finally:
            opening.cancel()
        self._reader = asyncio.create_task(self._run(), name="eri-host-events")

    async def close(self) -> None:
        """Stop reading and close the WebSocket."""
        self._closed = True
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        if self._socket is not None:
            await self._socket.close()

    def subscribe(self, prompt_id: str) -> asyncio.Queue[Event]:
        """The queue of a prompt's events; made on the first call."""
        return self._queues.setdefault(prompt_id, asyncio.Queue())

    def unsubscribe(self, prompt_id: str) -> None:
        """Forget a prompt."""
        self._queues.pop(prompt_id, None)

    def rename(self, prompt_id: str, new_id: str) -> None:
        """ComfyUI gave the prompt another id; events that came under the new one are kept."""
        self._queues.pop(prompt_id, None)
        self.subscribe(new_id)

    async def _open(self) -> None:
        self._socket = await self._session.ws_connect(
            f"{self._url}/ws",
            params={"clientId": self._client_id},
            heartbeat=_HEARTBEAT,
            max_msg_size=_MAX_MESSAGE,
        )
        # ComfyUI tells which node a preview belongs to only to clients that say they understand it.
        await self._socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})

    async def _run(self) -> None:
        while not self._closed:
            await self._read()
            self._broadcast(Disconnected(""))
            delay = _FIRST_RETRY
            while not self._closed:
                await asyncio.sleep(delay)
                try:
                    await self._open()
                    break
                except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
                    delay = min(delay * 2, _LAST_RETRY)
            self._broadcast(Reconnected(""))

    async def _read(self) -> None:
        """Dispatch messages until the connection is gone."""
        if self._socket is None:
            return
        with contextlib.suppress(aiohttp.ClientError, OSError):
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._dispatch_text(message.data)
                elif message.type is aiohttp.WSMsgType.BINARY:
                    preview = from_frame(message.data)
                    if preview is not None:
                        self._dispatch(preview)

    def _dispatch_text(self, text: str) -> None:
        try:
            message = json.loads(text)
            events = from_message(str(message["type"]), self._as_shown(str(message["type"]), message["data"]))
        except (ArithmeticError, AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            log.warning("%s sent a message of unknown form (%s): %.200s", self._url, error, text)
            return
        for event in events:
            self._dispatch(event)

    def _as_shown(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        """The data of a message; ComfyUI's "progress" does not say on which node of the graph the running one shows."""
        if kind == "execution_start":
            self._shown.clear()
        if kind == "executing" and data.get("display_node"):
            self._shown[str(data["node"])] = str(data["display_node"])
        if kind != "progress":
            return data
        return {**data, "node": self._shown.get(str(data.get("node")), data.get("node"))}

    def _dispatch(self, event: Event) -> None:
        if event.prompt_id:
            queue = self._queues.get(event.prompt_id)
            if queue is not None:
                queue.put_nowait(event)
        elif isinstance(event, Preview):  # old-style previews do not say whose they are: ComfyUI runs one prompt
            self._broadcast(event)

    def _broadcast(self, event: Event) -> None:
        for queue in self._queues.values():
            queue.put_nowait(event)
