"""Which ComfyUI this is, and whether it can run the pack (standard library only)."""

from __future__ import annotations

import importlib.util
import re
from typing import Final

#: Oldest ComfyUI on which the pack was tried: it loads, and the example graphs make the same images.
FLOOR: Final = "0.3.64"


def require_host(version: str | None = None, has_nodes_v3: bool | None = None) -> None:
    """Do nothing on a host that can run the pack, else raise ImportError saying which version is needed.

    version: the host's, None = ask it. has_nodes_v3: whether it has `comfy_api.latest`, None = look. A host that does
    not tell its version is given the benefit of the doubt if it has that.
    """
    found = host_version() if version is None else version
    if has_nodes_v3 is None:
        has_nodes_v3 = _has_nodes_v3()
    if has_nodes_v3 and is_new_enough(found):
        return
    this = f"this is {found}" if _numbers(found) else "this one is older"
    raise ImportError(
        f"EriDiffusion samples needs ComfyUI {FLOOR} or newer; {this}. Update ComfyUI and start it again."
    )


def is_new_enough(version: str) -> bool:
    """Whether a ComfyUI that tells this version, or none that can be read, may run the pack."""
    numbers = _numbers(version)
    return not numbers or numbers >= _numbers(FLOOR)


def host_version() -> str:
    """The host's version as it tells it, "" = it does not."""
    try:
        import comfyui_version
    except ModuleNotFoundError:
        return ""  # before 0.3.8 there was none
    return str(getattr(comfyui_version, "__version__", ""))


def _has_nodes_v3() -> bool:
    try:
        return importlib.util.find_spec("comfy_api.latest") is not None
    except ModuleNotFoundError:  # no comfy_api at all
        return False


def _numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in found.groups()) if found else ()
