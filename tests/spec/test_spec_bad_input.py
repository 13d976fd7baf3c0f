"""Every reader with every kind of bad input: one table says what has to happen, one test holds it to that.

r  refused: a SpecError that names a place and says what to do, with little work
s  read, and the images are those of the good config
v  read, the prompt verbatim
n  read without the part that the trainer drops, which a note names
t  read by a rule of the trainer's own (`RULES`)
.  cannot happen in this notation, or nothing in it says such a thing
"""

from __future__ import annotations

import ast
import copy
import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion import trainers
from comfyui_eridiffusion.spec import SampleSpec, SpecError, from_json, read_spec, read_text
from comfyui_eridiffusion.tests.counting import at_most
from comfyui_eridiffusion.tests.spec.forms import FORMS, PROMPT, Form
from comfyui_eridiffusion.trainers import TRAINERS

TABLE = """
                         malformed   tag alias-bomb   types family   no-steps many-steps no-size huge-size   no-prompts
native-json                  r        .      .          r     r         r         r         r        r           r
native-yaml                  r        r      r          r     r         r         r         r        r           r
eridiffusion-process         r        r      r          r     r         r         r         r        r           r
eridiffusion-sample          r        r      r          r     r         r         r         r        r           r
eridiffusion-validation      r        r      r          r     r         r         r         r        r           r
eridiffusion-v2-command      r        .      .          r     .         r         r         r        r           r
eridiffusion-v2-json         r        .      .          r     r         .         .         r        r           r
eridiffusion-v2-library      r        .      .          r     .         .         .         r        r           r
eridiffusion-v2-lines        .        .      .          .     .         .         .         .        .           r
ai-toolkit-yaml              r        r      r          r     r         r         r         t        r           r
ai-toolkit-json              r        .      .          r     r         r         r         t        r           r
kohya-config                 r        .      .          n     r         t         t         t        r           r
kohya-command                r        .      .          n     r         t         t         t        r           r
kohya-gui                    r        .      .          n     r         t         t         t        r           r
kohya-lines                  .        .      .          n     .         t         t         t        r           r
kohya-toml                   r        .      .          r     .         r         r         t        r           r
kohya-json                   r        .      .          r     .         r         r         t        r           r
simpletuner-json             r        .      .          r     r         r         r         r        r           r
simpletuner-toml             r        .      .          r     r         r         r         r        r           r
simpletuner-env              r        .      .          r     r         r         r         r        r           r
onetrainer-config            r        .      .          t     r         r         r         r        r           r
onetrainer-samples           r        .      .          t     .         r         r         r        r           r
musubi-config                r        .      .          n     r         t         t         r        r           r
musubi-lines                 .        .      .          n     .         t         t         r        r           r

                         cp1252 utf-16 100-mb empty nul  unknown-flag dashes   trailing-comma duplicate crlf cr mark cut
native-json                r      r      r      r    r         v         v             s            r     s   s   s    r
native-yaml                r      r      r      r    r         v         v             .            r     s   s   s    .
eridiffusion-process       r      r      r      r    r         v         v             .            r     s   s   s    .
eridiffusion-sample        r      r      r      r    r         v         v             .            r     s   s   s    .
eridiffusion-validation    r      r      r      r    r         v         v             .            r     s   s   s    .
eridiffusion-v2-command    r      r      r      r    r         v         v             .            r     s   .   s    .
eridiffusion-v2-json       r      r      r      r    r         v         v             s            r     s   s   s    r
eridiffusion-v2-library    r      r      r      r    r         v         v             s            r     s   s   s    r
eridiffusion-v2-lines      r      r      r      r    r         v         v             .            .     s   s   s    .
ai-toolkit-yaml            r      r      r      r    r         n         n             .            n     s   s   s    .
ai-toolkit-json            r      r      r      r    r         n         n             s            n     s   s   s    r
kohya-config               r      r      r      r    r         n         v             .            r     s   r   s    .
kohya-command              r      r      r      r    r         n         v             .            t     s   .   s    .
kohya-gui                  r      r      r      r    r         n         v             s            n     s   s   s    r
kohya-lines                r      r      r      r    r         n         v             .            .     s   s   s    .
kohya-toml                 r      r      r      r    r         v         v             .            r     s   r   s    .
kohya-json                 r      r      r      r    r         v         v             s            n     s   s   s    r
simpletuner-json           r      r      r      r    r         v         v             s            n     s   s   s    r
simpletuner-toml           r      r      r      r    r         v         v             .            r     s   r   s    .
simpletuner-env            r      r      r      r    r         v         v             .            t     s   s   s    .
onetrainer-config          r      r      r      r    r         v         v             s            n     s   s   s    r
onetrainer-samples         r      r      r      r    r         v         v             s            n     s   s   s    r
musubi-config              r      r      r      r    r         n         v             .            r     s   r   s    .
musubi-lines               r      r      r      r    r         n         v             .            .     s   s   s    .
"""
#: Trainer -> input -> field of the image and its value by that trainer's rule.
RULES: dict[str, dict[str, tuple[str, Any]]] = {
    "kohya": {
        "no-steps": ("steps", 1),  # kept within 1 and 1000
        "many-steps": ("steps", 1000),
        "no-size": ("width", 64),  # at least that
        "duplicate": ("seed", 3),  # of the prompt file; a flag given twice is no mistake
    },
    "musubi": {"no-steps": ("steps", 1), "many-steps": ("steps", 1000)},
    "ai-toolkit": {"no-size": ("width", 64)},
    "onetrainer": {"types": ("steps", 30)},  # what Python cannot convert leaves the default
    "simpletuner": {"duplicate": ("prompt", "an owl")},  # the last line counts
}
#: The most function calls that refusing a hostile file takes.
FEW = 20_000
BROKEN = {".yaml": "x: [1\n", ".yml": "x: [1\n", ".toml": "x = \n", ".env": "no assignment\n", ".sh": ""}
WRONG_TYPES = {".json": "[3]", ".yaml": "[3]", ".yml": "[3]", ".toml": "[3]"}
REPEATED = {".yaml": "model: 1\nmodel: 2\n", ".yml": "model: 1\n", ".toml": "x = 1\nx = 2\n"}
Input = tuple[str | bytes, dict[str, Any]]


def slot(name: str, value: str) -> Callable[[Form], Input]:
    """The form with one slot filled otherwise."""
    return lambda form: (form.text(**{name: value}), form.arguments(**{name: value}))


def changed(change: Callable[[str], str | bytes]) -> Callable[[Form], Input]:
    """The form with its text changed."""
    return lambda form: (change(form.text()), form.arguments())


def malformed(form: Form) -> Input:
    text = form.text()
    if form.suffix == ".json":
        return text.rstrip()[:-1], form.arguments()
    if form.suffix == ".sh":
        return text.rstrip() + " --x 'open\n", form.arguments()
    return text + BROKEN[form.suffix], form.arguments()


def alias_bomb(form: Form) -> Input:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 12)]
    return "\n".join(lines) + "\n" + form.text(), form.arguments()


def duplicate(form: Form) -> Input:
    text = form.text()
    if form.suffix == ".json":
        return text.replace("{", '{"x": 1, "x": 2, ', 1), form.arguments()
    if form.suffix == ".toml":
        return REPEATED[".toml"] + text, form.arguments()
    if form.suffix == ".env":
        return text + "VALIDATION_PROMPT='an owl'\n", form.arguments()
    if form.suffix == ".sh":
        return text.rstrip() + " --seed 4 --seed 5\n", form.arguments()
    return "x: 1\nx: 2\n" + text, form.arguments()


def encoded(name: str) -> Callable[[Form], Input]:
    """A prompt with an accent in another encoding, in the file that holds the prompts where that is the config."""

    def made(form: Form) -> Input:
        text = form.text(P="a héron in fog")
        if "é" not in text:
            text = text.replace("p.txt", "é/p.txt").replace("p.json", "é/p.json")
        return text.encode(name), form.arguments()

    return made


INPUTS: dict[str, Callable[[Form], Input]] = {
    "malformed": malformed,
    "tag": slot("S", "!!int 28"),
    "alias-bomb": alias_bomb,
    "types": lambda form: slot("S" if form.has("S") else "W", WRONG_TYPES.get(form.suffix, "many"))(form),
    "family": lambda form: slot("F", form.other_family)(form),
    "no-steps": slot("S", "0"),
    "many-steps": slot("S", "1000000"),
    "no-size": slot("W", "0"),
    "huge-size": slot("W", "99999"),
    "no-prompts": Form.without_prompts,
    "cp1252": encoded("cp1252"),
    "utf-16": encoded("utf-16"),
    "empty": changed(lambda text: ""),
    "nul": slot("P", "a\x00fox"),
    "unknown-flag": slot("P", "a fox --zzz 3"),
    "dashes": slot("P", "a well--lit fox"),
    "trailing-comma": changed(lambda text: ",}".join(text.rsplit("}", 1)).replace("\n]", ",\n]")),
    "duplicate": duplicate,
    "crlf": lambda form: (form.text().replace("\n", "\r\n"), form.arguments()),
    "cr": changed(lambda text: text.replace("\n", "\r")),
    "mark": changed(lambda text: text.encode("utf-8-sig")),
    "cut": changed(lambda text: text[: len(text) * 2 // 3]),
}


def cells() -> list[Any]:
    """(form, input, what has to happen), of every cell of the table that says something."""
    found = []
    for block in TABLE.strip("\n").split("\n\n"):
        head, *rows = block.splitlines()
        assert [row.split()[0] for row in rows] == list(FORMS)
        for row in rows:
            name, *marks = row.split()
            for column, mark in zip(head.split(), marks, strict=True):
                if mark != ".":
                    found.append(pytest.param(name, column, mark, id=f"{name} {column}"))
    return found


def read(form: Form, source: str | bytes, arguments: dict[str, Any], folder: Path) -> SampleSpec:
    """Read a config from a file, as people have it, with the files that it names beside it."""
    options = dict(arguments)
    path = folder / f"config{form.suffix}"
    path.write_bytes(source if isinstance(source, bytes) else source.encode())
    for name, text in options.pop("files", {}).items():
        (folder / name).write_bytes(text.encode())
    return read_spec(path, **options)


def check_refusal(error: SpecError, where: Path) -> None:
    """The error names the config or a file beside it, and what to do."""
    assert error.source
    assert error.source.startswith(str(where))
    assert error.remedy


@pytest.mark.parametrize("name", FORMS)
def test_the_good_config(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    spec = read(form, form.text(), form.arguments(), tmp_path)
    assert name.startswith(spec.trainer)
    assert [item.prompt for item in spec.items] == [PROMPT]
    if form.has("W"):
        assert spec.items[0].width == 1024
    if form.has("S"):
        assert spec.items[0].steps == 28
    assert from_json(spec.to_json()) == spec


@pytest.mark.parametrize(("name", "column", "mark"), cells())
def test_bad_input(name: str, column: str, mark: str, tmp_path: Path) -> None:
    form = FORMS[name]
    if column == "100-mb":
        path = tmp_path / f"config{form.suffix}"
        with path.open("wb") as file:
            file.truncate(100 << 20)
        with at_most(FEW), pytest.raises(SpecError, match=r"104\.9 MB is too large") as caught:
            read_spec(path, **form.options)
        return check_refusal(caught.value, tmp_path)
    source, arguments = INPUTS[column](form)
    if mark == "r":
        with at_most(FEW), pytest.raises(SpecError) as caught:
            read(form, source, arguments, tmp_path)
        check_refusal(caught.value, tmp_path)
        if column in ("malformed", "tag", "alias-bomb", "cp1252", "nul", "duplicate", "cut"):
            assert caught.value.line is not None
            assert caught.value.column is not None or column == "nul"
        elif column not in ("no-prompts", "empty"):
            assert caught.value.line is not None
        return None
    spec = read(form, source, arguments, tmp_path)
    prompts = [item.prompt for item in spec.items]
    if mark == "s":
        assert spec.items == read(form, form.text(), form.arguments(), tmp_path).items
    elif mark == "v":
        assert prompts == [{"unknown-flag": "a fox --zzz 3", "dashes": "a well--lit fox"}[column]]
    elif mark == "n":
        assert prompts == [{"unknown-flag": "a fox", "dashes": "a well"}.get(column, PROMPT)]
        said = {"unknown-flag": "--zzz 3", "dashes": "--lit fox", "duplicate": "The key 'x' is given twice"}
        dropped = said.get(column, f"--s {WRONG_TYPES.get(form.suffix, 'many')}")
        assert any(dropped in note for note in spec.notes)
    elif mark == "t":
        field, value = RULES[spec.trainer][column]
        assert getattr(spec.items[0], field) == value
    assert from_json(spec.to_json()) == spec
    return None


def outcome(text: str, arguments: dict[str, Any]) -> SampleSpec | None:
    """The spec, None when it was refused properly; any other exception fails the test."""
    try:
        spec = read_text(text, **arguments)
    except SpecError as caught:
        error = caught
    else:
        assert spec.items
        assert from_json(spec.to_json()) == spec
        return spec
    assert error.problem
    assert error.remedy
    return None


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.integers(0), st.integers(0, 10), st.text(max_size=6))
def test_damaged_anywhere(name: str, at: int, cut: int, put: str) -> None:
    form = FORMS[name]
    text = form.text()
    start = at % len(text)
    outcome(text[:start] + put + text[start + cut :], form.arguments())
    for file, text in form.arguments().get("files", {}).items():
        start = at % len(text)
        damaged = {file: text[:start] + put + text[start + cut :]}
        outcome(form.text(), {**form.arguments(), "files": damaged})


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FORMS)), st.binary(max_size=60))
def test_any_bytes(name: str, data: bytes) -> None:
    trainer = max((entry for entry in TRAINERS if name.startswith(entry)), key=len)
    try:
        spec = read_spec(data, trainer, "flux")
    except SpecError as caught:
        error = caught
    else:
        assert from_json(spec.to_json()) == spec
        return
    assert error.remedy


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([name for name, form in FORMS.items() if form.suffix == ".json"]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
)
@example("simpletuner-json", "None")  # its word for a field that is not set
def test_any_prompt_comes_back(name: str, prompt: str) -> None:
    """Prompts without flags are the text encoders', whatever they hold; stripped where the trainer strips them."""
    form = FORMS[name]
    if "--" in prompt or (name == "kohya-gui" and (set(prompt) & set("\r\n") or prompt.startswith(("#", "\ufeff")))):
        return
    written = json.dumps(prompt)[1:-1]
    spec = outcome(form.text(P=written), form.arguments(P=written))
    if spec is None:
        nothing = name.startswith("simpletuner") and ("{" in prompt or prompt.strip() == "None")
        assert not prompt.strip() or "[trigger]" in prompt or nothing
        return
    stripped = prompt.strip() if name in ("ai-toolkit-json", "simpletuner-json") else prompt
    if name == "kohya-gui":
        stripped = (prompt + " --w 1024 --s 28 --d 3").strip().split(" --")[0]
    assert [item.prompt for item in spec.items] == [stripped]


def known_words(trainer: str) -> list[str]:
    """Every name that a trainer's reader looks for, and some more: the names in the texts of its sources."""
    words: set[str] = set()
    name = trainer.replace("-", "_")
    for path in (Path(trainers.__file__).parent / name).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                words |= set(re.findall(r"^[\w$-]+$", node.value))
    return sorted(words)


def mappings(document: Any) -> list[dict[str, Any]]:
    """All mappings in a document."""
    children = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    own = [document] if isinstance(document, dict) else []
    return own + [found for child in children for found in mappings(child)]


@pytest.mark.parametrize("name", [name for name, form in FORMS.items() if form.suffix in (".json", ".yaml", ".yml")])
def test_any_type_under_any_name_that_a_reader_looks_for(name: str) -> None:
    form = FORMS[name]
    good = yaml.safe_load(form.text())
    words = known_words(max((entry for entry in TRAINERS if name.startswith(entry)), key=len))
    assert len(words) > 20
    for word, value in itertools.product(words, (None, True, -1, "x", ["a"], {"a": 1})):
        document = copy.deepcopy(good)
        for place in mappings(document):
            place[word] = value
        outcome(json.dumps(document), form.arguments())


@pytest.mark.parametrize("name", FORMS)
def test_every_field_that_is_not_used_is_named(name: str) -> None:
    """A field that nobody knows, in every section of the config."""
    form = FORMS[name]
    if form.suffix == ".txt":
        return  # lines have no fields; what is dropped from them is in the table above
    if form.suffix == ".sh":
        text = form.text().rstrip() + " --zzz-unused 3\n"
    elif form.suffix == ".env":
        text = form.text() + "ZZZ_UNUSED=3\n"
    elif form.suffix == ".toml":
        heads = re.split(r"^(?=\[)|(?<=\]\n)", "\n" + form.text(), flags=re.MULTILINE)
        text = "".join(part if part[:1] == "[" else f"zzz_unused_{n} = 3\n{part}" for n, part in enumerate(heads))
    else:
        document = yaml.safe_load(form.text())
        for place in mappings(document):
            place["zzz_unused"] = 3
        text = json.dumps(document)
    spec = read_text(text, **form.arguments())
    assert [item.prompt for item in spec.items] == [PROMPT]
    named = [field for field in spec.ignored if "zzz_unused" in field.lower()]
    sections = text.lower().count("zzz_unused") + text.count("zzz-unused")
    assert len(named) == len(set(named)) == sections > 0
