"""1,000 prompts are read in less than 100 ms, in every notation; the figures: `python benchmarks/spec_readers.py`."""

from __future__ import annotations

from typing import Any

import pytest

from comfyui_eridiffusion.benchmarks.spec_readers import COUNT, cases
from comfyui_eridiffusion.benchmarks.stopwatch import best
from comfyui_eridiffusion.spec import read_text

CASES = list(cases())


@pytest.mark.parametrize(("text", "arguments"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_thousand_prompts(text: str, arguments: dict[str, Any]) -> None:
    assert len(read_text(text, **arguments).items) >= COUNT
    assert best(lambda: read_text(text, **arguments)) < 100
