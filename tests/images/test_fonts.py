"""Fonts for labels: character tables checked against FreeType's drawing, other fonts found and used, gaps named."""

from __future__ import annotations

import io
import logging
import struct
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from comfyui_eridiffusion.images import fonts as fonts_module
from comfyui_eridiffusion.images.fonts import font_folders, typeface
from comfyui_eridiffusion.images.sheet import contact_sheet

BUILT_IN = ImageFont.load_default(20)
PACKAGED = fonts_module._PACKAGED
NO_CHARACTER = "\uffff"


def format_4(pairs: dict[int, int]) -> bytes:
    """A `cmap` subtable with one segment per character (OpenType specification)."""
    codes = [*sorted(pairs), 0xFFFF]
    deltas = [(pairs[code] - code) & 0xFFFF for code in codes[:-1]] + [1]
    n = len(codes)
    body = struct.pack(f">{n}H", *codes) + b"\0\0" + struct.pack(f">{n}H", *codes)
    body += struct.pack(f">{n}H", *deltas) + bytes(2 * n)
    return struct.pack(">HHHHHHH", 4, 14 + len(body), 0, 2 * n, 0, 0, 0) + body


def format_12(pairs: dict[int, int]) -> bytes:
    groups = b"".join(struct.pack(">III", code, code, pairs[code]) for code in sorted(pairs))
    return struct.pack(">HHIII", 12, 0, 16 + len(groups), 0, len(pairs)) + groups


def font_with(pairs: dict[int, int], wide: bool) -> bytes:
    """Pillow's font with another character table."""
    source: bytes = BUILT_IN.font_bytes  # type: ignore[union-attr]
    table = format_12(pairs) if wide else format_4(pairs)
    cmap = struct.pack(">HHHHI", 0, 1, 3, 10 if wide else 1, 12) + table
    records, data = [], b""
    count = struct.unpack_from(">H", source, 4)[0]
    for number in range(count):
        tag, checksum, offset, length = struct.unpack_from(">4sIII", source, 12 + 16 * number)
        content = cmap if tag == b"cmap" else source[offset : offset + length]
        records.append(struct.pack(">4sIII", tag, checksum, 12 + 16 * count + len(data), len(content)))
        data += content + bytes(-len(content) % 4)
    return source[:12] + b"".join(records) + data


def glyph_of(character: str) -> int:
    return fonts_module.glyph(fonts_module._built_in_table(), ord(character))


def masks(other: Any, original: Any, drawn: str, letter: str) -> list[np.ndarray[Any, Any]]:
    """Grey values of the character, of the letter that it should look like, and of one that it should not."""
    pictures = []
    for font, character in ((other, drawn), (original, letter), (original, "OX"[letter == "O"])):
        picture = Image.new("L", (220, 220))
        ImageDraw.Draw(picture).text((10, 10), character, fill=255, font=font)
        pictures.append(np.asarray(picture, dtype=float))
    return pictures


def drawing(text: str, font: fonts_module.TextFont) -> bytes:
    picture = Image.new("L", (60, 40), "white")
    font.draw(ImageDraw.Draw(picture), (4, 4), text, "black")
    return picture.tobytes()


@pytest.mark.parametrize(
    "name", ["built in", "packaged", "DejaVuSans.ttf", "DejaVuSansMono.ttf", "LiberationSerif-Regular.ttf"]
)
def test_character_tables_agree_with_freetype(name: str) -> None:
    """What FreeType draws as its "no such character" sign is what the table must call missing."""
    if name == "built in":
        font, has = BUILT_IN, fonts_module._in_built_in
    elif name == "packaged":
        font, has = (
            ImageFont.truetype(str(PACKAGED), 20, layout_engine=ImageFont.Layout.BASIC),
            typeface("é").files[0].has,
        )
    else:
        found = [
            file for folder in font_folders() for file in fonts_module._font_files((folder,)) if file.path.name == name
        ]
        if not found:
            pytest.skip(f"{name} is not installed here")
        font, has = ImageFont.truetype(str(found[0].path), 20, layout_engine=ImageFont.Layout.BASIC), found[0].has
    sign = bytes(font.getmask(NO_CHARACTER))
    samples = [chr(code) for code in [*range(0x21, 0x600), *range(0x1E00, 0x2600, 3), *range(0x1F300, 0x1F680, 9)]]
    checked = 0
    for character in samples:
        drawn = bytes(font.getmask(character))
        if not drawn or character.isspace():
            continue  # blank in either case
        checked += 1
        assert has(character) == (drawn != sign), f"U+{ord(character):04X}"
    assert checked > 500


@pytest.mark.parametrize("wide", [False, True])
def test_another_font_draws_what_the_first_lacks(tmp_path: Path, wide: bool) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "other.ttf").write_bytes(font_with({ord("Ꝏ"): glyph_of("X"), ord("Ꜩ"): glyph_of("O")}, wide))
    (tmp_path / "broken.ttf").write_bytes(b"\0\1\0\0 no font at all")
    (tmp_path / "notes.txt").write_text("no font")
    face = typeface(["aꝎꜨb", "語"], [tmp_path])
    assert face.missing == "語"
    assert [file.path.name for file in face.files] == [PACKAGED.name, "other.ttf"]
    basic = ImageFont.Layout.BASIC
    original = ImageFont.truetype(io.BytesIO(BUILT_IN.font_bytes), 200, layout_engine=basic)  # type: ignore[union-attr]
    other = ImageFont.truetype(str(face.files[1].path), 200, layout_engine=basic)
    for drawn, letter in (("Ꝏ", "X"), ("Ꜩ", "O")):
        found, expected, wrong = masks(other, original, drawn, letter)
        assert np.abs(found - expected).mean() < 0.02 * 255  # FreeType's hinting looks at the character as well
        assert np.abs(found - wrong).mean() > 0.1 * 255
    assert drawing("aꜨ", face.at(20)) != drawing("a", face.at(20))
    assert face.drawable("aꝎ語語b") == "aꝎ[U+8A9E U+8A9E]b"


def test_european_labels_look_for_no_font(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(*_: object) -> None:
        raise AssertionError("looked for fonts")

    monkeypatch.setattr(fonts_module, "font_folders", look)
    assert typeface(["plain text, 100 % \u200bASCII", "two\nlines\ttab"]) == fonts_module.Typeface()
    face = typeface(["größer – naïve café œuvre €5", "e\u0301", "Привет, Ελλάδα, Tiếng Việt, Łódź, İstanbul → ✓"])
    assert [file.path for file in face.files] == [PACKAGED]
    assert face.missing == ""
    assert face.drawable("cafe\u0301 \u200bx\ufe0f") == "café x"


def test_every_letter_of_european_alphabets_is_packaged() -> None:
    (file,) = typeface("é").files
    letters = [
        chr(code) for code in [*range(0xA1, 0x180), *range(0x386, 0x3CF), *range(0x400, 0x460), *range(0x1EA0, 0x1EFA)]
    ]
    assert [c for c in letters if unicodedata.category(c) != "Cn" and not file.has(c) and c != "\xad"] == []
    assert PACKAGED.with_suffix(".LICENSE.txt").read_text(encoding="utf-8").startswith("Fonts are (c) Bitstream")


def test_characters_without_a_font_are_named_on_the_sheet_and_in_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fonts_module, "font_folders", lambda: [tmp_path])
    picture = Image.new("RGB", (200, 200), "red")
    with caplog.at_level(logging.WARNING):
        sheet = contact_sheet([picture], ["大 é"])
    assert "大 (U+5927)" in caplog.text
    assert "Noto" in caplog.text
    assert sheet.tobytes() == contact_sheet([picture], ["[U+5927] é"]).tobytes()
