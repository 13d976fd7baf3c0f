"""What people write for the axes of a sweep: read, or refused with the option, the value and what is known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from comfyui_eridiffusion.compare.axes import Value
from comfyui_eridiffusion.compare.values import axes_of, read_values
from comfyui_eridiffusion.errors import CompareError
from comfyui_eridiffusion.spec import SampleItem, SampleSpec


def spec(family: str, trainer: str = "kohya", variant: str | None = None) -> SampleSpec:
    return SampleSpec(family=family, trainer=trainer, variant=variant, items=[SampleItem(0, "p", 64, 64, 2)])


@pytest.mark.parametrize(
    ("family", "axis", "text", "values"),
    [
        ("flux", "strength", " 0.6, 1,1.0 ,-0.5", [0.6, 1.0, -0.5]),
        ("sdxl", "seed", "0,18446744073709551615,0", [0, 2**64 - 1]),
        ("sdxl", "cfg", "1,7.5", [1.0, 7.5]),
        ("flux", "guidance", "0,3.5", [0.0, 3.5]),
        ("sdxl", "sampler", "euler_a,DDIM", ["euler_a", "DDIM"]),
    ],
)
def test_values(family: str, axis: str, text: str, values: list[Value]) -> None:
    assert read_values(spec(family), {axis: text}) == {axis: values}


@pytest.mark.parametrize(
    ("given", "axis", "text", "words"),
    [
        (spec("sdxl"), "guidance", "3", "SDXL has no guidance embedding"),
        (spec("chroma", "ai-toolkit"), "guidance", "3", "--cfg"),
        (spec("flux", variant="schnell"), "guidance", "3", "schnell has no guidance embedding"),
        (spec("flux", variant="schnell"), "cfg", "3", "Flux schnell is distilled"),
        (spec("sd35", variant="large-turbo"), "cfg", "3", "SD 3.5 large-turbo is distilled"),
        (spec("sdxl"), "sampler", "euler,foo", "--sampler foo: kohya knows no such sampler for SDXL. Known ones: ddim"),
        (spec("sd35"), "sampler", "ddim", "SD 3.5"),
        (spec("sdxl", "nobody"), "sampler", "ddim", "no sampler words of the trainer 'nobody' are known"),
        (spec("flux"), "strength", "1,nan", "--strengths nan: that is out of range"),
        (spec("flux"), "strength", "1e999", "from -100 to 100"),
        (spec("sdxl"), "cfg", "0.5", "from 1 to 100"),
        (spec("flux"), "strength", "1,,2", "--strengths 1,,2: a value is empty"),
        (spec("flux"), "strength", "", "a value is empty"),
        (spec("flux"), "seed", "1.5", "--seeds 1.5: that is no seed"),
        (spec("flux"), "seed", "²", "no seed"),
        (spec("flux"), "seed", "9" * 5000, "no seed"),
        (spec("flux"), "seed", str(2**64), "from 0 to 18446744073709551615"),
        (spec("flux"), "cfg", "x", "--cfg x: that is no number"),
    ],
)  # fmt: skip
def test_refused(given: SampleSpec, axis: str, text: str, words: str) -> None:
    with pytest.raises(CompareError) as refused:
        read_values(given, {axis: text})
    assert words in str(refused.value)
    assert refused.value.remedy


def test_what_acts_is_told() -> None:
    assert axes_of(spec("sdxl")) == ["--runs", "--strengths", "--seeds", "--cfg", "--sampler"]
    assert axes_of(spec("flux", variant="schnell")) == ["--runs", "--strengths", "--seeds", "--sampler"]
    assert axes_of(replace(spec("flux"), variant="dev"))[-2:] == ["--guidance", "--sampler"]
