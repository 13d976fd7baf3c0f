"""Every verb of `eri` against every way to fail: exit codes, JSON, messages, colours; without a host."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer
from click.testing import CliRunner
from rich.console import Console

from comfyui_eridiffusion.client import describe
from comfyui_eridiffusion.client.console import sweep_progress
from comfyui_eridiffusion.commands import demo, explain, shared
from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.dev import host_install, local_host
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.tests.waiting import PATIENCE

#: Typer makes all commands anew at each call of the app, which takes longer than most of what they do here.
COMMAND = typer.main.get_command(app)
ROOT = Path(__file__).parents[2]
FLUX = str(ROOT / "examples" / "configs" / "flux.yaml")
RUN = str(ROOT / "examples" / "runs" / "flux_zorp")
LORA = f"{RUN}/flux_lora_step50.safetensors"
#: One picture, named as EriDiffusion names the first sample of step 50.
SAMPLES = str(Path(__file__).parent / "data")
#: Each verb with arguments that are right; DOWN is a host that is not there.
DOWN = "http://127.0.0.1:9"
VERBS: dict[str, list[str]] = {
    "spec": [FLUX],
    "explain": [FLUX],
    "graph": [FLUX],
    "lora": [LORA],
    "sample": [FLUX, "--run", RUN, "--host", DOWN],
    "sweep": [FLUX, "--run", RUN, "--host", DOWN],
    "verify": [FLUX, "--run", RUN, "--samples", SAMPLES, "--host", DOWN],
    "watch": [RUN, "--config", FLUX, "--once", "--host", DOWN],
    "rank": [RUN],
    "measure": [RUN],
    "gallery": [SAMPLES],
    "demo": ["--host", DOWN],
    "host setup": [],
    "host start": [],
    "host stop": [],
    "host status": [],
}
READS_A_CONFIG = ("spec", "explain", "graph", "sample", "sweep", "verify")
ASKS_A_HOST = ("graph", "sample", "sweep", "verify", "watch", "demo")


def verbs_of(command: Any, before: str = "") -> list[str]:
    """All verbs that the program itself knows."""
    found: list[str] = []
    for name, inner in command.commands.items():
        found += verbs_of(inner, f"{before}{name} ") if hasattr(inner, "commands") else [f"{before}{name}"]
    return found


@pytest.fixture(autouse=True)
def no_host_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A mistake must be told before a host is started; files go into a folder of the test's."""

    def start(_: Any) -> Any:
        raise AssertionError("a host was started")

    monkeypatch.setattr(local_host.LocalHost, "start", start)
    monkeypatch.setattr(local_host, "background_host", lambda *_: None)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Any:
    """Run a command; what is no exit code but an exception is a traceback for the user, and fails here."""
    done = CliRunner().invoke(COMMAND, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert "Traceback" not in done.output
    return done


def fails(code: int, kind: str | None, *arguments: str) -> None:
    """Both forms: for people nothing on stdout and a message on stderr; for programs one JSON document, too."""
    for_people = run(*arguments)
    assert for_people.exit_code == code, (arguments, for_people.output)
    assert for_people.stdout == ""
    assert for_people.stderr.strip()
    for_programs = run(*arguments, "--json")
    assert for_programs.exit_code == code
    error = json.loads(for_programs.stdout)["error"]
    assert error["message"]
    assert kind is None or error["kind"] == kind
    assert for_programs.stderr.strip()


def verb(name: str, *more: str) -> list[str]:
    return [*name.split(), *VERBS[name], *more]


def test_the_table_has_every_verb() -> None:
    assert sorted(verbs_of(COMMAND)) == sorted(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_help(name: str) -> None:
    shown = run(*name.split(), "--help")
    assert shown.exit_code == 0
    assert f"Example: eri {name}" in shown.stdout
    assert "--json" in shown.stdout


def test_exit_codes_are_in_the_help_and_in_the_docs() -> None:
    shown = " ".join(run("--help").stdout.split())
    docs = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    for code in ("0 done", "1 failed", "2 bad usage or bad input", "130 interrupted"):
        assert code in shown
        assert f"| {code.split()[0]} |" in docs
    for name in VERBS:
        assert f"eri {name}" in docs


@pytest.mark.parametrize("name", ["spec", "explain", "graph", "lora", "rank"])
def test_success(name: str) -> None:
    assert run(*verb(name)).exit_code == 0
    done = run(*verb(name, "--json"))
    assert done.exit_code == 0
    assert "error" not in json.loads(done.stdout)


def test_success_of_a_graph_in_a_file(tmp_path: Path) -> None:
    target = tmp_path / "graph.json"
    document = json.loads(run(*verb("graph", "-o", str(target), "--json")).stdout)
    assert document["file"] == str(target)
    assert json.loads(target.read_text(encoding="utf-8"))["save"]


def test_success_of_host_verbs() -> None:
    """There is none in the background; the host itself is tested elsewhere."""
    assert json.loads(run("host", "stop", "--json").stdout) == {"stopped": False}
    assert json.loads(run("host", "status", "--json").stdout) == {"running": False}
    assert run("host", "status").exit_code == 1


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("more", [("--nonsense",), ("one", "too", "many")], ids=["flag", "arguments"])
def test_usage(name: str, more: Sequence[str]) -> None:
    fails(2, "usage", *verb(name, *more))


def test_usage_of_the_program_itself() -> None:
    fails(2, "usage", "nonsense")
    fails(2, "usage", "host", "nonsense")
    fails(2, "usage", "spec")


@pytest.fixture(params=["missing", "folder", "binary", "empty", "text"])
def bad_file(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    path = tmp_path / f"{request.param}.yaml"
    if request.param == "folder":
        path.mkdir()
    elif request.param != "missing":
        content = {"binary": bytes(range(256)) * 4, "empty": b"", "text": b"services:\n  web: 1\n"}[request.param]
        path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize("name", READS_A_CONFIG)
def test_bad_config(name: str, bad_file: str) -> None:
    fails(2, None, name, bad_file, *VERBS[name][1:])


@pytest.mark.parametrize("name", ["graph", "sample", "sweep", "verify", "watch"])
def test_bad_models_file(name: str, bad_file: str) -> None:
    fails(2, "graph", *verb(name, "--models", bad_file))


@pytest.mark.parametrize("name", [*READS_A_CONFIG, "watch"])
def test_bad_prompts_file(name: str, tmp_path: Path) -> None:
    """Also where the config has its prompts in itself: a file that is named must be there."""
    for path in (tmp_path / "missing.txt", tmp_path):
        fails(2, "usage", *verb(name, "--prompts", str(path)))


def test_bad_files_of_other_verbs(bad_file: str, tmp_path: Path) -> None:
    there = Path(bad_file)
    fails(2, "lora", "lora", bad_file) if not there.is_dir() else None
    fails(2, "lora", "lora", LORA, "--against", bad_file)
    fails(2, "compare", "gallery", bad_file)
    fails(2, "usage" if there.is_dir() else "compare", *verb("gallery", "--marks", bad_file))
    fails(2, None, "watch", RUN, "--config", bad_file, "--once", "--host", DOWN)
    fails(2, None, "watch", bad_file, "--once", "--host", DOWN)
    if there.name != "missing.yaml":
        fails(1, "file", "graph", FLUX, "-o", str(there if there.is_dir() else there / "graph.json"))


@pytest.mark.parametrize(
    "arguments",
    [
        *(verb(name, "--trainer", "nobody") for name in (*READS_A_CONFIG, "watch")),
        *(verb(name, "--family", "sd15") for name in (*READS_A_CONFIG, "watch")),
        *(verb(name, "--step", step) for name in ("graph", "sample", "verify") for step in ("x", "-1", "1.5", "")),
        *(verb("sweep", "--steps", steps) for steps in ("x", "-1", "1,,2", "", "9-1")),
        *(verb(name, "--timeout", value) for name in ("sample", "sweep", "verify") for value in ("x", "0", "-1")),
        *(verb(name, "--batch", size) for name in ("graph", "sample", "sweep", "watch") for size in ("x", "0", "65")),
        *(verb("watch", "--interval", value) for value in ("x", "0", "-1")),
        *(verb("demo", "--columns", value) for value in ("x", "2", "99")),
        *(verb("host start", "--port", value) for value in ("x", "0", "65536")),
        verb("demo", "--families", "sd15"),
        verb("spec", "--expand", "x"),
        verb("graph", "--format", "xml"),
        verb("graph", "--style", "modern"),
        verb("graph", "--style", "stock", "--batch", "2"),
        verb("lora", "--family", "sd15"),
    ],
    ids=" ".join,
)
def test_bad_values(arguments: list[str]) -> None:
    fails(2, None, *arguments)


@pytest.mark.parametrize("name", ASKS_A_HOST)
def test_host_down(name: str) -> None:
    """Nothing listens on the port, which is held so that no other program takes it."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{mute.getsockname()[1]}"
        arguments = [word if word != DOWN else down for word in verb(name)]
        fails(1, "down", *arguments, *(["--host", down] if name == "graph" else []))


URLS = ("http://", "::bad::", "ftp://127.0.0.1:9", "http://[", "http://127.0.0.1:99999", "a b", "http://127.0.0.1:x")


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("name", ["graph", "sample"])
def test_addresses_that_are_none(name: str, url: str) -> None:
    arguments = [word if word != DOWN else url for word in verb(name)]
    fails(1, None, *arguments, *(["--host", url] if name == "graph" else []))


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("spec", (shared, "read_spec")),
        ("explain", (explain, "read_spec")),
        ("graph", (shared, "read_spec")),
        ("sample", (shared, "read_spec")),
        ("sweep", (shared, "read_spec")),
        ("watch", (shared, "read_spec")),
        ("lora", (describe, "describe_lora")),
        ("demo", (demo, "open_host")),
        ("host setup", (host_install, "set_up_host")),
        ("host start", (local_host, "start_background")),
        ("host stop", (local_host, "stop_background")),
        ("host status", (local_host, "background_host")),
    ],
)
def test_interrupted(monkeypatch: pytest.MonkeyPatch, name: str, place: tuple[Any, str]) -> None:
    """Ctrl-C in the middle of the verb's work, as Python raises it there."""

    def ctrl_c(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(*place, ctrl_c)
    fails(130, "interrupted", *verb(name))


def test_errors_in_json_say_where(tmp_path: Path) -> None:
    config = tmp_path / "train.yaml"
    config.write_text(Path(FLUX).read_text(encoding="utf-8").replace("sample_steps: 20", "sample_steps: [20"))
    error = json.loads(run("spec", str(config), "--json").stdout)["error"]
    assert (error["kind"], error["source"]) == ("config", str(config))
    assert error["line"] > 1
    refused = HostError("wrong", kind="validation", node="lora", class_type="EriLoraAtStep", field="step")
    assert shared.described(refused) == {
        "kind": "validation",
        "message": "node 'lora' (EriLoraAtStep), input 'step': wrong",
        "field": "step",
        "node": "lora",
        "class_type": "EriLoraAtStep",
    }


def test_progress_is_for_terminals() -> None:
    for terminal, shown in ((False, False), (True, True)):
        file = io.StringIO()
        with sweep_progress(Console(file=file, force_terminal=terminal, _environ={"TERM": "xterm"}), "run", 4):
            pass
        assert bool(file.getvalue()) is shown


@pytest.fixture
def on_a_terminal() -> Iterator[Any]:
    """Run `eri` with a terminal as its standard output and error; what arrives there."""
    pty = pytest.importorskip("pty", reason="there are no pseudo terminals here")
    ours, theirs = pty.openpty()

    def start(*arguments: str, **environment: str) -> str:
        command = [str(Path(sys.executable).with_name("eri")), *arguments]
        inherited = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
        subprocess.run(command, stdout=theirs, stderr=theirs, env={**inherited, **environment}, timeout=PATIENCE)
        return os.read(ours, 1 << 20).decode()

    yield start
    os.close(ours)
    os.close(theirs)


def test_colours_are_for_terminals(on_a_terminal: Any) -> None:
    """ECMA-48: ESC [ … m sets rendition; 30-37, 38, 90-97 are colours of letters."""
    arguments = ("spec", str(FLUX), "--family", "sd15")
    colourful = on_a_terminal(*arguments, TERM="xterm-256color")
    assert "\x1b[1;31m" in colourful
    plain = on_a_terminal(*arguments, TERM="xterm-256color", NO_COLOR="1")
    assert "sd15" in plain
    assert "\x1b[1;31m" not in plain
    assert not any(f"\x1b[{code}m" in plain or f";{code}m" in plain for code in (*range(30, 39), *range(90, 98)))
    dumb = on_a_terminal(*arguments, TERM="dumb")
    assert "sd15" in dumb
    assert "\x1b" not in dumb
    piped = subprocess.run(
        [str(Path(sys.executable).with_name("eri")), *arguments],
        env={**os.environ, "TERM": "xterm-256color"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "sd15" in piped.stderr
    assert "\x1b" not in piped.stderr + piped.stdout
