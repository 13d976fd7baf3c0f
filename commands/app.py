"""The whole command line, put together; the file of a command is imported when the command is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final, cast

import typer

from .shared import EXIT_CODES, EriGroup

#: The commands in the order of the help. Each is what its module calls by its name: a function, or a group of them.
NAMES: Final = (
    "spec", "explain", "graph", "sample", "sweep", "verify", "watch", "gallery", "rank", "measure", "lora", "demo",
    "host",
)  # fmt: skip


class Commands(Mapping[str, Any]):
    """The commands by name, made for typer when they are first asked for."""

    def __init__(self) -> None:
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in NAMES:
            raise KeyError(name)
        if name not in self._made:
            self._made[name] = _made(name)
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(NAMES)

    def __len__(self) -> int:
        return len(NAMES)


def _made(name: str) -> Any:
    """A command as typer runs it."""
    command = getattr(import_module(f".{name}", __package__), name)
    if isinstance(command, typer.Typer):
        return typer.main.get_command(command)
    alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
    alone.command()(command)
    return typer.main.get_command(alone)


class _Eri(EriGroup):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = cast("Any", Commands())


app = typer.Typer(
    cls=_Eri, no_args_is_help=True, add_completion=True, rich_markup_mode="rich", pretty_exceptions_enable=False,
    help=f"A training run's samples, reproduced and compared in ComfyUI.\n\n{EXIT_CODES}\n\nExample: eri demo",
)  # fmt: skip


@app.callback()
def _eri() -> None:
    """Makes typer's app a group, although it has no command of its own."""
