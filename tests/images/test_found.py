"""Which samples of a run are on disk, told by their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfyui_eridiffusion.images.found import samples_by_name
from comfyui_eridiffusion.images.layouts import SampleFile


def test_chromas_pictures_before_training_are_found(tmp_path: Path) -> None:
    """As EriTrainer's train_chroma.rs writes them."""
    paths = [tmp_path / "r" / name for name in ("sample_step0_base_p2.png", "sample_step250_p2.png")]
    paths[0].parent.mkdir()
    for path in paths:
        path.write_bytes(b"")
    samples = [SampleFile("r", 0, i, f"sample_{i:02}", 2, family="chroma") for i in range(2)]
    assert samples_by_name(tmp_path, "eritrainer", samples) == {(0, 1): paths[0], (250, 1): paths[1]}


@pytest.mark.parametrize(
    ("trainer", "path"),
    [
        ("eridiffusion-v2", "r/step_250/castle.png"),  # --output castle.png, in a folder for each step
        ("eritrainer", "r/sample_step250_p2.png"),
        ("ai-toolkit", "r/samples/1700000000000__000000250_1.jpg"),
        ("kohya", "r/sample/r_000250_01_20240102030405_7.png"),
        ("musubi", "r/sample/r_000250_01_20240102030405_7_000.png"),
        ("simpletuner", "r/validation_images/step_250_castle.png"),
        ("onetrainer", "r/samples/1 - a castle/2024-01-02_03-04-05-training-sample-250-0-250.jpg"),
        ("native", "r/step_000250/sample_01.png"),
    ],
)
def test_files_in_each_trainers_own_names_are_found(tmp_path: Path, trainer: str, path: str) -> None:
    """Names as the trainers' sources write them, not as ours does."""
    place = tmp_path / path
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    samples = [
        SampleFile("r", 0, i, f"sample_{i:02}", 2, prompt=text, seed=7, label=text.split()[1])
        for i, text in enumerate(("a tower", "a castle"))
    ]
    assert samples_by_name(tmp_path, trainer, samples) == {(250, 1): place}
