"""One moment in the names of a step's files, so that a step which an outage interrupted is written over itself."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any, Final

_TIME: Final = re.compile(r"\{time:([^{}]*)\}")


def fix_times(graph: dict[str, Any], moment: datetime | None = None) -> dict[str, Any]:
    """Write `moment` (None = now, local time) into the savers of an API graph whose layout names files by the time.

    Some trainers' layouts do (`{ms}`, `{time:…}`): queued again after a crash, such a graph would write a second set
    of files beside the first. Changes `graph` and returns it; the names keep the trainer's form.
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
