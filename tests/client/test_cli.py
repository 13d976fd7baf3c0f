"""`eri` as a person or a program calls it, up to where a host is needed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from typer.main import get_command

from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.commands.shared import print_any_text
from comfyui_eridiffusion.spec import from_json, read_spec
from comfyui_eridiffusion.tests.waiting import PATIENCE
from comfyui_eridiffusion.workflows import build

#: Made once: Typer makes all commands anew at each call of the app.
COMMAND = get_command(app)
CONFIGS = Path(__file__).parents[2] / "examples" / "configs"
COMMANDS = (["spec"], ["explain"], ["graph"], ["sample"], ["sweep"], ["watch"], ["lora"], ["demo"])
HOST_COMMANDS = (["host", "setup"], ["host", "start"], ["host", "stop"], ["host", "status"])


def eri(*arguments: object) -> int:
    """Run a command in this process; its exit code."""
    with pytest.raises(SystemExit) as done:
        COMMAND([str(argument) for argument in arguments])
    code = done.value.code
    return code if isinstance(code, int) else 0


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_spec_json_is_the_spec(capsys: pytest.CaptureFixture[str], family: str) -> None:
    assert eri("spec", CONFIGS / f"{family}.yaml", "--json") == 0
    assert from_json(capsys.readouterr().out).items == read_spec(CONFIGS / f"{family}.yaml").items


def test_spec_shows_prompts_and_what_is_not_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert eri("spec", CONFIGS / "sdxl.yaml") == 0
    shown = capsys.readouterr()
    assert "sdxl_blaff" in shown.out
    assert "64×96" in shown.out
    assert "train.lr" in shown.err


def test_spec_keeps_brackets_in_prompts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """rich would take [b] for markup."""
    path = tmp_path / "a.json"
    item = {"index": 0, "prompt": "[b]a[/b] [/x]", "width": 64, "height": 64, "steps": 1}
    path.write_text(json.dumps({"eri_spec": 1, "family": "sdxl", "trainer": "native", "items": [item]}))
    assert eri("spec", path) == 0
    assert "[b]a[/b]" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["spec", "graph", "sample", "sweep", "watch"])
def test_alternatives_are_chosen_where_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    """A wildcard that is not there tells that all of them look for it; what is chosen, that the graph holds it."""
    path = tmp_path / "a.json"
    item = {"index": 0, "prompt": "a __colour__ {fox|fox}", "width": 64, "height": 64, "steps": 1}
    path.write_text(json.dumps({"eri_spec": 1, "family": "sdxl", "trainer": "native", "items": [item]}))
    given = [tmp_path, "--once", "--config", path] if command == "watch" else [path]
    words = ["--expand", "3", "--wildcards", tmp_path]
    assert eri(command, *given, *words) == 2
    assert "there is no wildcard 'colour'" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "colour.txt").write_text("red\n")
    if command in ("spec", "graph"):
        assert eri(command, *given, *words) == 0
        assert "a red fox" in capsys.readouterr().out
    if command == "watch":
        assert eri(command, *given, *words, "--output", tmp_path / "out") == 0  # nothing there to sample


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_outputs_that_cannot_show_a_prompt(tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe in Windows has a code page of 256 characters: JSON stays whole, a table has `?` for the others."""
    path, prompt = tmp_path / "prompts.txt", "a cat, 猫 “x” ×"
    path.write_text(prompt, encoding="utf-8")

    def printed(*arguments: str) -> bytes:
        pipe = io.BytesIO()
        with monkeypatch.context() as here:
            here.setattr(sys, "stdout", io.TextIOWrapper(pipe, encoding=encoding))
            print_any_text()
            assert eri(*arguments) == 0
            sys.stdout.flush()
            return pipe.getvalue()

    config = ("spec", str(path), "--trainer", "kohya", "--family", "sdxl")
    assert json.loads(printed(*config, "--json"))["items"][0]["prompt"] == prompt
    assert json.loads(printed("graph", *config[1:]))["save"]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    command = [Path(sys.executable).with_name("eri"), *config]
    shown = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=PATIENCE).stdout
    assert b"a cat" in shown
    assert ("猫" in shown.decode(encoding)) is (encoding == "utf-8")
    assert b"Example" in printed("sweep", "--help")


def test_graph_to_file_and_to_stdout(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config, target = CONFIGS / "flux.yaml", tmp_path / "graph.json"
    expected = build(read_spec(config), None, "my_run", 250).api()
    assert eri("graph", config, "--run", "my_run", "--step", 250, "-o", target) == 0
    assert json.loads(target.read_text(encoding="utf-8")) == expected
    assert capsys.readouterr().out == ""
    assert eri("graph", config, "--run", "my_run", "--step", 250) == 0
    assert json.loads(capsys.readouterr().out) == expected


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nonsense"], 2, "nonsense"),
        (["spec"], 2, "file"),
        (["spec", "/no/such.yaml"], 2, "/no/such.yaml"),
        (["spec", CONFIGS / "flux.yaml", "--trainer", "nobody"], 2, "nobody"),
        (["graph", CONFIGS / "flux.yaml", "--step", "-4"], 2, "step"),
        (["graph", CONFIGS / "flux.yaml", "--models", CONFIGS / "flux.yaml"], 2, "models"),
        (["graph", CONFIGS / "flux.yaml", "-o", "/no/such/folder/g.json"], 1, "/no/such/folder"),
        (["sample", CONFIGS / "flux.yaml", "--host", "http://127.0.0.1:1", "--step", "0"], 1, "127.0.0.1:1"),
        (["sweep", CONFIGS / "flux.yaml", "--run", "r", "--steps", "1,x"], 2, "--steps"),
        (["sweep", CONFIGS / "flux.yaml", "--run", "/no/run"], 2, "/no/run"),
        (["sweep", CONFIGS / "flux.yaml", "--run", CONFIGS, "--steps", "250-500"], 2, "250-500"),
        (["lora", CONFIGS / "flux.yaml"], 2, "flux.yaml"),
        (["lora", "/no/such.safetensors"], 2, "/no/such.safetensors"),
        (["demo", "--families", "sd15"], 2, "--families"),
        (["demo", "--columns", "2"], 2, "columns"),
    ],
)
def test_mistakes_are_explained(
    capsys: pytest.CaptureFixture[str], arguments: list[object], code: int, words: str
) -> None:
    assert eri(*arguments) == code
    shown = capsys.readouterr()
    assert words in "".join(shown.err.split())
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize("command", [*COMMANDS, *HOST_COMMANDS], ids=" ".join)
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert eri(*command, "--help") == 0
    assert f"Example: eri {' '.join(command)}" in capsys.readouterr().out


def flux_lora(folder: Path, rows: int = 768) -> Path:
    """A LoRA of EriDiffusion V2 with one pair (norm of up @ down 2 · 6 / 3 = 4) and one optimizer tensor."""
    down, up = torch.zeros(3, 192), torch.zeros(rows, 3)
    down[0, 0], up[0, 0] = 1.0, 2.0
    module = "double_blocks.0.img_mlp.0"
    tensors = {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up, "__opt__/exp_avg/0": torch.zeros(1)}
    path = folder / "flux_lora_step250.safetensors"
    save_file(tensors, path, metadata={"__eridiffusion_ckpt__": json.dumps({"alpha": 6})})
    return path


def test_lora_of_a_file_and_of_a_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = flux_lora(tmp_path)
    assert eri("lora", path, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in ("family", "rank", "alpha", "step", "modules", "norms")} == {
        "family": "flux", "rank": 3, "alpha": 6.0, "step": 250, "modules": 1, "norms": {"double_blocks": 4.0},
    }  # fmt: skip
    assert list(found["ignored"].values()) == [["__opt__/exp_avg/0"]]
    assert eri("lora", path) == 0
    shown = capsys.readouterr().out
    assert "alpha 6" in shown
    assert "double_blocks" in shown
    assert eri("lora", tmp_path, "--json") == 0
    assert json.loads(capsys.readouterr().out)["checkpoints"] == [
        {"step": 250, "epoch": None, "run": None, "trainer": "eridiffusion-v2", "path": str(path)}
    ]
    assert eri("lora", tmp_path) == 0
    assert "250" in capsys.readouterr().out


def test_lora_against_a_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The model file's own header decides: taken, another size, another model."""
    weights = {
        "double_blocks.0.img_mlp.0.weight": torch.zeros(768, 192),
        "double_blocks.0.img_mlp.0.bias": torch.zeros(768),
    }
    model = tmp_path / "model.safetensors"
    save_file({f"model.diffusion_model.{name}": value for name, value in weights.items()}, model)
    assert eri("lora", flux_lora(tmp_path), "--against", model, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["against"] == str(model)
    assert found["parts"] == {"model": {"matched": 2, "unmatched": []}}
    assert eri("lora", flux_lora(tmp_path, rows=384), "--against", model) == 2
    assert "does not fit" in capsys.readouterr().err
    save_file({"double_blocks.1.img_mlp.0.weight": torch.zeros(768, 192)}, model)
    assert eri("lora", flux_lora(tmp_path), "--against", model) == 2
    assert "double_blocks.0" in capsys.readouterr().err
    assert eri("lora", tmp_path, "--against", model) == 2
    assert eri("lora", flux_lora(tmp_path), "--against", tmp_path / "none") == 2


def test_a_command_imports_the_file_of_no_other() -> None:
    code = (
        "import sys; from comfyui_eridiffusion.commands.app import NAMES, app; app(['explain', '--help'], "
        "standalone_mode=False); here = 'comfyui_eridiffusion.commands.'; "
        "print(*(name for name in NAMES if here + name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "explain"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_missing_extra_is_named(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from comfyui_eridiffusion.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "[cli]" in done.stderr
    assert "Traceback" not in done.stderr


def test_watch_wants_one_config_in_the_run_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert eri("watch", tmp_path / "absent", "--once") == 2
    assert "there is no run folder" in capsys.readouterr().err
    (tmp_path / "state.json").write_text('{"epoch": 3}', encoding="utf-8")
    assert eri("watch", tmp_path, "--once") == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "none that can be read" in shown
    assert "state.json: " in shown
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_bytes((CONFIGS / "flux.yaml").read_bytes())
    assert eri("watch", tmp_path, "--once") == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "a.yaml" in shown
    assert "b.yaml" in shown
    assert "--config FILE" in shown


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", "complete "),
        ("zsh", "#compdef eri"),
        ("fish", "complete --command eri"),
        ("powershell", "Register-ArgumentCompleter"),
    ],
)
def test_completion_script(shell: str, words: str) -> None:
    """The marks are the shells' own commands for completion."""
    eri = str(Path(sys.executable).with_name("eri"))
    shown = subprocess.run(
        [eri], env={**os.environ, "_ERI_COMPLETE": f"source_{shell}"}, capture_output=True, text=True, timeout=PATIENCE
    )
    assert shown.returncode == 0
    assert words in shown.stdout
