"""Files that are written whole or not at all, when one was written, what a small one holds, and JSON as bytes."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import uuid
from pathlib import Path
from typing import Final

#: Ending of a file that is not finished; it stays only where the process was killed.
UNFINISHED: Final = ".tmp"
_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EXDEV)


def write_whole(path: Path, data: bytes, exclusive: bool = False) -> Path:
    """Write `data` to `path` and return it; the folder must be there.

    Whoever looks meanwhile sees the old file or the new one. With `exclusive` a name that is taken raises
    FileExistsError. Raises OSError where the disk refuses; an old file stays as it was then.
    """
    temporary = path.with_name(f".{uuid.uuid4().hex}{UNFINISHED}")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if exclusive:
            _claim(temporary, path)
        else:
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def as_bytes(document: object, indent: int | None = None) -> bytes:
    """A document as the bytes of its JSON. Half of a surrogate pair, which JSON can hold, is escaped as it came."""
    return json.dumps(document, ensure_ascii=False, indent=indent).encode("utf-8", "backslashreplace")


def written_at(path: Path) -> int | None:
    """When a file was written, in nanoseconds; None = there is none: files may go while their folder is read."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return status.st_mtime_ns if stat.S_ISREG(status.st_mode) else None


def read_small(path: Path, most: int) -> bytes:
    """The bytes of a file. ValueError where there are more than `most`, OSError as of `check_regular`."""
    if check_regular(path) > most:
        raise ValueError(f"it has more than {most} bytes")
    return path.read_bytes()


def check_regular(path: Path) -> int:
    """The size of a file. OSError where there is none, or something else: a pipe would never end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return status.st_size


def _claim(temporary: Path, path: Path) -> None:
    """Give a finished file its name unless another has it, in one step where the file system has one for that."""
    if sys.platform == "win32":
        os.rename(temporary, path)  # refuses a taken name there
        return
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:  # FileExistsError among them
            raise
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, "File exists", str(path)) from error
        os.replace(temporary, path)  # memory sticks and some network shares have no hard links
