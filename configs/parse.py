"""From a config's text to a tree: which notation it is written in, by suffix or by look."""

from __future__ import annotations

import re
from typing import Final

from ..errors import SpecError
from .command_line import command_of, parse_command
from .json_fast import in_order, parse_json_fast
from .json_tree import looks_like_json, parse_json
from .line_trees import looks_like_env, parse_env, parse_lines
from .second_file import Folders
from .toml_tree import looks_like_toml, parse_toml
from .tree import Document, Node
from .yaml_tree import parse_yaml

#: Programs of EriDiffusion V2, as a command line starts them; the only place where it says what it samples.
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
#: Starts a line of a config that someone saved as .txt; any other .txt is a prompt file.
_CONFIG_LINE: Final = re.compile(r"^(?:job|config|process|model|model_kind|training|validation|sample|eri_spec):", re.M)
_YAML_LINE: Final = re.compile(r"^\s*(?:-\s|[\w\"'-]+:(?:\s|$))", re.MULTILINE)


def parse(
    text: str, source: str, suffix: str = "", trainer: str | None = None, folders: Folders | None = None
) -> Document:
    """The document in a text.

    suffix: of the file, "" = unknown. trainer: whose config it is, where that was said; prompt files are told by it
    when nothing else does. Raises SpecError with line and column where the notation is broken.
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
    return Document(root, source, suffix, kind, None, folders)


def _refuse_script(text: str, source: str, suffix: str) -> None:
    """SpecError for a script of which nothing can be read, with what to give instead."""
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
    if looks_like_json(text):
        return "json"
    if suffix in ("", ".sh") and _is_command(text, trainer):
        return "command"
    if trainer in (None, "simpletuner") and looks_like_env(text):
        return "env"
    if trainer in (None, "kohya", "musubi", "simpletuner") and suffix != ".txt" and looks_like_toml(text):
        return "toml"
    if trainer in _LINE_TRAINERS or (suffix == ".txt" and trainer is None and not _CONFIG_LINE.search(text)):
        return "lines"
    if not suffix and trainer is None and _INLINE_FLAG.search(text) and not _YAML_LINE.search(text):
        return "lines"
    return "yaml"


def _is_command(text: str, trainer: str | None) -> bool:
    """True when the text starts one of the programs of this trainer, or of any when it is not known."""
    if trainer in (None, "eridiffusion-v2") and command_of(text, PROGRAMS):
        return True
    return trainer in (None, "kohya", "musubi") and command_of(text, SCRIPTS) is not None


def _json(text: str, source: str, suffix: str, folders: Folders | None) -> Document:
    """JSON; a text that only looks like it may still be YAML."""
    root = parse_json_fast(text)
    if root is not None:
        return Document(root, source, suffix, "json", _Places(text, source).at, folders)
    try:
        return Document(parse_json(text, source), source, suffix, "json", None, folders)
    except SpecError as json_error:
        if suffix in (".json", ".jsonc"):
            raise
        try:
            return Document(parse_yaml(text, source), source, suffix, "yaml", None, folders)
        except SpecError:
            raise json_error from None


class _Places:
    """Places of nodes by ordinal, found when they are first asked for."""

    def __init__(self, text: str, source: str) -> None:
        self.text, self.source = text, source
        self.nodes: list[Node] | None = None

    def at(self, ordinal: int) -> tuple[int, int]:
        """Line and column of the node with this ordinal, from 1."""
        if self.nodes is None:
            self.nodes = list(in_order(parse_json(self.text, self.source)))
        node = self.nodes[ordinal - 1]
        return node.line, node.column
