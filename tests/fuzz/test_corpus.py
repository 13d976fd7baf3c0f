"""Inputs that once were faults: each is taken or refused as its area refuses, soon, and with little memory."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from comfyui_eridiffusion.errors import EriError
from comfyui_eridiffusion.tests.fuzz.targets import CORPUS, TARGETS, by_name

FOUND = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_good_inputs_are_taken(target: object) -> None:
    """Otherwise a run would try refusals only."""
    seeds = list(target.seeds())
    assert all(target.read(seed) for seed in seeds)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_a_fault_is_none(path: Path) -> None:
    with contextlib.suppress(EriError):
        by_name(path.parent.name).read(path.read_bytes())
