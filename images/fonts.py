"""Fonts for labels: Pillow's own for ASCII, a small one of ours for Europe, the system's for the rest; gaps are named.

Pillow's built-in font has little more than ASCII. Labels beyond that use the DejaVu Sans subset in this folder (Latin,
Vietnamese, Greek, Cyrillic, common signs). For what it lacks, the fonts installed on this machine are searched. A
font's own file says which characters it has (OpenType specification: table directory, table `cmap`, formats 4 and 12).
"""

from __future__ import annotations

import functools
import io
import os
import struct
import sys
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from PIL import ImageDraw, ImageFont


def character_table(font: BinaryIO) -> bytes:
    """Return the Unicode character table of a font, or of its first face when a file holds several.

    It is empty when there is none, and when the glyphs are coloured pictures. Raises struct.error for a damaged font.
    """
    head = font.read(16)
    font.seek(4 + (struct.unpack(">I", head[12:16])[0] if head[:4] == b"ttcf" else 0))
    tables = {}
    for _ in range(struct.unpack(">H", font.read(8)[:2])[0]):
        tag, _sum, offset, length = struct.unpack(">4sIII", font.read(16))
        tables[tag] = (offset, length)
    if b"cmap" not in tables or not tables.keys() & {b"glyf", b"CFF ", b"CFF2"}:
        return b""
    font.seek(tables[b"cmap"][0])
    return _unicode_subtable(font.read(tables[b"cmap"][1]))


def glyph(table: bytes, code: int) -> int:
    """Return the glyph number of a character in a table from `character_table`; 0 when the font has none."""
    # Groups and segments are sorted; the first that ends at or behind the character is the one that may have it.
    if struct.unpack_from(">H", table)[0] == 12:
        groups = range(struct.unpack_from(">I", table, 12)[0])
        group = bisect_left(groups, code, key=lambda number: struct.unpack_from(">I", table, 20 + 12 * number)[0])
        if group == len(groups):
            return 0
        first, _last, glyph = struct.unpack_from(">III", table, 16 + 12 * group)
        return int(glyph + code - first) if code >= first else 0
    if code > 0xFFFF:
        return 0
    double = struct.unpack_from(">H", table, 6)[0]  # twice the number of segments
    segments = range(double // 2)
    segment = bisect_left(segments, code, key=lambda number: struct.unpack_from(">H", table, 14 + 2 * number)[0])
    place = 16 + double + 2 * segment
    if segment == len(segments) or (start := struct.unpack_from(">H", table, place)[0]) > code:
        return 0
    delta = struct.unpack_from(">H", table, place + double)[0]
    skip = struct.unpack_from(">H", table, place + 2 * double)[0]
    if skip == 0:
        return int((code + delta) & 0xFFFF)
    glyph = struct.unpack_from(">H", table, place + 2 * double + skip + 2 * (code - start))[0]
    return int((glyph + delta) & 0xFFFF) if glyph else 0


def _unicode_subtable(cmap: bytes) -> bytes:
    """The subtable with the most characters in a format that `glyph` knows; empty = there is none."""
    best = (0, 0)
    for number in range(struct.unpack_from(">H", cmap, 2)[0]):
        platform, encoding, offset = struct.unpack_from(">HHI", cmap, 4 + 8 * number)
        if platform == 0 or (platform, encoding) in ((3, 1), (3, 10)):
            form = struct.unpack_from(">H", cmap, offset)[0]
            if form in (4, 12) and form > best[0]:
                best = (form, offset)
    return cmap[best[1] :] if best[0] else b""


_SUFFIXES: Final = (".ttf", ".ttc", ".otf")
#: Words of a file name, best first and worst first: a label is set in an upright sans serif of usual weight.
_GOOD: Final = ("regular", "sans", "gothic", "hei", "noto", "dejavu", "arial")
_BAD: Final = ("emoji", "bold", "italic", "oblique", "thin", "light", "black", "mono", "condensed", "narrow", "serif")
_MAX_FONT_FILES: Final = 4000
_PACKAGED: Final = Path(__file__).with_name("dejavu_sans_subset.ttf")


@dataclass(frozen=True)
class FontFile:
    """The (first) face of a font file, with the table that says which characters it has."""

    path: Path
    table: bytes

    def has(self, character: str) -> bool:
        """Whether the face draws this character."""
        return glyph(self.table, ord(character)) != 0


class TextFont:
    """Sets text in one size. Characters that the first font lacks come from the others. `Typeface.at` makes it."""

    def __init__(self, size: int, files: Sequence[FontFile] = ()) -> None:
        self.size = size
        self._files = files
        self._fonts = [_load(file.path, size) for file in files] or [_built_in(size)]
        self._ascent = self._fonts[0].getmetrics()[0]  # one base line, whatever room another font asks for

    def getlength(self, text: str) -> float:
        """Width in pixels."""
        return sum(font.getlength(piece) for font, piece in self._pieces(text))

    def draw(self, draw: ImageDraw.ImageDraw, position: tuple[float, float], text: str, fill: str) -> None:
        """Draw one line. `position` is the left end of the line and the top of its tallest letters."""
        x, y = position
        for font, piece in self._pieces(text):
            draw.text((x, y + self._ascent), piece, fill=fill, font=font, anchor="ls")
            x += font.getlength(piece)

    def _pieces(self, text: str) -> list[tuple[ImageFont.FreeTypeFont, str]]:
        if len(self._fonts) == 1:
            return [(self._fonts[0], text)]
        pieces: list[tuple[ImageFont.FreeTypeFont, str]] = []
        for character in text:
            which = next((number for number, file in enumerate(self._files) if file.has(character)), 0)
            font = self._fonts[which]
            if pieces and (pieces[-1][0] is font or character == " "):
                pieces[-1] = (pieces[-1][0], pieces[-1][1] + character)
            else:
                pieces.append((font, character))
        return pieces


@dataclass(frozen=True)
class Typeface:
    """The fonts that a sheet's labels need; no fonts mean the built-in one.

    `missing` holds the characters that no font has, in the order of their numbers.
    """

    files: tuple[FontFile, ...] = ()
    missing: str = ""

    def at(self, size: int) -> TextFont:
        """The fonts in one size."""
        return TextFont(size, self.files)

    def drawable(self, text: str) -> str:
        """The text with each missing character written as its number, `[U+5927]`, and without invisible ones."""
        out = []
        for character in unicodedata.normalize("NFC", text):
            if character in self.missing:
                out.append(f"[U+{ord(character):04X}]")
            elif not _invisible(character):
                out.append(character)
        return "".join(out).replace("][", " ")


def typeface(texts: Iterable[str], folders: Sequence[Path] | None = None) -> Typeface:
    """As few fonts as draw all characters of `texts`: the built-in one, or the packaged one and some of the system's.

    `folders` are searched for fonts; None means where the system keeps them.
    """
    wanted = {c for text in texts for c in unicodedata.normalize("NFC", text)}
    wanted = {c for c in wanted if not c.isspace() and not _invisible(c)}
    if all(_in_built_in(c) for c in wanted):
        return Typeface()
    files = _faces(_PACKAGED)
    wanted = {c for c in wanted if not files[0].has(c)}
    candidates = _font_files(tuple(font_folders() if folders is None else folders)) if wanted else ()
    while wanted:
        best = max(candidates, key=lambda file: (sum(file.has(c) for c in wanted), _looks(file.path)), default=None)
        drawn = {c for c in wanted if best is not None and best.has(c)}
        if best is None or not drawn:
            break
        files.append(best)
        wanted -= drawn
    return Typeface(tuple(files), "".join(sorted(wanted)))


def font_folders() -> list[Path]:
    """Where this system keeps fonts; folders that do not exist are left out."""
    home = Path.home()
    if sys.platform == "win32":
        places = [Path(os.environ.get("WINDIR", r"C:\Windows")) / "Fonts"]
        places.append(Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local")) / "Microsoft/Windows/Fonts")
    elif sys.platform == "darwin":
        places = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    else:
        data = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
        places = [*(Path(folder) / "fonts" for folder in data.split(":") if folder), home / ".local/share/fonts"]
        places.append(home / ".fonts")
    return [place for place in places if place.is_dir()]


@functools.lru_cache(maxsize=4)
def _font_files(folders: tuple[Path, ...]) -> tuple[FontFile, ...]:
    """Every usable face below the folders."""
    found: list[FontFile] = []
    for folder in folders:
        for place, _, names in sorted(os.walk(folder)):
            for name in sorted(names):
                if name.lower().endswith(_SUFFIXES) and len(found) < _MAX_FONT_FILES:
                    found += _faces(Path(place, name))
    return tuple(found)


def _faces(path: Path) -> list[FontFile]:
    """The first face of a font file; none when it is damaged, unreadable or made of coloured pictures."""
    try:
        with open(path, "rb") as file:
            table = character_table(file)
    except (OSError, struct.error):
        return []  # a font that cannot be read is one that does not help
    return [FontFile(path, table)] if table else []


def _looks(path: Path) -> tuple[int, int, int]:
    name = path.stem.lower()
    bad, good = sum(word in name for word in _BAD), sum(word in name for word in _GOOD)
    return -bad, good, -len(name)


def _invisible(character: str) -> bool:
    return unicodedata.category(character) in ("Cf", "Cc", "Cs") or "\ufe00" <= character <= "\ufe0f"


@functools.lru_cache(maxsize=64)
def _built_in(size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("This Pillow was built without FreeType; install the usual one: pip install --force pillow")
    return font


def _in_built_in(character: str) -> bool:
    return glyph(_built_in_table(), ord(character)) != 0


@functools.lru_cache(maxsize=1)
def _built_in_table() -> bytes:
    return character_table(io.BytesIO(_built_in(20).font_bytes))


@functools.lru_cache(maxsize=64)
def _load(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)
