"""Files of JSON Lines that grow: an object with a version on each; what a killed program left half is no line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import CompareError

VERSION: Final = 1


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object with its line's number; nothing where there is no file.

    A last line without an end that cannot be read is left out. Raises CompareError, with file and line, for any other
    line that is none, and for a newer version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        remedy = "Let eri read it."
        raise CompareError(f"it cannot be read ({error.strerror})", place=str(path), remedy=remedy) from error
    *whole, rest = data.split(b"\n")
    for number, line in enumerate([*whole, rest], 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            document = json.loads(line.decode("utf-8"))
            if not isinstance(document, dict) or type(document.get("version")) is not int:
                raise ValueError("it is no object with a version")
        except (ValueError, RecursionError) as error:
            if number > len(whole):
                return
            remedy = "Mend the line, or take it out."
            raise CompareError(f"the line cannot be read ({error})", place=place, remedy=remedy) from error
        if document["version"] > VERSION:
            problem = f"it is of version {document['version']}, and this pack knows versions up to {VERSION}"
            raise CompareError(problem, place=place, remedy="Update the pack.")
        yield number, document


def append_lines(path: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """Write the objects behind what is there, in one go; half a line at the end is taken out before.

    Raises CompareError where the file cannot be written.
    """
    lines = b"".join(json.dumps(entry, ensure_ascii=False).encode("utf-8") + b"\n" for entry in documents)
    try:
        with open(path, "ab+") as file:
            _end_line(file)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        remedy = "Let it be written, or name a folder that can be."
        raise CompareError(f"it cannot be written ({error.strerror})", place=str(path), remedy=remedy) from error


def _end_line(file: Any) -> None:
    """End the last line: with its line break where it is whole, else without the line."""
    file.seek(0)
    head, _, last = file.read().rpartition(b"\n")
    if not last:
        return
    try:
        json.loads(last)
        file.write(b"\n")
    except (ValueError, RecursionError):
        file.truncate(len(head) + 1 if head else 0)
