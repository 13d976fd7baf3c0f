"""TOML and JSON against the standard library's parsers, `NAME=value` files, lines, and which notation a text is in."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import date, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.configs.json_tree import parse_json
from comfyui_eridiffusion.configs.line_trees import parse_env, parse_lines
from comfyui_eridiffusion.configs.toml_tree import parse_toml
from comfyui_eridiffusion.configs.tree import Node
from comfyui_eridiffusion.spec import SpecError, read_spec, read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def plain(node: Node) -> Any:
    """A tree as Python values; dates stay text."""
    if isinstance(node.value, dict):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    if not node.plain:
        return node.value
    if node.value in ("true", "false", "null"):
        return json.loads(node.value)
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


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.lists(st.sampled_from(STATEMENTS), max_size=8), st.lists(st.sampled_from(PIECES), max_size=9)))
def test_toml_is_accepted_and_read_as_the_standard_library_does(pieces: list[str]) -> None:
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


#: Every value in it is another one, so that a search tells where it stands.
PLACES = """# "v0"
top = "v1"   # = "v0"
dotted . "key" = 'v2'\tlist = [ "v3", # "v0" ]
    ['v4', 101], {a = "v5", b.c = 102}, ]
more = \"\"\"v6 \"v0\" [x]
y = 'z' \\
\"\"\"
long = '''v7
[no.header]'''
[a."b.c"]
date = 1979-05-27 07:32:03 \tother = 103.5
[[a.list]]
x = "v8"
[[a.list]]
x = "v9"
[a.list.deep]
x = -104
[a.d]
x = true
""".replace("\t", "\n")


def scalars(node: Node) -> Iterator[Node]:
    """All scalars below a node."""
    if isinstance(node.value, str):
        yield node
        return
    for child in node.value.values() if isinstance(node.value, dict) else node.value:
        yield from scalars(child)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_every_toml_value_knows_its_place(ending: str) -> None:
    root = parse_toml(PLACES.replace("\n", ending), "x.toml")
    assert plain(root) == theirs(tomllib.loads(PLACES))
    found = list(scalars(root))
    assert len(found) == 15
    for node in found:
        word = str(node.value).split(" ")[0]
        line, column = node.line, node.column
        rest = PLACES.split("\n")[line - 1][column - 1 :]
        assert rest.lstrip("\"'").startswith(word.split("\n")[0])
        assert PLACES.count(word.split("\n")[0]) == 1
    assert isinstance(root.value, dict)
    tables = root.value["a"].value
    assert isinstance(tables, dict)
    assert [(tables[key].line, tables[key].column) for key in ("b.c", "list", "d")] == [
        (PLACES[: PLACES.index(head)].count("\n") + 1, 1) for head in ('[a."b.c"]', "[[a.list]]", "[a.d]")
    ]


def test_without_a_toml_parser_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.10 has none of its own."""
    for name in ("tomllib", "tomli"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SpecError, match="needs the package tomli") as caught:
        read_text("model_family = 'flux'\n", source="c.toml")
    assert "pip install tomli" in str(caught.value.remedy)
    assert caught.value.source == "c.toml"
    assert read_text('{"model_family": "flux", "validation_prompt": "a"}').items


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=30))
def test_any_text_survives_toml(text: str) -> None:
    basic = json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
    document = plain(parse_toml(f"a = {basic}\n", "x.toml"))
    assert document == {"a": text}


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a = 1\nb = \n", 2, "Invalid value"),
        ("a = fox\n", 1, "texts need quotes"),
        ("a = 1\na = 2\n", 2, "given once"),
        ("[a]\n[a]\n", 2, "given once"),
        ("a = 1 2\n", 1, "after a statement"),
        ('a = "x\n', 1, "Illegal character"),
        ("a = '''x\ny", 2, "Expected"),
        ("a = [1, 2\n", 2, "Unclosed array"),
        ("a = {b = 1, = 2}\n", 1, "Invalid initial character"),
        ("a = 1979-02-30\n", 1, "Invalid date"),
        ('a = "\\ud800"\n', 1, "not a Unicode scalar"),
        ("a = \x01\n", 1, "Invalid value"),
        ("= 3\n", 1, "Invalid"),
        ("a 3\n", 1, "Expected '='"),
        ("a = 1_\n", 1, "after a statement"),
        ("a = 012\n", 1, "after a statement"),
        ("\na = " + "9" * 5000, 2, "too long"),
        ("\na = 0x" + "f" * 5000, 2, "too long"),
    ],
)
def test_toml_traps(text: str, line: int, message: str) -> None:
    """Where Python's parser found the fault; in its words, which may change with its version."""
    with pytest.raises(SpecError, match=message) as caught:
        parse_toml(text, "x.toml")
    assert (caught.value.source, caught.value.line) == ("x.toml", line)
    assert caught.value.column is not None
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("a = " + "[" * 60 + "]" * 60, 55),
        ("a = " + "{a = " * 60, 255),
        (".".join("a" * 60) + " = 1\n", 1),
        ("[" + ".".join("a" * 60) + "]\n", 2),
        *((start + unit * (600_000 // len(unit)), None) for start, unit in (
            ("", "["), ("", "a."), ("", '"a" . '), ("a = ", "{b = "), ("a = '", "'x'"), ("a = ", '"""x"\\'),
        )),
    ],
    ids=range(10),
)  # fmt: skip
def test_deep_toml_is_refused_before_it_is_parsed(text: str, column: int | None) -> None:
    """Python's parser follows brackets until its stack ends, and reads a long key once per part: for minutes."""
    with pytest.raises(SpecError) as caught:
        parse_toml(text, "x.toml")
    assert caught.value.line == 1
    if column is not None:
        assert caught.value.column == column
        assert "deeper" in caught.value.problem


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(VALUES, st.sampled_from([None, 1]), st.booleans())
def test_json_is_read_as_the_standard_library_does(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only)
    root = parse_json(text, "x.json")
    assert plain(root) == json.loads(text)
    for node in scalars(root):
        rest = text.split("\n")[node.line - 1][node.column - 1 :]
        assert rest.startswith(str(node.value) if node.plain else '"')


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1\n", {"A": "1"}),
        ("export A='x  y'\r\n# c\n\nB=\"z\" # d\n", {"A": "x  y", "B": "z"}),
        ("A=1\nA+=2\nB=\"$A 4\" C=${A:-5} D='$A'\n", {"A": "12", "B": "12 4", "C": "12", "D": "$A"}),
        ("[ 1 == 1 ] && A=1\nif [ -z \"$A\" ]; then A=2; fi\necho $A\n", {"A": "1"}),
        ("A='1'\nA+=' 2'\n", {"A": "1 2"}),
        ("A=b=c\n", {"A": "b=c"}),
        ("A=\n", {"A": ""}),
    ],
)
def test_env(text: str, expected: dict[str, str]) -> None:
    """What bash 5.2 holds after it has sourced the file."""
    assert plain(parse_env(text, "config.env")) == expected


def test_env_traps() -> None:
    for line in ("source x.sh", "A=3 4", "A = 1"):
        with pytest.raises(SpecError, match="NAME=value") as caught:
            parse_env(f"A=1\n{line}\n", "config.env")
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


@pytest.mark.parametrize("text", ["{}", '["red", "blue"] cats', "[]", '{"a": 1}', '["a fox"]', "a: b", "x = 1"])
@pytest.mark.parametrize("trainer", [None, "kohya", "musubi"])
def test_a_prompt_file_may_begin_like_anything(text: str, trainer: str | None) -> None:
    """sd-scripts' `load_prompts` and musubi-tuner's go by the suffix: every line of a .txt is a prompt."""
    for spec in (read_text(text, trainer, "flux", source="p.txt"), read_text(
        "ae = 'ae.sft'\nsample_prompts = 'p.txt'\n", "kohya", files={"p.txt": text})):  # fmt: skip
        assert [item.prompt for item in spec.items] == [text]


def test_json_saved_as_text_is_no_prompt_file() -> None:
    text = json.dumps({"model_family": "flux", "validation_prompt": "a fox"}, indent=1)
    assert read_text(text, source="c.txt").trainer == "simpletuner"
    spec = read_text(text, source="c.txt")
    for form in (spec.to_json(), spec.to_json(2)):
        assert read_text(form, source="c.txt") == spec


@settings(max_examples=100, deadline=None)
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


def test_of_a_key_that_json_gives_twice_the_last_counts() -> None:
    """As Python's json, with which these trainers read: OneTrainer shipped presets with one."""
    text = '{"model_family": "flux", "validation_seed": 3, "validation_prompt": "a",\n "validation_seed": 4}'
    spec = read_text(text)
    assert spec.items[1].seed == 4
    assert [note for note in spec.notes if "'validation_seed' is given twice; the one in line 2" in note]
    text = '[{"prompt": "a", "random_seed": false, "seed": 1, "seed": 2}]'
    assert read_text(text, "onetrainer", "flux").items[0].seed == 2


def test_of_a_key_that_yaml_gives_twice_the_last_counts() -> None:
    """ai-toolkit reads with oyaml, PyYAML's SafeLoader; EriDiffusion with serde_yaml, which stops."""
    model = "    model: {arch: flux, name_or_path: /m/flux1-dev.safetensors}\n"
    text = f"config:\n  name: zorp\n  process:\n  - type: %s\n{model}    sample:\n      prompts: [a]\n"
    text += "      seed: 3\n      seed: 4\n"
    spec = read_text(text % "sd_trainer", "ai-toolkit")
    assert spec.items[0].seed == 4
    assert [note for note in spec.notes if "'seed' is given twice; the one in line 9" in note]
    with pytest.raises(SpecError, match="'seed' is given twice"):
        read_text(text % "flux_trainer", "eridiffusion")
