"""Measures of a run's pictures, beside a Laplacian worked by hand and PIL's numbers; and `eri measure`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageFilter, ImageStat
from typer.testing import CliRunner

from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.compare.collection import Place, read_collection
from comfyui_eridiffusion.compare.measures import Embeddings, mean_difference, means, measure, sharpness
from comfyui_eridiffusion.tests.compare.sample_pictures import run_of_pictures, spec_of


def noise(seed: int) -> Image.Image:
    levels = np.random.default_rng(seed).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def test_sharpness_is_the_variance_of_the_laplacian() -> None:
    """One bright pixel of 100 on black: -4, and four neighbours of 1, times 100, over 25 pixels."""
    levels = np.zeros((5, 5), dtype=np.uint8)
    levels[2, 2] = 100
    laplacian = np.zeros(25)
    laplacian[:5] = [-400, 100, 100, 100, 100]
    assert sharpness(Image.fromarray(levels)) == pytest.approx(laplacian.var())
    picture = noise(1)
    assert sharpness(picture.filter(ImageFilter.GaussianBlur(2))) < sharpness(picture) / 10


def test_mean_difference_is_pils() -> None:
    one, other = noise(1), noise(2)
    expected = float(np.mean(ImageStat.Stat(ImageChops.difference(one, other)).mean))
    assert mean_difference(one, other) == pytest.approx(expected)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return run_of_pictures(tmp_path / "my_run", spec_of(("a hill", "a lake")), (0, 100, 200))


def test_changes_are_from_no_lora_and_from_the_step_before(run: Path) -> None:
    found = read_collection(run)
    measured = measure(found)
    assert [entry.place for entry in measured] == [Place("", step, item) for item in (0, 1) for step in (0, 100, 200)]
    pictures = {place: Image.open(path).convert("RGB") for place, path in found.pictures.items()}
    for entry in measured:
        key, step, item = entry.place
        plain = pictures[Place(key, 0, item)]
        assert entry.values["change"] == mean_difference(plain, pictures[entry.place])
        if step == 0:
            assert entry.values["change_ssim"] == pytest.approx(1)
            assert "change_before" not in entry.values
        else:
            before = pictures[Place(key, step - 100, item)]
            assert entry.values["change_before"] == mean_difference(before, pictures[entry.place])
    shown = means(measured)["change"][""]
    assert shown[200] == np.mean([entry.values["change"] for entry in measured if entry.place.step == 200])


def test_likeness_is_told_with_the_nearest_training_picture(run: Path) -> None:
    found = read_collection(run)
    x, y = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    ours = {place: x if place.item == 0 else (3 * x + 4 * y) / 5 for place in found.pictures}
    measured = {entry.place: entry for entry in measure(found, Embeddings(ours, {"a.png": y, "b.png": x}))}
    one, other = measured[Place("", 100, 0)], measured[Place("", 100, 1)]
    assert (one.nearest, one.values["training"]) == ("b.png", 1)
    assert (other.nearest, other.values["training"]) == ("a.png", pytest.approx(0.8))
    assert one.values["each_other"] == other.values["each_other"] == pytest.approx(0.6)


def test_the_command_writes_a_line_for_each_picture(run: Path) -> None:
    done = CliRunner().invoke(app, ["measure", str(run), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    lines = [json.loads(line) for line in (run / "measures.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (document["pictures"], len(lines)) == (6, 6)
    assert set(document["means"]) == {"change", "change_ssim", "change_before", "sharpness"}
    assert all((line["version"], line["run"], line["axes"]) == (1, "my_run", {}) for line in lines)
    assert [line["step"] for line in lines] == [0, 100, 200] * 2
    assert all((run / line["file"]).is_file() for line in lines)
    shown = CliRunner().invoke(app, ["measure", str(run)], env={"COLUMNS": "200"})
    assert "sharpness" in shown.stdout
    assert "100" in shown.stdout
