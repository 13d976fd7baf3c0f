"""`eri sweep` over further axes: every choice once, in its own folder, told in the manifest, and gone on with."""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.compare.collection import Place, read_collection
from comfyui_eridiffusion.compare.manifest import FILE, read
from comfyui_eridiffusion.images.inner_texts import read_texts
from comfyui_eridiffusion.lora.fingerprint import fingerprint
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, pixels, short
from comfyui_eridiffusion.tests.waiting import PATIENCE
from comfyui_eridiffusion.workflows import build

RUN = EXAMPLES / "runs" / "flux_zorp"
Eri = Callable[..., dict[str, Any]]


@pytest.fixture
def eri(host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Eri:
    """Run a verb of `eri` on two prompts of the Flux example; its JSON."""
    config = tmp_path / "short.json"

    def call(verb: str, *words: object, url: str = host_server.url, code: int = 0, **changes: Any) -> dict[str, Any]:
        spec = short("flux", steps=1)
        # seeds of no other test, whose pictures ComfyUI may have kept
        items = [replace(item, seed=7_310 + item.index, **changes) for item in spec.items]
        config.write_text(replace(spec, items=items).to_json(), encoding="utf-8")
        common = ["--models", EXAMPLES / "models" / "flux.yaml", "--host", url, "-o", tmp_path / "got", "--json"]
        with pytest.raises(SystemExit) as ended:
            app([str(word) for word in (verb, config, *common, *words)])
        shown = capsys.readouterr()
        assert ended.value.code == code, shown.err
        document: dict[str, Any] = json.loads(shown.out)
        return document

    return call


def test_steps_and_strengths(eri: Eri, tmp_path: Path) -> None:
    root, axes = tmp_path / "got" / "flux_zorp", ("--run", RUN, "--steps", "0,50", "--strengths", "0.5,1")
    plan = eri("sweep", *axes, "--dry-run", url="http://127.0.0.1:9")
    assert [plan[name] for name in ("cells", "there", "same", "to_make", "estimate")] == [8, 0, 2, 6, None]
    assert not root.exists()
    done = eri("sweep", *axes)
    cells = {
        (image["axes"]["strength"], image["step"], image["index"]): Path(image["path"]) for image in done["images"]
    }
    assert set(cells) == {(strength, step, index) for strength in (0.5, 1.0) for step in (0, 50) for index in (0, 2)}
    folders = {path.relative_to(root).parts[0] for (_, step, _), path in cells.items() if step}
    assert folders == {"strength=0.5", "strength=1"}
    assert cells[0.5, 0, 2] == cells[1.0, 0, 2] == root / "samples_step_000000" / "step_000000_sample_02.png"
    assert [Path(sheet).name for sheet in done["sheets"]] == [
        f"contact_sheet_strength={strength}.png" for strength in ("0.5", "1")
    ]
    _manifest_is_right(root, cells)

    # what each strength gives is what a config with that strength gives
    alone = eri("sample", "--run", RUN, "--step", 50, "-o", tmp_path / "alone", lora_scale=0.5)
    assert [pixels(Path(image["path"])) for image in alone["images"]] == [pixels(cells[0.5, 50, i]) for i in (0, 2)]
    assert pixels(cells[0.5, 50, 0]) != pixels(cells[1.0, 50, 0])

    # another choice makes only what is new; the config's own strength is among what is there
    plan = eri("sweep", *axes[:-1], "1,0.5,0.7", "--dry-run")
    assert [plan[name] for name in ("cells", "there", "same", "to_make")] == [12, 10, 0, 2]
    assert plan["jobs"] == [{"step": 50, "axes": {"strength": 0.7}, "items": [0, 2]}]
    assert plan["estimate"]["known"] == 6
    assert all(image["kept"] for image in eri("sweep", *axes[:4], url="http://127.0.0.1:9")["images"])
    cells[1.0, 50, 0].unlink()
    lines = (root / FILE).read_bytes().splitlines(keepends=True)
    (root / FILE).write_bytes(b"".join(lines[:2]) + lines[2][:40])  # as a killed program leaves it
    done = eri("sweep", *axes, "--rows", "strength", "--columns", "step")
    made = [(image["axes"]["strength"], image["step"], image["index"]) for image in done["images"] if not image["kept"]]
    assert made == [(1.0, 50, 0)]
    assert [Path(sheet).name for sheet in done["sheets"]] == [f"contact_sheet_prompt={index}.png" for index in (0, 2)]
    _manifest_is_right(root, cells)


def _manifest_is_right(root: Path, cells: dict[tuple[float, int, int], Path]) -> None:
    """Every cell has its line, which says of the picture what the picture says of itself."""
    lines = {(line.axes.get("strength"), line.step, line.item): line for line in read(root)}
    one_step = struct.pack("<2f", 1.0, 0.0)  # whatever the shift, one step goes from pure noise to none
    assert {line.sigmas for line in lines.values()} == {hashlib.sha256(one_step).hexdigest()}
    assert {cell for cell in lines if cell[0] is not None} == set(cells)
    for (strength, step, index), path in cells.items():
        line, texts = lines[strength, step, index], read_texts(path)
        assert root / line.file == path
        record = json.loads(texts["eridiffusion"])
        with Image.open(path) as picture:
            assert (line.width, line.height) == picture.size
        assert (line.prompt, line.seed, line.sampling_steps) == (record["prompt"], record["seed"], record["steps"])
        assert line.graph in record["graph_marks"]
        assert line.checkpoint == (fingerprint(RUN / "flux_lora_step50.safetensors") if step else None)


def test_two_runs_side_by_side(eri: Eri, loras_dir: Path, tmp_path: Path) -> None:
    """Of one family, at the steps that both have; a step, a family and a run that do not fit are told before."""
    for name, steps in (("ab/one", (50, 100)), ("ab/two", (50, 200))):
        (loras_dir / name).mkdir(parents=True)
        for step in steps:
            shutil.copy(RUN / f"flux_lora_step{step}.safetensors", loras_dir / name)
    runs = ("--runs", f"{loras_dir / 'ab/one'},{loras_dir / 'ab/two'}", "--items", "0")
    done = eri("sweep", *runs)
    assert "Steps that not every run has are left out: 100, 200." in done["notes"]
    assert [(image["axes"]["run"], image["step"]) for image in done["images"]] == [
        ("one", 0), ("one", 50), ("two", 0), ("two", 50),
    ]  # fmt: skip
    assert len({image["path"] for image in done["images"]}) == 3
    quix = EXAMPLES / "runs" / "sd35_quix"
    (loras_dir / "ab/empty").mkdir()
    for words, place in (
        ((*runs, "--steps", "0,100"), "--steps 0,100: the run two has no checkpoint of step 100. It has the steps 50"),
        (("--runs", f"{RUN},{quix}"), f"--runs {quix}: its LoRAs are for sd35, the config is for flux"),
        (("--runs", f"{RUN},{RUN}"), "every run once"),
        ((*runs, "--run", RUN), "there is --run, too"),
        (("--runs", f"{RUN},{loras_dir / 'ab/empty'}"), "ab/empty"),
    ):
        assert place in eri("sweep", *words, code=2)["error"]["message"]


async def test_a_strength_that_was_set_on_the_canvas_is_a_setting_of_its_own(host_server: Any) -> None:
    """Where neither folder nor manifest says it, the picture does."""
    spec = replace(short("flux", steps=1), name="canvas_zorp")
    graph = build(spec.select("0"), EXAMPLES / "models" / "flux.yaml", "flux_zorp", 50).api()
    async with HostClient(host_server.url) as client:
        await client.run(graph)
        graph["lora"]["inputs"]["strength_model"] = 0.6
        graph["save"]["inputs"]["template"] = "{run}/weaker/{name}_{step}"
        await client.run(graph)
    found = read_collection(host_server.output_dir / spec.name)
    assert set(found.pictures) == {Place("", 50, 0), Place("strength=0.6", 50, 0)}
    assert found.pictures["strength=0.6", 50, 0].parent.name == "weaker"


def test_two_sweeps_in_one_folder_at_once(host_server: Any, tmp_path: Path) -> None:
    """Both end well: the pictures are whole, and the manifest has a line for each."""
    config = tmp_path / "short.json"
    config.write_text(short("flux", steps=1).to_json(), encoding="utf-8")
    words = ["sweep", config, "--models", EXAMPLES / "models" / "flux.yaml", "--host", host_server.url, "--run", RUN]
    words = [str(word) for word in [*words, "-o", tmp_path, "--steps", "0,50", "--strengths", "0.5,1"]]
    command = [str(Path(sys.executable).with_name("eri")), *words]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) for _ in range(2)]
    for one in both:
        _, errors = one.communicate(timeout=PATIENCE)
        assert one.returncode == 0, errors
    lines = read(tmp_path / "flux_zorp")
    assert {line.cell for line in lines} == {
        ((("strength", strength),), step, item) for strength in (0.5, 1.0) for step in (0, 50) for item in (0, 2)
    }
    assert len({pixels(tmp_path / "flux_zorp" / line.file) for line in lines}) == 6


def test_a_folder_that_takes_no_files_is_told_before_anything_is_made(eri: Eri, tmp_path: Path) -> None:
    (tmp_path / "got").write_text("a file")
    error = eri("sweep", "--run", RUN, "--steps", "0", url="http://127.0.0.1:9", code=1)["error"]
    assert "Cannot write into" in error["message"]
    (tmp_path / "got").unlink()
    (tmp_path / "got" / "flux_zorp").mkdir(parents=True)
    (tmp_path / "got" / "flux_zorp" / FILE).write_text("no manifest\n")
    error = eri("sweep", "--run", RUN, "--steps", "0", url="http://127.0.0.1:9", code=2)["error"]
    assert (error["kind"], f"{FILE}, line 1" in error["message"]) == ("compare", True)
