"""Pages that people write, and that say which families there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_eridiffusion.families import FAMILIES

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/native-spec.md", "docs/command-line.md", "docs/openapi.yaml"])
def test_a_page_that_lists_families_names_each(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8").lower()
    for family in FAMILIES.values():
        assert family.id in text or family.title.lower() in text, family.id
