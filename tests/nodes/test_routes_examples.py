"""The examples for trainers' authors, run as they are against a running host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
TRAINERS = EXAMPLES / "trainers"
STEP = 50


@pytest.fixture
def arguments(tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """What each example takes after the host: a short config full of what JSON must escape, run, step, models."""
    text = (EXAMPLES / "configs" / "sdxl.yaml").read_text(encoding="utf-8")
    document = yaml.safe_load(text)
    sample = document["config"]["process"][0]["sample"]
    sample.update(sample_steps=2, prompts=[f'a "red" [trigger] \\ café {request.node.name}'])
    config, models = tmp_path / "train.yaml", tmp_path / "models.json"
    config.write_text("# a\ttab\n" + yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    models.write_text(json.dumps(yaml.safe_load((EXAMPLES / "models" / "sdxl.yaml").read_text(encoding="utf-8"))))
    return [str(config), document["config"]["name"], str(STEP), str(models)]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=200)


def wrote(host_server: Any, files: list[dict[str, Any]], test: str) -> None:
    """One image of this step, and the prompt exactly as the config has it."""
    assert [file["kind"] for file in files] == ["image", "prompt"]
    image, prompt = (host_server.output_dir / file["subfolder"] / file["filename"] for file in files)
    assert f"{STEP:06}" in image.relative_to(host_server.output_dir).as_posix()
    assert prompt.read_text(encoding="utf-8").strip() == f'a "red" blaff \\ café {test}'
    assert image.is_file()


def test_python(host_server: Any, arguments: list[str]) -> None:
    *rest, models = arguments
    command = [sys.executable, str(TRAINERS / "torch_loop.py"), host_server.url, *rest]
    done = run(*command, "--models", models)
    assert done.returncode == 0, done.stderr
    wrote(host_server, json.loads(done.stdout)[str(STEP)], "test_python")
    command[-1] = "51"
    done = run(*command, "--models", models)
    assert done.returncode == 1
    assert "51" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(shutil.which("curl") is None or os.name == "nt", reason="needs a shell and curl")
def test_curl(host_server: Any, arguments: list[str]) -> None:
    done = run("sh", str(TRAINERS / "curl.sh"), host_server.url, *arguments)
    assert done.returncode == 0, done.stderr
    wrote(host_server, json.loads(done.stdout)["files"], "test_curl")
    done = run("sh", str(TRAINERS / "curl.sh"), host_server.url, arguments[0], "/etc", *arguments[2:])
    assert done.returncode != 0
    assert "outside" in done.stderr


def _cargo_runs() -> bool:
    """Whether there is a Rust toolchain; rustup's own cargo is there without one, too."""
    found = shutil.which("cargo")
    return found is not None and subprocess.run([found, "--version"], capture_output=True).returncode == 0


@pytest.mark.skipif(not _cargo_runs(), reason="needs a Rust toolchain")
def test_rust(host_server: Any, arguments: list[str], tmp_path: Path) -> None:
    manifest, target = TRAINERS / "rust" / "Cargo.toml", tmp_path / "target"
    build = ["cargo", "build", "--offline", "--locked", "--manifest-path", str(manifest), "--target-dir", str(target)]
    built = run(*build)
    assert built.returncode == 0, built.stderr
    assert "warning" not in built.stderr
    program = str(target / "debug" / f"comfy-samples{'.exe' if os.name == 'nt' else ''}")
    host = host_server.url.removeprefix("http://")
    done = run(program, host, *arguments)
    assert done.returncode == 0, done.stderr
    wrote(host_server, json.loads(done.stdout)["files"], "test_rust")
    done = run(program, host, arguments[0], "/etc", *arguments[2:])
    assert done.returncode == 1
    assert "outside" in done.stderr
