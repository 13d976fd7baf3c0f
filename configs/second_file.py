"""Reads the second file that some trainers' configs name: prompts, samples, a prompt library."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ..errors import SpecError
from .tree import check_length, decode, read_file

if TYPE_CHECKING:
    from .fields import Section


@dataclass
class Folders:
    """Where files that a config names may come from.

    Attributes:
        base: the config's folder; None = no file is read (a config that came as text).
        roots: folders in one of which a file must lie after symbolic links are followed; None = anywhere.
        prompts: a file to take instead of the one that the config names.
        given: the texts of files that came with the config, by name; they win, and need no disk.
        opened: every path that was looked at on the way, and the text that was there (None = no file).
        prompts_used: a reader has asked for the file to take instead, so that its prompts count.
    """

    base: Path | None = None
    roots: Sequence[str | os.PathLike[str]] | None = None
    prompts: str | os.PathLike[str] | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    opened: dict[Path, str | None] = field(default_factory=dict, repr=False)
    prompts_used: bool = field(default=False, init=False)

    def read(self, section: Section, key: str, name: str) -> tuple[str, str, str]:
        """Read the file that a config's field names; returns its text, its name for messages and its suffix.

        It is looked for in the config's folder and then in the working directory, where the trainers look.
        Raises SpecError at the field, naming every place that was tried.
        """
        for known in (name, PurePosixPath(name.replace("\\", "/")).name):
            if known in self.given:
                return check_length(self.given[known], known), known, PurePosixPath(known).suffix.lower()
        if self.base is None:
            raise section.error(
                key,
                f"the file {name!r} is named here, but a config that is given as text may not open files",
                "Give the config's path instead, or the file's text along with it.",
            )
        tries = self._tries(name)
        allowed = [path for path in tries if self._allowed(path)]
        for path in allowed:
            text = self.opened[path] = text_of(path)
            if text is not None:
                return text, str(path), path.suffix.lower()
        outside = "" if len(allowed) == len(tries) else "; only files in ComfyUI's folders may be read"
        raise section.error(
            key,
            f"there is no file {name!r}; tried {' and '.join(str(path) for path in tries)}{outside}",
            "Correct the path, or name the file with prompts= (eri: --prompts).",
        )

    def override(self) -> tuple[str, str, str] | None:
        """Read the file given instead of the config's own: its text, name and suffix; None when none was given."""
        self.prompts_used = True
        if self.prompts is None:
            return None
        path = Path(self.prompts)
        return decode(read_file(path), str(path)), str(path), path.suffix.lower()

    def _tries(self, name: str) -> list[Path]:
        spelled = name if os.sep == "\\" else name.replace("\\", "/")
        path = Path(os.path.expanduser(spelled))
        if path.is_absolute() or self.base is None:
            return [path]
        return list(dict.fromkeys((self.base.absolute() / path, Path.cwd() / path)))

    def _allowed(self, path: Path) -> bool:
        """True when a file may be read: always without roots, else where it really lies in one of them."""
        if self.roots is None:
            return True
        real = path.resolve()
        return any(real.is_relative_to(Path(root).resolve()) for root in self.roots)


def text_of(path: Path) -> str | None:
    """The text of a file, None where there is none; SpecError where it cannot be read."""
    return decode(read_file(path), str(path)) if path.is_file() else None


def missing_file(what: str, source: str) -> SpecError:
    """The SpecError for a config that neither names nor holds prompts."""
    return SpecError(what, source=source, remedy="Add them, or name a prompts file with prompts= (eri: --prompts).")
