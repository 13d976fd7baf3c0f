"""Turns a config's text into a tree, in the notation that the file's suffix tells, or else the text's look."""

from __future__ import annotations

import re
from typing import Final

from ..errors import SpecError
from .command_line import command_of, parse_command
from .json_tree import looks_like_json, parse_json
from .line_trees import looks_like_env, parse_env, parse_lines
from .second_file import Folders
from .toml_tree import looks_like_toml, parse_toml
from .tree import Document
from .yaml_tree import parse_yaml

#: Programs of EriDiffusion V2, as a command line starts them; only there it says what it samples.
PROGRAMS: Final = re.compile(
    r"(?<![\w-])((?:train|sample)_(?:flux|sd35|sdxl|klein|zimage|chroma|qwenimage|anima|ernie|hidream_o1|ideogram"
    r"|ltx2|wan22|asymflow|acestep|u1|l2p))(?:\.exe)?(?![\w.-])"
)
#: Training scripts of sd-scripts and musubi-tuner; without one of their TOML configs the arguments stand here.
SCRIPTS: Final = re.compile(r"(?<![\w-])((?:flux_|sd3_|sdxl_|flux_kontext_)?train(?:_network)?)\.py(?![\w.-])")
_WINDOWS_SCRIPTS: Final = (".bat", ".cmd", ".ps1")
_INSTEAD: Final = (
    "Give the file that the script names instead: kohya's and musubi-tuner's --config_file or --sample_prompts, the "
    "YAML or JSON that ai-toolkit, OneTrainer or SimpleTuner is started with"
)
_LINE_TRAINERS: Final = frozenset(("kohya", "musubi", "eridiffusion-v2"))
_INLINE_FLAG: Final = re.compile(r" --(?:[whdslgnf]|ss|fs) \S")
#: A line of a config that someone saved as .txt, in YAML or JSON; any other .txt is a prompt file.
_CONFIG_LINE: Final = re.compile(
    r"^(?:job|config|process|model|model_kind|training|validation|sample|eri_spec):"
    r"|^[ \t{]*\"(?:job|config|model|eri_spec|training_method|model_type|model_family|LoRA_type|prompts)\"[ \t]*:",
    re.MULTILINE,
)
_YAML_LINE: Final = re.compile(r"^\s*(?:-\s|[\w\"'-]+:(?:\s|$))", re.MULTILINE)


def parse(
    text: str, source: str, suffix: str = "", trainer: str | None = None, folders: Folders | None = None
) -> Document:
    """Read a text in the notation that its file's suffix tells, or else its look.

    Args:
        text: the config.
        source: what it is called in messages.
        suffix: the file's, "" = unknown.
        trainer: whose config it is, where that is known; it tells prompt files when nothing else does.
        folders: where the files that the config names may come from.

    Raises SpecError with line and column where the notation is broken.
    """
    _refuse_script(text, source, suffix)
    kind = _kind(text, suffix, trainer)
    if kind == "json":
        return _json(text, source, suffix, folders)
    parsers = {"yaml": parse_yaml, "toml": parse_toml, "env": parse_env, "lines": parse_lines}
    if kind == "command":
        v2 = command_of(text, PROGRAMS) is not None
        root = parse_command(text, source, PROGRAMS if v2 else SCRIPTS, repeats=not v2)
    else:
        root = parsers[kind](text, source)
    return Document(root, source, suffix, kind, folders)


def _refuse_script(text: str, source: str, suffix: str) -> None:
    """Raise SpecError for a script of which nothing can be read; it says what to give instead."""
    if suffix in _WINDOWS_SCRIPTS:
        raise SpecError(
            "a Windows script is not read", source=source, remedy=f"{_INSTEAD}; or its one command in a .sh file."
        )
    if suffix == ".sh" and not (_is_command(text, None) or looks_like_env(text)):
        raise SpecError(
            "this script starts none of the programs whose command lines are read", source=source, remedy=f"{_INSTEAD}."
        )


def _kind(text: str, suffix: str, trainer: str | None) -> str:
    known = {".json": "json", ".jsonc": "json", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".env": "env"}
    if suffix in known:
        return known[suffix]
    if suffix == ".txt" and _are_prompts(text, trainer):
        return "lines"
    if looks_like_json(text):
        return "json"
    if suffix in ("", ".sh") and _is_command(text, trainer):
        return "command"
    if trainer in (None, "simpletuner") and looks_like_env(text):
        return "env"
    if trainer in (None, "kohya", "musubi", "simpletuner") and suffix != ".txt" and looks_like_toml(text):
        return "toml"
    if trainer in _LINE_TRAINERS:
        return "lines"
    if not suffix and trainer is None and _INLINE_FLAG.search(text) and not _YAML_LINE.search(text):
        return "lines"
    return "yaml"


def _are_prompts(text: str, trainer: str | None) -> bool:
    """Whether a .txt file holds prompts, whatever they begin with; sd-scripts and musubi-tuner go by the suffix."""
    if trainer is None:
        return not (_CONFIG_LINE.search(text) or looks_like_env(text))
    return trainer in ("kohya", "musubi")


def _is_command(text: str, trainer: str | None) -> bool:
    """True when the text starts a program of this trainer, or of any trainer when it is not known."""
    if trainer in (None, "eridiffusion-v2") and command_of(text, PROGRAMS):
        return True
    return trainer in (None, "kohya", "musubi") and command_of(text, SCRIPTS) is not None


def _json(text: str, source: str, suffix: str, folders: Folders | None) -> Document:
    """Read JSON; a text that only looks like it may still be YAML."""
    try:
        return Document(parse_json(text, source), source, suffix, "json", folders)
    except SpecError as json_error:
        if suffix in (".json", ".jsonc"):
            raise
        try:
            return Document(parse_yaml(text, source), source, suffix, "yaml", folders)
        except SpecError:
            raise json_error from None
