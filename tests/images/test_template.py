"""File name templates: what they give, what they refuse, and that no text in them leaves the folder."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_eridiffusion.errors import ImagesError
from comfyui_eridiffusion.images.layouts import SampleFile, relative_path
from comfyui_eridiffusion.images.template import PLACEHOLDERS, problem_with, render

CREATED = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=timezone.utc)


def path(template: str, **changes: object) -> str:
    values: dict[str, object] = {
        "run": "my_run",
        "step": 500,
        "index": 3,
        "name": "sample_03",
        "count": 4,
        "prompt": "A red/blue circle, on GREEN: really?",
        "seed": 42,
        "width": 1024,
        "height": 768,
        "created": CREATED,
        "trainer": "ai-toolkit",
        "family": "flux",
        **changes,
    }
    return str(relative_path("native", SampleFile(**values), None, template).with_suffix(""))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{run}/{step:06}/{name}", "my_run/000500/sample_03"),
        ("{family}/{trainer}/{index:02}-{step}", "flux/ai-toolkit/03-500"),
        ("{width}x{height}/{count}", "1024x768/4"),
        ("{prompt:8}_{seed}", "A red_bl_42"),
        ("{prompt:6}x", "A red_x"),
        ("{words:12}", "A redblue ci"),
        ("{time:%Y-%m-%d}/{ms}", f"2026-03-04/{int(CREATED.timestamp() * 1000)}"),
        ("{time}", "20260304050607"),
        ("[[{index}]]{{{step}}}", "[3]{500}"),
        ("a[_{seed}]b", "a_42b"),
        ("plain", "plain"),
        (r"{run}\x", "my_run/x"),
        ("con/{index}", "_con/3"),
        ("a./b ", "a/b"),
    ],
)
def test_what_a_template_gives(template: str, expected: str) -> None:
    assert path(template) == expected


def test_sections_without_a_value_are_left_out() -> None:
    assert path("a[_{seed}]b", seed=None) == "ab"
    assert path("a[_{seed}_{step}]b", seed=None) == "ab"
    assert path("x[_{nth}]", count=1, index=0) == "x"
    assert path("x[_{nth}]", count=2, index=0) == "x_0"
    assert path("{label}", label="short") == "short"


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("", ""),
        ("   ", "is empty"),
        ("/tmp/{name}", "starts at the root"),
        ("\\\\server\\share", "starts at the root"),
        ("C:{name}", "starts at the root"),
        ("C:\\x", "starts at the root"),
        ("../{name}", "lead elsewhere"),
        ("a/../../{name}", "lead elsewhere"),
        ("a/./{name}", "lead elsewhere"),
        ("a//{name}", "a name is empty"),
        ("{run}/", "a name is empty"),
        ("{nme}", r"unknown placeholder \{nme\}.*run, trainer"),
        ("{run.__class__}", "without its partner"),
        ("{run!r}", "without its partner"),
        ("{}", "without its partner"),
        ("{run", "without its partner"),
        ("a[b", "without its partner"),
        ("a]b", "without its partner"),
        ("a[b[c]]", "without its partner"),
        ("{step:x}", "write digits"),
        ("{step:99999999}", "write digits"),
        ("{time:%s}", "time format"),
        ("{time:}", "time format"),
    ],
)
def test_refusals(template: str, message: str) -> None:
    if not template:
        assert path("") == "my_run/step_000500/sample_03"  # empty = the layout's own
        return
    with pytest.raises(ImagesError, match=message):
        path(template)


def test_a_value_never_makes_a_folder() -> None:
    assert path("{prompt}", prompt="../../etc/passwd") == ".._.._etc_passwd"
    for prompt in ("", "..", " . "):
        with pytest.raises(ImagesError, match="a name is empty"):
            path("x/{prompt}/y", prompt=prompt)


@given(
    st.text(st.sampled_from("ab/\\.{}[]:%0 6nC"), max_size=12)
    | st.sampled_from(sorted(PLACEHOLDERS)).map("x{{{}}}".format),
    st.text(max_size=300),
    st.text(max_size=300),
)
def test_whatever_is_given_the_names_are_good_everywhere(template: str, run: str, prompt: str) -> None:
    try:
        found = render(template, {"run": run, "prompt": prompt, "name": prompt, "step": 1, "index": 0, "time": CREATED})
    except ImagesError:
        return
    assert not PureWindowsPath(found).drive
    for part in found.split("/"):
        assert problem_with(part) is None, found
    assert PurePosixPath(found).parts == PureWindowsPath(found).parts
