"""A sweep that was interrupted, run again: what is there and still right is kept, everything else is made."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyui_eridiffusion.client.grid import Grid, plan_grid
from comfyui_eridiffusion.client.jobs import document_of, sample_grid
from comfyui_eridiffusion.client.recovery import fix_times
from comfyui_eridiffusion.client.resume import plan_sweep
from comfyui_eridiffusion.client.sample_records import pictures_below
from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.compare.collection import read_collection
from comfyui_eridiffusion.gallery.write import write_gallery
from comfyui_eridiffusion.images.inner_texts import read_texts
from comfyui_eridiffusion.images.layouts import LAYOUTS, SampleFile, relative_path
from comfyui_eridiffusion.protocol.graph_marks import saver_marks
from comfyui_eridiffusion.spec import SampleSpec, read_spec
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, FAMILIES, short
from comfyui_eridiffusion.tests.compare.sample_pictures import run_of_pictures, spec_of
from comfyui_eridiffusion.tests.waiting import PATIENCE, queue, wait_until, wait_until_idle
from comfyui_eridiffusion.workflows import build

MODELS = EXAMPLES / "models" / "flux.yaml"


def stamps(folder: Path) -> dict[str, int]:
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*_sample_*.png")}


def mark(spec: SampleSpec, family: str = "flux", run: str = "a_run", step: int = 50) -> str:
    return saver_marks(build(spec, EXAMPLES / "models" / f"{family}.yaml", run, step).api())["save"]


@pytest.mark.parametrize("family", FAMILIES)
def test_mark_of_a_graph_is_about_how_not_which(family: str) -> None:
    """Fewer samples, other prompts, seeds and sizes: told by the items. Models, LoRA, settings: told by the graph."""
    spec = read_spec(EXAMPLES / "configs" / f"{family}.yaml")
    usual = mark(spec, family)
    item = replace(spec.items[1], prompt="other", seed=1, width=128, steps=3)
    assert mark(replace(spec, items=[item]), family) == usual
    assert len({usual, mark(spec, family, run="b_run"), mark(spec, family, step=100), mark(spec, family, step=0)}) == 4
    assert mark(replace(spec, items=[replace(spec.items[0], lora_scale=0.5)]), family) != usual
    assert mark(replace(spec, precision="bfloat16", trainer="ai-toolkit"), family) != usual
    graph = build(spec, EXAMPLES / "models" / f"{family}.yaml", "a_run", 50).api()
    graph["vae"]["inputs"]["name"] = "other.safetensors"
    assert saver_marks(graph)["save"] != usual
    # the host's validation writes numbers in the input's own type, and a graph may have been renumbered
    sent = {f"n{key}": json.loads(json.dumps(node)) for key, node in build(spec, None, "a_run", 50).api().items()}
    for node in sent.values():
        for name, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][name] = [f"n{value[0]}", value[1]]
            elif isinstance(value, float) and value.is_integer():
                node["inputs"][name] = int(value)
    assert saver_marks(sent)["nsave"] == saver_marks(build(spec, None, "a_run", 50).api())["save"]


def test_mark_of_samples_made_at_once() -> None:
    """Another mark than of those made one by one; a graph from before there was a choice made them one by one."""
    spec = read_spec(EXAMPLES / "configs" / "flux.yaml")
    one, four = (build(spec, MODELS, "a_run", 50, batch=size).api() for size in (1, 4))
    assert saver_marks(one) != saver_marks(four)
    del one["sample"]["inputs"]["batch_size"]
    del one["sampler"]["inputs"]["method"]  # which was Euler alone
    assert saver_marks(one) == saver_marks(build(spec, MODELS, "a_run", 50).api())


@pytest.mark.parametrize(
    "graph",
    [
        {"a": 1},
        {"a": {"class_type": "EriSaveSamples"}},
        {"a": {"class_type": "EriSaveSamples", "inputs": {"images": ["a", 0]}}},
    ],
)
def test_odd_graphs_in_files_have_no_mark(graph: dict[str, Any]) -> None:
    assert saver_marks(graph) == {}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fixed_times_are_the_layouts_own_names(layout: str) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=timezone.utc)
    saver = {"class_type": "EriSaveSamples", "inputs": {"layout": layout, "template": ""}}
    fix_times({"save": saver}, moment)
    file = SampleFile(run="r", step=50, index=1, name="sample_01", count=2, prompt="a cat", seed=7, created=moment)
    later = replace(file, created=datetime.now(tz=timezone.utc))
    assert relative_path(layout, later, template=saver["inputs"]["template"]) == relative_path(layout, file)


def arguments(folder: Path, url: str, *more: str) -> list[str]:
    """The first prompt is quick, so that there is time to end the sweep between two steps."""
    config = folder / "short.json"
    config.write_text(short("flux", steps=4).to_json(), encoding="utf-8")
    common = ["--run", "flux_zorp", "--models", str(MODELS), "--host", url, "-o", str(folder / "got"), "--json"]
    return ["sweep", str(config), *common, *more]


def call(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> dict[str, Any]:
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    shown = capsys.readouterr()
    assert ended.value.code == 0, shown.err
    document: dict[str, Any] = json.loads(shown.out)
    return document


def test_a_killed_sweep_goes_on(host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed between its steps, in a host that is elsewhere; then run again, damaged, forced, and with other files."""
    got = tmp_path / "got"
    command = arguments(tmp_path, host_server.url, "--steps", "0,50,100,200,400")
    assert command[-1] == "0,50,100,200,400"
    with subprocess.Popen([Path(sys.executable).with_name("eri"), *command], stdout=subprocess.DEVNULL) as first:
        wait_until(lambda: len(stamps(got)) >= 2 or first.poll() is not None, "the first step is made")
        first.kill()
    before = stamps(got)
    assert 2 <= len(before) < 10
    document = call(capsys, command)
    after = stamps(got)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(document["images"]) == 10
    kept = [Path(image["path"]).relative_to(got).as_posix() for image in document["images"] if image["kept"]]
    assert kept == sorted(before)
    assert Path(document["sheet"]).is_file()
    lost = got / sorted(before)[1]
    lost.write_bytes(lost.read_bytes()[:100])  # as a full disk leaves a file
    document = call(capsys, command)
    assert [image["path"] for image in document["images"] if not image["kept"]] == [str(lost)]
    assert {name for name, stamp in stamps(got).items() if stamp != after[name]} == {lost.relative_to(got).as_posix()}
    config = Path(command[1])
    config.write_text(config.read_text(encoding="utf-8").replace("white", "green"), encoding="utf-8")
    document = call(capsys, [*command[:-1], "0,50"])
    changed = {item.index for item in short("flux").items if "white" in item.prompt}
    assert changed
    assert {image["index"] for image in document["images"] if not image["kept"]} == changed
    document = call(capsys, [*command[:-1], "0,50", "--again"])
    assert not any(image["kept"] for image in document["images"])
    _other_graphs_are_not_kept(read_spec(config), got)
    nobody = [word if word != host_server.url else "http://127.0.0.1:9" for word in command]
    assert all(image["kept"] for image in call(capsys, [*nobody[:-1], "0,50"])["images"])


@pytest.mark.parametrize("told", [True, False], ids=["fingerprint", "none"])
async def test_images_of_a_checkpoint_that_was_replaced(host_server: Any, tmp_path: Path, told: bool) -> None:
    """Trained anew under the same name: what was made of the file before is made again, and only that."""
    run = tmp_path / "flux_zorp"  # as the host calls its own folder with the same files
    shutil.copytree(EXAMPLES / "runs" / "flux_zorp", run)
    got = tmp_path / "got"
    grid = plan_grid(short("flux", steps=1), [0, 50, 100], got, models=MODELS, runs={"": str(run)})
    await sample_grid(host_server.url, grid, got, None)
    assert [note for note in grid.notes if "checkpoint" in note] == []
    if not told:
        without_lora_details(got)

    def again() -> Grid:
        return plan_grid(short("flux", steps=1), [0, 50, 100], got, models=MODELS, runs={"": str(run)})

    def todo() -> dict[int | None, tuple[int, ...]]:
        return {job.step: job.indices for job in again().jobs}

    assert todo() == {}
    os.utime(run / "flux_lora_step50.safetensors")  # copied once more: newer, but the same
    assert todo() == {}
    shutil.copy(run / "flux_lora_step700.safetensors", run / "flux_lora_step50.safetensors")
    grid = again()
    if told:
        assert todo() == {50: (0, 2)}
        await sample_grid(host_server.url, grid, got, None)
        assert grid.notes[-1].startswith(
            f"step 50, samples 0, 2: ComfyUI sampled another checkpoint than the one that is in {run} now."
        )
    else:
        assert todo() == {}
        assert grid.notes[-1].startswith("4 images do not say of which checkpoint they are")


def without_lora_details(folder: Path) -> None:
    """The images as a graph saves them that does not link the LoRA's details to its Save Samples."""
    for path in folder.rglob("*_sample_*.png"):
        with Image.open(path) as picture:
            kept = PngInfo()
            for key, text in picture.text.items():  # type: ignore[attr-defined]
                if key != "eridiffusion_lora":
                    kept.add_text(key, text)
            picture.save(path, pnginfo=kept)


async def test_a_jpeg_without_room_for_its_graph_is_known_again(host_server: Any, tmp_path: Path) -> None:
    """A prompt of 25 000 characters stands in the graph, the spec and the record: 64 KiB do not hold all three."""
    spec = short("flux", steps=1).select("0")
    spec = replace(spec, image_format="jpg", items=[replace(spec.items[0], prompt="a red circle, " * 1800)])
    grid = plan_grid(spec, [50], tmp_path, models=MODELS, runs={"": "flux_zorp"})
    await sample_grid(host_server.url, grid, tmp_path, None)
    (image,) = tmp_path.rglob("*.jpg")
    with Image.open(image) as picture:
        kept = {value.partition(":")[0] for value in picture.getexif().values() if isinstance(value, str)}
    assert kept == {"eridiffusion", "eridiffusion_spec", "eridiffusion_lora"}
    for run, todo in (("flux_zorp", {}), ("other_run", {50: [0]})):
        assert plan_sweep(spec, [50], tmp_path, models=MODELS, run=run).todo == todo


def _other_graphs_are_not_kept(spec: SampleSpec, got: Path) -> None:
    def todo(**changes: Any) -> dict[int | None, list[int]]:
        return plan_sweep(spec, [0, 50], got, **{"models": MODELS, "run": "flux_zorp", **changes}).todo

    everything = {0: [0, 2], 50: [0, 2]}
    assert todo() == {}
    assert todo(run="other_run") == everything
    assert todo(models=None) == everything
    again = plan_grid(spec, [0, 50], got, models=MODELS, runs={"": "flux_zorp"}, again=True)
    assert {job.step: [*job.indices] for job in again.jobs} == everything


def test_the_copies_in_a_gallery_do_not_count(tmp_path: Path) -> None:
    root = run_of_pictures(tmp_path / "my_run", spec_of(), (50,), ("cfg=5",))
    there = [path for path, _ in pictures_below(root)]
    assert len(there) == 3
    write_gallery(read_collection(root), animation="none")
    there.pop().unlink()
    assert [path for path, _ in pictures_below(root)] == there


@pytest.mark.parametrize("layout", ["eridiffusion", "ai-toolkit"])
async def test_drawn_seeds_are_taken_up_again(host_server: Any, tmp_path: Path, layout: str) -> None:
    """A config without seeds: every step of a sweep has the same ones, also those made later.

    ai-toolkit's layout has JPEG files with the time in their names.
    """
    spec = short("flux", steps=2)
    spec = replace(spec, items=[replace(item, seed=None) for item in spec.items], layout=layout)

    async def seeds(steps: list[int]) -> list[tuple[int, int, bool]]:
        grid = plan_grid(spec, steps, tmp_path, models=MODELS, runs={"": "flux_zorp"})
        done = document_of(grid, (await sample_grid(host_server.url, grid, tmp_path, None))[0])
        recorded = [json.loads(read_texts(Path(image["path"]))["eridiffusion"]) for image in done["images"]]
        assert [record["seed"] for record in recorded] == [image["seed"] for image in done["images"]]
        return [(image["step"], image["seed"], image["kept"]) for image in done["images"]]

    first = await seeds([50])
    assert len({seed for _, seed, _ in first}) == 2
    assert await seeds([0, 50]) == [(0, seed, False) for _, seed, _ in first] + [
        (50, seed, True) for _, seed, _ in first
    ]
    assert len([path for path in tmp_path.rglob("*") if path.suffix in (".png", ".jpg")]) == 4


@pytest.mark.skipif(os.name == "nt", reason="no Ctrl-C to send")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda sign: sign.name)
def test_ctrl_c_ends_a_sweep_and_its_prompt(host_server: Any, tmp_path: Path, how: signal.Signals) -> None:
    wait_until_idle(host_server.url)
    command = arguments(tmp_path, host_server.url, "--steps", "0,50,100,200,400")
    config = Path(command[1])
    config.write_text(config.read_text(encoding="utf-8").replace('"steps": 4', '"steps": 400'), encoding="utf-8")
    with subprocess.Popen(
        [Path(sys.executable).with_name("eri"), *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        wait_until(lambda: queue(host_server.url)[0] or running.poll() is not None, "the host runs the prompt")
        running.send_signal(how)
        shown, errors = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130, errors
    assert "Traceback" not in errors
    assert json.loads(shown)["error"]["kind"] == "interrupted"
    wait_until_idle(host_server.url)
