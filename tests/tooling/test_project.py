"""Rules about the project's own files: what may be imported when, sizes, the commands that others rely on."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from site import getsitepackages

import pytest

from comfyui_eridiffusion.dev.host_install import CONSTRAINTS, ROOT
from comfyui_eridiffusion.tests.published import copy_files, published_files

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PURE = (
    "samplers", "lora", "trainers", "families", "spec", "configs", "workflows", "images", "protocol", "compare",
    "gallery",
)  # fmt: skip
PACKAGES = (*PURE, "client", "commands", "dev", "host", "nodes")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
SOURCES += sorted(ROOT.glob("*.py"))
#: With cli.py, what only `eri` needs, which starts processes and opens sockets: it is installed from PyPI.
ERI = ("client", "commands", "dev")
#: Of rooms that the nodes need, too, what only `eri` does.
ERI_FILES = (
    "compare/estimate.py", "compare/measures.py", "compare/pages.py", "compare/scheduler.py", "gallery/serve.py",
    "gallery/votes.py", "lora/against.py",
)  # fmt: skip
TARGETS = ("demo", "test", "test-pure", "test-ray", "lint", "fuzz", "bench", "install", "train-examples", "adherence")
TARGETS += ("example-workflows", "clean")


def run(code: str, *options: str) -> str:
    done = subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_brings_nothing_along() -> None:
    code = "import sys; before = set(sys.modules); import comfyui_eridiffusion; print(*set(sys.modules) - before)"
    loaded = {name.split(".")[0] for name in run(code).split()}
    assert loaded - sys.stdlib_module_names == {"comfyui_eridiffusion"}


@pytest.mark.parametrize("package", PURE)
def test_pure_packages_import_without_the_host(package: str) -> None:
    loaded = run(f"import sys, comfyui_eridiffusion.{package}; print(*sys.modules)").split()
    assert {"comfy", "folder_paths", "nodes", "server", "execution"}.isdisjoint(loaded)


def test_making_and_explaining_a_graph_needs_no_torch() -> None:
    """Of every trainer's configs; those of tests/spec/forms.py import nothing themselves."""
    code = """
import sys
from comfyui_eridiffusion.spec import read_text
from comfyui_eridiffusion.tests.spec.forms import FORMS
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.parity import explain
for form in FORMS.values():
    spec = read_text(form.text(), **form.arguments())
    for graph in (build(spec, run="r", step=5), build(spec, style="stock")):
        assert graph.api() and graph.ui() and explain(spec)
print(*sys.modules)
"""
    assert {"torch", "numpy", "pydantic", "comfy"}.isdisjoint(run(code).split())


def test_set_up_needs_only_the_standard_library() -> None:
    """The script runs before anything is installed: -S hides every installed package."""
    code = f"import sys; sys.path.insert(0, {str(ROOT / 'dev')!r}); import tasks; tasks.load_installer()\n"
    code += "import comfyui_eridiffusion.dev.local_host"
    run(code, "-S", "-I")


def test_listed_packages_are_the_folders() -> None:
    listed = set(PROJECT["tool"]["setuptools"]["packages"])
    folders = {path.parent.relative_to(ROOT) for path in SOURCES if path.name == "__init__.py" and path.parent != ROOT}
    assert listed == {"comfyui_eridiffusion", *(".".join(["comfyui_eridiffusion", *path.parts]) for path in folders)}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} at line {node.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_absolute_imports_of_the_own_package(path: Path) -> None:
    """Inside a host the folder has another name, so only relative imports find their neighbours."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        assert not [name for name in names if name.split(".")[0] == "comfyui_eridiffusion"], f"line {node.lineno}"


def dotted(path: Path) -> tuple[str, ...]:
    """Name of a module of the pack, of which a package is the folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {dotted(path): path for path in SOURCES}


@cache
def imports(path: Path) -> list[tuple[tuple[str, ...], str]]:
    """(module, name) of everything that a file takes from the pack when it runs, inside functions as well."""

    def statements(node: ast.AST) -> Iterator[ast.ImportFrom]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ImportFrom):
                yield child
            elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)):
                yield from statements(child)

    folder, found = path.relative_to(ROOT).parent.parts, []
    for statement in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if statement.level:
            start = folder[: len(folder) - statement.level + 1]
            module = (*start, *statement.module.split(".")) if statement.module else start
            found += [(module, alias.name) for alias in statement.names]
    return found


@cache
def lazy_names(package: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Where the names come from that a package's `attach(__name__, {module: names})` gives."""
    found = {}
    for node in ast.walk(ast.parse(MODULES[package].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "attach":
            for module, names in ast.literal_eval(node.args[1]).items():
                above = len(module) - len(module.lstrip(".")) - 1
                place = (*package[: len(package) - above], *module.lstrip(".").split("."))
                found |= dict.fromkeys(names, place)
    return found


def test_imports_run_one_way() -> None:
    """No file imports, over others, itself; a name that a package gives lazily is its module's."""
    graph: dict[tuple[str, ...], set[tuple[str, ...]]] = {}
    for name, path in MODULES.items():
        needed = graph.setdefault(name, set())
        for module, wanted in imports(path):
            assert module in MODULES or (*module, wanted) in MODULES, f"{path}: {'.'.join(module)}"
            inner = (*module, wanted)
            needed.add(inner if inner in MODULES else lazy_names(module).get(wanted, module))
        needed.discard(name)
    assert sum(map(len, graph.values())) > len(MODULES), "too few imports were found"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(".".join(module) for module in error.args[1]))


def test_one_file_asks_for_the_kind_of_a_patcher() -> None:
    """ComfyUI has two, and what holds for one may do nothing on the other: tests/nodes/test_patchers.py runs both."""
    asks = re.compile(r"\bis_dynamic\b|\bModelPatcher|\bCoreModelPatcher|\.backup\b|model_lowvram")
    found = [path.relative_to(ROOT) for path in SOURCES if asks.search(path.read_text(encoding="utf-8"))]
    assert [path for path in found if path.parts[0] != "dev"] == [Path("host/patchers.py")]


def test_published_pack_is_small(tmp_path: Path) -> None:
    files = published_files()
    assert not [path for path in files if path.suffix == ".safetensors"]
    packed = tmp_path / "node.zip"  # what the registry stores and every user downloads
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(ROOT))
    assert packed.stat().st_size < 1_000_000


def test_published_pack_holds_what_the_nodes_need() -> None:
    """Every module but those of `eri` and of the set-up, which nothing else imports, and the data beside them."""
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["comfyui_eridiffusion"]
    data = [path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()]
    assert ROOT / "web" / "docs" / "EriSample.md" in data
    published = published_files()
    absent = [path.relative_to(ROOT) for path in {ROOT / "pyproject.toml", *SOURCES, *data} - published]
    alone = {path.parts[0] if path.parts[0] in ERI else path.as_posix() for path in absent}
    assert alone == {*ERI, *ERI_FILES, "cli.py"}
    for path in published & set(SOURCES):
        needed = {(module or (name,))[0] for module, name in imports(path)}
        needed |= {f"{'/'.join((*module, name)[:2])}.py" for module, name in imports(path)}
        assert needed.isdisjoint({*ERI, *ERI_FILES, "cli"}), path


def test_installed_wheel_runs_eri(tmp_path: Path) -> None:
    """In an environment of its own, which sees the packages of this one, and no folder of the repository."""
    source = copy_files(published_files() | set(SOURCES) | {CONSTRAINTS}, tmp_path / "source")
    python = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    (site,) = (path for path in (tmp_path / "env").rglob("site-packages"))
    (site / "suite.pth").write_text("\n".join(getsitepackages()), encoding="utf-8")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--no-compile"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *options, str(source)]
    subprocess.run(pip, check=True, cwd="/")

    def eri(*arguments: str) -> str:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        command = [str(python.with_name("eri")), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    config = str(ROOT / "examples" / "configs" / "flux.yaml")
    assert "sweep" in eri("--help")
    graph = json.loads(eri("graph", config, "--run", "flux_zorp", "--step", "500"))
    assert graph["lora"]["inputs"]["step"] == 500


def test_ci_calls_exactly_the_make_targets() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    assert lines[-2:] == ["make test", "make test-ray"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


@pytest.mark.skipif(os.name == "nt", reason="make is POSIX")
@pytest.mark.parametrize("target", [*TARGETS, "help"])
def test_make_targets_are_calls_of_the_script(target: str) -> None:
    command = ["make", "--dry-run", "--no-print-directory", target, "PYTHON=python9", "ARGS=-x y"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == f"python9 dev/tasks.py {target} -- -x y".split()


def script(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "dev" / "tasks.py"), *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_help_lists_every_command() -> None:
    done = script("help")
    assert done.returncode == 0
    for word in (*TARGETS, "ERI_PYTHON", "ERI_TORCH"):
        assert word in done.stdout


def test_named_environment_must_exist_and_have_torch(tmp_path: Path) -> None:
    done = script("install", "--env", str(tmp_path / "nowhere"))
    assert (done.returncode, "neither a Python nor an environment" in done.stderr) == (1, True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")], check=True)
    for options, environment in (
        (("--env", str(tmp_path / "empty")), {}),
        ((), {"ERI_PYTHON": str(tmp_path / "empty")}),
    ):
        done = script("install", *options, **environment)
        assert done.returncode == 1
        assert "has no torch" in done.stderr
        assert "Traceback" not in done.stderr


def test_old_python_is_told_so() -> None:
    path = ROOT / "dev" / "tasks.py"
    code = f"import sys; sys.version_info = (3, 9, 1); exec(compile(open({str(path)!r}).read(), 'tasks.py', 'exec'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Python 3.9" in done.stderr
    assert "needs 3.10 or newer" in done.stderr
