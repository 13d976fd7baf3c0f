"""Cells of a notebook as one shell script: what they run with `!` or `%%bash`, with the variables of their Python.

IPython puts `{name}` and `$name` of a `!` line in before the shell sees it. Python is not run: only texts and numbers
that are assigned outside of any block are known.
"""

from __future__ import annotations

import ast
import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from .script import Unexpanded

_SHELL_LINE: Final = re.compile(
    r"^[ \t]*![ \t]*(?:cd|[A-Z_]+=|[\w./{}$-]*(?:accelerate|python3?|bash|sh|simpletuner(?:-train)?)[ \t])",
    re.MULTILINE,
)
_SHELL_CELL: Final = re.compile(r"\A\s*%%(?:bash|sh|shell)\b.*\n?")
_FILE_CELL: Final = re.compile(r"\A\s*%%writefile +(?P<more>-a +)?(?P<file>\S.*?)[ \t]*\n")
_JOB: Final = re.compile(r"^\w+ *= *OrderedDict\(", re.MULTILINE)
_MAGIC: Final = re.compile(r"[ \t]*[!%]")
_NAMED: Final = re.compile(r"\$\$|\{([^{}\n]+)\}|\$([A-Za-z_]\w*)")
_END: Final = "END_OF_CELL"
#: Expressions within each other, letters of a value, and letters that values add to a line.
_DEEPEST: Final = 50
_LONGEST: Final = 4096
_MOST: Final = 1 << 18
_GONE: Final = "a line that stands in the one before"


class _Command(NamedTuple):
    """A `!` line: its number in the Python of the cell and in the cell, and what stands behind the mark."""

    python_line: int
    line: int
    text: str


def is_notebook(text: str, suffix: str) -> bool:
    """Whether a text is an `.ipynb` file, or cells that were pasted."""
    if suffix == ".ipynb" or (text[:4096].lstrip().startswith("{") and '"cell_type"' in text):
        return True
    known = (_SHELL_LINE.search(text), _FILE_CELL.match(text), _JOB.search(text))
    return not suffix and any(match is not None for match in known)


def shell_of(text: str) -> str:
    """The shell script that a notebook runs."""
    names: dict[str, str] = {}
    return "\n".join(_of_cell(cell, names) for cell in _cells(text))


def job_of(text: str) -> str | None:
    """The config that a notebook builds in Python, as JSON; None where there is none.

    ai-toolkit's notebooks build a job for `run_job`, SimpleTuner's its options. The JSON is `Unexpanded` where an
    expression is not known.
    """
    builder = _Builder()
    for cell in _cells(text):
        try:
            statements = ast.parse("\n".join(line for line in cell.split("\n") if not _MAGIC.match(line))).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        for statement in statements:
            value = builder.built(statement.value) if isinstance(statement, ast.Assign) else None
            if isinstance(value, dict) and _is_config(value):
                made = json.dumps(value, indent=1)
                return Unexpanded(made) if _is_open(value) else made
            _assign(statement, builder.names)
    return None


class _Builder:
    """Follows expressions made of lists, `dict`, `OrderedDict`, texts and numbers."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.left = _MOST  # letters that may still be put in for names

    def built(self, node: ast.expr, depth: int = 0) -> Any:
        """The value of an expression; `Unexpanded` where it is not known."""
        if depth > _DEEPEST:
            return Unexpanded("$")
        if isinstance(node, ast.List | ast.Tuple):
            return [self.built(item, depth + 1) for item in node.elts]
        if isinstance(node, ast.Dict):
            pairs = [(key, value) for key, value in zip(node.keys, node.values, strict=True) if key is not None]
            return {str(self.built(key, depth + 1)): self.built(value, depth + 1) for key, value in pairs}
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("dict", "OrderedDict"):
            first = self.built(node.args[0], depth + 1) if node.args else {}
            listed = first.items() if isinstance(first, dict) else first if isinstance(first, list) else []
            pairs_of = {str(one[0]): one[1] for one in listed if isinstance(one, list | tuple) and len(one) == 2}
            return pairs_of | {one.arg: self.built(one.value, depth + 1) for one in node.keywords if one.arg}
        if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
            return node.value
        known = _value(node, self.names)
        self.left -= len(known or "")
        if known is not None and self.left >= 0:
            return known
        return Unexpanded(f"${node.id}" if isinstance(node, ast.Name) else "$")


def _is_config(value: dict[str, Any]) -> bool:
    """Whether a mapping is ai-toolkit's job, or SimpleTuner's options."""
    inner = value.get("config")
    return (isinstance(inner, dict) and "process" in inner) or "model_family" in value


def _is_open(value: Any) -> bool:
    """Whether a value holds what is not known."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Unexpanded) or any(_is_open(part) for part in parts)


def _cells(text: str) -> list[str]:
    """The code cells of a notebook; a text of another form is one cell."""
    try:
        document = json.loads(text)
        cells = [cell["source"] for cell in document["cells"] if cell["cell_type"] == "code"]
        return [source if isinstance(source, str) else "".join(source) for source in cells]
    except (ValueError, TypeError, KeyError, RecursionError):
        return [text]


def _of_cell(cell: str, names: dict[str, str]) -> str:
    """The shell's part of a cell; adds the variables that its Python assigns."""
    shell, file = _SHELL_CELL.match(cell), _FILE_CELL.match(cell)
    if shell is not None:
        return cell[shell.end() :]
    if file is not None:
        sign = ">>" if file["more"] else ">"
        return f"cat {sign} '{file['file']}' <<'{_END}'\n{cell[file.end() :]}\n{_END}"
    lines, shell_lines = cell.split("\n"), [""] * len(cell.split("\n"))
    python: list[str] = []
    commands: list[_Command] = []
    number = 0
    while number < len(lines):
        line, first = lines[number], number
        number += 1
        if _MAGIC.match(line) is None:
            python.append(line)
            continue
        while line.endswith("\\") and number < len(lines):
            line += "\n" + lines[number]
            number += 1
        python.append(f"{line[: len(line) - len(line.lstrip())]}pass")
        if line.lstrip().startswith("!"):
            commands.append(_Command(len(python), first, line.lstrip()[1:]))
    for command in _followed("\n".join(python), commands, names):
        shell_lines[command.line] = command.text
        for behind in range(command.line + 1, command.line + 1 + command.text.count("\n")):
            shell_lines[behind] = _GONE
    return "\n".join(line for line in shell_lines if line is not _GONE)


def _followed(python: str, commands: list[_Command], names: dict[str, str]) -> Iterator[_Command]:
    """The `!` lines of a cell with the variables that are known there; adds to `names` what its Python assigns."""
    try:
        statements = ast.parse(python).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        statements = []
    for command in commands:
        while statements and statements[0].lineno < command.python_line:
            _assign(statements.pop(0), names)
        yield command._replace(text=_substituted(command.text, names))
    for statement in statements:
        _assign(statement, names)


def _assign(statement: ast.stmt, names: dict[str, str]) -> None:
    """Follow one statement: what it assigns under a condition, or from what is not known, is not known afterwards."""
    value = _value(statement.value, names) if isinstance(statement, ast.Assign) else None
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.pop(node.id, None)
    for target in statement.targets if isinstance(statement, ast.Assign) and value is not None else ():
        if isinstance(target, ast.Name):
            names[target.id] = value or ""


def _value(node: ast.expr, names: dict[str, str], depth: int = 0) -> str | None:
    """The text of an expression, None where it is not known, deeper or longer than what people write."""
    if depth > _DEEPEST:
        return None
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str | int | float) else None
    if isinstance(node, ast.Name):
        return names.get(node.id)
    parts: list[ast.expr] = []
    if isinstance(node, ast.JoinedStr):
        parts = node.values
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts = [node.left, node.right]
    elif isinstance(node, ast.FormattedValue) and node.format_spec is None:
        parts = [node.value]
    elif isinstance(node, ast.Call) and not node.keywords and _is_join(node.func):
        parts = node.args
    known = [value for part in parts if (value := _value(part, names, depth + 1)) is not None]
    if not parts or len(known) < len(parts):
        return None
    value = posixpath.join(*known) if isinstance(node, ast.Call) else "".join(known)
    return value if len(value) <= _LONGEST else None


def _is_join(function: ast.expr) -> bool:
    """Whether it is `os.path.join`."""
    for name in ("join", "path"):
        if not isinstance(function, ast.Attribute) or function.attr != name:
            return False
        function = function.value
    return isinstance(function, ast.Name) and function.id == "os"


def _substituted(line: str, names: dict[str, str]) -> str:
    """A `!` line with its variables; one that is not known stays as a variable of the shell."""

    added = 0

    def value(match: re.Match[str]) -> str:
        nonlocal added
        name = (match[1] or match[2] or "").strip()
        try:
            found = _value(ast.parse(name, mode="eval").body, names) if name else "$"
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return match[0]  # `{` of a dictionary, or the shell's
        added += len(found or "")
        if found is not None and added <= _MOST:
            return found
        return f"${{{name}}}" if name.isidentifier() else f"$({name})"

    return _NAMED.sub(value, line)
