"""Conditionings from disk in place of the text encoders, and onto disk."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import comfy.model_management
import folder_paths
from comfy_execution.progress import get_progress_state

from ...errors import NodeInputError
from ..inputs import check_finite
from ..notice import announce
from .cache_key import GraphKey, NotCacheableError, graph_key, may_have_changed
from .cache_store import CorruptEntryError, NotStorableError, Store

log = logging.getLogger(__name__)

INPUT: Final = "conditioning"
_NODE: Final = "EriCacheConditioning"
_MEGABYTE: Final = 2**20


class _Memory(threading.local):
    """What `needed` leaves for `recall`, which ComfyUI calls later on the same thread."""

    def __init__(self) -> None:
        self.found: list[Any] | None = None
        self.asked: dict[str, str] = {}  # digest by node id, as it was before the upstream nodes ran


_memory = _Memory()

#: Fingerprint of a file when ComfyUI was last seen to load it, by path.
_loaded: dict[str, str] = {}


@dataclass(frozen=True)
class CacheSettings:
    """Settings of the cache.

    Args:
        key: texts that are part of the key.
        limit_mb: the largest size of the folder in megabytes.
        mode: "use", "refresh" or "off".
    """

    key: tuple[str, ...] = ()
    limit_mb: int = 4096
    mode: str = "use"


def cache_folder() -> Path:
    """Where the entries lie: in ComfyUI's user folder, which outlives its temp folder and is not browsed as output."""
    return Path(folder_paths.get_user_directory()) / "eridiffusion" / "conditioning"


def needed(hidden: Any, settings: CacheSettings, conditioning: Sequence[Any]) -> list[str]:
    """Return the inputs that must be computed: none when the cache holds the result, which `recall` then returns.

    Args:
        hidden: the node's hidden inputs, with dynprompt and unique_id.
        settings: the cache's settings.
        conditioning: as ComfyUI gives it; [None] is not computed yet.
    """
    _memory.found = None
    if not _missing(conditioning):
        return []
    _memory.asked.pop(hidden.unique_id, None)
    if settings.mode != "off":
        try:
            digest = graph_key(hidden.dynprompt, hidden.unique_id, INPUT, list(settings.key)).digest
            _memory.asked[hidden.unique_id] = digest
            if settings.mode == "use":
                _memory.found = Store(cache_folder()).load(digest, comfy.model_management.intermediate_device())
        except NotCacheableError:
            log.debug("EriCacheConditioning: the graph has no key; `recall` says why")
        except CorruptEntryError as error:
            log.warning("EriCacheConditioning: a damaged entry is computed again: %s", error)
    return [INPUT] if _memory.found is None else []


def recall(hidden: Any, settings: CacheSettings, conditioning: Sequence[Any]) -> list[Any]:
    """Return the conditionings, one per entry of the list: from the cache, or the given ones, stored for the next time.

    What cannot be stored passes through unchanged, with a notice on the node and in the log. Raises NodeInputError when
    there is nothing to pass, or when the conditioning is not finite.
    """
    found, _memory.found = _memory.found, None
    if _missing(conditioning):
        if found is None:
            raise NodeInputError("conditioning is empty. Connect a text-encode node.")
        announce(_NODE, f"{len(found)} from the cache, no text encoder needed")
        return list(found)
    check_finite(
        INPUT,
        list(conditioning),
        "It cannot be kept and gives no picture: start ComfyUI with --fp32-text-enc, or load other text encoders.",
    )
    if settings.mode != "off":
        try:
            size = _remember(hidden, settings, list(conditioning))
            announce(_NODE, f"{len(conditioning)} computed and stored ({size / _MEGABYTE:.1f} MB)")
        except (NotCacheableError, NotStorableError) as error:
            announce(_NODE, f"not cached: {error}", logging.WARNING)
        except OSError as error:
            announce(_NODE, f"not cached: {cache_folder()} cannot be written ({error})", logging.WARNING)
    return list(conditioning)


def _remember(hidden: Any, settings: CacheSettings, conditioning: list[Any]) -> int:
    key = graph_key(hidden.dynprompt, hidden.unique_id, INPUT, list(settings.key))
    if _memory.asked.pop(hidden.unique_id, None) != key.digest:
        raise NotCacheableError("a file or setting that it depends on changed while the graph ran")
    _refuse_stale(key)
    return Store(cache_folder()).save(key.digest, conditioning, settings.limit_mb * _MEGABYTE)


def _refuse_stale(key: GraphKey) -> None:
    """Refuse a key whose files may not be those that ComfyUI has loaded.

    ComfyUI keeps a loaded model while the graph names the same file, even when another file took its place. Storing the
    old model's result under the new file's key would be wrong for good. A file counts as loaded in its present state
    when its loader ran in this very run, when it had this state when the loader was last seen to run, or when it has
    not changed since ComfyUI started.
    """
    executed = get_progress_state().nodes
    for path, found in key.files.items():
        if any(reader in executed for reader in key.readers[path]):
            _loaded[path] = found
        unchanged = _loaded[path] == found if path in _loaded else not may_have_changed(path)
        if not unchanged:
            raise NotCacheableError(
                f"{path} may have changed since ComfyUI loaded it. Unload the models and the node cache, or restart "
                "ComfyUI, to store it"
            )


def _missing(conditioning: Sequence[Any]) -> bool:
    return all(entry is None for entry in conditioning)
