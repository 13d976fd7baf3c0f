"""What all commands share: consoles, errors as messages and exit codes, JSON."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperGroup

from ..errors import EriError, HostError
from ..spec import SampleSpec, expand_prompts, read_spec
from . import interrupts

out = Console()
err = Console(stderr=True)

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed (ComfyUI is down, refuses or fails; a file cannot be written), "
    "2 bad usage or bad input, 130 interrupted (Ctrl-C)"
)
#: typer's base class of all mistakes in a command line; typer brings its own copy of click from 0.26 on.
UsageError: Final[Any] = typer.BadParameter.__mro__[1]


def run_folder(run: Path) -> Path:
    """The folder of a run's pictures; also by its name alone, where `eri sweep` puts it."""
    usual = Path("eri_samples") / run
    return usual if not run.is_dir() and usual.is_dir() else run


def fail(error: BaseException, as_json: bool = False) -> NoReturn:
    """Tell an error as people read it, and as JSON where asked for, and end with its exit code (see `EXIT_CODES`)."""
    problem = described(error)
    err.print(f"[bold red]error:[/] {escape(problem['message'])}", highlight=False, soft_wrap=True)
    if as_json:
        show({"error": problem})
    if isinstance(error, KeyboardInterrupt):
        raise typer.Exit(interrupts.EXIT_CODE)
    raise typer.Exit(1 if isinstance(error, HostError | OSError) else 2)


def described(error: BaseException) -> dict[str, Any]:
    """An error as JSON types: `kind` in one word, `message`, and where it is as far as that is known.

    The kinds are the errors' own; further "file" (the system refuses one), "usage" (the command line), "interrupted".
    """
    others = {OSError: "file", UsageError: "usage", KeyboardInterrupt: "interrupted"}
    if isinstance(error, EriError):
        kind = error.told_to("cli").kind
    else:
        kind = next(word for errors, word in others.items() if isinstance(error, errors))
    message = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    places = {name: getattr(error, name, None) for name in ("source", "line", "column", "field", "node", "class_type")}
    return {"kind": kind, "message": message, **{name: place for name, place in places.items() if place is not None}}


@contextlib.contextmanager
def reported(as_json: bool = False) -> Iterator[None]:
    """Turn the package's errors into messages and exit codes; Ctrl-C is told by `EriGroup`, wherever it comes."""
    try:
        yield
    except (EriError, OSError) as error:
        fail(error, as_json)


class EriGroup(TyperGroup):
    """The whole command line: Ctrl-C is told in it, and a mistake in it is JSON, too, where --json is asked for."""

    as_json = False

    def main(self, *given: Any, **options: Any) -> Any:
        """Run a command (`given`: its words, as for typer's own); ends the program with its exit code."""
        args = given[0] if given else options.get("args")
        words = list(sys.argv[1:] if args is None else args)
        self.as_json = "--json" in words
        if not self.as_json or options.get("standalone_mode") is False:
            return super().main(*given, **options)
        options = {**options, "args": words, "standalone_mode": False}
        try:
            code = super().main(**options)
        except UsageError as error:
            error.show()
            show({"error": {"kind": "usage", "message": error.format_message()}})
            sys.exit(error.exit_code)
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Do a command's work, which a signal ends with KeyboardInterrupt."""
        try:
            interrupts.go(interrupts.raise_interrupt)
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            fail(error, self.as_json)


def read_config(
    file: Path, trainer: str | None, family: str | None, prompts: Path | None, expand: int | None, words: Path | None
) -> SampleSpec:
    """The spec of a config, as the options say (`options`); words: the folder of wildcards."""
    found = read_spec(file, trainer=trainer, family=family, prompts=prompts)
    return found if expand is None else expand_prompts(found, expand, words)


def notes(lines: list[str] | tuple[str, ...]) -> None:
    """Print notes, one per line, to the error stream."""
    for line in lines:
        err.print(f"[yellow]note:[/] {escape(line)}", highlight=False, soft_wrap=True)


def near(path: Path) -> str:
    """A path as seen from the working folder where it lies below it."""
    with contextlib.suppress(ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def show(document: Mapping[str, Any]) -> None:
    """Print one JSON document: as UTF-8, else in ASCII, so that it is JSON in whatever the output is encoded."""
    ascii_only = (getattr(sys.stdout, "encoding", None) or "").lower().replace("-", "") != "utf8"
    sys.stdout.write(json.dumps(document, ensure_ascii=ascii_only, indent=2) + "\n")


def print_any_text() -> None:
    """Have what an output cannot show, as a prompt in a Windows pipe's code page, printed as `?` instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
