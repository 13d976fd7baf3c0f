"""Hostile and broken input: every one ends in a SpecError that says where, with little work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleSpec, SpecError, from_json, read_spec, read_text
from comfyui_eridiffusion.tests.counting import at_most, calls
from comfyui_eridiffusion.tests.waiting import PATIENCE

DATA = Path(__file__).parent / "data"
NEUTRAL = (DATA / "neutral.yaml").read_text()
FILES = sorted(DATA.glob("*.*"))
#: The most function calls that refusing a hostile text takes.
FEW = 20_000


def line_of(text: str) -> int:
    """Line of the neutral config where a text stands, from 1."""
    return NEUTRAL[: NEUTRAL.index(text)].count("\n") + 1


@pytest.mark.parametrize(
    ("old", "new", "below", "message"),
    [
        ("name: twin", "name: !!python/object/apply:os.system [id]", 0, "tag"),
        ("name: twin", "name: !!str twin", 0, "tag"),
        ("name: twin", "name: ! twin", 0, "tag"),
        ("seed: 5", "seed: 5\n        seed: 6", 1, "'seed' is given twice"),
        ("seed: 5", "seed: *nowhere", 0, "no anchor"),
        ("seed: 5", "seed: &loop [*loop]", 0, "refers to itself"),
        ("seed: 5", "? [a, b]\n        : 5", 0, "key must be plain text"),
        ("seed: 5", "seed: 5\n       neg: x", 1, "not YAML"),
        ("neg: grey", "neg: a: b", 0, "not YAML"),
        ("neg: grey", "neg: 'grey", 0, "not YAML"),
        ("neg: grey", "neg: gr\x07ey", 0, "U\\+0007"),
        ("neg: grey", "neg: " + "[" * 60 + "]" * 60, 0, "deeper"),
        ("seed: 5", "\tseed: 5", 0, "not YAML"),
        ("job: extension", "job: extension\n---\nx: 1", 1, "second document"),
    ],
)
def test_yaml_traps(old: str, new: str, below: int, message: str) -> None:
    line = line_of(old) + below
    with pytest.raises(SpecError, match=message) as caught:
        read_spec(NEUTRAL.replace(old, new))
    assert caught.value.line is not None
    assert caught.value.line == line
    assert caught.value.column is not None
    assert caught.value.remedy


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_without_libyaml_the_result_is_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome() -> SampleSpec | str:
        try:
            return read_spec(path)
        except SpecError as error:
            return str(error)

    fast = outcome()
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert outcome() == fast


def test_alias_bomb_is_refused_with_little_work() -> None:
    lines = ["a0: &a0 [" + ", ".join(["lol"] * 10) + "]"]
    lines += [f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]" for n in range(1, 12)]
    with at_most(FEW), pytest.raises(SpecError, match="aliases"):
        read_spec("\n".join(lines))


def test_plain_aliases_are_fine() -> None:
    text = NEUTRAL.replace("neg: grey", "neg: &grey grey").replace('"a plain prompt"', '"a plain prompt", &p other, *p')
    spec = read_spec(text)
    assert [item.prompt for item in spec.items][2:] == ["other", "other"]


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-4", 1e-4), ("1e1", 10.0), ("4", 4.0), (".5", 0.5), ("+2.", 2.0), ("1.0e+1", 10.0)],
)
@pytest.mark.parametrize("trainer", ["eridiffusion", "ai-toolkit"])
def test_numbers(written: str, value: float, trainer: str) -> None:
    text = NEUTRAL.replace("guidance_scale: 4.5", f"guidance_scale: {written}")
    assert read_spec(text, trainer, family="flux").items[0].guidance == value


@pytest.mark.parametrize(
    "written", [".inf", ".nan", "'4'", "four", "[4]", "1e999", "4,5", "0x", "1:30", "true", "~", ""]
)
@pytest.mark.parametrize("trainer", ["eridiffusion", "ai-toolkit"])
def test_not_numbers(written: str, trainer: str) -> None:
    with pytest.raises(SpecError) as caught:
        read_spec(NEUTRAL.replace("guidance_scale: 4.5", f"guidance_scale: {written}"), trainer)
    assert caught.value.field == "config.process[0].sample.guidance_scale"
    assert caught.value.line == line_of("guidance_scale")


@pytest.mark.parametrize(
    "word", ["no", "off", "yes", "on", "true", "null_", "010", "12:30", "1_000", "1e-4", "0x1F", "=", "2024-01-01"]
)
@pytest.mark.parametrize("trainer", ["eridiffusion", "ai-toolkit"])
def test_prompts_are_text_whatever_they_look_like(word: str, trainer: str) -> None:
    text = NEUTRAL.replace('"a plain prompt"', word)
    assert read_spec(text, trainer).items[1].prompt == word


def test_encodings(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    text = NEUTRAL.replace("a plain prompt", "héron 🦢 in the fog")
    want = read_spec(text).items
    for data in (text.encode("utf-8-sig"), text.replace("\n", "\r\n").encode(), text.replace("\n", "\r").encode()):
        path.write_bytes(data)
        assert read_spec(path).items == want
    assert read_spec("\ufeff" + text).items == want
    for name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "latin-1"):
        path.write_bytes(text.replace("🦢", "!").encode(name))
        with pytest.raises(SpecError) as caught:
            read_spec(path)
        assert caught.value.source == str(path)
        assert caught.value.line is not None
        assert caught.value.remedy
    path.write_bytes(text.replace("🦢", "!").encode("cp1252"))
    with pytest.raises(SpecError, match="0xe9 is not UTF-8") as caught:
        read_spec(path)
    assert caught.value.line == text[: text.index("héron")].count("\n") + 1


def test_size_limit(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    with path.open("wb") as file:
        file.truncate(100 << 20)
    with at_most(FEW), pytest.raises(SpecError, match=r"104.9 MB is too large"):
        read_spec(path)
    with at_most(FEW), pytest.raises(SpecError, match="too large"):
        read_spec("a: b\n" * 2_000_000)
    with at_most(FEW), pytest.raises(SpecError, match="too large"):
        read_spec(b"a: b\n" * 2_000_000)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs a device file")
def test_device_files_are_refused() -> None:
    with pytest.raises(SpecError, match="not a regular file"):
        read_spec("/dev/zero")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('{"eri_spec": 1, "name": "a", "name": "b"}', 1, "'name' is given twice"),
        ('{"model_type": "FluxDev1",\n "model_type": "FluxDev1"}', 2, "'model_type' is given twice"),
        ('{\n "config": tru\n}', 2, "where a value should be"),
        ('{\n "config": 01\n}', 2, "where a value should be"),
        ('{\n "config": NaN}', 2, "where a value should be"),
        ('{\n "config": {\n', 3, "double quotes"),
        ('{\n "config" 3}', 2, "':' is missing"),
        ('{\n "config": 3 4}', 2, "',' or '}' is missing"),
        ('{\n "config": "a\nb"}', 2, "control character"),
        ('{\n "config": "\\ud800"}', 2, "surrogate"),
        ('{"config": 3} x', 1, "follows the end"),
        ('{"config": ' + "[" * 60 + "]" * 60 + "}", 1, "deeper"),
    ],
)
def test_json_traps(text: str, line: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(SpecError, match=message) as caught:
        read_spec(path)
    assert caught.value.line == line


def test_jsonc() -> None:
    document = json.dumps(yaml.safe_load(NEUTRAL), indent=2)
    document = "// a comment\n" + document.replace('"seed": 5', '/* the */ "seed": 5').replace("\n}", ",\n}")
    assert read_spec(document).items == read_spec(NEUTRAL).items
    assert (
        read_spec(
            "{config: {name: a, process: [{type: sd_trainer, x: 1}]}, 'eri_spec': 1, family: flux, items: "
            "[{prompt: a, width: 64, height: 64, steps: 1}]}"
        )
        .items[0]
        .prompt
        == "a"
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.sampled_from(["yaml", "json", "ascii json"]))
def test_any_prompt_survives_verbatim(prompts: list[str], form: str) -> None:
    document = yaml.safe_load(NEUTRAL)
    process = document["config"]["process"][0]
    process["sample"]["prompts"] = prompts
    del process["trigger_word"]
    text = yaml.safe_dump(document) if form == "yaml" else json.dumps(document, ensure_ascii=form == "ascii json")
    spec = read_spec(text, trainer="eridiffusion")
    assert [item.prompt for item in spec.items] == prompts
    again = from_json(spec.to_json())
    assert again == spec
    # toolkit/config.py puts the job's name for this word, wherever it stands in the file
    named = [prompt.replace("[name]", document["config"]["name"]) for prompt in prompts]
    stripped = [prompt.split("--")[0].strip() for prompt in named]
    if not any("--" in prompt or "${" in prompt for prompt in prompts):
        assert [item.prompt for item in read_spec(text, trainer="ai-toolkit").items] == stripped


def accepts(source: Any) -> bool:
    try:
        spec = read_spec(source)
    except SpecError:
        return False
    assert from_json(spec.to_json()) == spec
    return True


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_spec_error(data: bytes) -> None:
    assert not accepts(data)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet=st.sampled_from("{}[]\"',:&*!|>-?#%@`~ \n\tab01.\\/"), max_size=60))
def test_any_yaml_punctuation_ends_in_spec_error(text: str) -> None:
    accepts(text)
    accepts("config:\n  process:\n  - " + text)


@settings(max_examples=125, deadline=None)
@given(st.sampled_from(FILES), st.integers(0), st.integers(0, 12), st.binary(max_size=8))
def test_damaged_configs_end_in_a_spec_or_spec_error(path: Path, at: int, cut: int, put: bytes) -> None:
    data = path.read_bytes()
    start = at % len(data)
    accepts(data[:start] + put + data[start + cut :])


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(FILES), st.data())
def test_any_value_in_any_field_ends_in_a_spec_or_spec_error(path: Path, data: st.DataObject) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8").replace("\t", " "))
    place = document
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    accepts(yaml.safe_dump(document))


_DEEP = "+".join(["'a'"] * 900)


@pytest.mark.parametrize(
    "text",
    [
        "a=xxxxxxxxxx\n" + "a=$a$a\n" * 60 + "accelerate launch train_network.py --sample_prompts $a\n",
        "a=(x y)\n" + 'a+=("${a[@]}")\n' * 60 + 'accelerate launch train_network.py "${a[@]}"\n',
        "a=" + "x" * 4000 + "\naccelerate launch train_network.py " + "$a$a " * 50_000 + "\n",
        "$a = 'xxxxxxxxxx'\n" + '$a = "$a$a"\n' * 60 + "python train_network.py --sample_prompts $a\n",
        "@echo off\nset a=xxxxxxxxxx\n" + "set a=%a%%a%\n" * 60 + "python train_network.py --sample_prompts %a%\n",
        "x = 'aaaaaaaaaa'\n" + "x = x + x\n" * 60 + "!accelerate launch train_network.py --sample_prompts {x}\n",
        f"x = {_DEEP}\n!accelerate launch train_network.py --sample_prompts {{x}}\n",
        f"!accelerate launch train_network.py --sample_prompts {{{_DEEP}}}\n",
        "x = " + "a." * 900 + "b('c')\n!accelerate launch train_network.py --sample_prompts $x\n",
    ],
    ids=["bash", "array", "one word", "powershell", "cmd", "notebook", "deep value", "deep name", "deep call"],
)
def test_variables_that_grow_without_end_are_not_followed(text: str) -> None:
    """A few lines that double a variable would fill any memory."""
    with pytest.raises(SpecError):
        read_text(text)


#: Shells: how a script begins, an assignment, a block with one in it, a block that is left open, the command.
SHELLS = {
    "bash": ("#!/bin/bash\n", "a{}=1\n", "if x; then b{}=1; fi\n", "if x; then\n", "sample_flux --prompt x\n"),
    "PowerShell": ("", "$a{} = '1'\n", "if ($x) {{ $b{} = '1' }}\n", "if ($x) {\n", "& sample_flux `\n --prompt x\n"),
    "cmd.exe": ("@echo off\n", "set a{}=1\n", "if x==%x% set b{}=1\n", "if x==%x% (\n", "sample_flux ^\n --prompt x\n"),
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_takes_as_long_as_it_is_long(shell: str) -> None:
    """Variables times blocks would be hours for a text that is small enough to be read."""
    begin, assignment, block, _, command = SHELLS[shell]

    def work(count: int) -> int:
        lines = [assignment.format(number) + block.format(number) for number in range(count)]
        return calls(lambda: read_spec(begin + "".join(lines) + command))

    assert work(400) <= 4.5 * work(100)


@pytest.mark.parametrize("shell", SHELLS)
def test_blocks_that_stand_in_each_other_without_end_are_not_followed(shell: str) -> None:
    begin, _, _, opened, command = SHELLS[shell]
    assert read_spec(begin + opened * 50 + command).items[0].prompt == "x"
    with pytest.raises(SpecError):
        read_spec(begin + opened * 500 + command)


#: Texts with a long run of one letter, and the prompt that is read from each, None = it is refused.
RUNS_OF_ONE: dict[str, str | None] = {
    "a --w 8" + "\n" * 400_000 + "x": None,
    "if ($a" + " " * 400_000 + "b) {\n}\n& sample_flux `\n --prompt x\n": "x",
    "param($a = " + " " * 400_000 + "'x'x)\n& sample_flux `\n --prompt x\n": "x",
    '{"job":' + "/" * 400_000: None,
    "sample_flux --prompt x --cfg " + "1" * 400_000 + "x": None,
    "#!/bin/bash\nf() { " + "." * 400_000: None,
}
READ_ALL = """
import json, sys
from comfyui_eridiffusion.spec import SpecError, read_text
for text in json.load(sys.stdin):
    try:
        print(read_text(text).items[0].prompt, flush=True)
    except SpecError:
        print(flush=True)
"""


def test_a_long_run_of_one_letter_is_read_at_once() -> None:
    """Patterns that try every way to part it take minutes and more. In a process, which can be given up."""
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL], input=json.dumps(list(RUNS_OF_ONE)), capture_output=True, text=True,
        timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == [prompt or "" for prompt in RUNS_OF_ONE.values()]
