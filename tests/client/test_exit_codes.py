"""Every exit code that the command line's page states for a verb is reached; those of ComfyUI's refusals inside it.

That every verb ends with 2 on a mistake in its usage and with 130 on Ctrl-C is held by test_cli_table.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from comfyui_eridiffusion.dev import local_host
from comfyui_eridiffusion.tests.client.test_cli_table import DOWN, FLUX, LORA, ROOT, RUN, SAMPLES, VERBS, fails, run
from comfyui_eridiffusion.tests.compare.sample_pictures import run_of_pictures, spec_of

MISSING = "/nowhere/file.yaml"
#: Verb, exit code, word of its cell in the page, arguments. {folder}: `a_file`, a broken `run/`, SDXL `models.yaml`, a
#: sample of another size than the config's in `other/`.
REACHED = (
    ("spec", 2, "config", MISSING),
    ("spec", 2, "prompts", "{flux} --prompts {folder}/a_file"),
    ("explain", 2, "config", MISSING),
    ("explain", 2, "prompts", "{flux} --prompts {folder}/a_file"),
    ("graph", 1, "--host", "{flux} --host {down}"),
    ("graph", 1, "-o", "{flux} -o {folder}/a_file/graph.json"),
    ("graph", 2, "config", MISSING),
    ("graph", 2, "prompts", "{flux} --prompts {folder}/a_file"),
    ("graph", 2, "models", "{flux} --models {folder}/models.yaml"),
    ("graph", 2, "stock", "{flux} --style stock --run no_run --step 5"),
    ("lora", 1, "--convert", "{lora} --convert {folder}/a_file/b.safetensors"),
    ("lora", 2, "LoRA", "/nowhere/a.safetensors"),
    ("lora", 2, "model", "{lora} --against /nowhere/model.safetensors"),
    ("sample", 1, "ComfyUI", "{flux} --run {run} --host {down}"),
    ("sample", 2, "config", MISSING),
    ("sample", 2, "prompts", "{flux} --prompts {folder}/a_file --host {down}"),
    ("sample", 2, "models", "{flux} --models {folder}/models.yaml --host {down}"),
    ("sweep", 1, "ComfyUI", "{flux} --run {run} --host {down}"),
    ("sweep", 2, "the same", "{flux} --models {folder}/models.yaml --host {down} --steps 0"),
    ("sweep", 2, "run folder", "{flux} --run /nowhere/run --host {down}"),
    ("verify", 1, "ComfyUI", "{flux} --run {run} --samples {samples} --host {down}"),
    ("verify", 1, "differs", "{flux} --run {run} --samples {folder}/other --host {down}"),
    ("verify", 2, "config", f"{MISSING} --run {{run}}"),
    ("verify", 2, "prompts", "{flux} --run {run} --prompts {folder}/a_file"),
    ("verify", 2, "models", "{flux} --run {run} --samples {samples} --models {folder}/models.yaml --host {down}"),
    ("verify", 2, "run folder", "{flux} --run /nowhere/run"),
    ("verify", 2, "no sample", "{flux} --run {run}"),
    ("watch", 1, "ComfyUI", "{run} --config {flux} --once --host {down}"),
    ("watch", 1, "broken", "{folder}/run --config {flux} --once --host {down}"),
    ("watch", 2, "config", "{folder}/run --once --host {down}"),
    ("watch", 2, "prompts", "{run} --config {flux} --prompts {folder}/a_file --once --host {down}"),
    ("watch", 2, "models", "{run} --config {flux} --models {folder}/models.yaml --once --host {down}"),
    ("watch", 2, "run folder", "/nowhere/run --config {flux} --once --host {down}"),
    ("gallery", 2, "pictures", "/nowhere/run"),
    ("gallery", 2, "marks", "{samples} --marks {folder}/a_file"),
    ("gallery", 2, "no gallery", "{samples} -o {folder}"),
    ("rank", 2, "votes", "{run} --votes {folder}/a_file"),
    ("rank", 2, "not there", "/nowhere/run"),
    ("measure", 1, "ComfyUI", "{folder}/my_run --clip-vision vit.safetensors --host {down}"),
    ("measure", 2, "pictures", "/nowhere/run"),
    ("demo", 1, "ComfyUI", "--host {down}"),
    ("host setup", 1, "fetched", ""),
    ("host start", 1, "started", ""),
    ("host stop", 1, "does not stop", ""),
    ("host status", 1, "none", ""),
)


def documented() -> dict[tuple[str, int], str]:
    """Verb and exit code -> what the page says of it."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    table = page[page.index("| verb | 1 | 2,") :].split("\n\n")[0]
    found = {}
    for line in table.splitlines()[2:]:
        verbs, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for verb, (code, text) in itertools.product(re.findall("`([^`]+)`", verbs), enumerate(cells, start=1)):
            if text != "–":
                found[verb, code] = text
    return found


def test_the_page_says_what_is_reached() -> None:
    stated = documented()
    assert {verb for verb, _ in stated} == set(VERBS)
    assert {(verb, code) for verb, code, _, _ in REACHED} == set(stated)
    for verb, code, word, _ in REACHED:
        assert word in stated[verb, code]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files to fail with, and no ComfyUI where the environment says that one is."""
    (tmp_path / "a_file").write_bytes(bytes(range(256)))
    (tmp_path / "models.yaml").write_text("family: sdxl\nfiles: {checkpoint: a.safetensors}\n", encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "flux_lora_step50.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0[]" + b"x" * 100)
    (tmp_path / "other" / "samples_step_000050").mkdir(parents=True)
    run_of_pictures(tmp_path / "my_run", spec_of(), (50,))
    Image.new("RGB", (32, 48)).save(tmp_path / "other" / "samples_step_000050" / "step_000050_sample_00.png")
    monkeypatch.setenv("COMFYUI_PATH", str(tmp_path / "no_comfyui"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def deaf_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A program in the place of the host in the background, which listens on its port and to no SIGTERM."""
    code = (
        "import signal, socket, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        state = local_host.BackgroundHost(program.pid, port, f"http://127.0.0.1:{port}", "", "host.log", str(tmp_path))
        monkeypatch.setattr(local_host, "background_host", lambda *_: state)
        # its patience, 20 s, is over at the third look
        clock = SimpleNamespace(monotonic=itertools.count(0, 15).__next__, sleep=lambda _: None)
        monkeypatch.setattr(local_host, "time", clock)
        yield
        program.kill()


@pytest.mark.parametrize(
    ("verb", "code", "word", "arguments"), REACHED, ids=[f"{verb} {code} {word}" for verb, code, word, _ in REACHED]
)
def test_exit_code(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, folder: Path, verb: str, code: int, word: str,
    arguments: str,
) -> None:  # fmt: skip
    if verb == "host stop":
        request.getfixturevalue("deaf_host")
    else:
        monkeypatch.setattr(local_host, "background_host", lambda *_: None)
    places = {"folder": folder, "flux": FLUX, "run": RUN, "lora": LORA, "down": DOWN, "samples": SAMPLES}
    words = [*verb.split(), *(word.format(**places) for word in arguments.split())]
    if word in ("broken", "differs", "none"):  # what was asked for was answered: the summary, the report, the status
        assert run(*words).exit_code == code
    else:
        fails(code, None, *words)
