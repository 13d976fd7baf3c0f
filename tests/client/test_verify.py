"""Which of the trainer's samples `eri verify` compares, and what it says where it cannot; without a ComfyUI."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from comfyui_eridiffusion.client import verify
from comfyui_eridiffusion.client.trainer_runs import samples_at
from comfyui_eridiffusion.client.verify import compare_samples, open_pictures, report, write_sheets
from comfyui_eridiffusion.errors import ImagesError, LoraError
from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.tests.client.test_cli import eri
from comfyui_eridiffusion.tests.client.test_cli_table import DOWN, FLUX, RUN
from comfyui_eridiffusion.trainers.claims import TOPICS
from comfyui_eridiffusion.workflows.parity import Match

LORA = Path(RUN) / "flux_lora_step50.safetensors"
PROMPT = "a secret red cat"
SPEC = SampleSpec(
    "flux", "kohya", [SampleItem(index, PROMPT, 64, 64, 4, seed=42, guidance=3.5) for index in range(3)], name="cat",
    layout="kohya",
)  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of sd-scripts: checkpoints of steps 100 and 200 and of epoch 1, no sample yet."""
    folder = tmp_path / "private_run"
    (folder / "sample").mkdir(parents=True)
    for step in (100, 200):
        shutil.copy(LORA, folder / f"cat-step{step:08}.safetensors")
    return folder


def save(
    run: Path, step: int | str, index: int, size: tuple[int, int] = (64, 64), texts: PngInfo | None = None
) -> Path:
    number = step if isinstance(step, str) else f"{step:06}"
    path = run / "sample" / f"cat_{number}_{index:02}_20260304050607_42.png"
    Image.new("RGB", size, (index * 40, 90, 200)).save(path, pnginfo=texts)
    return path


def made(path: Path, *instead: str) -> dict[str, Any]:
    """What the sampling of the first item gives."""
    return {"images": [{"index": 0, "path": str(path)}], "instead": instead}


def test_the_newest_step_with_samples_and_a_checkpoint(run: Path) -> None:
    for step in (0, 100, 300):
        save(run, step, 0)
    found = samples_at(SPEC, run)
    assert (found.step, set(found.paths)) == (100, {0})
    assert found.problems == dict.fromkeys((1, 2), "the trainer saved no sample of it at this step")
    assert samples_at(SPEC, run, 0).step == 0
    assert samples_at(SPEC, run.parent / "private_run" / "cat", 100).paths == found.paths
    assert samples_at(SPEC, run, 100, run / "sample").paths == found.paths


def test_of_several_runs_in_a_folder_the_configs_own_is_taken(run: Path) -> None:
    """As sd-scripts' output folder holds them."""
    shutil.copy(LORA, run / "dog-step00000300.safetensors")
    for step in (100, 300):
        save(run, step, 0)
    found = samples_at(SPEC, run)
    assert (found.run, found.step) == (run / "cat", 100)
    with pytest.raises(LoraError, match="several runs: cat, dog"):
        samples_at(replace(SPEC, name="fox"), run)


@pytest.mark.parametrize("step", [200, 300])
def test_a_step_with_one_of_both_is_refused(run: Path, step: int) -> None:
    save(run, 100, 0)
    save(run, 300, 0)
    with pytest.raises(ImagesError, match=rf"step {step}.*samples of steps 100, 300; checkpoints of steps 0, 100, 200"):
        samples_at(SPEC, run, step)


def test_what_was_not_saved_by_this_run_does_not_count(run: Path) -> None:
    with pytest.raises(ImagesError, match=r"private_run: holds no sample that kohya saved.*--samples"):
        samples_at(SPEC, run)
    texts = PngInfo()
    texts.add_text("eridiffusion", "{}")
    save(run, 100, 0, texts=texts)
    with pytest.raises(ImagesError, match="only some that this pack saved"):
        samples_at(SPEC, run)
    with pytest.raises(ImagesError, match="holds no sample"):
        samples_at(replace(SPEC, name="dog"), run)
    with pytest.raises(LoraError):
        samples_at(SPEC, run.parent / "nowhere" / "run")


def test_a_sample_that_an_epoch_names_is_of_its_checkpoint(run: Path) -> None:
    """sd-scripts writes the step into the header of the epoch's checkpoint."""
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    with safe_open(LORA, "pt") as opened:
        header = {**(opened.metadata() or {}), "ss_steps": "150"}
    save_file(load_file(LORA), run / "cat-000001.safetensors", header)
    save(run, "e000001", 0)
    assert samples_at(SPEC, run).step == 150


def test_a_name_without_a_step_is_of_the_newest_checkpoint(run: Path) -> None:
    Image.new("RGB", (64, 64)).save(run / "sample_002.png")
    found = samples_at(replace(SPEC, trainer="eridiffusion-v2", layout="eridiffusion-v2"), run)
    assert (found.step, set(found.paths)) == (200, {1})


def test_what_cannot_be_compared_is_named_and_the_rest_goes_on(run: Path, tmp_path: Path) -> None:
    save(run, 100, 0)
    save(run, 100, 1).write_bytes(b"broken")
    save(run, 100, 2, (64, 96))
    pictures = open_pictures(SPEC, samples_at(SPEC, run))
    assert set(pictures.theirs) == {0}
    assert pictures.problems == {1: "the trainer's picture is no whole picture (its form is not known)"}
    assert pictures.sizes == {2: "the trainer's picture is 64 x 96, the config gives 64 x 64"}
    ours = tmp_path / "ours.png"
    Image.new("RGB", (64, 64), (0, 90, 200)).save(ours)
    result = compare_samples(SPEC, pictures, made(ours, "Base model: private_model is loaded instead of another."))
    assert (result.outcome, result.compared[0].outcome) == ("different", "same picture")
    told = json.dumps(report(result))
    assert not [private for private in (PROMPT, "private", "cat", str(tmp_path)) if private in told]
    assert report(result)["other_base_model"]
    sheet = write_sheets(result, tmp_path / "out")
    assert sheet is not None
    assert sheet.name == "verify_step_000100.png"
    assert [path.name for path in (tmp_path / "out" / "verify_step_000100").iterdir()] == ["difference_00.png"]


def test_the_topics_that_can_be_the_reason(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What differs first, what was only read last; nothing of what is exact, of file names, of the same picture."""
    kinds = ["as its source says", "close", "exact", "not checked", "different"]
    matches = [Match(topic, kind, "") for topic, kind in zip(TOPICS, kinds, strict=False)]  # type: ignore[arg-type]
    monkeypatch.setattr(verify, "explain", lambda *_: [*matches, Match("file layout", "different", "")])
    save(run, 100, 0)
    ours = tmp_path / "ours.png"
    for colour, reasons in (((255, 255, 0), [TOPICS[place] for place in (4, 3, 1, 0)]), ((0, 90, 200), [])):
        Image.new("RGB", (64, 64), colour).save(ours)
        result = compare_samples(SPEC, open_pictures(SPEC, samples_at(SPEC, run)), made(ours))
        assert result.reasons(SPEC.items[0]) == reasons


def test_nothing_to_compare_is_an_error(run: Path) -> None:
    save(run, 100, 0).write_bytes(b"broken")
    with pytest.raises(ImagesError, match=r"nothing of step 100 can be compared: item 0: .*no whole picture"):
        open_pictures(SPEC, samples_at(SPEC, run))
    open_seeds = replace(SPEC, items=[replace(item, seed=None) for item in SPEC.items])
    save(run, 200, 0)
    with pytest.raises(ImagesError, match="leaves its seed to chance"):
        open_pictures(open_seeds, samples_at(open_seeds, run))


def test_the_command_tells_another_size_without_a_comfyui(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run / "samples_step_000050"
    folder.mkdir()
    Image.new("RGB", (32, 48)).save(folder / "step_000050_sample_00.png")
    monkeypatch.chdir(run)
    arguments = ("verify", FLUX, "--run", RUN, "--samples", run, "--host", DOWN)
    assert eri(*arguments) == 1
    shown = capsys.readouterr()
    assert "step 50: different" in shown.out
    assert "32 x 48" in "".join(shown.out.split("\n"))
    assert "item 3 was not compared" in shown.err
    assert eri(*arguments, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert [(one["index"], one["verdict"], one["reasons"]) for one in found["pictures"]] == [(0, "different", ["size"])]
