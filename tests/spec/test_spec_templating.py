"""Alternatives, wildcards and trigger words in prompts."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleItem, SampleSpec, SpecError, expand_prompts, read_text
from comfyui_eridiffusion.spec.model import fill_trigger, placeholders


def spec_of(*prompts: str, negative: str = "") -> SampleSpec:
    items = [SampleItem(n, prompt, 64, 64, 1, negative_prompt=negative) for n, prompt in enumerate(prompts)]
    return SampleSpec("flux", "native", items)


def expanded(prompt: str, seed: int = 0, **options: Any) -> str:
    return expand_prompts(spec_of(prompt), seed, **options).items[0].prompt


def possible(text: str) -> set[str]:
    """All texts that nested alternatives allow; a pair of braces counts when no brace and a bar stand between."""
    for start, end in itertools.combinations(range(len(text)), 2):
        inner = text[start + 1 : end]
        if text[start] == "{" and text[end] == "}" and "|" in inner and not set("{}") & set(inner):
            return set().union(*(possible(text[:start] + option + text[end + 1 :]) for option in inner.split("|")))
    return {text}


def test_nothing_happens_unasked() -> None:
    text = json.dumps({"eri_spec": 1, "family": "flux", "items": [
        {"prompt": "a {red|blue} __animal__", "width": 64, "height": 64, "steps": 1}]})  # fmt: skip
    spec = read_text(text)
    assert spec.items[0].prompt == "a {red|blue} __animal__"
    assert expand_prompts(spec_of("plain {x} text"), 3) == spec_of("plain {x} text")


@pytest.mark.parametrize("text", ["a {red|blue} fox", "{a|b}{c|d}", "{a|{b|c} d}", "{|very} big", "{a}{b|c}", "{x"])
def test_every_alternative_comes_up_and_no_other(text: str) -> None:
    found = {expanded(text, seed) for seed in range(60)}
    assert found == possible(text)


def test_choices_are_even() -> None:
    counts = Counter(expanded("{a|b|c|d}", seed) for seed in range(2000))
    assert set(counts) == set("abcd")
    assert max(counts.values()) < 600
    pairs = Counter(expanded("{a|b} {a|b}", seed) for seed in range(2000))
    assert min(pairs.values()) > 400  # two places choose independently
    assert len(pairs) == 4


def test_the_same_seed_gives_the_same_prompts_whatever_is_selected() -> None:
    spec = spec_of(*["a {red|blue|green|black} {fox|owl|hare}"] * 8, negative="{dull|grey}")
    whole = expand_prompts(spec, 7)
    assert expand_prompts(spec, 7) == whole
    assert expand_prompts(spec, 8) != whole
    assert expand_prompts(spec.select("2,5"), 7).items == [whole.items[2], whole.items[5]]
    assert len({item.prompt for item in whole.items}) > 3
    assert {item.negative_prompt for item in whole.items} == {"dull", "grey"}
    assert any("seed 7" in note for note in whole.notes)


def test_wildcards_from_lists_and_folders(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "animal.txt").write_text("# kinds\nfox\n\n  owl  \n", encoding="utf-8")
    (tmp_path / "sub" / "colour_name.txt").write_text("{dark|light} red\n", encoding="utf-8")
    lists = {"animal": ["fox", "owl"], "sub/colour_name": ["{dark|light} red"]}
    text = "a __sub/colour_name__ __animal__"
    want = {f"a {shade} red {kind}" for shade, kind in itertools.product(("dark", "light"), ("fox", "owl"))}
    for wildcards in (lists, tmp_path):
        assert {expanded(text, seed, wildcards=wildcards) for seed in range(60)} == want
        assert [expanded(text, seed, wildcards=lists) for seed in range(9)] == [
            expanded(text, seed, wildcards=wildcards) for seed in range(9)
        ]
    assert expanded("keep __animal__") == "keep __animal__"


@pytest.mark.parametrize("name", ["missing", "../secret", "a.b"])
def test_unknown_wildcards(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.txt").write_text("secret\n")
    (tmp_path / "in" / "a.b.txt").write_text("x\n")
    text = f"__{name}__"
    if name == "missing":
        with pytest.raises(SpecError, match="no wildcard 'missing'") as caught:
            expanded(text, wildcards=tmp_path / "in")
        assert caught.value.field == "items[0].prompt"
    else:
        assert expanded(text, wildcards=tmp_path / "in") == text  # no wildcard's name


def test_wildcards_that_never_end() -> None:
    for lists in ({"a": ["__a__"]}, {"a": ["__b__ __b__"], "b": ["__a__"]}):
        with pytest.raises(SpecError, match="never end"):
            expanded("__a__", wildcards=lists)


@settings(max_examples=75, deadline=None)
@given(st.text(st.sampled_from("ab{}| _")), st.integers())
def test_any_text_is_one_of_its_possible_ones(text: str, seed: int) -> None:
    if text.count("|") < 6:
        assert expanded(text, seed) in possible(text)


@pytest.mark.parametrize(
    "written",
    [
        *("[trigger]", "[Trigger]", "{trigger}", "{trigger_word}", "[trigger_word]", "{{trigger_word}}", "{TRIGGER}"),
        *("<trigger>", "<trigger-word>", "[ trigger ]", "{trigger word}", "[[trigger]]", "{triggerword}"),
    ],
)
def test_trigger_words_in_every_spelling(written: str) -> None:
    assert placeholders(f"a {written} b {written}") == [written]
    assert fill_trigger(f"a {written} b", r"zo\1rp") == r"a zo\1rp b"
    text = f"""
trigger_word: zorp
model: {{arch: flux}}
sample: {{prompts: ["a {written} on a hill"], width: 512, height: 512, sample_steps: 20, guidance_scale: 4}}
"""
    assert read_text(text, trainer="eridiffusion").items[0].prompt == "a zorp on a hill"


@pytest.mark.parametrize("text", ["trigger", "[triggers happy]", "(trigger)", "a trigger_word", "[name]"])
def test_other_text_is_no_placeholder(text: str) -> None:
    assert fill_trigger(text, "zorp") == text


def test_a_placeholder_that_stays_is_noted() -> None:
    spec = read_text("a [trigger] here", trainer="kohya", family="flux")
    assert spec.items[0].prompt == "a [trigger] here"
    assert any("[trigger] stays in the prompts" in note for note in spec.notes)
