"""Whether a ComfyUI can make a sweep's pictures: asked before it gets any work, so that it is named and left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ..errors import HostError
from ..host_version import FLOOR, is_new_enough
from ..protocol.pack_version import pack_version
from ..protocol.schemas import combo_choices
from ..workflows.graph import OUTPUTS

#: A combo input that ComfyUI does not look up in its list: what is sent to it appears there later.
_SENT: Final = frozenset({"run", "image"})


def require_version(url: str, stats: Mapping[str, Any]) -> None:
    """Do nothing where a ComfyUI is new enough, else raise HostError. stats: its /system_stats."""
    version = stats["system"].get("comfyui_version")
    if isinstance(version, str) and not is_new_enough(version):
        raise HostError(f"{url} is ComfyUI {version}", remedy=f"Update it to {FLOOR} or newer.", kind="protocol")


def require_pack(url: str, told: Mapping[str, Any] | None) -> None:
    """Do nothing where a ComfyUI has this version of the pack, else raise HostError.

    told: What its pack says of itself; None = it does not say it, as packs did before.
    """
    there, here = (told or {}).get("version"), pack_version()
    if there != here:
        its = f"version {there}" if there else "an older one, which does not say its version"
        problem = f"the pack at {url} is {its}, this one is version {here}"
        raise HostError(problem, remedy="Install the same version there.", kind="protocol")


def require_fit(url: str, info: Mapping[str, Any], graph: Mapping[str, Any]) -> None:
    """Do nothing where a ComfyUI can run a graph, else raise HostError saying what it lacks.

    Args:
        info: Its /object_info.
        graph: In the form of /prompt.
    """
    for node in graph.values():
        kind = node["class_type"]
        if kind not in info:
            what = "this pack" if _is_own(kind) else "the node pack that holds it"
            raise HostError(f"{url} has no node {kind}", remedy=f"Install {what} there.", kind="missing_node")
        _require_choices(url, kind, info[kind], node["inputs"])


def _is_own(kind: str) -> bool:
    return kind in OUTPUTS and kind.startswith("Eri")


def _require_choices(url: str, kind: str, described: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        choices = None if name in _SENT else combo_choices(described, name)
        if choices is not None and isinstance(value, str) and value not in choices:
            raise HostError(
                f"{url} does not offer {value!r}",
                remedy="Put the same file there, under the same name.",
                kind="validation",
                class_type=kind,
                field=name,
            )
