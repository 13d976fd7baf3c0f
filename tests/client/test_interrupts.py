"""Ctrl-C and SIGTERM at every moment of a command: one exit code, one JSON document, nothing left, no traceback.

While a step is sampled and while a folder is watched: test_resume, test_watch.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyui_eridiffusion.tests.client.test_cli_table import FLUX, RUN
from comfyui_eridiffusion.tests.tooling.stand_in_host import write_host
from comfyui_eridiffusion.tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals are POSIX")

SIGNALS = pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
#: `eri`, which gets the signal `number` at the `left`-th module that it imports, and with "0" says how many there were.
AT_AN_IMPORT = """
import os, sys
left, number = int(sys.argv.pop(1)), int(sys.argv.pop(1))
def look(event, _):
    global left
    if event == "import":
        left -= 1
        if left == 0:
            os.kill(os.getpid(), number)
from comfyui_eridiffusion.cli import main
sys.addaudithook(look)
try:
    main()
finally:
    if left < 0:
        print(-left, file=sys.stderr)
"""


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE)
        yield server


def sample(url: str, folder: Path) -> list[str]:
    return ["sample", FLUX, "--run", RUN, "--step", "50", "--host", url, "-o", str(folder), "--json"]


def eri(*arguments: str, **options: object) -> subprocess.Popen[str]:
    command = [str(Path(sys.executable).with_name("eri")), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload, no-any-return]


def is_interrupted(running: subprocess.Popen[str]) -> None:
    shown, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert errors.count("interrupted") == 1
    assert json.loads(shown) == {"error": {"kind": "interrupted", "message": "interrupted"}}


def importing(moment: int, how: int, folder: Path) -> subprocess.Popen[str]:
    words = [str(moment), str(how), *sample("http://127.0.0.1:9", folder)]
    command = [sys.executable, "-c", AT_AN_IMPORT, *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many modules `sample` imports until it asks a host that is not there."""
    with importing(0, 0, tmp_path_factory.mktemp("whole")) as running:
        _, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1
    return int(errors.splitlines()[-1])


@SIGNALS
@pytest.mark.parametrize("part", [0, 0.2, 0.5, 0.8, 1])
def test_while_its_modules_are_imported(tmp_path: Path, modules: int, how: signal.Signals, part: float) -> None:
    """From the first to the last; those of the command's own work are among them."""
    assert modules > 100
    with importing(1 + round((modules - 1) * part), how, tmp_path) as running:
        is_interrupted(running)


def test_little_is_imported_before_they_are_heard() -> None:
    code = "import sys; before = set(sys.modules); import comfyui_eridiffusion.cli; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert loaded.isdisjoint({"asyncio", "json", "pathlib", "rich", "threading", "typer"})


@SIGNALS
def test_while_it_connects(silent: socket.socket, tmp_path: Path, how: signal.Signals) -> None:
    with eri(*sample(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)) as running:
        connection, _ = silent.accept()
        with connection:
            running.send_signal(how)
            is_interrupted(running)


@SIGNALS
def test_while_a_comfyui_starts(tmp_path: Path, how: signal.Signals) -> None:
    """The process that was started ends with it."""
    started = tmp_path / "pid"
    script = f"import os, pathlib, time\npathlib.Path({str(started)!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"
    install = write_host(tmp_path / "host", script)
    arguments = [word for word in sample("", tmp_path / "got") if word not in ("--host", "")]
    with eri(*arguments, env={**os.environ, "COMFYUI_PATH": str(install.path)}) as running:
        wait_until(lambda: (started.is_file() and started.read_text()) or running.poll() is not None, "it starts")
        running.send_signal(how)
        is_interrupted(running)
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_command_in_the_background_hears_sigterm_alone(silent: socket.socket, tmp_path: Path) -> None:
    """A shell's script starts what ends in & with Ctrl-C ignored, as the terminal sends it to all of them."""

    def deaf() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    with eri(*sample(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path), preexec_fn=deaf) as running:
        connection, _ = silent.accept()
        with connection:
            running.send_signal(signal.SIGINT)
            running.send_signal(signal.SIGTERM)
            is_interrupted(running)


def run(code: str) -> subprocess.CompletedProcess[str]:
    head = "import asyncio, os, signal, sys, time\nfrom comfyui_eridiffusion.commands import interrupts\n"
    head += "interrupts.hear()\ninterrupts.go(interrupts.raise_interrupt)\n"
    return subprocess.run(
        [sys.executable, "-c", head + code], capture_output=True, text=True, check=False, timeout=PATIENCE
    )


@SIGNALS
def test_one_that_python_drops_comes_again(how: signal.Signals) -> None:
    """An exception in a `__del__` goes nowhere."""
    done = run(f"""
class Last:
    def __del__(self):
        os.kill(os.getpid(), {int(how)})
        for _ in range(1000):
            pass
        print("not reached")
try:
    Last()
    time.sleep({PATIENCE})
except KeyboardInterrupt:
    print("interrupted")
""")
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


@SIGNALS
def test_only_the_commands_task_gets_it_and_ends_in_order(how: signal.Signals) -> None:
    done = run(f"""
async def work():
    other = asyncio.create_task(asyncio.sleep(0.5, "done"))
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), {int(how)})
    try:
        await asyncio.sleep({PATIENCE})
    finally:
        print(await other)
try:
    interrupts.run(work())
except KeyboardInterrupt:
    print("interrupted")
""")
    assert (done.stdout, done.stderr) == ("done\ninterrupted\n", "")


@SIGNALS
def test_a_second_one_cuts_the_end_short_and_a_third_one_is_final(how: signal.Signals) -> None:
    done = run(f"""
async def work():
    def press():
        os.kill(os.getpid(), {int(how)})
    async def wait(name):
        asyncio.get_running_loop().call_later(0.1, press)
        try:
            await asyncio.sleep({PATIENCE})
        finally:
            print(name, flush=True)
    try:
        await wait("first")
    finally:
        try:
            await wait("second")
        finally:
            asyncio.get_running_loop().call_later(0.1, press)
            await asyncio.sleep({PATIENCE})
interrupts.run(work())
""")
    assert (done.returncode, done.stdout, done.stderr) == (130, "first\nsecond\n", "error: interrupted\n")


@SIGNALS
def test_none_changes_the_end_of_a_program_that_has_said_all(how: signal.Signals) -> None:
    """Python takes modules apart when it ends, and then no longer hears signals."""
    done = run(f"""
class Last:
    def __init__(self):
        self.kill = os.kill, os.getpid()
    def __del__(self):
        self.kill[0](self.kill[1], {int(how)})
sys.kept = Last()
print("said")
sys.exit(3)
""")
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "")


def test_a_result_and_an_error_pass_through() -> None:
    done = run("""
async def work(wrong):
    if wrong:
        raise OSError("no")
    return 5
print(interrupts.run(work(False)))
try:
    interrupts.run(work(True))
except OSError as error:
    print(error)
""")
    assert (done.stdout, done.stderr) == ("5\nno\n", "")
