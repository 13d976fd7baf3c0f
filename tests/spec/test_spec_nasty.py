"""Values that look like numbers, switches or flags and are something else to one reader or another.

YAML's numbers are held against PyYAML, which ai-toolkit reads its configs with.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, expand_prompts, from_json, read_text
from comfyui_eridiffusion.tests.spec.forms import FORMS
from comfyui_eridiffusion.tests.spec.test_spec_damaged import JSONS

NEUTRAL = (Path(__file__).parent / "data" / "neutral.yaml").read_text()
NASTY: list[Any] = [
    10**400, -(10**400), "9" * 400, "9" * 5000, 1e308, -1e308, 2**63, 2**64, -(2**63) - 1, -0.0, 0.5, True, None, "",
    " ", "\t", "nan", "inf", "-inf", "1e400", "0x10", "010", "0o7", "1:30", "1_000", "٤٢", "１２", "²", "12\n", "yes",
    "\ufeff", "\u2028", "\x00", "\x7f", "${HOME}", "--w 9", [], {}, [[]], [None], {"": ""}, {"prompt": None},
]  # fmt: skip


def outcome(text: str, *args: Any, **options: Any) -> SampleSpec | SpecError:
    """What is read, or why not; any other exception fails the test."""
    try:
        return read_text(text, *args, **options)
    except SpecError as error:
        return error


def check(found: SampleSpec | SpecError) -> None:
    """Refused with a remedy and in few words, or read into a spec that its own form gives back."""
    if isinstance(found, SpecError):
        assert found.remedy
        assert len(found.problem) < 400
    else:
        assert from_json(found.to_json()) == found


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a document stands."""
    for key, child in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(child, dict | list):
            yield from places(child, (*path, key))


@pytest.mark.parametrize("name", sorted(JSONS))
def test_every_nasty_value_in_every_field(name: str) -> None:
    for path in places(JSONS[name]):
        for nasty in NASTY:
            document = copy.deepcopy(JSONS[name])
            place = document
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = nasty
            check(outcome(json.dumps(document), name, "flux"))


@pytest.mark.parametrize("name", FORMS)
def test_every_nasty_number_in_every_notation(name: str) -> None:
    form = FORMS[name]
    for slot in "SW":
        for nasty in (str(value) for value in NASTY if not isinstance(value, str)):
            text, arguments = form.text(**{slot: nasty}), form.arguments(**{slot: nasty})
            check(outcome(text, source=f"config{form.suffix}", **arguments))


def seed_of(word: str, trainer: str) -> int | None:
    """The seed that is read from a config with this word for it, None when it is refused."""
    found = outcome(NEUTRAL.replace("seed: 5", f"seed: {word}"), trainer)
    check(found)
    return found.items[0].seed if isinstance(found, SampleSpec) else None


@settings(max_examples=100, deadline=None)
@given(
    st.text("0123456789", min_size=1, max_size=20)
    | st.text("0123456789abcdefxXob+-_.:e", min_size=1, max_size=8)
    | st.from_regex(r"[-+]?0[xob][0-9a-f_]{1,6}", fullmatch=True)
    | st.sampled_from(["yes", "on", "~", "null", "1:30", "0x10", "010", "1_000", "+7", "12e3", ".inf"])
)
def test_no_word_is_read_as_another_number_than_pyyaml_reads(word: str) -> None:
    try:
        value = yaml.safe_load(word)
    except (yaml.YAMLError, ValueError):  # "0b_" is no error of YAML's to it, but stops it as well
        value = None
    for trainer in ("ai-toolkit", "eridiffusion"):
        seed = seed_of(word, trainer)
        if seed is not None:
            assert type(value) is int
            assert seed == value % 2**64


def test_merge_keys_are_pyyamls_for_ai_toolkit_alone() -> None:
    """PyYAML merges `<<`; Rust's serde_yaml takes it for a field of that name."""
    text = NEUTRAL.replace("seed: 5", "<<: {seed: 7, neg: other}").replace("job: extension", "job: extension\nb: 1")
    merged = yaml.safe_load(text)["config"]["process"][0]["sample"]
    spec = read_text(text, "ai-toolkit")
    assert spec.items[0].seed == merged["seed"] == 7
    assert spec.items[0].negative_prompt == merged["neg"] == "grey"
    spec = read_text(text, "eridiffusion")
    assert spec.items[0].seed != 7
    assert "config.process[0].sample.<<" in spec.ignored


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("a fox \u2014w 640", "\u2014w 640"),
        ("a fox \u2013\u2013d 3 in fog", "\u2013\u2013d 3"),
        ("a fox\t--s 9", "--s 9"),
        ("a fox--h 640", "--h 640"),
        ("--w 640", "--w 640"),
    ],
)
def test_what_was_meant_for_a_flag_is_named(line: str, stays: str) -> None:
    """The trainer takes it for a part of the prompt, and so do we: but a person should hear of it."""
    for trainer in ("kohya", "musubi"):
        spec = read_text(line, trainer, "flux")
        assert spec.items[0].prompt == line.strip()
        assert any(repr(stays) in note and "stays in the prompt" in note for note in spec.notes)
    if "--" not in line:
        spec = read_text(NEUTRAL.replace("a plain prompt", line), "ai-toolkit")
        assert spec.items[1].prompt == line
        assert any(repr(stays) in note for note in spec.notes)


@pytest.mark.parametrize(
    "line", ["a fox \u2014 white, with snow", "well--lit rooms", "a \u2013 b", "x\u2014s", "a-w 3"]
)
def test_dashes_of_a_sentence_are_none(line: str) -> None:
    notes = read_text(line, "kohya", "flux").notes
    assert not any("stays in the prompt" in note for note in notes)


KOHYA = "ae = 'a.sft'\nsample_prompts = 'p.txt'\noutput_name = 'zorp'\n"


def test_kohyas_mixed_precision_is_one_that_accelerate_has() -> None:
    for word, noise in (("no", "float32"), ("fp16", "float16"), ("bf16", "bfloat16"), ("fp8", "float32")):
        spec = read_text(f"{KOHYA}mixed_precision = '{word}'\n", files={"p.txt": "a"})
        assert spec.precision == noise
    with pytest.raises(SpecError, match="no mixed precision 'bfloat16'") as caught:
        read_text(f"{KOHYA}mixed_precision = 'bfloat16'\n", files={"p.txt": "a"})
    assert caught.value.line == 4


def test_a_token_limit_of_sdxl_does_nothing_to_flux() -> None:
    assert "max_token_length" in read_text(f"{KOHYA}max_token_length = 225\n", files={"p.txt": "a"}).ignored


SIMPLETUNER = {"model_family": "sdxl", "validation_prompt": "a", "validation_seed": 4, "seed": 3,
               "validation_no_cfg_until_timestep": 1}  # fmt: skip


def test_what_another_setting_takes_the_effect_of_is_named() -> None:
    """validation_seed goes before seed, chance before both; CFG from the start is Flux's alone."""
    assert read_text(json.dumps(SIMPLETUNER)).ignored == ["seed", "validation_no_cfg_until_timestep"]
    by_chance = read_text(json.dumps(SIMPLETUNER | {"validation_randomize": True}))
    assert by_chance.ignored == ["validation_seed", "seed", "validation_no_cfg_until_timestep"]
    flux = read_text(json.dumps(SIMPLETUNER | {"model_family": "flux", "validation_guidance_real": 2.0}))
    assert flux.ignored == ["seed"]
    assert read_text("sample_flux --prompt a --lora-path x.safetensors").ignored == ["lora_path"]


@pytest.mark.parametrize(
    ("written", "prompt"),
    [
        ("'a fox", None),
        ("a fox", None),
        ("'a fox' # said", "a fox"),
        ("\"'a fox'\"", "a fox"),
        ("'\"a fox\"'", "a fox"),
        ("''a\\ \\ fox''", "a  fox"),
        ('"a   \\"fox\\""', 'a   "fox"'),
    ],
)
def test_simpletuners_config_env_is_the_shells(written: str, prompt: str | None) -> None:
    """bash sources it; then `env_file.py::load_env_config` takes one pair of either quotes away."""
    text = f"MODEL_FAMILY=flux\nVALIDATION_PROMPT={written}\n"
    if prompt is None:
        with pytest.raises(SpecError):
            read_text(text)
    else:
        assert read_text(text).items[-1].prompt == prompt


@pytest.mark.parametrize("prompt", ["{" + "|" * 50_000, "{a|" * 20_000, "{" * 50_000 + "|}"])
def test_braces_without_end_are_looked_through_once(prompt: str) -> None:
    """A pattern that tries every bar as the first would take minutes."""
    spec = SampleSpec("flux", "native", [SampleItem(0, prompt, 64, 64, 1)])
    assert len(expand_prompts(spec, 1).items[0].prompt) >= len(prompt) - 3


@pytest.mark.parametrize(("start", "unit", "trainer"), [
    ("MODEL_FAMILY=flux\nVALIDATION_PROMPT=", "${", "simpletuner"),
    (NEUTRAL.replace('"a plain prompt"', '"a plain prompt", "%"').partition("%")[0], "${", "ai-toolkit"),
    ("accelerate launch flux_train_network.py --sample_prompts p.txt ", "--n ", "kohya"),
    ("sample_sd35 --prompt a ", "$(", "eridiffusion-v2"),
])  # fmt: skip
def test_long_texts_are_looked_through_once(start: str, unit: str, trainer: str) -> None:
    """300 KB of what begins like something and never ends: minutes, where each beginning is followed to the end."""
    check(outcome(start + unit * (300_000 // len(unit)), trainer, "flux", env={}, files={"p.txt": "a"}))
