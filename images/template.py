"""Paths from templates, `{run}/step_{step:06}/{name}[_{seed}]`, and names that every system accepts.

Nothing is evaluated, and nothing leaves the folder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from ..errors import ImagesError

#: placeholder -> what it stands for; the app's help lists the same.
PLACEHOLDERS: Final[dict[str, str]] = {
    "run": "name of the run",
    "trainer": "trainer id",
    "family": "id of the model family",
    "step": "training step; {step:06} = at least six digits",
    "index": "number of the sample, from 0",
    "nth": "the same, but nothing where the step has one sample only",
    "count": "samples of this step",
    "name": "name of the sample (sample_00)",
    "label": "the trainer's own name of the sample, else the words of its prompt",
    "spot": "index and size, nothing where the trainer names the sample itself",
    "prompt": "the prompt; {prompt:40} = at most 40 characters",
    "words": "the prompt without punctuation that some systems forbid in names",
    "seed": "seed, nothing where it is random",
    "width": "width in pixels",
    "height": "height in pixels",
    "time": "time of saving; {time:%Y-%m-%d_%H-%M-%S}",
    "ms": "time of saving in milliseconds since 1970",
    "stem": "the trainer's own name of the sample, else sample_001, sample_002, …",
    "pth": "p1, p2, …; base before training where the step has one sample only",
    "bpth": "p1, p2, …; base_p1, base_p2, … before training",
}

Value = str | int | datetime | None

#: The pieces of a template.
TOKEN: Final = re.compile(
    r"(?P<escaped>\{\{|\}\}|\[\[|\]\])|\{(?P<field>[a-z]+)(?::(?P<format>[^{}\[\]/\\]*))?\}|(?P<bracket>[\[\]{}])"
    r"|(?P<text>[^\[\]{}]+)"
)
_TIME_FORMAT: Final = re.compile(r"(%[YymdHMSfjU]|[A-Za-z0-9_. -])+")
_LENGTH: Final = re.compile(r"0?[1-9][0-9]?|1[0-9][0-9]")
_MAX_VALUE: Final = 120  # characters of one placeholder's text where the template sets no length
_MAX_BYTES: Final = 240  # of one file or folder name; the suffix comes on top, and most systems allow 255
_FORBIDDEN: Final = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
# What Windows keeps for devices, whatever follows the dot; the superscript digits count as digits there.
_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\..*)?")
_MAX_NAME: Final = 120


@dataclass(frozen=True)
class Layout:
    """How one trainer names its samples.

    Args:
        template: path without suffix, see `render`.
        image_format: the trainer's own file type.
        prompt_file: whether it writes the prompt into a .txt of the same stem.
        families: what it does instead for some model families, by their ids.
        others: what further programs of it do, by the names under which a spec asks for that.
    """

    template: str
    image_format: str = "png"
    prompt_file: bool = False
    families: Mapping[str, Layout] = field(default_factory=dict)
    others: Mapping[str, Layout] = field(default_factory=dict)

    def of(self, family: str) -> Layout:
        """Its layout for a model family, "" = whichever has no other."""
        return self.families.get(family, self)

    @property
    def timed(self) -> bool:
        """Whether the moment of saving is a part of the name."""
        return "{time" in self.template or "{ms" in self.template


def render(template: str, values: Mapping[str, Value]) -> str:
    """The path that a template gives, "/" between folders, without suffix.

    A value never makes a folder: its separators become "_". Every name in the result is one that Windows and POSIX
    accept.

    Args:
        template: Text with `{placeholder}` or `{placeholder:format}` (see `PLACEHOLDERS`). The format is digits for
            numbers, a greatest length for texts, strftime's for times. `[…]` is left out when a placeholder in it has
            no value. `{{`, `}}`, `[[` and `]]` are the characters themselves.
        values: By placeholder; None or "" is no value.

    Raises ImagesError on an unknown placeholder or format, unpaired brackets, and a template that is empty, absolute
    or has ".." in it.
    """
    if not template.strip():
        raise ImagesError("The file name template is empty. Write for example {run}/{step:06}/{name}.")
    if template.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", template):
        raise _bad(template, "starts at the root of a drive", "Write a path below the output folder.")
    path = _fill(template, values)
    parts = path.split("/")
    if any(part.strip() == "" for part in parts):
        raise _bad(template, f"gives {path!r}, in which a name is empty", "Put text around placeholders.")
    if any(part.strip(". ") == "" for part in parts):
        raise _bad(template, f"gives {path!r}", "Leave out '.' and '..': they lead elsewhere.")
    return "/".join(safe_name(part, limit=_MAX_BYTES) for part in parts)


def _fill(template: str, values: Mapping[str, Value]) -> str:
    kept, section, complete = "", "", True
    inside = False
    for token in TOKEN.finditer(template):
        piece = ""
        if token["bracket"]:
            if token["bracket"] not in "[]" or (token["bracket"] == "[") == inside:
                raise _bad(template, f"has a {token['bracket']!r} without its partner", "Double it to mean itself.")
            if inside:
                kept += section if complete else ""
            inside, section, complete = not inside, "", True
        elif token["field"]:
            piece = _value(template, token["field"], token["format"], values)
            complete = complete and piece != ""
        else:
            piece = token["escaped"][0] if token["escaped"] else token["text"].replace("\\", "/")
        if inside:
            section += piece
        else:
            kept += piece
    if inside:
        raise _bad(template, "has a '[' without its partner", "Double it to mean itself.")
    return kept


def _value(template: str, field: str, form: str | None, values: Mapping[str, Value]) -> str:
    if field not in PLACEHOLDERS:
        raise _bad(template, f"has the unknown placeholder {{{field}}}", f"Known: {', '.join(PLACEHOLDERS)}.")
    value = values.get(field)
    if value is None or value == "":
        return ""
    if isinstance(value, datetime):
        form = "%Y%m%d%H%M%S" if form is None else form
        if not _TIME_FORMAT.fullmatch(form):
            raise _bad(template, f"has the time format {form!r}", "Use %Y %m %d %H %M %S and - _ . between them.")
        return value.strftime(form)
    if form is not None and not _LENGTH.fullmatch(form):
        raise _bad(template, f"has {{{field}:{form}}}", "After ':' write digits, e.g. {step:06} or {prompt:40}.")
    if isinstance(value, int):
        return f"{value:{form or ''}}"
    return cut(clean(value), int(form) if form else _MAX_VALUE)


def _bad(template: str, problem: str, remedy: str) -> ImagesError:
    return ImagesError(f"The file name template {template!r} {problem}. {remedy}")


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
