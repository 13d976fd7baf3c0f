"""ai-toolkit configs: tables by hand, and random sections against an independent restatement of its rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from comfyui_eridiffusion.spec import SampleItem, SpecError, read_spec, read_text
from comfyui_eridiffusion.tests.spec.ai_toolkit_rules import expected_images

DATA = Path(__file__).parent / "data"


def config(sample: dict[str, Any], model: dict[str, Any] | None = None, **process: Any) -> str:
    body = {
        "type": "sd_trainer",
        "model": model or {"is_flux": True, "name_or_path": "a/b"},
        **process,
        "sample": {"sampler": "flowmatch", **sample},
    }
    return yaml.safe_dump({"job": "extension", "config": {"name": "run", "process": [body]}}, allow_unicode=True)


def items(sample: dict[str, Any], family: str | None = None, **process: Any) -> list[SampleItem]:
    return read_spec(config(sample, **process), trainer="ai-toolkit", family=family).items


def test_flux_file() -> None:
    spec = read_spec(DATA / "aitk_flux.yaml")
    assert (spec.trainer, spec.family, spec.variant, spec.name) == ("ai-toolkit", "flux", "dev", "otter_v2")
    assert (spec.sample_every, spec.precision, spec.image_format) == (200, "bfloat16", "jpg")
    prompts = ["0tter in a river, otter_v2", "an otter asleep", "a well", "the end"]
    assert [item.prompt for item in spec.items] == prompts
    # 100 sticks for the third item; the second's --d 9 does not; -1 is random
    assert [item.seed for item in spec.items] == [42, 9, 100, None]
    assert [(item.width, item.height) for item in spec.items] == [(992, 752), (512, 752), (992, 752), (992, 752)]
    assert [(item.cfg_scale, item.guidance) for item in spec.items] == [(1.0, 4.0), (1.0, 4.0), (1.0, 2.5), (1.0, 4.0)]
    assert [item.steps for item in spec.items] == [20, 20, 8, 20]
    assert [item.lora_scale for item in spec.items] == [1.0, 0.5, 1.0, 1.0]
    assert spec.items[1].negative_prompt == "ugly"
    assert "config.process[0].sample.samples[2].ctrl_img" in spec.ignored
    assert "config.process[0].sample.sample_start_step" in spec.ignored
    assert any("--lit" in note for note in spec.notes)


def test_sdxl_json_file() -> None:
    spec = read_spec(DATA / "aitk_sdxl.json")
    assert (spec.trainer, spec.family, spec.precision) == ("ai-toolkit", "sdxl", "float16")
    assert spec.image_format == "png"
    assert [item.prompt for item in spec.items] == ["a fjord 🌊", "snow", "night"]
    assert [item.seed for item in spec.items] == [None, 0, 1]
    assert [(item.cfg_scale, item.steps) for item in spec.items] == [(7.0, 20), (3.0, 20), (7.0, 5)]
    assert {(item.width, item.height, item.lora_scale, item.guidance) for item in spec.items} == {
        (512, 512, 0.75, None)
    }
    assert [item.negative_prompt for item in spec.items] == ["", "rain", ""]
    assert spec.sampling == {"rescale": 0.7}
    assert not spec.ignored
    assert any("CLIP-L only" in note for note in spec.notes)


@pytest.mark.parametrize(
    ("text", "prompt", "changes"),
    [
        ("a --w 512", "a", {"width": 512}),
        ("  a  --h 640  ", "a", {"height": 640}),
        ("a--s 5--cfg 2", "a", {"steps": 5, "guidance": 2.0}),
        ("a --l 3 --l 4", "a", {"guidance": 4.0}),
        ("a --steps 7 --m 0.25", "a", {"steps": 7, "lora_scale": 0.25}),
        ("a --network_multiplier -1", "a", {"lora_scale": -1.0}),
        ("well--lit room", "well", {}),
        ("a --W 512", "a", {}),
        ("a -- w 512", "a", {}),
        ("a --n b, c  ", "a", {"negative_prompt": "b, c"}),
        ("a --n", "a", {"negative_prompt": ""}),
        ("a --p2 other", "a", {}),
        ("a --n2 other", "a", {}),
        ("a --unknown 5 b", "a", {}),
        ("--d 3", "", {"seed": 3}),
        ("a --d -1", "a", {"seed": 2**64 - 1}),
        ("a --seed 8", "a", {"seed": 8}),
        ("a - w 5 (b:1.2) <lora:c:1> embedding:d", "a - w 5 (b:1.2) <lora:c:1> embedding:d", {}),
    ],
)
def test_inline_flags(text: str, prompt: str, changes: dict[str, Any]) -> None:
    plain = items({"prompts": ["a"], "neg": "grey"})[0]
    found = items({"prompts": [text], "neg": "grey"})[0]
    assert vars(found) == {**vars(plain), "prompt": prompt, **changes}


@pytest.mark.parametrize(
    "text", ["a --w", "a --w 5.5", "a --cfg x", "a --d 0x1", "a --cfg nan", "a --w 99999", "a --s 0"]
)
def test_bad_flags_name_their_prompt(text: str) -> None:
    with pytest.raises(SpecError) as caught:
        items({"prompts": ["fine", text]})
    assert caught.value.field == "config.process[0].sample.prompts[1]"
    assert caught.value.line is not None
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("section", "seeds"),
    [
        ({"prompts": ["a", "b", "c"]}, [0, 0, 0]),
        ({"prompts": ["a", "b", "c"], "seed": 5}, [5, 5, 5]),
        ({"prompts": ["a", "b", "c"], "seed": 5, "walk_seed": True}, [5, 6, 7]),
        ({"prompts": ["a", "b", "c"], "seed": -1}, [None, None, None]),
        ({"prompts": ["a", "b", "c"], "seed": -1, "walk_seed": True}, [None, 0, 1]),
        ({"samples": [{"prompt": "a"}, {"prompt": "b", "seed": 9}, {"prompt": "c"}], "seed": 5}, [5, 9, 9]),
        (
            {"samples": [{"prompt": "a"}, {"prompt": "b", "seed": 9}, {"prompt": "c"}], "seed": 5, "walk_seed": True},
            [5, 9, 7],
        ),
        ({"samples": [{"prompt": "a", "seed": 9}, {"prompt": "b --d 3"}, {"prompt": "c"}], "seed": 5}, [9, 3, 9]),
        ({"samples": [{"prompt": "a", "seed": None}, {"prompt": "b"}], "seed": 5}, [5, 5]),
        ({"prompts": ["a"], "seed": -5}, [2**64 - 5]),
    ],
)
def test_seed_rules(section: dict[str, Any], seeds: list[int | None]) -> None:
    assert [item.seed for item in items(section)] == seeds


def test_negative_seeds_are_what_torch_makes_of_them() -> None:
    torch = pytest.importorskip("torch")
    for seed in (-5, -2, -(2**63)):
        assert items({"prompts": ["a"], "seed": seed})[0].seed == torch.Generator().manual_seed(seed).initial_seed()


def test_entries_without_a_prompt_shift_the_settings() -> None:
    found = items({"samples": [{"width": 256}, {"prompt": "a", "width": 512}, {"prompt": "b", "width": 768}]})
    assert [(item.index, item.prompt, item.width) for item in found] == [(0, "a", 256), (1, "b", 512)]


def test_samples_replace_prompts_even_when_empty() -> None:
    assert [item.prompt for item in items({"prompts": ["old"], "samples": [{"prompt": "new"}]})] == ["new"]
    with pytest.raises(SpecError, match="nothing to sample"):
        items({"prompts": ["old"], "samples": []})


@pytest.mark.parametrize(
    ("family", "size", "result"),
    [("flux", 1023, 1008), ("flux", 70, 64), ("flux", 8, 64), ("sdxl", 1023, 1016), ("sdxl", 8, 64)],
)
def test_sizes(family: str, size: int, result: int) -> None:
    found = items({"prompts": ["a"], "width": size}, family)[0]
    assert (found.width, found.height) == (result, 512)


def test_sd3_stops_on_sizes_that_16_does_not_divide() -> None:
    assert items({"prompts": ["a"], "width": 1031}, "sd35")[0].width == 1024
    with pytest.raises(SpecError, match="multiples of 16"):
        items({"prompts": ["a"], "width": 1039}, "sd35")


@pytest.mark.parametrize(
    ("trigger", "prompt"),
    [("cat", "a cat by cat"), ("", "a  by "), (None, "a [trigger] by run")],
)
def test_templating(trigger: str | None, prompt: str) -> None:
    # [name] is config.name everywhere, before the trigger word could take its place
    text = "a [trigger] by [trigger]" if trigger is not None else "a [trigger] by [name]"
    found = items({"prompts": [text], "neg": "[trigger] [name]"}, trigger_word=trigger)[0]
    assert found.prompt == prompt.strip()
    assert found.negative_prompt == "[trigger] run"


def test_a_trigger_word_with_flags_is_parsed_like_the_prompt() -> None:
    assert items({"prompts": ["a [trigger]"]}, trigger_word="b --w 512")[0].width == 512


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ({"arch": "flux"}, "flux"),
        ({"arch": "flex1"}, "flux"),
        ({"arch": "sd3:large", "is_flux": True}, "sd35"),
        ({"arch": "sdxl"}, "sdxl"),
        ({"is_v3": True, "is_xl": True, "is_flux": True}, "sd35"),
        ({"is_xl": True, "is_flux": True}, "sdxl"),
        ({"is_flux": True}, "flux"),
        ({"is_ssd": True}, "sdxl"),
        ({"is_vega": True}, "sdxl"),
    ],
)
def test_family(model: dict[str, Any], family: str) -> None:
    text = config({"prompts": ["a"]}, {"name_or_path": "a/b", **model})
    assert read_spec(text, trainer="ai-toolkit").family == family


@pytest.mark.parametrize(
    ("model", "key", "named"),
    [
        ({"arch": "chroma_radiance"}, "arch", "chroma_radiance"),
        ({"arch": "zeta_chroma"}, "arch", "zeta_chroma"),
        ({"arch": "sd35"}, "arch", "sd35"),
        ({"is_v2": True, "is_flux": True}, "is_v2", "sd2"),
        ({"is_lumina2": True}, "is_lumina2", "lumina2"),
        ({}, "name_or_path", "sd1"),
    ],
)
def test_unsupported_family(model: dict[str, Any], key: str, named: str) -> None:
    with pytest.raises(SpecError, match=named) as caught:
        read_spec(config({"prompts": ["a"]}, {"name_or_path": "a/b", **model}), trainer="ai-toolkit")
    assert caught.value.field == f"config.process[0].model.{key}"


def test_kontext_follows_an_image_in_each_sample() -> None:
    """`flux_kontext.py::generate_single_image` stops without one; an entry's own counts where no flag is given."""
    model = {"arch": "flux_kontext", "name_or_path": "a/b", "use_flux_cfg": True}
    entries = [{"prompt": "a --ctrl_img x/fox.png --d 3"}, {"prompt": "b", "ctrl_img": "owl.png"}]
    spec = read_spec(config({"samples": entries, "guidance_scale": 4}, model), trainer="ai-toolkit")
    assert (spec.family, spec.variant) == ("flux", "kontext")
    assert [item.control_image for item in spec.items] == ["x/fox.png", "owl.png"]
    assert [(item.cfg_scale, item.guidance) for item in spec.items] == [(1.0, 4.0)] * 2
    assert spec.ignored == ["config.process[0].model.use_flux_cfg"]
    with pytest.raises(SpecError, match="no control image"):
        read_spec(config({"prompts": ["a"]}, model), trainer="ai-toolkit")
    assert items({"samples": [{"prompt": "a --ctrl_img x.png", "ctrl_img": "y.png"}]})[0].control_image is None


def test_guidance() -> None:
    flux = {"is_flux": True, "name_or_path": "a/b"}
    true_cfg = items({"prompts": ["a"], "guidance_scale": 3}, model={**flux, "use_flux_cfg": True})[0]
    assert (true_cfg.cfg_scale, true_cfg.guidance) == (3.0, None)
    low = items({"prompts": ["a"], "guidance_scale": 0.5, "width": 512}, "sd35")[0]
    assert (low.cfg_scale, low.guidance) == (1.0, None)


def test_unfit_and_unknown_samplers() -> None:
    for sampler, family in (("ddpm", "flux"), ("euler", "sd35"), ("flowmatch", "sdxl")):
        text = config({"prompts": ["a"], "sampler": sampler})
        assert any(sampler in note for note in read_spec(text, trainer="ai-toolkit", family=family).notes)
    with pytest.raises(SpecError, match="unipc"):
        items({"prompts": ["a"], "sampler": "unipc"})


def test_environment_variables_are_replaced_only_when_asked() -> None:
    text = config({"prompts": ["a ${ANIMAL}"], "seed": 1}, datasets=[{"folder_path": "${DATA}/x"}])
    with pytest.raises(SpecError, match="ANIMAL") as caught:
        read_spec(text, trainer="ai-toolkit")
    assert caught.value.field == "config.process[0].sample.prompts[0]"
    spec = read_spec(text, trainer="ai-toolkit", env={"ANIMAL": "cat", "DATA": "/d"})
    assert spec.items[0].prompt == "a cat"
    with pytest.raises(SpecError, match="DATA"):
        read_spec(text, trainer="ai-toolkit", env={"ANIMAL": "cat"})


def test_python_reads_yaml_1_1() -> None:
    text = config({"prompts": ["a", "b"], "walk_seed": True, "seed": 7})
    spec = read_spec(text.replace("walk_seed: true", "walk_seed: yes").replace("seed: 7", "seed: 1_000"), "ai-toolkit")
    assert [item.seed for item in spec.items] == [1000, 1001]
    spec = read_spec(text.replace("seed: 7", "seed: 7\n      neg: no"), "ai-toolkit")
    assert spec.items[0].negative_prompt == ""
    merged = "base: &base {width: 256, height: 320}\n" + text.replace("seed: 7", "seed: 7\n      <<: *base")
    found = read_spec(merged, "ai-toolkit").items[0]
    assert (found.width, found.height) == (256, 320)
    for octal_or_time in ("010", "12:30", "0o10"):
        with pytest.raises(SpecError, match="whole number"):
            read_spec(text.replace("seed: 7", f"seed: {octal_or_time}"), "ai-toolkit")


WORDS = st.text(alphabet=st.sampled_from("ab ,.é🦦'#%{}|:&*![]-\"\\"), max_size=10).filter(
    lambda text: "--" not in text
)
FLAGS = st.one_of(
    st.builds("--{} {}".format, st.sampled_from(["w", "h", "d", "seed"]), st.integers(0, 3000)),
    st.builds("--{} {}".format, st.sampled_from(["s", "steps"]), st.integers(1, 60)),
    st.builds("--{} {}".format, st.sampled_from(["l", "cfg", "m"]), st.integers(0, 80).map(lambda n: n / 8)),
    st.builds("--{} {}".format, st.sampled_from(["n", "zz", "N", "p2", "n2", ""]), WORDS),
)
PROMPTS = st.builds(
    lambda start, flags, end: start + " ".join(flags) + end,
    st.one_of(WORDS, st.just("[trigger] x")),
    st.lists(FLAGS, max_size=3),
    st.sampled_from(["", " ", "\n"]),
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "width": st.integers(1, 2000),
    "height": st.integers(1, 2000),
    "neg": st.one_of(WORDS, st.just(False)),
    "seed": st.integers(-1, 2**40),
    "guidance_scale": st.one_of(st.integers(1, 9), st.floats(1, 9)),
    "sample_steps": st.integers(1, 60),
    "network_multiplier": st.one_of(st.floats(-2, 2), st.just("0.5")),
}
ENTRIES = st.lists(st.fixed_dictionaries({"prompt": PROMPTS}, optional=FIELDS), min_size=1, max_size=4)
SECTIONS = st.one_of(
    st.fixed_dictionaries({"samples": ENTRIES}, optional={**FIELDS, "walk_seed": st.booleans()}),
    st.fixed_dictionaries(
        {"prompts": st.lists(PROMPTS, min_size=1, max_size=4)}, optional={**FIELDS, "walk_seed": st.booleans()}
    ),
)


@settings(max_examples=75, deadline=None)
@given(SECTIONS, st.sampled_from([None, "tok", "", "t [name]"]), st.sampled_from(["flux", "sdxl"]), st.booleans())
def test_random_sections_follow_the_restated_rules(
    section: dict[str, Any], trigger: str | None, family: str, as_json: bool
) -> None:
    text = config(section, trigger_word=trigger)
    text = json.dumps(yaml.safe_load(text)) if as_json else text
    put_in = json.loads(json.dumps(section).replace("[name]", "run"))
    word = trigger.replace("[name]", "run") if trigger is not None else None
    for found, wanted in zip(
        read_spec(text, "ai-toolkit", family).items, expected_images(put_in, word, family), strict=True
    ):
        scale = found.guidance if family == "flux" else found.cfg_scale
        shape = (found.width, found.height, found.seed, found.steps, scale, found.lora_scale)
        wanted_scale = wanted["scale"] if family == "flux" else max(1.0, wanted["scale"])
        assert (found.prompt, found.negative_prompt) == (wanted["prompt"], wanted["negative"])
        wanted_shape = [wanted[key] for key in ("width", "height", "seed", "steps")]
        assert shape == (*wanted_shape, wanted_scale, wanted["strength"])


def test_a_process_cut_out_of_its_list() -> None:
    model, sample = {"name_or_path": "a/FLUX.1-dev", "is_flux": True}, {"prompts": ["a pier"], "seed": 7}
    process = {"type": "sd_trainer", "model": model, "train": {"dtype": "bf16"}, "sample": sample}
    alone = read_text(json.dumps(process))
    for env in (None, {"HOME": "/root"}):
        spec = read_text(json.dumps([process]), env=env)
        assert (spec.trainer, spec.family, spec.items) == ("ai-toolkit", "flux", alone.items)
    with pytest.raises(SpecError, match="no training config"):
        read_text(json.dumps([process, process]))


def test_a_process_section_from_ai_toolkits_log() -> None:
    """ostris/ai-toolkit@27a03a9 jobs/process/BaseProcess.py:26 prints the section of the process alone."""
    text = """{
    "type": "diffusion_trainer", "train": {"dtype": "bf16"},
    "model": {"name_or_path": "D:\\\\models\\\\FLUX.1-dev", "arch": "flux"},
    "sample": {"sampler": "flowmatch", "seed": 7, "samples": [{"prompt": "a pier"}]}
}"""
    spec = read_text(text)
    assert (spec.trainer, spec.family, spec.precision, spec.items[0].seed) == ("ai-toolkit", "flux", "bfloat16", 7)
    assert any("config.name" in note for note in spec.notes)
