"""Without --models, `eri sample`, `sweep` and `watch` take the host's own files, as `eri graph --host` does."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.dev.host_install import HostInstall
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, short

#: None of these is the file's usual name.
FILES = (
    "diffusion_models/deep/flux1-dev-fp8.safetensors",
    "text_encoders/flux/clip_l.safetensors",
    "text_encoders/t5xxl_fp8_e4m3fn.safetensors",
    "vae/deep/ae.safetensors",
)


@pytest.fixture(scope="module")
def other_names(comfyui: HostInstall, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHost]:
    """A host whose files have other names; they hold nothing, so that loading one names it in its error."""
    base = tmp_path_factory.mktemp("models")
    for name in FILES:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        save_file({"x": torch.zeros(1)}, base / name)
    with LocalHost(comfyui, model_paths={folder.name: [folder] for folder in base.iterdir()}) as host:
        yield host


def write_config(path: Path, **more: object) -> Path:
    path.write_text(json.dumps({**short("flux", steps=1).to_dict(), "model_files": {}, **more}), encoding="utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = write_config(tmp_path / "config.json")
    shutil.copytree(EXAMPLES / "runs" / "flux_zorp", tmp_path / "flux_zorp")
    return path


def eri(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, object]]:
    with pytest.raises(SystemExit) as ended:
        app([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("verb", ["sample", "sweep", "watch"])
def test_the_hosts_own_files_are_loaded(
    capsys: pytest.CaptureFixture[str], other_names: LocalHost, config: Path, tmp_path: Path, verb: str
) -> None:
    """The host takes the graph (it refuses names that it does not offer) and fails at loading the empty file."""
    common = ("--host", other_names.url, "-o", tmp_path / "got", "--json")
    run = tmp_path / "flux_zorp"
    words = {
        "sample": ("sample", config, "--run", run, "--step", 50),
        "sweep": ("sweep", config, "--run", run, "--steps", "50"),
        "watch": ("watch", run, "--config", config, "--once"),
    }[verb]
    code, found = eri(capsys, *words, *common)
    assert code == 1
    told = json.dumps(found)
    assert any(Path(name).name in told for name in FILES)
    assert "does not have" not in told


def test_a_description_beside_the_hosts_model_is_taken(
    capsys: pytest.CaptureFixture[str], host_server: LocalHost, config: Path, tmp_path: Path
) -> None:
    """As if its file were given; `eri sweep` on several hosts takes the first one's that answers."""
    ordered, host = ("graph", config, "--run", "flux_zorp", "--step", 50), ("--host", host_server.url)
    _, given = eri(capsys, *ordered, "--models", EXAMPLES / "models" / "flux.yaml")
    assert eri(capsys, *ordered, *host) == (0, given)
    said = "Model: flux_small.safetensors is loaded as flux.yaml, beside it, says."
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        away = ("--host", f"http://127.0.0.1:{closed.getsockname()[1]}")
        for verb, more in (("sample", ("--step", 50)), ("sweep", ("--steps", "50", "--again", *away))):
            words = (verb, config, "--run", "flux_zorp", *more, *host, "-o", tmp_path / "got", "--json")
            code, found = eri(capsys, *words)
            assert (code, said in str(found["notes"])) == (0, True), found


def test_a_file_that_the_host_lacks_is_still_named(
    capsys: pytest.CaptureFixture[str], other_names: LocalHost, config: Path, tmp_path: Path
) -> None:
    """And where to get it, although the host refuses the graph."""
    write_config(config, variant="schnell")
    run = tmp_path / "flux_zorp"
    words = ("sample", config, "--run", run, "--step", 50, "--host", other_names.url, "-o", tmp_path / "got")
    code, found = eri(capsys, *words, "--json")
    assert code == 1
    assert "--models" in json.dumps(found)
    with pytest.raises(SystemExit):
        app([str(word) for word in words])
    assert "flux1-schnell.safetensors has to be downloaded from https://" in capsys.readouterr().err
