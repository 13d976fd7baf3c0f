"""Names of single files and folders that every system accepts."""

from __future__ import annotations

import re
from typing import Final

_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
# What Windows keeps for devices, whatever follows the dot; the superscript digits count as digits there.
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?")
_MAX_NAME: Final = 120


def safe_name(text: str, fallback: str = "samples", limit: int = 200) -> str:
    """Return a file or folder name that every system accepts, as near to `text` as possible.

    Characters that Windows or POSIX forbid become "_". Trailing dots and spaces are removed. Device names (CON, NUL, …)
    get a leading "_". More than `limit` bytes are cut (at the default limit also more than 120 characters). When
    nothing is left, the name is `fallback`. It never contains a separator and never is "." or "..".
    """
    name = cut(clean(text), _MAX_NAME if limit <= 200 else limit)
    while len(name.encode("utf-8")) > limit:
        name = name[:-1]
    name = name.rstrip(". ")
    if not name.strip().strip("._ "):
        return fallback
    return f"_{name}" if _RESERVED.fullmatch(name) else name


def clean(text: str) -> str:
    """`text` with "_" for every character that cannot be in a name, and without blanks around it."""
    return _FORBIDDEN.sub("_", text.encode("utf-8", "replace").decode("utf-8")).strip(" ")


def cut(text: str, length: int) -> str:
    """The first `length` characters, without blanks and dots at the end."""
    return text[:length].rstrip(". ")


def problem_with(name: str) -> str | None:
    """Why a system may refuse `name` as a file or folder name; None when every system accepts it."""
    if name in ("", ".", ".."):
        return "is no name"
    if _FORBIDDEN.search(name):
        return "holds a character that is forbidden in names"
    if name[-1] in ". ":
        return "ends in a dot or blank"
    if _RESERVED.fullmatch(name):
        return "is the name of a device"
    return "is too long" if len(name.encode("utf-8", "replace")) > 255 else None
