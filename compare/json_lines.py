"""Files of JSON Lines that grow: an object with a version on each; what a killed program left half is no line."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

from ..errors import CompareError
from ..whole_files import as_bytes, read_small

VERSION: Final = 1
#: The most bytes of a line.
MAX_LINE: Final = 1 << 20
#: Of a file: a line of a manifest has some 700.
_MOST_BYTES: Final = 256 << 20


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each object with its line's number; nothing where there is no file.

    A last line without an end that cannot be read is left out. Raises CompareError, with file and line, for any other
    line that is none, and for a newer version.
    """
    try:
        data = read_small(path, _MOST_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        remedy = "Let eri read it, or move it away."
        raise CompareError(f"cannot be read ({why})", place=str(path), remedy=remedy) from error
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


def finite(value: object) -> float | None:
    """A number as JSON has it, None for anything else: Python also reads NaN, Infinity and integers without end."""
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def append_lines(path: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """Write the objects behind what is there, in one go, into a folder that is made; several programs may at once.

    Half a line at the end is taken out before. Raises CompareError where the file cannot be written.
    """
    lines = b"".join(as_bytes(entry) + b"\n" for entry in documents)
    if not lines:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file, _alone(file):
            _end_line(file)
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        remedy = "Free space on the disk, or choose a folder that can be written."
        raise CompareError(f"cannot be written ({error.strerror})", place=str(path), remedy=remedy) from error


def _end_line(file: BinaryIO) -> None:
    """End the last line: with its line break where it is whole, else without the line."""
    end = file.seek(0, os.SEEK_END)
    start = file.seek(max(0, end - MAX_LINE))
    last = file.read(end - start).rpartition(b"\n")[2]
    if not last:
        return
    try:
        json.loads(last)
        file.write(b"\n")
    except (ValueError, RecursionError):
        file.truncate(end - len(last))


@contextlib.contextmanager
def _alone(file: BinaryIO) -> Iterator[None]:
    """Hold other programs that append back meanwhile; the system lets go of the lock of one that is killed."""
    if sys.platform == "win32":
        import msvcrt

        place = 1 << 40  # a byte that no such file has: the text stays readable meanwhile
        file.seek(place)
        msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        try:
            yield
        finally:
            file.seek(place)
            msvcrt.locking(file.fileno(), msvcrt.LK_UNLCK, 1)
        return
    import fcntl

    with contextlib.suppress(OSError):  # network drives without locks: appending is all there is
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
    yield
