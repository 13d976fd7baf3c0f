"""Turns a config's text into a tree, in the notation that the file's suffix tells, or else the text's look."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from ..errors import SpecError
from .command_line import Script, parse_command
from .json_tree import looks_like_json, parse_json
from .line_trees import holds_env, looks_like_env, parse_env, parse_lines
from .notebook import is_notebook, job_of, shell_of
from .script import Unexpanded, no_file
from .second_file import Folders
from .toml_tree import looks_like_toml, parse_toml
from .tree import Document, Node, Repeated
from .yaml_tree import parse_yaml


class Programs(NamedTuple):
    """The programs of a trainer whose command lines are read.

    Args:
        names: finds a program's name in a text.
        repeats: of a flag given twice the last counts; False = it stops the program.
    """

    names: re.Pattern[str]
    repeats: bool


@dataclass(frozen=True)
class Notations:
    """What a trainer's configs can be written in, besides YAML and JSON.

    Args:
        env: variables, one a line.
        toml: TOML.
        lines: a prompts file, one prompt a line; what looks like nothing else is one.
        any_txt: every .txt file is a prompts file, whatever it looks like.
        programs: the programs whose command lines say what is sampled, None where there are none.
        repeated_keys: of a key that JSON or YAML gives twice the last counts, as in Python; False = a mistake.
    """

    env: bool = False
    toml: bool = False
    lines: bool = False
    any_txt: bool = False
    programs: Programs | None = None
    repeated_keys: bool = True


_BY_SUFFIX: Final = {
    **dict.fromkeys((".json", ".jsonc"), "json"),
    **dict.fromkeys((".yaml", ".yml"), "yaml"),
    ".toml": "toml",
    ".env": "env",
}
_SCRIPTS: Final = (".sh", ".bat", ".cmd", ".ps1")
_INSTEAD: Final = (
    "Give the file that holds the settings instead: kohya's and musubi-tuner's --config_file or --sample_prompts, the "
    "YAML or JSON that ai-toolkit, OneTrainer or SimpleTuner is started with."
)
_INLINE_FLAG: Final = re.compile(r" --(?:[whdslgnf]|ss|fs) \S")
#: A line of a config that someone saved as .txt, in YAML or JSON; any other .txt is a prompt file.
_CONFIG_LINE: Final = re.compile(
    r"^(?:job|config|process|model|model_kind|training|validation|sample|eri_spec):"
    r"|^[ \t{]*\"(?:job|config|model|eri_spec|training_method|model_type|model_family|LoRA_type|prompts)\"[ \t]*:",
    re.MULTILINE,
)
_YAML_LINE: Final = re.compile(r"^[ \t]*(?:-\s|[\w\"'-]+:(?:\s|$))", re.MULTILINE)


def parse(
    text: str,
    source: str,
    suffix: str = "",
    notations: Sequence[Notations] = (Notations(),),
    folders: Folders | None = None,
) -> Document:
    """Read a text in the notation that its file's suffix tells, or else its look.

    Args:
        text: the config.
        source: what it is called in messages.
        suffix: the file's, "" = unknown.
        notations: those of the trainer whose config it is, or of all that it may be.
        folders: where the files that the config names may come from.

    Raises SpecError with line and column where the notation is broken.
    """
    if text.startswith("#!") and suffix not in (*_BY_SUFFIX, *_SCRIPTS, ".txt"):
        suffix = ".sh"  # a batch system's job, or no suffix at all
    job = None
    if is_notebook(text, suffix):
        job, text, suffix = job_of(text), shell_of(text), ".sh"
    script, programs = _script(text, suffix, notations, folders)
    written = script.written_config() if script is not None and programs is None else None
    if script is not None and written is not None:
        file, program = written
        found = parse(script.files[file], f"{source}: {file}", PurePosixPath(file).suffix, notations, folders)
        return replace(found, started_by=program)
    if job is not None and programs is None:
        return _json(job, source, ".json", folders)
    if suffix in _SCRIPTS and programs is None and script is not None and not holds_env(text):
        raise _no_program(script, source)
    kind = _kind(text, suffix, notations, programs)
    if kind == "json":
        return _json(text, source, suffix, folders)
    if kind == "yaml":
        return _yaml(text, source, folders)
    parsers = {"toml": parse_toml, "env": parse_env, "lines": parse_lines}
    if kind == "command" and programs is not None and script is not None:
        root = parse_command(script, source, programs.names, repeats=programs.repeats)
        folders = folders or Folders()
        folders.written, folders.started_in = script.files, script.folder(programs.names)
    else:
        root = parsers[kind](text, source)
    return Document(_of_script(root) if isinstance(text, Unexpanded) else root, source, kind, folders)


def _of_script(node: Node) -> Node:
    """The tree of a text that a script writes, of which what holds a variable is not known."""
    value = node.value
    if isinstance(value, str):
        return replace(node, value=Unexpanded(value)) if set(value) & set("$`") else node
    if isinstance(value, list):
        return replace(node, value=[_of_script(child) for child in value])
    return replace(node, value={key: _of_script(child) for key, child in value.items()})


def _no_program(script: Script, source: str) -> SpecError:
    """The SpecError for a script of which nothing can be read; it says what it starts, and what to give instead."""
    file, config = script.started()
    if not file and script.fault is not None:
        return SpecError(script.fault.problem, source=source, remedy=script.fault.remedy)
    what = f"this script starts {file}, whose command line is not read" if file else (
        "this script starts none of the programs whose command lines are read"
    )  # fmt: skip
    return SpecError(what, source=source, remedy=f"Give {config} instead." if config else _INSTEAD)


def _kind(text: str, suffix: str, notations: Sequence[Notations], programs: Programs | None) -> str:
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix == ".txt" and _are_prompts(text, notations):
        return "lines"
    if looks_like_json(text):
        return "json"
    if suffix in ("", *_SCRIPTS) and programs is not None:
        return "command"
    if any(one.env for one in notations) and looks_like_env(text):
        return "env"
    if any(one.toml for one in notations) and suffix != ".txt" and looks_like_toml(text):
        return "toml"
    if len(notations) == 1:
        return "lines" if notations[0].lines else "yaml"
    if not suffix and _INLINE_FLAG.search(text) and not _YAML_LINE.search(text):
        return "lines"
    return "yaml"


def _are_prompts(text: str, notations: Sequence[Notations]) -> bool:
    """Whether a .txt file holds prompts, whatever they begin with; some trainers go by the suffix."""
    if len(notations) == 1:
        return notations[0].any_txt
    return not (_CONFIG_LINE.search(text) or looks_like_env(text))


def _script(
    text: str, suffix: str, notations: Sequence[Notations], folders: Folders | None
) -> tuple[Script | None, Programs | None]:
    """The commands of a text, and the programs of which it starts one; None where it starts none."""
    known = [one.programs for one in notations if one.programs is not None]
    named = any("--" in text and one.names.search(text) for one in known)
    if suffix not in _SCRIPTS and (suffix or not named):
        return None, None
    script = Script(text, suffix, folders.sourced if folders else no_file)  # variables may hold a program's name
    return script, next((programs for programs in known if script.starts_with_options(programs.names)), None)


def _yaml(text: str, source: str, folders: Folders | None) -> Document:
    repeated: list[Repeated] = []
    root = parse_yaml(str(text), source, repeated)
    root = _of_script(root) if isinstance(text, Unexpanded) else root
    return Document(root, source, "yaml", folders, tuple(repeated))


def _json(text: str, source: str, suffix: str, folders: Folders | None) -> Document:
    """Read JSON; a text that only looks like it may still be YAML."""
    try:
        repeated: list[Repeated] = []
        root = parse_json(str(text), source, repeated)
        root = _of_script(root) if isinstance(text, Unexpanded) else root
        return Document(root, source, "json", folders, tuple(repeated))
    except SpecError as json_error:
        if suffix in (".json", ".jsonc"):
            raise
        try:
            return _yaml(text, source, folders)
        except SpecError:
            raise json_error from None
