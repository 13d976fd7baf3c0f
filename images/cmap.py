"""Which characters a font has, read from its file.

Source: the OpenType specification, table directory and table `cmap`, formats 4 and 12.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from typing import BinaryIO


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
