"""TOML against the standard library's parser, the two JSON parsers against each other, `NAME=value` files, lines."""

from __future__ import annotations

import json
import math
import sys
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.configs.json_fast import in_order, parse_json_fast
from comfyui_eridiffusion.configs.json_tree import parse_json
from comfyui_eridiffusion.configs.line_trees import parse_env, parse_lines
from comfyui_eridiffusion.configs.parse import parse
from comfyui_eridiffusion.configs.toml_tree import parse_toml
from comfyui_eridiffusion.configs.tree import Node
from comfyui_eridiffusion.spec import SpecError, read_spec, read_text


def plain(node: Node) -> Any:
    """A tree as Python values; dates stay text."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    if not node.plain:
        return node.value
    if node.value in ("true", "false"):
        return node.value == "true"
    try:
        return int(node.value)
    except ValueError:
        pass
    try:
        return float(node.value)
    except ValueError:
        return "a date"


def theirs(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: theirs(child) for key, child in value.items()}
    if isinstance(value, list):
        return [theirs(child) for child in value]
    return "a date" if isinstance(value, date | time) else value


STATEMENTS = [
    *("a = 1\n", "[a]\n", "[[a]]\n", "[a.b]\n", "a.b = 2\n", "b = {a = 1}\n", "[[a.b]]\n", "b.a.a = 3\n", "a = []\n"),
    *("a = [1,\n2,]\n", "[b]\n", "b.c = {d.e = 1, d.f=2}\n", "[a.b.c]\n", 'c = "x"\n', "a.b.c.d = 1\n", "[c]\n"),
    *("[[c]]\n", "[c.a]\n", " # x\n", "\r\n", "x = {a={b=1}, a.c=2}\n", "[x.a]\n", "d.e = 1\n", "d.f = 1\n", "[a.d]\n"),
    *('s = """\n a \\\n  b"""\n', "s = '''a'b''''\n", 's = "\\u00e9\\t\\\\"\n', "d = 1979-05-27T07:32:00Z\n"),
    *("n = 0xFF\n", "n = 1_000.5e-1\n", "n = -inf\n", "t = 07:32:00.5\n", "'q q'.\"r\" = true\n"),
]
PIECES = [
    *(
        "a",
        "b",
        '"a"',
        "'b'",
        ".",
        "=",
        "1",
        "0x1F",
        "1_0",
        "-2.5e3",
        "inf",
        "true",
        '"x"',
        "'''y\n'''",
        '"""z"""',
        "[",
    ),
    *("]", "[[", "]]", "{", "}", ",", "\n", " ", "#c\n", "\\", '"', "'", "1979-05-27", "07:32:00", "\\u00e9", "\t"),
]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the standard library's parser is the reference")
@settings(max_examples=600, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(STATEMENTS), max_size=8), st.lists(st.sampled_from(PIECES), max_size=9)))
def test_toml_is_accepted_and_read_as_the_standard_library_does(pieces: list[str]) -> None:
    import tomllib

    text = "".join(pieces)
    try:
        expected = theirs(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        with pytest.raises(SpecError) as caught:
            parse_toml(text, "x.toml")
        assert caught.value.line is not None
        assert caught.value.column is not None
    else:
        assert plain(parse_toml(text, "x.toml")) == expected


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30))
def test_any_text_survives_toml(text: str) -> None:
    basic = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    document = plain(parse_toml(f"a = {basic}\n", "x.toml"))
    assert document == {"a": text}


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("a = 1\nb = \n", 2, 5, "text needs quotes"),
        ("a = fox\n", 1, 5, "text needs quotes"),
        ("a = 1\na = 2\n", 2, 1, "given twice"),
        ("[a]\n[a]\n", 2, 1, "given twice"),
        ("a = 1 2\n", 1, 7, "only a comment"),
        ('a = "x\n', 1, 5, "closing quote"),
        ("a = '''x\n", 1, 5, "closing quotes"),
        ("a = [1, 2\n", 2, 1, "',' or ']'"),
        ("a = {b = 1,}\n", 1, 12, "key is missing"),
        ("a = 1979-13-01\n", 1, 5, "no date"),
        ('a = "\\x"\n', 1, 6, "no escape"),
        ('a = "\\ud800"\n', 1, 6, "no escape"),
        ("a = \x01\n", 1, 5, "control character"),
        ("= 3\n", 1, 1, "key is missing"),
        ("a 3\n", 1, 3, "'=' is missing"),
        ("a = " + "[" * 60 + "]" * 60, 1, 55, "deeper"),
        (".".join("a" * 60) + " = 1\n", 1, 123, "deeper"),
        ("[" + ".".join("a" * 60) + "]\n", 1, 1, "deeper"),
        ("a = 1_\n", 1, 5, "no number"),
        ("a = 012\n", 1, 5, "no number"),
    ],
)
def test_toml_traps(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        parse_toml(text, "x.toml")
    assert (caught.value.line, caught.value.column) == (line, column)
    assert caught.value.remedy


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


def bare(node: Node) -> Any:
    """A tree without places."""
    if isinstance(node.value, dict):
        return {key: bare(child) for key, child in node.value.items()}
    return [bare(child) for child in node.value] if isinstance(node.value, list) else (node.value, node.plain)


@settings(max_examples=200, deadline=None)
@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_both_json_parsers_agree(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    fast = parse_json_fast(text)
    if "Infinity" in text and math.inf in list(_leaves(value)) + [-x for x in _leaves(value)]:
        assert fast is None
        return
    slow = parse_json(text, "x.json")
    if fast is None:
        assert "\\ud" in text
        return
    assert bare(fast) == bare(slow)
    document = parse(text, "x.json", ".json")
    for ours, careful in zip(in_order(document.root), in_order(slow), strict=True):
        assert document.place(ours) == (careful.line, careful.column)


def _leaves(value: Any) -> Any:
    if isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _leaves(child)
    elif isinstance(value, float):
        yield value


@pytest.mark.parametrize(
    "text", ['{"a": NaN}', '{"a": 1, "a": 2}', "[" * 60 + "]" * 60, '["\\ud800"]', "// c\n{}", "[1,]"]
)
def test_what_is_no_plain_json_is_left_to_the_careful_parser(text: str) -> None:
    assert parse_json_fast(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n", {"A": "1"}),
        ("export A='x  y'\r\n# c\n\nB=\"z\"\n", {"A": "x y", "B": "z"}),
        ("A=1\nA+=' 2'\nA=3 4\n", {"A": "3 4"}),
        ("A='1'\nA+=' 2'\n", {"A": "1 2"}),
        ("A=b=c\n", {"A": "b=c"}),
        ("A=\n", {"A": ""}),
    ],
)
def test_env(text: str, expected: dict[str, str]) -> None:
    assert plain(parse_env(text, "config.env")) == expected


def test_env_traps() -> None:
    with pytest.raises(SpecError, match="NAME=value") as caught:
        parse_env("A=1\nsource x.sh\n", "config.env")
    assert caught.value.line == 2


def test_lines_end_as_any_system_writes_them() -> None:
    assert plain(parse_lines("a\r\nb\rc\nd", "p.txt")) == ["a", "b", "c", "d"]
    with pytest.raises(SpecError, match="NUL") as caught:
        parse_lines("a\nb\x00", "p.txt")
    assert caught.value.line == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.toml", "model_family = 'flux'\nvalidation_prompt = 'héron 🦢'\n"),
        ("c.json", '{"model_family": "flux", "validation_prompt": "héron 🦢"}'),
        ("c.env", "MODEL_FAMILY=flux\nVALIDATION_PROMPT='héron 🦢'\n"),
        ("c.yaml", "model_family: flux\nvalidation_prompt: héron 🦢\n"),
    ],
)
def test_marks_and_line_ends_of_every_notation(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    for data in (text.encode(), text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode()):
        path.write_bytes(data)
        assert read_spec(path).items[1].prompt == "héron 🦢"
    path.write_bytes(text.replace("🦢", "").encode("cp1252"))
    with pytest.raises(SpecError, match="not UTF-8") as caught:
        read_spec(path)
    assert caught.value.line is not None


def test_a_prompt_file_with_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes("# no\r\na fox --d 3\r\n".encode("utf-8-sig"))
    assert [item.prompt for item in read_spec(path, family="flux").items] == ["a fox"]


def test_a_config_saved_as_text_is_no_prompt_file(tmp_path: Path) -> None:
    path = tmp_path / "config.txt"
    path.write_text((Path(__file__).parent / "data" / "eri_flux.yaml").read_text())
    assert read_spec(path).trainer == "eridiffusion"


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=80),
    st.sampled_from(["", ".toml", ".json", ".env", ".txt", ".yaml"]),
    st.sampled_from([None, "kohya", "simpletuner", "onetrainer", "eridiffusion-v2", "musubi"]),
)
def test_any_text_ends_in_a_spec_or_spec_error(text: str, suffix: str, trainer: str | None) -> None:
    source = f"c{suffix}" if suffix else "<text>"
    try:
        spec = read_text(text, trainer=trainer, family="flux", source=source)
    except SpecError:
        return
    assert spec.items
