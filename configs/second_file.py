"""Reads the second file that some trainers' configs name: prompts, samples, a prompt library."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Final

from ..errors import Caller, Remedy, SpecError
from ..whole_files import written_at
from .script import Assumed, Unexpanded
from .tree import check_length, decode, read_file

if TYPE_CHECKING:
    from .fields import Section

#: How many folders above the config may be the trainer's own: two for SimpleTuner's `config/<name>/config.json`.
_ABOVE: Final = 3
#: How many parts at the end of another machine's path are looked for beside the config.
_TAIL: Final = 4


@dataclass
class Folders:
    """Where files that a config names may come from.

    Attributes:
        base: the config's folder; None = no file is read (a config that came as text).
        roots: folders in one of which a file must lie after symbolic links are followed; None = anywhere.
        prompts: a file to take instead of the one that the config names.
        given: the texts of files that came with the config, by name; they win, and need no disk.
        written: the texts that a script writes into files before it names them here, by path.
        started_in: the folder that a script goes into before it starts the trainer, "" = its own.
        opened: every path that was looked at on the way, and the text that was there (None = no file).
        prompts_used: a reader has asked for the file to take instead, so that its prompts count.
    """

    base: Path | None = None
    roots: Sequence[str | os.PathLike[str]] | None = None
    prompts: str | os.PathLike[str] | None = None
    given: Mapping[str, str] = field(default_factory=dict)
    written: Mapping[str, str] = field(default_factory=dict)
    started_in: str = ""
    opened: dict[Path, str | None] = field(default_factory=dict, repr=False)
    prompts_used: bool = field(default=False, init=False)

    def read(self, section: Section, key: str, name: str, *, prompts: bool = True) -> tuple[str, str, str]:
        """Read the file that a config's field names; returns its text, its name for messages and its suffix.

        It is looked for in the config's folder, in the working directory and in the folders above the config, one of
        which is the trainer's own; at last by the end of its path beside the config, as a file of another machine.
        Raises SpecError at the field, naming every place that was tried. prompts: the file holds prompts, of which
        another may be given.
        """
        last = PurePosixPath(name.replace("\\", "/")).name
        ends = [path for path in self.written if path == name or PurePosixPath(path).name == last]
        if ends and (name in ends or len(ends) == 1):
            made = self.written[name if name in ends else ends[0]]
            if isinstance(made, Unexpanded | Assumed):
                where = section.path_of(key)
                section.reading.note(f"{where}: {last} is read as the script writes it where nothing else is set.")
            return made, last, PurePosixPath(last).suffix.lower()
        for known in (name, last):
            if known in self.given:
                return check_length(self.given[known], known), known, PurePosixPath(known).suffix.lower()
        if self.base is None:
            raise section.error(
                key,
                f"the file {name!r} is named here and did not come with the config",
                {
                    "python": f"Give the config's path, or the text of {last} in files=.",
                    "http": f"Send the text of {last} along in files.",
                    "canvas": f"Drop {last} together with it.",
                    "node": "Put both into ComfyUI's input folder, and give the config's file name here.",
                },
            )
        exact, by_name = self._exact(name), self._by_name(name)
        allowed = [path for path in dict.fromkeys((*exact, *by_name)) if self._allowed(path)]
        for path in allowed:
            text = self.opened[path] = text_of(path)
            if text is not None:
                if path not in exact:
                    section.reading.note(f"{section.path_of(key)}: {name} is not on this machine, so {path} is read.")
                return text, str(path), path.suffix.lower()
        outside = "" if set(exact) <= set(allowed) else "; only files in ComfyUI's folders may be read"
        tried = [str(path) for path in (exact or by_name) if path in allowed]
        if not exact and not by_name:
            raise section.error(
                key,
                f"which file {name!r} is, is not known here",
                _or_prompts("Write its path", prompts),
            )
        beside = f", nor {last} beside the config" if exact else ""
        raise section.error(
            key,
            f"there is no file {name!r}{'; tried ' if tried else ''}{' and '.join(tried)}{outside}{beside}",
            _or_prompts(f"Correct the path, or put {last} beside the config", prompts),
        )

    def sourced(self, name: str) -> str | None:
        """The text of a file that a script takes variables from, None where there is none or it may not be read."""
        last = PurePosixPath(name.replace("\\", "/")).name
        given = next((self.given[known] for known in (name, last) if known in self.given), None)
        if given is not None or self.base is None or name.startswith("~") or "activate" in last.lower():
            return given
        for path in dict.fromkeys((*self._exact(name), *self._by_name(name))):
            text = self.opened.setdefault(path, text_of(path)) if self._allowed(path) else None
            if text is not None:
                return text
        return None

    def override(self) -> tuple[str, str, str] | None:
        """Read the file given instead of the config's own: its text, name and suffix; None when none was given."""
        self.prompts_used = True
        if self.prompts is None:
            return None
        path = Path(self.prompts)
        return decode(read_file(path), str(path)), str(path), path.suffix.lower()

    def _exact(self, name: str) -> list[Path]:
        """Where a trainer may mean a path; nowhere with a variable in it that is not known."""
        spelled = name if os.sep == "\\" else name.replace("\\", "/")
        if isinstance(name, Unexpanded) or (os.sep != "\\" and PureWindowsPath(name).drive):
            return []
        path = Path(os.path.expanduser(spelled))
        if path.is_absolute() or self.base is None:
            return [path]
        base = self.base.absolute()
        folders = (base, Path.cwd(), *list(base.parents)[:_ABOVE])
        first = [base / self.started_in / path] if self.started_in else []
        return list(dict.fromkeys([*first, *(folder / path for folder in folders)]))

    def _by_name(self, name: str) -> list[Path]:
        """The same file beside the config, by as much of the end of its path as there is."""
        parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
        known = list(takewhile(lambda part: not set(part) & set("$%`{"), reversed(parts)))[:_TAIL]
        ends = [known[count::-1] for count in reversed(range(len(known)))]
        return [self.base.absolute().joinpath(*end) for end in ends] if self.base else []

    def _allowed(self, path: Path) -> bool:
        """True when a file may be read: always without roots, else where it really lies in one of them."""
        if self.roots is None:
            return True
        real = path.resolve()
        return any(real.is_relative_to(Path(root).resolve()) for root in self.roots)


def text_of(path: Path) -> str | None:
    """The text of a file, None where there is none; SpecError where it cannot be read."""
    return None if written_at(path) is None else decode(read_file(path), str(path))


def _or_prompts(remedy: str, prompts: bool = True) -> Remedy:
    """The remedy, for callers who can name a file of prompts with that way out as well."""
    if not prompts:
        return f"{remedy}."
    ways: dict[Caller, str] = {"python": f"{remedy}, or name the file with prompts=.", "http": f"{remedy}."}
    return ways | {"cli": f"{remedy}, or name it with --prompts.", "canvas": f"{remedy}.", "node": f"{remedy}."}


def missing_prompts(what: str, source: str, remedy: str = "Write them into the config") -> SpecError:
    """The SpecError for a config that neither names nor holds prompts."""
    return SpecError(what, source=source, remedy=_or_prompts(remedy))
