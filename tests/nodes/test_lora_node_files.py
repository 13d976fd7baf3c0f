"""Where runs may lie, checkpoints that are being written while the node looks at them, and lists of steps."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, write_kohya
from comfyui_eridiffusion.tests.waiting import PATIENCE


@pytest.fixture
def loras(comfy_host: Any, tmp_path: Path) -> Iterator[Path]:
    with folders(loras=tmp_path / "loras"):
        (tmp_path / "loras").mkdir()
        yield tmp_path / "loras"


@pytest.fixture(scope="module")
def model(comfy_host: Any) -> Any:
    return small_models.flux_model()


def apply(comfy_host: Any, model: Any, **inputs: Any) -> Any:
    chosen = {"run": "run", "step": 1, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0, **inputs}
    return comfy_host.nodes["EriLoraAtStep"].execute(model=model, **chosen).args


def error(comfy_host: Any) -> type[Exception]:
    return comfy_host.pack("lora").LoraError


def refused(comfy_host: Any) -> type[Exception]:
    return comfy_host.pack("errors").NodeInputError


def write(folder: Path, model: Any, step: int = 1) -> Path:
    path = folder / f"a-step{step:08d}.safetensors"
    write_kohya(path, model, step)
    return path


def test_folders_that_the_user_allows(comfy_host: Any, loras: Path, model: Any) -> None:
    """`eri_runs` in extra_model_paths.yaml, read by the host itself, opens a folder; nothing else does."""
    import folder_paths
    import utils.extra_config

    training = loras.parent / "training"
    write(training / "mine", model)
    with pytest.raises(error(comfy_host), match="mine"):
        apply(comfy_host, model, run="mine")
    with pytest.raises(refused(comfy_host), match="outside the folders"):
        apply(comfy_host, model, run=str(training / "mine"))
    with folders(eri_runs=loras.parent / "unused"):
        folder_paths.folder_names_and_paths.pop("eri_runs")
        config = loras.parent / "extra.yaml"
        config.write_text(f"own:\n  base_path: {loras.parent}\n  eri_runs: training\n", encoding="utf-8")
        utils.extra_config.load_extra_path_config(str(config))
        assert apply(comfy_host, model, run="mine")[2] == 1
        assert apply(comfy_host, model, run=str(training / "mine"))[2] == 1
        options = next(entry for entry in comfy_host.nodes["EriLoraSteps"].define_schema().inputs if entry.id == "run")
        assert "mine" in options.options
        with pytest.raises(refused(comfy_host), match="outside the folders"):
            apply(comfy_host, model, run=str(loras.parent / "elsewhere"))


def test_a_run_that_is_there_says_itself_what_is_wrong(
    comfy_host: Any, loras: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not another allowed folder, in which it is not."""
    (loras / "closed").mkdir()
    listed = os.scandir

    def scandir(path: Path) -> Any:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with folders(eri_runs=loras.parent), pytest.raises(error(comfy_host), match="closed: cannot be listed"):
        apply(comfy_host, model, run="closed")


@pytest.mark.parametrize("link", ["folder", "file", "run folder"])
def test_links_that_lead_out_are_refused(comfy_host: Any, loras: Path, model: Any, link: str) -> None:
    outside = write(loras.parent / "outside" / "run", model)
    if link == "folder":
        (loras / "run").symlink_to(outside.parent)
    elif link == "run folder":
        (loras / "deep").symlink_to(outside.parent.parent)
    else:
        (loras / "run").mkdir()
        (loras / "run" / outside.name).symlink_to(outside)
    run = "deep/run" if link == "run folder" else "run"
    for name in (run, f"{run}/{outside.name}", str(loras / run)):
        with pytest.raises(refused(comfy_host), match="out of the allowed"):
            apply(comfy_host, model, run=name)
    assert "eri_runs" in comfy_host.nodes["EriLoraAtStep"].validate_inputs(run=run, step=1, mode="exact")
    with folders(eri_runs=loras.parent / "outside"):
        assert apply(comfy_host, model, run=run)[2] == 1


def test_links_within_the_folders_are_followed(comfy_host: Any, loras: Path, model: Any) -> None:
    write(loras / "real", model)
    (loras / "run").symlink_to(loras / "real")
    assert apply(comfy_host, model)[2] == 1


def test_a_link_out_among_others_is_left_out(comfy_host: Any, loras: Path, model: Any) -> None:
    write(loras / "run", model, 1)
    outside = write(loras.parent / "outside", model, 2)
    (loras / "run" / outside.name).symlink_to(outside)
    assert apply(comfy_host, model, mode="latest")[2] == 1
    with pytest.raises(error(comfy_host), match="Steps there are: 1"):
        apply(comfy_host, model, step=2)


class Writer(threading.Thread):
    """A trainer that writes a file piece by piece, the last two once `seen` tells that the half file was noticed."""

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(daemon=True)
        self.path, self.data = path, data
        self.begun, self.seen = threading.Event(), threading.Event()

    def run(self) -> None:
        pieces = [0, 4, 100, len(self.data) // 2, len(self.data) - 3, len(self.data)]
        with self.path.open("wb", buffering=0) as stream:
            for first, last in pairwise(pieces):
                if last > len(self.data) // 2:
                    self.seen.wait(PATIENCE)
                stream.write(self.data[first:last])
                self.begun.set()
                time.sleep(0.25)


def test_a_growing_file_is_waited_for(
    comfy_host: Any, loras: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result, its fingerprint too, is the whole file's, progress counts its bytes, nothing of the half is kept."""
    import comfy.utils

    whole = write(loras.parent / "elsewhere", model)
    data = whole.read_bytes()
    (loras / "run").mkdir()
    path = loras / "run" / whole.name
    shown: list[tuple[int, int]] = []
    fingerprint = comfy_host.nodes["EriLoraAtStep"].fingerprint_inputs
    chosen = {"run": "run", "step": 1, "mode": "exact"}
    writer = Writer(path, data)

    def hook(at: int, total: int, *_: Any, **__: Any) -> None:
        shown.append((at, total))
        writer.seen.set()

    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", hook)
    writer.start()
    assert writer.begun.wait(PATIENCE)
    half = fingerprint(**chosen)
    patched, _, step, report, details = apply(comfy_host, model, wait=PATIENCE, apply="into the weights")
    assert not writer.is_alive() or path.stat().st_size == len(data)
    writer.join()
    assert step == 1
    assert "model: " in report
    assert json.loads(details)["parts"]["model"]["unmatched"] == 0
    assert json.loads(details)["fingerprint"] == comfy_host.pack("lora.fingerprint").fingerprint(whole)
    expected = load_file(whole)
    key = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
    adapter = patched.patches[key][0][1]
    assert torch.equal(adapter.weights[0], expected["lora_unet_double_blocks_0_img_attn_qkv.lora_up.weight"])
    assert {total for _, total in shown} == {len(data)}
    assert [at for at, _ in shown] == sorted(at for at, _ in shown)
    done = fingerprint(**chosen)
    assert half != done == fingerprint(**chosen)


@pytest.mark.parametrize("size", [0, 5, 60, -1])
def test_a_file_that_stays_half_is_refused(
    comfy_host: Any, loras: Path, model: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once with wait 0, else after that time, saying why; once it is whole it loads."""
    path = write(loras / "run", model)
    data = path.read_bytes()
    path.write_bytes(data[:size])
    with pytest.raises(error(comfy_host), match=r"bytes.*wait a moment") as caught:
        apply(comfy_host, model, wait=0.0)
    assert caught.value.retryable
    slept: list[float] = []
    clock = SimpleNamespace(monotonic=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(comfy_host.pack("host.lora.wait"), "time", clock)
    with pytest.raises(error(comfy_host), match="still after 7 s of waiting"):
        apply(comfy_host, model, wait=7.0)
    assert sum(slept) == pytest.approx(7.0)
    path.write_bytes(data)
    assert apply(comfy_host, model, wait=0.0)[2] == 1


def test_waiting_heeds_the_stop_button(comfy_host: Any, loras: Path, model: Any) -> None:
    import comfy.model_management

    path = write(loras / "run", model)
    path.write_bytes(path.read_bytes()[:-1])
    stop = threading.Timer(0.5, comfy.model_management.interrupt_current_processing)
    stop.start()
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        apply(comfy_host, model, wait=300.0)
    stop.join()


def test_what_cannot_work_names_file_and_keys(comfy_host: Any, loras: Path, model: Any) -> None:
    """NaN and shapes of another model stop the node; the host alone would go on with lines in its log."""
    path = write(loras / "run", model)
    tensors = load_file(path)
    key = "lora_unet_double_blocks_0_img_mlp_0.lora_up.weight"
    save_file({**tensors, key: tensors[key] * float("nan")}, path)
    with pytest.raises(error(comfy_host), match=rf"{path.name}: holds NaN.*{key}"):
        apply(comfy_host, model)
    cut = {name: tensor[:-1].contiguous() for name, tensor in tensors.items() if name.endswith(".lora_up.weight")}
    save_file({**tensors, **cut}, path)
    with pytest.raises(error(comfy_host), match=rf"{path.name}: does not fit.*single_blocks_0_linear1"):
        apply(comfy_host, model)


def test_details_for_a_pictures_metadata(comfy_host: Any, loras: Path, model: Any) -> None:
    """Everything the report says, without the machine's folders and without long lists."""
    path = write(loras / "run", model)
    tensors = load_file(path)
    extra = {
        f"lora_unet_nowhere_{n}.lora_{kind}.weight": torch.ones(2, 2) for n in range(40) for kind in ("up", "down")
    }
    save_file({**tensors, **extra}, path, metadata={"ss_steps": "1"})
    text = apply(comfy_host, model, strength_model=0.5, start=0.25)[4]
    found = json.loads(text)
    expected = {"run": "run", "file": f"run/{path.name}", "step": 1, "trainer": "kohya", "dialect": "kohya",
                "family": "flux", "rank": 4, "alpha": 8.0, "strength_model": 0.5, "start": 0.25}  # fmt: skip
    assert {key: found[key] for key in expected} == expected
    assert found["parts"]["model"] == {"matched": len(tensors), "unmatched": 0, "unmatched_keys": []}
    assert found["parts"]["unknown"]["unmatched"] == 80
    assert len(found["parts"]["unknown"]["unmatched_keys"]) == 20
    assert str(loras) not in text
    assert len(text) < 6000


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_the_report_is_found_in_saved_pictures(
    comfy_host: Any, loras: Path, model: Any, tmp_path: Path, suffix: str
) -> None:
    """PNG: a text chunk. JPEG and WebP: a line `keyword:text` of the EXIF data, as the host writes its own."""
    import folder_paths

    write(loras / "run", model)
    details = apply(comfy_host, model)[4]
    before = folder_paths.get_output_directory()
    folder_paths.set_output_directory(str(tmp_path / "output"))
    try:
        node = comfy_host.nodes["EriSaveSamples"].PREPARE_CLASS_CLONE({})
        chosen = {"step": 1, "layout": "auto", "format": suffix, "existing": "overwrite", "rounding": "truncate",
                  "run": "r", "report": details}  # fmt: skip
        (entry,) = node.execute(images=[torch.zeros(1, 8, 8, 3)], **{k: [v] for k, v in chosen.items()}).ui["images"]
    finally:
        folder_paths.set_output_directory(before)
    with Image.open(tmp_path / "output" / entry["subfolder"] / entry["filename"]) as picture:
        texts = picture.getexif().values() if suffix != "png" else [f"{k}:{v}" for k, v in picture.info.items()]
        (found,) = [text for text in texts if isinstance(text, str) and text.startswith("eridiffusion_lora:")]
        assert picture.format == {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}[suffix]
    assert json.loads(found.removeprefix("eridiffusion_lora:")) == json.loads(details)
    assert json.loads(details)["parts"]["model"]["matched"] > 0


def test_lists_of_steps(comfy_host: Any, loras: Path, model: Any) -> None:
    for step in (100, 200, 300, 400, 500):
        (loras / "run").mkdir(exist_ok=True)
        (loras / "run" / f"a-step{step:08d}.safetensors").touch()
    (loras / "run" / "a.safetensors").touch()
    node = comfy_host.nodes["EriLoraSteps"]
    steps, labels, report, strengths, rows = node.execute(run="run", steps="0, all", at_most=0).args
    assert steps == [0, 100, 200, 300, 400, 500]
    assert labels == ["no LoRA", "step 100", "step 200", "step 300", "step 400", "step 500"]
    assert "a.safetensors" in report
    assert (strengths, rows) == ([1.0] * 6, ["strength 1"])
    steps, labels, _, strengths, rows = node.execute(run="run", steps="100, 500", at_most=0, strengths="0.5, 1").args
    assert list(zip(strengths, steps, strict=True)) == [(0.5, 100), (0.5, 500), (1.0, 100), (1.0, 500)]
    assert (rows, labels) == (["strength 0.5", "strength 1"], ["step 100", "step 500"])
    assert node.execute(run="run", steps="all", at_most=3).args[0] == [100, 300, 500]
    assert node.execute(run="run", steps="all", at_most=1).args[0] == [500]
    assert node.execute(run="run", steps="250-", at_most=2).args[0] == [300, 500]
    assert node.validate_inputs(run="run", steps="all") is True
    assert "Steps there are: 100" in node.validate_inputs(run="run", steps="150")
    assert "no such run" in node.validate_inputs(run="none", steps="all")
    before = node.fingerprint_inputs(run="run", steps="all")
    (loras / "run" / "a-step00000600.safetensors").touch()
    assert node.fingerprint_inputs(run="run", steps="all") != before


def test_a_run_is_searched_once_for_checking_comparing_and_running(
    comfy_host: Any, loras: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ComfyUI asks the node three times in one prompt; a checkpoint that has come since is seen all the same."""
    checkpoints = comfy_host.pack("lora.checkpoints")
    searched = counted(monkeypatch, checkpoints, "_search")
    node, chosen = comfy_host.nodes["EriLoraAtStep"], {"run": "run", "step": 0, "mode": "latest"}

    def all_three() -> tuple[str, int]:
        assert node.validate_inputs(**chosen) is True
        return node.fingerprint_inputs(**chosen), apply(comfy_host, model, **chosen)[2]

    at_rest(write(loras / "run", model, 1))
    before = all_three()
    assert (before[1], len(searched)) == (1, 1)
    at_rest(write(loras / "run", model, 2), seconds=30)
    after = all_three()
    assert (after[1], len(searched)) == (2, 2)
    assert before[0] != after[0]


def test_runs_are_listed_once_for_all_schemas(
    comfy_host: Any, loras: Path, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ComfyUI asks for a node's schema many times in one prompt, and the page for all of them: new runs are there."""
    listed = counted(monkeypatch, comfy_host.pack("host.lora.runs"), "run_names")

    def offered() -> list[str]:
        for _ in range(5):
            for name in ("EriLoraAtStep", "EriLoraSteps"):
                inputs = comfy_host.nodes[name].define_schema().inputs
        return next(list(entry.options) for entry in inputs if entry.id == "run")

    write(loras / "one", model)
    assert offered()[0] == "one"
    assert len(listed) == 1
    write(loras / "two", model)
    assert offered()[:2] == ["one", "two"]
    assert len(listed) == 2


def counted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> list[Any]:
    """A list that grows with every call of a module's function."""
    calls: list[Any] = []
    original = getattr(module, name)

    def counting(*args: Any) -> Any:
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(module, name, counting)
    return calls


def at_rest(path: Path, seconds: float = 60.0) -> None:
    """The times of a file and its folder as if nothing had been written there for a while."""
    then = time.time() - seconds
    for place in (path, path.parent):
        os.utime(place, (then, then))


def test_averaged_weights_beside_the_checkpoints(comfy_host: Any, loras: Path, model: Any) -> None:
    """`<run>/ema`, as generated graphs name them: checked before the graph runs, and loaded."""
    node = comfy_host.nodes["EriLoraAtStep"]
    for step in (1, 2):
        write_kohya(loras / "run" / f"checkpoint-{step}" / "pytorch_lora_weights.safetensors", model, step)
    assert "averaged weights" in str(node.validate_inputs(run="run/ema", step=1, mode="exact"))
    write_kohya(loras / "run" / "checkpoint-1" / "ema" / "pytorch_lora_weights.safetensors", model, 7)
    assert node.validate_inputs(run="run/ema", step=1, mode="exact") is True
    assert "step 2" in str(node.validate_inputs(run="run/ema", step=2, mode="exact"))
    averaged, plain = (json.loads(apply(comfy_host, model, run=run)[4]) for run in ("run/ema", "run"))
    assert averaged["fingerprint"] != plain["fingerprint"]
