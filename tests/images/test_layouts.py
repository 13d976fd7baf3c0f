"""File names as the trainers' own sources write them, restated here by hand."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comfyui_eridiffusion.errors import ImagesError
from comfyui_eridiffusion.images.layouts import LAYOUTS, SampleFile, layout_for, relative_path
from comfyui_eridiffusion.images.template import safe_name

CREATED = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=timezone.utc)


def sample(**changes: object) -> SampleFile:
    values: dict[str, Any] = {
        "run": "my_run",
        "step": 500,
        "index": 3,
        "name": "sample_03",
        "count": 4,
        "prompt": "A red circle, on BLUE!",
        "seed": 42,
        "width": 1024,
        "height": 768,
        "created": CREATED,
        **changes,
    }
    return SampleFile(**values)


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ("eridiffusion", "my_run/samples_step_000500/step_000500_sample_03.png"),
        ("eridiffusion-v2", "my_run/step_500/sample_004.png"),  # sample_sdxl.rs L446, in a folder for each step
        ("eritrainer", "my_run/sample_step500_p4.png"),  # train_sd35.rs L1700-1704
        ("ai-toolkit", f"my_run/samples/{int(CREATED.timestamp() * 1000)}__000000500_3.jpg"),
        ("kohya", "my_run/sample/my_run_000500_03_20260304050607_42.png"),
        ("musubi", "my_run/sample/my_run_000500_03_20260304050607_42_000.png"),
        ("simpletuner", "my_run/validation_images/step_500_a-red-circle-on-blue_3_1024x768.png"),
        (
            "onetrainer",
            "my_run/samples/3 - A red circle on BLUE/2026-03-04_05-06-07-training-sample-500-0-500.jpg",
        ),
        ("native", "my_run/step_000500/sample_03.png"),
    ],
)
def test_names(trainer: str, expected: str) -> None:
    assert str(relative_path(trainer, sample())) == expected


@pytest.mark.parametrize("family", ["flux", "sd35"])
def test_v1s_documents_name_flux_and_sd35_samples(family: str) -> None:
    """000 and 002: `samples_step_XXXXXX` directories, `step_XXXXXX_sample_XX.png`; no prompt file is said of these."""
    assert str(relative_path("eridiffusion", sample(family=family))) == (
        "my_run/samples_step_000500/step_000500_sample_03.png"
    )
    assert not layout_for("eridiffusion", family).prompt_file


def test_v1s_documents_name_sdxl_samples() -> None:
    """001: `output/[model]/samples/step_XXXXXX/`, images as PNG, prompts as text files."""
    assert str(relative_path("eridiffusion", sample(family="sdxl"))) == "my_run/samples/step_000500/sample_03.png"
    assert layout_for("eridiffusion", "sdxl").prompt_file


def test_variants() -> None:
    assert relative_path("eridiffusion-v2", sample(label="output")).name == "output.png"
    assert relative_path("eritrainer", sample(index=0, count=1)).name == "sample_step500_p1.png"
    assert relative_path("eritrainer", sample(step=0, index=0, count=1)).name == "sample_step0_base.png"
    # train_chroma.rs L887-889, L1327
    chroma = [sample(step=step, index=1, count=2, family="chroma") for step in (0, 500)]
    assert [relative_path("eritrainer", one).name for one in chroma] == [
        "sample_step0_base_p2.png",
        "sample_step500_p2.png",
    ]
    assert relative_path("kohya", sample(seed=None)).name == "my_run_000500_03_20260304050607.png"
    named = relative_path("simpletuner", sample(label="validation_0_1024x1024"))
    assert named.name == "step_500_validation_0_1024x1024.png"
    assert relative_path("ai-toolkit", sample(), "webp").suffix == ".webp"
    assert relative_path("eridiffusion", sample(step=1_234_567)).name == "step_1234567_sample_03.png"
    assert [name for name, layout in LAYOUTS.items() if layout.prompt_file] == ["native"]


def test_refusals() -> None:
    with pytest.raises(ImagesError, match=r"'other'.*eridiffusion"):
        layout_for("other")
    with pytest.raises(ImagesError, match="step -1"):
        relative_path("native", sample(step=-1))


@pytest.mark.parametrize(
    ("given_name", "expected"),
    [
        ("../../etc", ".._.._etc"),
        ("..", "samples"),
        ("", "samples"),
        ("\xa0", "samples"),
        ("\u3000 .", "samples"),
        ("C:\\temp", "C__temp"),
        ("a/b", "a_b"),
        ("con", "_con"),
        ("NUL.txt", "_NUL.txt"),
        ("trail. .", "trail"),
        ("größer 大", "größer 大"),
    ],
)
def test_safe_names(given_name: str, expected: str) -> None:
    assert safe_name(given_name) == expected


@given(st.text(), st.text(), st.sampled_from(sorted(LAYOUTS)), st.integers(0, 10**9), st.integers(0, 10**6))
def test_any_text_stays_inside(run: str, prompt: str, trainer: str, step: int, index: int) -> None:
    path = relative_path(trainer, sample(run=run, prompt=prompt, name=prompt, step=step, index=index))
    assert not path.is_absolute()
    assert not PureWindowsPath(str(path)).drive
    for part in PurePosixPath(path).parts:
        assert part not in ("", ".", "..")
        assert not set(part) & set('<>:"/\\|?*')
        assert all(ord(character) >= 32 for character in part)
        assert len(part.encode("utf-8")) <= 255
