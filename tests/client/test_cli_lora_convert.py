"""`eri lora --convert`: a file for ComfyUI's own LoRA loader, judged by that loader."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from comfyui_eridiffusion.lora import merged_delta, read_lora
from comfyui_eridiffusion.tests.client.test_cli import eri, flux_lora
from comfyui_eridiffusion.tests.lora import module_tables as tables
from comfyui_eridiffusion.tests.lora.host_models import host_changes, loaded_changes
from comfyui_eridiffusion.tests.lora.lora_files import (
    assert_same_changes,
    expected_changes,
    pairs_for,
    tensors_of,
    write,
)

PLACES = {"flux": tables.flux_hybrid(), "sd35": tables.sd35_native(), "sdxl": tables.sdxl("native")}


@pytest.mark.usefixtures("comfy_host")
@pytest.mark.parametrize("family", PLACES)
def test_the_stock_loader_takes_all_of_a_converted_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, family: str
) -> None:
    """Of EriDiffusion V2's own file it takes nothing, of the converted one every tensor, with the right strength.

    This pack, too, reads all of the converted file.
    """
    places = PLACES[family]
    pairs = pairs_for(places, alpha=2.0)
    source = write(
        tmp_path / "a.safetensors", tensors_of(pairs, ".lora_A.weight", ".lora_B.weight", alpha_tensors=True)
    )
    target = tmp_path / "new" / "b.safetensors"
    assert eri("lora", source, "--convert", target) == 0
    assert str(target) in capsys.readouterr().err
    assert loaded_changes(family, load_file(source))[1] == set()
    assert_same_changes(host_changes(family, load_file(target)), expected_changes(places, pairs))
    again = read_lora(target)
    assert again.unmatched == ()
    assert_same_changes(merged_delta(again), expected_changes(places, pairs))


def test_a_converted_file_keeps_its_step_and_nothing_of_the_optimizer(tmp_path: Path) -> None:
    target = tmp_path / "shared.safetensors"
    assert eri("lora", flux_lora(tmp_path), "--convert", target) == 0
    with safe_open(target, "pt") as file:
        assert file.metadata() == {"format": "pt", "ss_steps": "250"}
        assert len(file.keys()) == 3  # down, up, alpha
        assert {float(file.get_tensor(key)) for key in file.keys() if key.endswith("alpha")} == {6.0}  # noqa: SIM118


def test_what_cannot_be_converted(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = flux_lora(tmp_path)
    assert eri("lora", source, "--convert", tmp_path / "b.pt") == 2
    assert "no .safetensors" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert eri("lora", source, "--convert", tmp_path / "file" / "b.safetensors", "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "host"
    assert eri("lora", tmp_path, "--convert", tmp_path / "b.safetensors") == 2
    assert not (tmp_path / "b.safetensors").exists()
