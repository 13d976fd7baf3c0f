"""Starting and stopping a local ComfyUI (standard library only).

The host runs in its own process with its own output, input, temp and user folders. The pack, the example loaders and
the example models reach it through an extra model paths file, so a user's own ComfyUI folder is never written to.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import HostError
from .host_install import ROOT, WORKSPACE, HostInstall, find_host, torch_build, write_shim
from .host_links import link_custom_nodes, write_model_paths

KEPT_LOGS = 10
QUOTED_LINES = 25
TORCH_HAS_GPU = (
    "import sys, torch\n"
    "a = getattr(torch, 'accelerator', None)\n"
    "sys.exit(0 if torch.cuda.is_available() or (a is not None and a.is_available()) else 1)"
)


class LocalHost:
    """A ComfyUI process on a port of this machine; a context manager.

    `install` None finds one (`find_host`). `port` None takes a free one. `output_dir` None is a temporary
    folder, removed by `stop()`. `model_paths` adds folders by kind (`{"loras": [run_folder]}`) to the examples'.
    `extra_args` go to `main.py`. `pack` is the copy of this pack to load. Only that and the example loaders are loaded,
    not a user's other custom nodes. The process ends with this one, however this one ends,
    unless `detached`.
    """

    def __init__(
        self,
        install: HostInstall | None = None,
        *,
        workspace: Path = WORKSPACE,
        port: int | None = None,
        output_dir: Path | None = None,
        model_paths: Mapping[str, Sequence[Path]] | None = None,
        extra_args: Sequence[str] = (),
        detached: bool = False,
        start_timeout: float = 240.0,
        pack: Path = ROOT,
    ) -> None:
        self.install = install or find_host(workspace)
        self.workspace = workspace
        self.detached = detached
        self.pack = pack
        self._requested_port = port
        self._output_dir = output_dir
        self._model_paths = dict(model_paths or {})
        self._extra_args = tuple(extra_args)
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Base address, without a final slash; HostError before `start()`."""
        self._require_started()
        return f"http://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Process id of the host; HostError before `start()`."""
        return self._require_started().pid

    @property
    def output_dir(self) -> Path:
        """Folder the host saves images to; HostError before `start()`."""
        return self._output_dir or self._run_folder() / "output"

    @property
    def input_dir(self) -> Path:
        """Folder the host reads inputs from; HostError before `start()`."""
        return self._run_folder() / "input"

    @property
    def log_path(self) -> Path:
        """File with everything the host printed; kept after `stop()`."""
        return self.workspace / "logs" / f"host-{self._port}.log"

    @property
    def is_running(self) -> bool:
        """Whether the process is alive (not: whether it answers)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> LocalHost:
        """Start the process and return once it answers.

        Raises HostError when the port is taken, the process dies (its last log lines are quoted), or it does not
        answer within `start_timeout` seconds.
        """
        if self.is_running:
            raise HostError(f"The host is already running at {self.url}. Stop it first, or use it.")
        self._port = self._requested_port or free_port()
        require_free(self._port)
        runs = self.workspace / "run"
        runs.mkdir(parents=True, exist_ok=True)
        _prune(runs, self.workspace / "logs")
        self._folder = Path(tempfile.mkdtemp(prefix=f"host-{self._port}-", dir=runs))
        try:
            self._launch()
            self._wait_until_ready()
        except BaseException:  # Ctrl-C while waiting included: nothing may be left running
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the process and remove its temporary folders; a second call does nothing."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
            elif process.poll() is None:
                process.terminate()
            _end(process)
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    def __enter__(self) -> LocalHost:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.stop()

    def _launch(self) -> None:
        for folder in (self.output_dir, self.input_dir, self._run_folder() / "user", self._run_folder() / "temp"):
            folder.mkdir(parents=True, exist_ok=True)
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = {"start_new_session": True}  # the terminal's Ctrl-C is for this program alone
        if sys.platform == "win32":
            options = {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP}
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command(),
                cwd=self.install.path,
                env=self._environment(),
                stdin=subprocess.DEVNULL if self.detached else subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                **options,
            )

    def _command(self) -> list[str]:
        custom_nodes, names = link_custom_nodes(self.workspace, self.install, self.pack)
        folder = self._run_folder()
        paths = folder / "model_paths.yaml"
        write_model_paths(paths, custom_nodes, self._model_paths)
        command = [str(self.install.python), str(Path(__file__).with_name("host_launcher.py"))]
        command += [str(self.install.path / "main.py"), "--listen", "127.0.0.1", "--port", str(self._port)]
        command += ["--disable-auto-launch", "--disable-api-nodes", "--extra-model-paths-config", str(paths)]
        command += ["--output-directory", str(self.output_dir), "--input-directory", str(self.input_dir)]
        command += ["--user-directory", str(folder / "user"), "--temp-directory", str(folder / "temp")]
        command += ["--database-url", "sqlite:///:memory:"]
        command += ["--disable-all-custom-nodes", "--whitelist-custom-nodes", *names]
        if not has_gpu(self.install.python):
            command += ["--cpu"]
        return [*command, *self._extra_args]

    def _environment(self) -> dict[str, str]:
        environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONUTF8="1")
        environment.pop("ERI_HOST_TETHER", None)
        if not self.detached:
            environment["ERI_HOST_TETHER"] = "1"
        shim = write_shim(self.install, self.workspace)
        if shim is not None:
            inherited = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = os.pathsep.join([str(shim), *([inherited] if inherited else [])])
        return environment

    def _wait_until_ready(self) -> None:
        process = self._require_started()
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise HostError(self._why_it_died(process.returncode))
            if _answers(self._port, str(self._run_folder() / "model_paths.yaml")):
                return
            time.sleep(0.1)
        raise HostError(
            f"ComfyUI at {self.install.path} did not answer on port {self._port} within {self._start_timeout:.0f} s. "
            f"Last lines of {self.log_path}:\n{self.log_tail()}"
        )

    def _why_it_died(self, code: int | None) -> str:
        tail = self.log_tail()
        if "address already in use" in tail.lower() or "10048" in tail:
            return f"Port {self._port} is taken by another program. Choose another port, or leave it to be chosen."
        hint = " The disk is full." if "No space left on device" in tail else ""
        return (
            f"ComfyUI at {self.install.path} stopped while starting (exit code {code}).{hint} "
            f"Last lines of {self.log_path}:\n{tail}"
        )

    def log_tail(self) -> str:
        """Return the last lines that the host printed, indented, for an error message."""
        if not self.log_path.is_file():
            return "  (no log)"
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(f"  {line}" for line in text.splitlines()[-QUOTED_LINES:]) or "  (nothing printed)"

    def _require_started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise HostError("The host is not running. Call start(), or use it as a context manager.")
        return self._process

    def _run_folder(self) -> Path:
        if self._folder is None:
            raise HostError("The host is not running. Call start(), or use it as a context manager.")
        return self._folder


@dataclass(frozen=True)
class BackgroundHost:
    """A detached host that outlives the command which started it, as noted in the workspace."""

    pid: int
    port: int
    url: str
    output_dir: str
    log_path: str
    run_folder: str


def start_background(**options: Any) -> BackgroundHost:
    """Start a detached host (options of LocalHost) and note it in the workspace; HostError if one is running."""
    workspace = Path(options.get("workspace") or WORKSPACE)
    running = background_host(workspace)
    if running is not None:
        raise HostError(f"A host already runs at {running.url} (process {running.pid}). Use it, or stop it first.")
    host = LocalHost(**options, detached=True)
    host.start()
    state = BackgroundHost(
        host.pid, host._port, host.url, str(host.output_dir), str(host.log_path), str(host._run_folder())
    )
    (workspace / "background.json").write_text(json.dumps(asdict(state), indent=2), encoding="utf-8")
    return state


def background_host(workspace: Path = WORKSPACE) -> BackgroundHost | None:
    """Return the detached host that this workspace started, if it is the one answering on its port."""
    note = workspace / "background.json"
    try:
        state = BackgroundHost(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return state if _answers(state.port, str(Path(state.run_folder) / "model_paths.yaml")) else None


def stop_background(workspace: Path = WORKSPACE) -> bool:
    """Stop the detached host; False when none was running."""
    state = background_host(workspace)
    if state is not None:
        os.kill(state.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while _accepts(state.port) and time.monotonic() < deadline:
            time.sleep(0.1)
        if _accepts(state.port):
            raise HostError(f"The host (process {state.pid}) does not stop. End it by hand; its log: {state.log_path}")
        shutil.rmtree(state.run_folder, ignore_errors=True)
    (workspace / "background.json").unlink(missing_ok=True)
    return state is not None


def has_gpu(python: Path) -> bool:
    """Whether the torch of that Python can use an accelerator; imports torch only where it could."""
    if not torch_build(python).gpu_build and sys.platform != "darwin":
        return False
    return subprocess.run([str(python), "-c", TORCH_HAS_GPU], capture_output=True, check=False).returncode == 0


def free_port() -> int:
    """Return a TCP port of this machine that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int) -> None:
    """Raise HostError when something already listens on the port."""
    if _accepts(port):
        raise HostError(f"Port {port} is taken by another program. Choose another port, or leave it to be chosen.")


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(port: int, argument: str) -> bool:
    """Whether a ComfyUI started with `argument` on its command line answers on the port (not just any program)."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://127.0.0.1:{port}/system_stats", timeout=5) as response:
            stats = json.load(response)
    except (OSError, ValueError):
        return False
    return argument in stats.get("system", {}).get("argv", [argument])


def _end(process: subprocess.Popen[bytes]) -> None:
    for wait, then in ((10, process.terminate), (5, process.kill), (5, process.kill)):
        try:
            process.wait(wait)
            return
        except subprocess.TimeoutExpired:
            then()


def _prune(runs: Path, logs: Path) -> None:
    """Remove what killed programs left: run folders older than a day, all but the newest logs."""
    day_ago = time.time() - 86_400
    for folder in runs.glob("host-*"):
        if folder.stat().st_mtime < day_ago:
            shutil.rmtree(folder, ignore_errors=True)
    for log in sorted(logs.glob("host-*.log"), key=lambda path: path.stat().st_mtime)[:-KEPT_LOGS]:
        log.unlink(missing_ok=True)


def own_host(loras: Path, output: Path) -> LocalHost:
    """A worker's own ComfyUI on a machine of a Ray cluster, not started yet."""
    return LocalHost(output_dir=output, model_paths={"loras": [loras]})
