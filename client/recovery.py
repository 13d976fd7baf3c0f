"""Running a graph to its end although the line drops or ComfyUI is restarted: finished work is never done twice."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Final

from ..errors import HostError
from ..protocol.events import PICTURES, Disconnected, Event, Executed, images_of, joined
from .host_client import HostClient, PromptResult

#: Starts of one graph after which a host that dies each time is not trusted with it again.
_MOST_STARTS: Final = 3
_TIME: Final = re.compile(r"\{time:([^{}]*)\}")


async def run_through(
    client: HostClient,
    graph: Mapping[str, Any],
    on_event: Callable[[Event], None] | None = None,
    timeout: float | None = None,
) -> PromptResult:
    """Like `HostClient.run`; a graph that a restarted host has forgotten is queued again, unless all of it was done.

    A prompt that ComfyUI still knows, because only the line or the answer was lost, is followed to its end. One whose
    saving nodes had all reported counts as done: the files are in ComfyUI's output folder. A prompt that vanishes
    while the connection stands was taken out of the queue by somebody and stays out. timeout: seconds for all of it,
    outages and further starts included, None = as long as it takes.
    Raises HostError as `run` does; after `_MOST_STARTS` starts the "lost" error says that the graph brings ComfyUI
    down. A host that was never reached is not waited for.
    """
    left = _Clock(timeout)
    for _ in range(_MOST_STARTS):
        attempt = _Attempt(on_event)
        try:
            return await client.run(graph, attempt.feed, left.seconds(), attempt.prompt_id)
        except HostError as error:
            if not attempt.may_mend(error) or not client.met:
                raise
        result = await _after_outage(client, graph, attempt, left)
        if result is not None:
            return result
    raise HostError(
        f"ComfyUI at {client.url} went down {_MOST_STARTS} times while it ran this graph",
        remedy="Memory probably ran out: sample fewer or smaller images at once, and read ComfyUI's log.",
        kind="lost",
    )


def fix_times(graph: dict[str, Any], moment: datetime | None = None) -> dict[str, Any]:
    """Write `moment` (None = now, local time) into the savers of an API graph whose layout names files by the time.

    Some trainers' layouts do (`{ms}`, `{time:…}`): queued again after an outage, such a graph would write a second set
    of files beside the first instead of over it. Changes `graph` and returns it; the names keep the trainer's form.
    """
    from ..images.layouts import layout_for

    moment = moment or datetime.now(tz=timezone.utc).astimezone()
    for node in graph.values():
        if node["class_type"] != "EriSaveSamples":
            continue
        template = node["inputs"]["template"] or layout_for(node["inputs"]["layout"]).template
        fixed = _TIME.sub(lambda match: moment.strftime(match[1]), template)
        fixed = fixed.replace("{ms}", str(int(moment.timestamp() * 1000)))
        if fixed != template:
            node["inputs"]["template"] = fixed
    return graph


class _Clock:
    """What is left of a time limit."""

    def __init__(self, timeout: float | None) -> None:
        self._timeout = timeout
        self._began = time.monotonic()

    def seconds(self) -> float | None:
        """Seconds left, None = no limit; HostError "timeout" where nothing is."""
        if self._timeout is None:
            return None
        left = self._timeout - (time.monotonic() - self._began)
        if left <= 0:
            raise HostError(
                f"The prompt was not done after {self._timeout:g} s, ComfyUI's outages included",
                remedy="Allow more time, or sample less.",
                kind="timeout",
            )
        return left


class _Attempt:
    """One start of the graph: its prompt id, and what was heard of it."""

    def __init__(self, on_event: Callable[[Event], None] | None) -> None:
        self.prompt_id = str(uuid.uuid4())
        self._on_event = on_event
        self._dropped = False
        self._executed: dict[str, Executed] = {}

    def feed(self, event: Event) -> None:
        self._dropped = self._dropped or isinstance(event, Disconnected)
        if self._on_event is not None:
            self._on_event(event)
        if isinstance(event, Executed):
            before = self._executed.get(event.node)
            if before is not None and PICTURES in event.output and PICTURES in before.output:
                output = joined(before.output, event.output)
                event = Executed(event.prompt_id, event.node, images_of(output), output)
            self._executed[event.node] = event

    def may_mend(self, error: HostError) -> bool:
        return error.kind == "down" or (error.kind == "lost" and self._dropped)

    def result(self, graph: Mapping[str, Any]) -> PromptResult | None:
        """What the nodes at the end of the graph reported, None where one of them had not."""
        read = {
            value[0]
            for node in graph.values()
            for value in node["inputs"].values()
            if isinstance(value, list) and len(value) == 2
        }
        ends = [node for node in graph if node not in read]
        if not ends or not all(node in self._executed and self._executed[node].whole for node in ends):
            return None
        found = self._executed
        return PromptResult(
            self.prompt_id, {n: e.images for n, e in found.items()}, {n: e.output for n, e in found.items()}
        )


async def _after_outage(
    client: HostClient, graph: Mapping[str, Any], attempt: _Attempt, left: _Clock
) -> PromptResult | None:
    """The result of an attempt that an outage interrupted; None where the graph must be queued again."""
    await client.until_back(left.seconds)
    try:
        if await client.knows(attempt.prompt_id):
            return await client.wait(attempt.prompt_id, attempt.feed, left.seconds())
    except HostError as error:
        if not attempt.may_mend(error):
            raise
        await client.until_back(left.seconds)
    return attempt.result(graph)
