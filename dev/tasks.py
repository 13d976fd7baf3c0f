#!/usr/bin/env python3
"""Set up and run this project with nothing but Python 3.10 or newer: no make, no shell, no other package.

    python dev/tasks.py COMMAND [options] [-- arguments for the tool]

Every command first brings the environment (`.venv`) and, where it needs one, the ComfyUI host (`.workspace`) up to
date; when nothing changed that takes about a second. Settings, as environment variables:

  ERI_PYTHON       a Python that already has torch, used instead of .venv (also: --env PATH); its torch is left alone
  ERI_TORCH        which torch to install (default torch==2.13.0)
  ERI_TORCH_INDEX  package index to install torch from (for a CPU, CUDA or ROCm build)
  COMFYUI_PATH     a ComfyUI to use instead of the one from PyPI; COMFYUI_PYTHON: the Python that runs it
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - said here, before an older Python trips over something it cannot read
    found = f"Python {sys.version_info[0]}.{sys.version_info[1]} at {sys.executable}"
    sys.exit(
        f"error: {found} is too old; this project needs 3.10 or newer. Install one and name it, for example "
        "`make demo PYTHON=python3.12`, or run `python3.12 dev/tasks.py demo`."
    )

import argparse
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
WORKSPACE = ROOT / ".workspace"
CONSTRAINTS = ROOT / "dev" / "constraints.txt"
PACKAGE = "comfyui_eridiffusion"
TORCH = "torch==2.13.0"
TORCH_BYTES = 3_000_000_000
PACKAGES_BYTES = 1_000_000_000


class SetUpError(Exception):
    """The environment cannot be made; the message says why and what to do."""


def load_installer() -> ModuleType:
    """Import the package's installer (standard library only) without putting the root folder on `sys.path`."""
    spec = importlib.util.spec_from_file_location(PACKAGE, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)])
    if spec is None or spec.loader is None:
        raise SetUpError(f"{ROOT / '__init__.py'} is missing: this is not a complete copy of the project.")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)
    return importlib.import_module(f"{PACKAGE}.dev.host_install")


def say(line: str) -> None:
    """Tell the person at the terminal what is going on (standard error: standard output belongs to the tool)."""
    print(line, file=sys.stderr, flush=True)


# --- environment ------------------------------------------------------------------------------------------------------


def environment_python(named: str | None) -> tuple[Path, bool]:
    """Return the Python to use, and whether it is this project's own `.venv` (made when it does not exist)."""
    if named:
        path = Path(named).expanduser().absolute()
        python = path if path.is_file() else in_environment(path)
        if not python.is_file():
            raise SetUpError(f"{named} is neither a Python nor an environment. Correct --env or ERI_PYTHON.")
        return python, False
    python = in_environment(VENV)
    if not runs(python):
        make_environment()
    return python, True


def in_environment(folder: Path) -> Path:
    """Return where an environment keeps its Python."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def runs(python: Path) -> bool:
    """Whether this Python is there, starts, and has pip."""
    if not python.is_file():
        return False
    return subprocess.run([str(python), "-c", "import pip"], capture_output=True, check=False).returncode == 0


def make_environment() -> None:
    """Create `.venv`; a broken one (its Python was removed or replaced) is made anew, with nothing installed in it."""
    say(f"  creating the environment {VENV}")
    notes_of(in_environment(VENV)).unlink(missing_ok=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        output = made.stdout + made.stderr
        if "No space left" in output:
            reason = "The disk is full: free some space and try again."
        elif "ensurepip" in output:
            reason = "This Python lacks its venv part; on Debian and Ubuntu: apt install python3-venv."
        else:
            reason = output.strip()[-500:]
        raise SetUpError(f"The environment {VENV} cannot be created with {sys.executable}. {reason}")


def install_torch(python: Path, own: bool, pip: ModuleType) -> str:
    """Make sure of a torch, before anything that depends on it; return its exact version.

    The project's own environment gets the pinned build; a named environment keeps what it has unless ERI_TORCH is set.
    """
    wanted = os.environ.get("ERI_TORCH") or (TORCH if own else "")
    chosen = f"{wanted} {os.environ.get('ERI_TORCH_INDEX', '')}"
    version = installed_torch(python)
    if wanted and not (version and noted(python).get("torch") == chosen):
        pip.check_disk(ROOT, TORCH_BYTES, "torch")
        say(f"  installing {wanted} (the largest part; GPU builds take several GB)")
        pip.run_pip(["install", *pip.index_options(), *wanted.split()], wanted, str(python))
        note(python, {"torch": chosen})
        version = installed_torch(python)
    if not version:
        raise SetUpError(f"{python} has no torch. Install one there, or set ERI_TORCH (for example {TORCH}).")
    return version


def installed_torch(python: Path) -> str:
    """Return the version of an environment's torch, "" without one; does not import it."""
    code = "import importlib.metadata as m\ntry: print(m.version('torch'))\nexcept m.PackageNotFoundError: pass"
    found = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    if found.returncode:
        raise SetUpError(f"{python} does not run: {found.stderr.strip()[-300:]}")
    return found.stdout.strip()


def install_project(python: Path, own: bool, extras: Sequence[str], torch: str, pip: ModuleType) -> None:
    """Install this folder (editable) with the extras, torch held at the version that is there."""
    constraints = CONSTRAINTS.read_text(encoding="utf-8") if own else ""
    pins = f"{constraints}\ntorch=={torch}\n"
    text = pins + (ROOT / "pyproject.toml").read_text(encoding="utf-8") + str(ROOT)
    key = hashlib.sha256(text.encode()).hexdigest()
    if all(noted(python).get(extra) == key for extra in extras):
        return
    pip.check_disk(ROOT, PACKAGES_BYTES, "the Python packages")
    say(f"  installing the packages for {', '.join(extras)}")
    pins_file = notes_of(python).with_suffix(".constraints.txt")
    pins_file.parent.mkdir(parents=True, exist_ok=True)
    pins_file.write_text(pins, encoding="utf-8")
    pip.run_pip(["install", "-c", str(pins_file), "-e", f"{ROOT}[{','.join(extras)}]"], "the packages", str(python))
    for left_over in ROOT.glob("*.egg-info"):
        shutil.rmtree(left_over, ignore_errors=True)
    note(python, dict.fromkeys(extras, key))


def notes_of(python: Path) -> Path:
    """Return the file that notes what was installed last in an environment: torch, and the packages of each extra."""
    return WORKSPACE / "stamps" / f"{hashlib.sha256(str(python).encode()).hexdigest()[:12]}.json"


def noted(python: Path) -> dict[str, str]:
    """Return what is noted of an environment."""
    notes = notes_of(python)
    found: dict[str, str] = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else {}
    return found


def note(python: Path, installed: dict[str, str]) -> None:
    """Note what was installed now, beside what is noted already."""
    notes = notes_of(python)
    notes.parent.mkdir(parents=True, exist_ok=True)
    notes.write_text(json.dumps(noted(python) | installed), encoding="utf-8")


def set_up(options: argparse.Namespace, extras: Sequence[str], host: bool = True) -> Path:
    """Bring environment and host up to date; return the environment's Python."""
    started = time.monotonic()
    pip = load_installer()
    python, own = environment_python(options.env or os.environ.get("ERI_PYTHON"))
    if own and not noted(python).keys() >= set(extras):
        say("Setting up (once; a few minutes, mostly downloads)")
    try:
        torch = install_torch(python, own, pip)
        install_project(python, own, extras, torch, pip)
    except pip.HostError as error:
        raise SetUpError(str(error)) from error
    if host:
        set_up_host(python)
    if time.monotonic() - started > 5:
        say(f"Ready after {time.monotonic() - started:.0f} s")
    return python


def set_up_host(python: Path, meanwhile: Callable[[Path], int] = lambda _python: 0) -> int:
    """Bring the ComfyUI host up to date; return the exit code of what is done meanwhile."""
    process = subprocess.Popen(module(python, f"{PACKAGE}.dev.host_install"), cwd=ROOT, stdout=subprocess.DEVNULL)
    code = meanwhile(python)
    if not wait_for(process):
        return code
    raise SetUpError("The ComfyUI host could not be set up (see above).")


# --- running tools ----------------------------------------------------------------------------------------------------


# The root folder must stay off `sys.path` (its nodes/ would hide the host's nodes.py), where `-m` and `-c` put it.
OFF_PATH = (
    "import runpy, sys; root = sys.argv.pop(1); sys.path[:] = [path for path in sys.path if path not in ('', root)]; "
)
RUN_MODULE = OFF_PATH + "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)"
RUN_CLI = OFF_PATH + "from comfyui_eridiffusion.cli import main; sys.argv[0] = 'eri'; sys.exit(main())"


def module(python: Path, name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as `python -m` does, without the root folder on its path."""
    return [str(python), "-c", RUN_MODULE, str(ROOT), name, *arguments]


def call(command: Sequence[str], cwd: Path = ROOT) -> int:
    """Run a tool to its end and return its exit code."""
    return wait_for(subprocess.Popen(list(command), cwd=cwd))


def wait_for(process: subprocess.Popen[bytes]) -> int:
    """Return the exit code of a tool; Ctrl-C and a request to stop are the tool's to handle."""

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        process.terminate()

    previous = signal.signal(signal.SIGTERM, pass_on)
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the terminal sent it to the tool as well, which is cleaning up
                continue
    finally:
        signal.signal(signal.SIGTERM, previous)


def command_install(options: argparse.Namespace) -> int:
    """create the environment and get the host"""
    set_up(options, ("cli", "test", "dev"))
    return 0


def command_demo(options: argparse.Namespace) -> int:
    """run the examples' training configs in a real ComfyUI"""
    python = set_up(options, ("cli",))
    return call([str(python), "-c", RUN_CLI, str(ROOT), "demo", *options.rest])


def command_test(options: argparse.Namespace) -> int:
    """check style and types, then run every test, those in a real ComfyUI included"""
    python = set_up(options, ("cli", "test", "dev"), host=False)
    code = set_up_host(python, meanwhile=lint)
    return code or call(module(python, "pytest", *(options.rest or in_two())))


def command_test_pure(options: argparse.Namespace) -> int:
    """run the tests that need no ComfyUI (a minute); none is set up"""
    python = set_up(options, ("cli", "test", "dev"), host=False)
    return call(module(python, "pytest", "-m", "not host", *(options.rest or in_two())))


def command_test_ray(options: argparse.Namespace) -> int:
    """run the test on a Ray cluster of this machine, for which Ray is installed (a minute)"""
    python = set_up(options, ("cli", "test", "ray"))
    return call(module(python, "pytest", "tests/client/test_ray_engine.py", *options.rest))


def in_two() -> list[str]:
    """Two processes of one thread where there are two cores: more need 2 GB each, and small models use one thread."""
    if (os.cpu_count() or 1) < 2:
        return []
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return ["--numprocesses=2", "--dist=loadfile"]


def command_lint(options: argparse.Namespace) -> int:
    """check style (ruff), types (mypy) and what the published pack may do (bandit)"""
    return lint(set_up(options, ("cli", "test", "dev"), host=False))


def lint(python: Path) -> int:
    """Run ruff, bandit and mypy, all even if one complains."""
    style = call(module(python, "ruff", "check", "."))
    style = call(module(python, "bandit", "--quiet", "--recursive", ".", "--configfile", "pyproject.toml")) or style
    # mypy wants the package under its own name; the folder may be called anything
    types = WORKSPACE / "types"
    types.mkdir(parents=True, exist_ok=True)
    load_installer()
    links = importlib.import_module(f"{PACKAGE}.dev.host_links")
    links.link_folder(types / PACKAGE, ROOT)
    options = ["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache")]
    return style or call(module(python, "mypy", *options, "-p", PACKAGE), cwd=types)


def command_fuzz(options: argparse.Namespace) -> int:
    """make inputs for all that reads what others wrote, guided by coverage (atheris; ARGS="--runs 1000000")"""
    python = set_up(options, ("cli", "test", "fuzz"), host=False)
    return call(module(python, f"{PACKAGE}.tests.fuzz.run", *options.rest))


def command_bench(options: argparse.Namespace) -> int:
    """measure what a user waits for beside its alternatives (ARGS="--only lora --write docs/performance.md")"""
    python = set_up(options, ("cli", "test"))
    return call(module(python, f"{PACKAGE}.benchmarks.bench", *options.rest))


def command_train_examples(options: argparse.Namespace) -> int:
    """train the examples' small models again (some hours on two cores, minutes on a GPU)"""
    python = set_up(options, ("cli",))
    return call([str(python), "-m", "training", *options.rest], cwd=ROOT / "examples")


def command_adherence(options: argparse.Namespace) -> int:
    """measure how well the examples' models follow prompts, through the host"""
    python = set_up(options, ("cli",))
    return call([str(python), "-m", "training.adherence", *options.rest], cwd=ROOT / "examples")


def command_example_workflows(options: argparse.Namespace) -> int:
    """write example_workflows/ anew: the graphs, and their pictures from the small models"""
    python = set_up(options, ("cli",))
    return call(module(python, f"{PACKAGE}.dev.example_pictures", *options.rest))


def command_clean(options: argparse.Namespace) -> int:
    """remove .venv, .workspace, demo_output and caches (training work only with -- --all)"""
    keep = set() if "--all" in options.rest else {"training"}
    for link in [*(WORKSPACE / "custom_nodes").glob("*"), *(WORKSPACE / "types").glob("*")]:
        link.unlink() if link.is_symlink() else os.rmdir(link)
    inside = [path for path in WORKSPACE.glob("*") if path.name not in keep]
    caches = (".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis")
    outside = [ROOT / name for name in (".venv", "demo_output", *caches)]
    for path in [*inside, *outside]:
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if WORKSPACE.is_dir() and not any(WORKSPACE.iterdir()):
        WORKSPACE.rmdir()
    return 0


def command_help(_options: argparse.Namespace) -> int:
    """list the commands"""
    lines = [f"  {name:<18}{command.__doc__}" for name, command in COMMANDS.items()]
    print(f"make TARGET, or python dev/tasks.py COMMAND:\n{chr(10).join(lines)}\n")
    print("Settings" + (__doc__ or "").split("Settings")[1].rstrip())
    return 0


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "demo": command_demo,
    "test": command_test,
    "test-pure": command_test_pure,
    "test-ray": command_test_ray,
    "lint": command_lint,
    "fuzz": command_fuzz,
    "bench": command_bench,
    "install": command_install,
    "train-examples": command_train_examples,
    "adherence": command_adherence,
    "example-workflows": command_example_workflows,
    "clean": command_clean,
    "help": command_help,
}


def main() -> int:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=COMMANDS, nargs="?", default="help")
    parser.add_argument("--env", help="a Python, or an environment's folder, that already has torch")
    arguments, separator, rest = sys.argv[1:], "--", []
    if separator in arguments:
        at = arguments.index(separator)
        arguments, rest = arguments[:at], arguments[at + 1 :]
    options = parser.parse_args(arguments)
    options.rest = rest
    try:
        return COMMANDS[options.command](options)
    except SetUpError as error:
        say(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        say("stopped")
        return 130


if __name__ == "__main__":
    sys.exit(main())
