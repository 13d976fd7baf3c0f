"""Specs for the workflow tests."""

from __future__ import annotations

from typing import Any

from comfyui_eridiffusion.spec import SampleItem, SampleSpec


def sample_spec(family: str, trainer: str = "eridiffusion", **changes: Any) -> SampleSpec:
    """One item with the family's usual guidance."""
    flux = family == "flux"
    item = SampleItem(
        0, "a cat", 1024, 768, 20, seed=42, guidance=3.5 if flux else None, cfg_scale=1.0 if flux else 5.0
    )
    return SampleSpec(**({"family": family, "trainer": trainer, "items": [item], "name": "cat_run"} | changes))
