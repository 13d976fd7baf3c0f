"""Which tests run in the same process: those of one file, and those that share a host, which so starts once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from xdist.scheduler import LoadScopeScheduling

ROOT: Final = Path(__file__).parents[1]
#: The folders in the order in which their files are given out: the host's tests first, short files last, so that the
#: processes end at nearly the same time.
ORDER: Final = (
    *("frontend", "client", "workflows", "parity", "nodes", "lora"),
    *("examples", "samplers", "images", "tooling", "spec"),
)


class ByHost(LoadScopeScheduling):
    """Gives out the files one by one, those that share a host as one."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid.split("::", 1)[0])


@cache
def scope_of(file: str) -> str:
    """What a file (`tests/…/test_….py`) shares with others: `frontend_host`, `host_server`, or only its own name."""
    if file.startswith("tests/frontend/"):
        return "frontend_host"
    return "host_server" if "host_server" in (ROOT / file).read_text(encoding="utf-8") else file


def rank(nodeid: str) -> int:
    """Where in `ORDER` the test's folder stands; what is not in it comes last."""
    folder = nodeid.split("/")[1]
    return ORDER.index(folder) if folder in ORDER else len(ORDER)
