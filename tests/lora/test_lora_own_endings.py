"""A made-up dialect with endings of its own: one class and its place in the table are all that reading it takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import pytest

from comfyui_eridiffusion.errors import LoraError
from comfyui_eridiffusion.lora import dialects, find_checkpoints, merged_delta, read_lora, reader
from comfyui_eridiffusion.lora.names import NameTable, Target
from comfyui_eridiffusion.lora.suffixes import DOWN, UP
from comfyui_eridiffusion.tests.lora.lora_files import Place, assert_same_changes, expected_changes, pairs_for, write

PLACES = (
    Place("acme.double_blocks.0.img_attn.qkv", "diffusion_model.double_blocks.0.img_attn.qkv", (18, 6)),
    Place("acme.single_blocks.3.linear2", "diffusion_model.single_blocks.3.linear2", (6, 12)),
)


class Acme(dialects.Dialect):
    """Native names behind `acme.`, the pair called low and high."""

    name = "acme"
    modules = re.compile(r"acme\.")
    endings: ClassVar[dict[str, str]] = {"low": DOWN, "high": UP}

    def target(self, module: str, names: NameTable) -> Target | None:
        return names.native(module.removeprefix("acme."))


def written(folder: Path, prefix: str = "acme.", name: str = "flux_lora_step100.safetensors") -> Path:
    tensors = {}
    for module, pair in pairs_for(PLACES, None).items():
        place = prefix + module.removeprefix("acme.")
        tensors |= {f"{place}.low": pair.down, f"{place}.high": pair.up}
    return write(folder / name, tensors)


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (Acme(), *dialects.DIALECTS)
    monkeypatch.setattr(dialects, "DIALECTS", table)
    monkeypatch.setattr(reader, "DIALECTS", table)


@pytest.mark.usefixtures("acme")
def test_a_dialect_brings_its_own_endings(tmp_path: Path) -> None:
    lora = read_lora(written(tmp_path))
    assert (lora.dialect, lora.family, lora.unmatched, lora.ignored) == ("acme", "flux", (), {})
    assert_same_changes(merged_delta(lora, 0.5), expected_changes(PLACES, pairs_for(PLACES, None), 0.5))


@pytest.mark.usefixtures("acme")
def test_a_checkpoint_is_found_by_them(tmp_path: Path) -> None:
    file = written(tmp_path, name="anything.safetensors")
    assert [found.path for found in find_checkpoints(tmp_path)] == [file]


@pytest.mark.usefixtures("acme")
def test_they_mean_nothing_in_other_files(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="none of its tensors belongs to a low-rank pair"):
        read_lora(written(tmp_path, prefix=""))


def test_they_mean_nothing_without_the_dialect(tmp_path: Path) -> None:
    with pytest.raises(LoraError, match="none of its tensors belongs to a low-rank pair"):
        read_lora(written(tmp_path))


@pytest.mark.parametrize(
    ("part", "parts"),
    [
        ("its name", {"modules": re.compile("a")}),
        ("its modules", {"name": "a"}),
        ("'.low' begins with a dot", {"name": "a", "modules": re.compile("a"), "endings": {".low": DOWN}}),
        ("'low' begins .* or its kind", {"name": "a", "modules": re.compile("a"), "endings": {"low": "down"}}),
    ],
)
def test_a_dialect_that_lacks_a_part_is_refused_by_the_names_of_both(part: str, parts: dict[str, object]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"dialect Half: .*{part}"):
        type("Half", (dialects.Dialect,), parts)
