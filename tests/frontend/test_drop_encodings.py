"""Configs that are not UTF-8, dropped: refused, since a browser reads them with U+FFFD in place of their letters."""

from __future__ import annotations

import pytest

from comfyui_eridiffusion.tests.frontend.conftest import Canvas
from comfyui_eridiffusion.tests.frontend.test_drop import CONFIGS, EMPTY, TOASTS, drop, opened, toast, types

CONFIG = CONFIGS["aitk_flux.yaml"].replace("an otter asleep", "une loutre endormie au café")
KOHYA = 'pretrained_model_name_or_path = "sd_xl_base_1.0.safetensors"\nsample_prompts = "p.txt"\n'


@pytest.fixture
def empty(fresh: Canvas) -> Canvas:
    """The canvas without nodes and toasts; those that come stay."""
    fresh.page.evaluate(EMPTY)
    fresh.page.wait_for_function(f"() => ({TOASTS})().length === 0")
    return fresh


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_config_is_refused(empty: Canvas, encoding: str) -> None:
    drop(empty, {"old.yaml": CONFIG.encode(encoding)})
    assert "Not in UTF-8: old.yaml" in toast(empty, "old.yaml could not be read")
    assert types(empty) == []


def test_prompts_of_a_config_are_refused(empty: Canvas) -> None:
    drop(empty, {"kohya.toml": KOHYA, "p.txt": "un café\n".encode("latin-1")})
    assert "Not in UTF-8: p.txt" in toast(empty, "kohya.toml could not be read")
    assert types(empty) == []


def test_another_file_does_not_matter(empty: Canvas) -> None:
    drop(empty, {"good.yaml": CONFIG, "letter.txt": "à bientôt\n".encode("latin-1")})
    opened(empty, "good")
    assert "endormie au café" in str(empty.serialized())


def test_what_is_no_config_goes_to_comfyui(empty: Canvas) -> None:
    drop(empty, {"letter.txt": "à bientôt\n".encode("latin-1")})
    assert "Unable to find workflow" in toast(empty, "letter.txt")


def test_a_mark_at_the_beginning_is_no_letter(empty: Canvas) -> None:
    drop(empty, {"marked.yaml": CONFIG.encode("utf-8-sig").replace(b"\n", b"\r\n")})
    opened(empty, "marked")
    assert "endormie au café" in str(empty.serialized())
