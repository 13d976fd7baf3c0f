"""The life of a host process: start, answer, stop, and every way in which it or its parent can end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from comfyui_eridiffusion.dev import local_host
from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.tests.tooling.stand_in_host import RUN, STUBBORN, write_host
from comfyui_eridiffusion.tests.waiting import PATIENCE, wait_until

PARENT = """
import sys, time
from pathlib import Path
from comfyui_eridiffusion.dev.host_install import HostInstall
from comfyui_eridiffusion.dev.local_host import LocalHost
install = HostInstall(Path(sys.argv[1]), Path(sys.executable), "9.9.9", "COMFYUI_PATH")
with LocalHost(install, workspace=Path(sys.argv[2])) as host:
    print(host.pid, host.url.rsplit(":", 1)[1], flush=True)
    time.sleep(180)
"""


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_start_and_stop_leave_only_the_log(tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    host = LocalHost(write_host(tmp_path / "host"), workspace=workspace)
    with host:
        port = int(host.url.rsplit(":", 1)[1])
        assert listens(port)
        assert host.output_dir.is_dir()
        assert host.input_dir.is_dir()
        assert host.is_running
        with pytest.raises(HostError, match="already running"):
            host.start()
    assert not listens(port)
    assert not host.is_running
    assert list((workspace / "run").iterdir()) == []
    assert "Stopped server" in host.log_path.read_text()  # it ended by its own Ctrl-C path, not by force
    host.stop()
    with pytest.raises(HostError, match="not running"):
        host.url  # noqa: B018


def test_output_folder_of_the_caller_is_kept(tmp_path: Path) -> None:
    with LocalHost(write_host(tmp_path / "host"), workspace=tmp_path / "w", output_dir=tmp_path / "images") as host:
        (host.output_dir / "one.png").write_bytes(b"x")
    assert (tmp_path / "images" / "one.png").is_file()


def test_arguments_keep_a_users_comfyui_untouched(tmp_path: Path) -> None:
    install = write_host(tmp_path / "host")
    before = sorted(path.relative_to(install.path) for path in install.path.rglob("*"))
    run = tmp_path / "my run"
    options = {"workspace": tmp_path / "w", "model_paths": {"loras": [run]}, "extra_args": ("--lowvram",)}
    with LocalHost(install, **options) as host, urllib.request.urlopen(f"{host.url}/system_stats") as answer:
        arguments = json.load(answer)["system"]["argv"]
        paths = json.loads(Path(arguments[arguments.index("--extra-model-paths-config") + 1]).read_text())
    for flag in ("--output-directory", "--input-directory", "--user-directory", "--temp-directory"):
        assert not Path(arguments[arguments.index(flag) + 1]).is_relative_to(install.path)
    assert arguments[-1] == "--lowvram"
    assert "--disable-auto-launch" in arguments
    entries = paths["eridiffusion"]
    assert entries["loras"].split("\n")[0] == str(run)
    assert entries["loras"].split("\n")[1].endswith(os.path.join("examples", "runs"))
    for kind in ("checkpoints", "diffusion_models", "text_encoders", "vae"):
        assert entries[kind].endswith(os.path.join("examples", "models"))
    after = sorted(path.relative_to(install.path) for path in install.path.rglob("*"))
    assert [path for path in after if "__pycache__" not in path.parts] == before


def test_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(HostError, match=rf"Port {port} is taken .*[Cc]hoose another"):
            LocalHost(write_host(tmp_path / "host"), workspace=tmp_path / "w", port=port).start()


def test_death_at_start_quotes_the_log(tmp_path: Path) -> None:
    install = write_host(tmp_path / "host", "import sys\nprint('cannot find the flux capacitor')\nsys.exit(3)\n")
    host = LocalHost(install, workspace=tmp_path / "w")
    with pytest.raises(HostError, match=r"(?s)exit code 3.*cannot find the flux capacitor"):
        host.start()
    assert list((tmp_path / "w" / "run").iterdir()) == []


def test_no_answer_in_time_stops_the_process(tmp_path: Path) -> None:
    install = write_host(tmp_path / "host", f"import time\ntime.sleep({PATIENCE})\n")
    pids = []

    class Noting(LocalHost):
        def _launch(self) -> None:
            super()._launch()
            pids.append(self.pid)

    with pytest.raises(HostError, match="did not answer"):
        Noting(install, workspace=tmp_path / "w", start_timeout=1).start()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_another_program_on_the_port_is_not_taken_for_the_host(tmp_path: Path) -> None:
    with LocalHost(write_host(tmp_path / "host"), workspace=tmp_path / "w") as host:
        port = int(host.url.rsplit(":", 1)[1])
        assert not local_host._answers(port, "arguments of another host")


def test_host_that_ignores_ctrl_c_is_ended(tmp_path: Path) -> None:
    host = LocalHost(write_host(tmp_path / "host", STUBBORN), workspace=tmp_path / "w").start()
    pid = host.pid
    host.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda sign: sign.name)
def test_host_ends_with_its_parent(tmp_path: Path, how: signal.Signals) -> None:
    install = write_host(tmp_path / "host", RUN)
    command = [sys.executable, "-c", PARENT, str(install.path), str(tmp_path / "w")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert parent.stdout is not None
        pid, port = map(int, parent.stdout.readline().split())
        assert listens(port)
        parent.send_signal(how)
        parent.wait(PATIENCE)
        wait_until(lambda: not listens(port), "the host has ended")
    finally:
        parent.kill()
        parent.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_background_host_outlives_its_starter(tmp_path: Path) -> None:
    workspace = tmp_path / "w"
    assert local_host.background_host(workspace) is None
    state = local_host.start_background(install=write_host(tmp_path / "host"), workspace=workspace)
    try:
        assert local_host.background_host(workspace) == state
        with pytest.raises(HostError, match="already runs"):
            local_host.start_background(install=write_host(tmp_path / "second"), workspace=workspace)
    finally:
        assert local_host.stop_background(workspace)
    assert not listens(state.port)
    assert local_host.background_host(workspace) is None
    assert not local_host.stop_background(workspace)


def test_real_host_serves_the_pack(host_server: LocalHost) -> None:
    with urllib.request.urlopen(f"{host_server.url}/object_info") as answer:
        offered = json.load(answer)
    assert {"EriSampleSpec", "EriLoraAtStep", "EriSample", "EriExampleModelLoader", "KSampler"} <= offered.keys()


async def test_every_node_of_the_pack_is_in_the_host(comfy_host: object) -> None:
    extension = await comfy_host.pack().comfy_entrypoint()  # type: ignore[attr-defined]
    names = {node.GET_SCHEMA().node_id for node in await extension.get_node_list()}
    assert len(names) >= 12
    assert names <= comfy_host.nodes.keys()  # type: ignore[attr-defined]
