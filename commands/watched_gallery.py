"""The gallery of a run that is watched: written anew after each checkpoint, and served from the first picture on."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..compare.collection import read_collection
from ..gallery.marks import KeptMarks
from ..gallery.serve import Keeper, serving
from ..gallery.votes import KeptVotes
from ..gallery.write import write_gallery
from .shared import err


class WatchedGallery(contextlib.ExitStack):
    """Ends with its `with` block; until then `write` brings it up to date.

    Args:
        root: The run's folder of pictures.
        samples: The trainer's own folder of the run.
        host, port: Where it is served, see `gallery.serve.serving`.
    """

    def __init__(self, root: Path, samples: Path, host: str, port: int | None) -> None:
        super().__init__()
        self._root, self._samples, self._host, self._port = root, samples, host, port
        self._kept: KeptMarks | None = None

    def write(self) -> None:
        """Write the gallery of the pictures that are there; raises CompareError, OSError."""
        if not self._root.is_dir():
            return  # nothing was made yet
        found = read_collection(self._root, self._samples)
        before, self._kept = self._kept, KeptMarks(found)
        done = write_gallery(found, marks=self._kept.all())
        if before is None:
            keepers: Mapping[str, Keeper] = {"marks": self, "votes": KeptVotes(found)}
            url = self.enter_context(serving(done.page.parent, keepers, self._host, self._port))
            err.print(f"[bold]serving[/] {url}", highlight=False)

    def all(self) -> list[dict[str, Any]]:
        """The marks that are kept with the run."""
        return [] if self._kept is None else self._kept.all()

    def keep(self, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Keep one."""
        if self._kept is None:
            raise RuntimeError("the gallery is not written yet")
        return self._kept.keep(entry)
