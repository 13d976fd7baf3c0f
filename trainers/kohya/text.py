"""What kohya's tokenizers make of a prompt before they look its words up; for graphs and for nodes.

Sources: kohya-ss/sd-scripts@48d368f `library/strategy_base.py::_get_weighted_input_ids`; `requirements.txt`:
transformers 4.54.1, whose CLIPTokenizer hands every text to `ftfy.fix_text` where ftfy is installed, and ftfy 6.3.1.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from html.entities import html5
from types import ModuleType
from typing import Final

#: What an open round bracket, and an open square one, does to the words in it.
_ROUND: Final = 1.1
_SQUARE: Final = 1 / 1.1
_PIECES: Final = re.compile(r"\\[()\[\]\\]?|[()\[\]]|:([+-]?[.\d]+)\)|[^\\()\[\]:]+|:")


def weighted_parts(text: str) -> list[tuple[str, float]]:
    r"""A prompt's parts with their weights: `(x)` 1.1, `(x:1.3)` 1.3, `[x]` 1 / 1.1, one in the other multiplied.

    A bracket that is not closed acts to the end; `\(`, `\)`, `\[`, `\]` and `\\` are the character itself, any other
    backslash is dropped. Neighbours of equal weight are one part. Raises ValueError for a weight that is no number,
    which ends kohya's run as well.
    """
    parts: list[tuple[str, float]] = []
    round_ones: list[int] = []
    square_ones: list[int] = []

    def weigh(start: int, by: float) -> None:
        parts[start:] = [(part, weight * by) for part, weight in parts[start:]]

    for found in _PIECES.finditer(text):
        piece, number = found[0], found[1]
        if piece.startswith("\\"):
            parts.append((piece[1:], 1.0))
        elif piece in ("(", "["):
            (round_ones if piece == "(" else square_ones).append(len(parts))
        elif number is not None and round_ones:
            weigh(round_ones.pop(), float(number))
        elif piece == ")" and round_ones:
            weigh(round_ones.pop(), _ROUND)
        elif piece == "]" and square_ones:
            weigh(square_ones.pop(), _SQUARE)
        else:
            parts.append((piece, 1.0))
    for start in round_ones:
        weigh(start, _ROUND)
    for start in square_ones:
        weigh(start, _SQUARE)
    return list(_joined(parts))


def _joined(parts: list[tuple[str, float]]) -> Iterator[tuple[str, float]]:
    text, last = "", parts[0][1] if parts else 1.0
    for part, weight in parts:
        if weight != last:
            yield text, last
            text, last = "", weight
        text += part
    yield text, last


_ENTITY: Final = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL: Final = re.compile(r"\x1b\[[\d;]*[a-zA-Z]")
_LIGATURES: Final = (*range(0x132, 0x134), 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4), *range(0xFB00, 0xFB07))
_CONTROLS: Final = dict.fromkeys(
    (*range(9), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)), ""
)
_QUOTES: Final = {**dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'"), **dict.fromkeys(range(0x201C, 0x2020), '"')}


def repaired(text: str) -> str:
    """A text as ftfy 6.3.1 leaves it: plain quotes, no ligatures, entities, wide or control characters; NFC.

    Text that was decoded wrongly (`looks_misread`) goes through `ftfy.fix_text` itself where ftfy is installed, as the
    tokenizer calls it; where it is not, that text stays as it was decoded. Whoever calls this says which (`MISREAD`).
    """
    repairer = misread_repairer() if looks_misread(text) else None
    return str(repairer.fix_text(text)) if repairer is not None else _plain(text)


def misread_repairer() -> ModuleType | None:
    """The module ftfy, None where it is not installed."""
    try:
        import ftfy
    except ImportError:
        return None
    return ftfy


def misread_told() -> str:
    """What `repaired` does here to text that was decoded wrongly, for people."""
    repairer = misread_repairer()
    seen = "A prompt looks as if UTF-8 was read in another encoding (as in Ã© for é)"
    if repairer is not None:
        return f"{seen}. ftfy {repairer.__version__} repairs it for CLIP, as kohya's tokenizer does with ftfy 6.3.1."
    return (
        f"{seen}. kohya's tokenizer repairs that with ftfy, which this Python has not, so CLIP gets it as it is "
        "written. Write the characters that are meant, or install ftfy in ComfyUI's Python (pip install ftfy) and "
        "start ComfyUI again."
    )


def _plain(text: str) -> str:
    """All that `ftfy.fix_text` does to a text that was decoded rightly."""
    unescape, lines = True, []
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):
        unescape = unescape and "<" not in line
        lines.append(_repaired_line(line, unescape))
    return "".join(lines)


def _repaired_line(text: str, unescape: bool) -> str:
    while True:
        before = text
        if unescape:
            text = _ENTITY.sub(lambda found: _unescaped(found[0]), text)
        text = re.sub(r"\r\n?|[\u2028\u2029]", "\n", text).translate(_characters())
        text = _TERMINAL.sub("", text).translate(_CONTROLS)
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = unicodedata.normalize("NFC", text)
        if text == before:
            return text


def _unescaped(entity: str) -> str:
    if entity.startswith("&#"):
        found = html.unescape(entity)
        return entity if ";" in found else found
    name = entity[1:]
    if name in html5:
        return html5[name]
    small = name.lower()
    shouted = name == name.upper() and small in html5 and html.unescape(entity) == entity
    return html5[small].upper() if shouted else entity


@cache
def _characters() -> dict[int, str]:
    """What single characters become: C1 controls are those of windows-1252, wide and narrow forms the usual ones."""
    wide = {code: unicodedata.normalize("NFKC", chr(code)) for code in (0x3000, *range(0xFF01, 0xFFF0))}
    ligatures = {code: unicodedata.normalize("NFKC", chr(code)) for code in _LIGATURES}
    controls = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
    return {**controls, **wide, **ligatures, **_QUOTES, 0xFB05: "\u017ft"}


#: One-byte encodings as which UTF-8 is read by mistake.
_ENCODINGS: Final = (
    *("latin-1", "cp1252", "cp1251", "cp1250", "cp1253", "cp1254", "cp1257", "iso8859-2", "mac-roman", "cp437"),
)
#: Two, three or four bytes of UTF-8, each as the character of that number. Of the later ones some may have become a
#: space or a question mark.
_UTF8: Final = re.compile(
    "[\xc2-\xdf][\x80-\xbf\x1a]|[\xc2\xc3][ ?]|[\xe0-\xef](?=[ \x1a?]?[\x80-\xbf])[ \x1a?\x80-\xbf]{2}"
    "|[\xf0-\xf4](?=[ \x1a?]*[\x80-\xbf])[ \x1a?\x80-\xbf]{3}"
)
#: In mac-roman typographic quotes are leading bytes: one alone is a quote before an accented letter, as in l’été.
_QUOTED: Final = re.compile("(?<![\x80-\xbf])[\xd2-\xd5][\x80-\xbf](?![\xc2-\xf4][\x80-\xbf])")


def looks_misread(text: str) -> bool:
    """Whether a text could be UTF-8 that was read in another encoding, which ftfy repairs and `_plain` does not."""
    text = _ENTITY.sub(lambda found: _unescaped(found[0]), text)
    if text.isascii():
        return False
    forms = (text, _plain(text))
    return "\ufffd" in text or any(_UTF8.search(_as_bytes(form, name)) for form in forms for name in _ENCODINGS)


def _as_bytes(text: str, encoding: str) -> str:
    found = text.translate(_bytes(encoding))
    return _QUOTED.sub("", found) if encoding == "mac-roman" else found


@cache
def _bytes(encoding: str) -> dict[int, str]:
    """Characters of an encoding's upper half -> the character of the byte's number."""
    halves = ((bytes([code]).decode(encoding, "ignore"), chr(code)) for code in range(0x80, 0x100))
    return {ord(char): byte for char, byte in halves if char}
