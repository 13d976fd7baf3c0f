"""`eri lora FILE --against URL`: the answer of the node itself in a running ComfyUI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from comfyui_eridiffusion.commands.app import app

EXAMPLES = Path(__file__).parents[2] / "examples"
FILE = EXAMPLES / "runs" / "flux_zorp" / "flux_lora_step400.safetensors"


def eri(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().out


def test_a_running_comfyui_says_what_it_takes(
    capsys: pytest.CaptureFixture[str], host_server: Any, loras_dir: Path, tmp_path: Path
) -> None:
    """The file's modules are the example model's; one more of another width is left out; half of them is an error."""
    models = ("--models", EXAMPLES / "models" / "flux.yaml")
    tensors = load_file(FILE)
    modules = len([name for name in tensors if name.endswith(".lora_A.weight")])
    name = next(name for name in tensors if name.endswith(".lora_A.weight"))
    one = {**tensors, name: tensors[name].repeat(1, 2)}
    all_of_them = {key: value.repeat(1, 2) if key.endswith("_A.weight") else value for key, value in tensors.items()}
    for file, content in {"whole": tensors, "one": one, "all": all_of_them}.items():
        save_file(content, loras_dir / f"asked_{file}.safetensors")
    code, text = eri(capsys, "lora", loras_dir / "asked_whole.safetensors", "--against", host_server.url, *models)
    assert code == 0, text
    assert f"{modules} of {modules} modules; strongest change in " in text
    asked = ("--against", host_server.url, *models, "--json")
    code, text = eri(capsys, "lora", loras_dir / "asked_one.safetensors", *asked)
    document = json.loads(text)
    assert (code, document["details"]["beside"]) == (0, modules - 1)
    assert list(document["details"]["misfits"]) == [name.removesuffix(".lora_A.weight")]
    code, text = eri(capsys, "lora", loras_dir / "asked_all.safetensors", *asked)
    assert code != 0
    assert f"does not fit the loaded model in {modules} of {modules} modules" in json.dumps(json.loads(text))
    save_file(tensors, tmp_path / "elsewhere.safetensors")
    code, text = eri(capsys, "lora", tmp_path / "elsewhere.safetensors", *asked)
    assert code != 0
    assert "eri_runs" in text  # the remedy: where ComfyUI looks for runs
