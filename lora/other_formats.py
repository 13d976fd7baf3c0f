"""What a file with a LoRA's name is when it is no safetensors file, by its first bytes."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

#: How many first bytes of a file tell what it is.
ENOUGH: Final = 128
_SHOWN: Final = 40
_SAVE: Final = "Save the LoRA as .safetensors in the trainer"
_UNPACK: Final = "Unpack it, and use the .safetensors file inside"
_DOWNLOAD: Final = "Download the LoRA itself; where it is gated or private, log in first"


class Format(NamedTuple):
    """What a file is, and what to do instead of reading it."""

    name: str
    remedy: str


_FORMATS: Final = (
    (
        re.compile(rb"version https://git-lfs"),
        Format(
            "a Git LFS pointer, the text that stands for a file whose data was not downloaded",
            "Run 'git lfs pull' in the repository, or download the file itself",
        ),
    ),
    (
        re.compile(rb"(?:\.\./)*(?:\.git)?/?annex/objects/"),
        Format("a git-annex pointer, whose data is not here", "Run 'git annex get' on it"),
    ),
    (re.compile(rb"\s*<(?:!doctype|html|head|body|\?xml|error)", re.I), Format("a web page", _DOWNLOAD)),
    (re.compile(rb"PK.{28}[^\n]{0,40}/data\.pkl|\x80[\x02-\x05]", re.S), Format("a pickled file", _SAVE)),
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), Format("a zip archive or a pickled file", _UNPACK)),
    (re.compile(rb"\x1f\x8b|7z\xbc\xaf|Rar!|\xfd7zXZ|\x28\xb5\x2f\xfd|BZh"), Format("a compressed archive", _UNPACK)),
    (re.compile(rb"GGUF"), Format("a GGUF file", _SAVE)),
    (
        re.compile(rb"\0{16}"),
        Format("zeros, as a download that was broken off leaves them", "Download or save it again"),
    ),
)


def format_of(start: bytes) -> Format:
    """Return what a file is that begins with `start`, its first `ENOUGH` bytes or all of a shorter file."""
    found = next((kind for pattern, kind in _FORMATS if pattern.match(start)), None)
    if found is not None:
        return found
    text = start.decode(errors="ignore")
    if len(text.encode()) > len(start) - 4 and all(one.isprintable() or one in "\t\r\n" for one in text):
        return Format(f"a text that begins with {text[:_SHOWN].strip()!r}", _DOWNLOAD)
    return Format("another format", _SAVE)
