"""The trainers' own samples are found by the names that their sources write, restated here by hand."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from comfyui_eridiffusion.errors import ImagesError
from comfyui_eridiffusion.images import serenity_board
from comfyui_eridiffusion.images.saved_names import SavedName
from comfyui_eridiffusion.images.trainer_samples import own_samples, trainer_samples
from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.trainers import LAYOUT_NAMES, TRAINERS

ITEMS = [
    SampleItem(0, "a red (cat), sitting", 64, 64, 4, seed=42, label="one_0_64x64"),
    SampleItem(1, "a dog", 64, 64, 4, seed=7, label="two_0_64x64"),
]
#: Layout -> files as the trainer names them -> index, step, epoch, of those that are samples of ITEMS.
NAMES: dict[str, dict[str, tuple[int, int | None, int | None]]] = {
    "kohya": {
        "sample/cat_000500_01_20260304050607_7.png": (1, 500, None),
        "sample/cat_000250_00_20260304050607.png": (0, 250, None),
        "sample/cat_e000003_00_20260304050607_42.png": (0, None, 3),
        "sample/000750_01_20260304050607.png": (1, 750, None),
    },
    "musubi": {
        "sample/cat_000500_01_20260304050607_7_000.png": (1, 500, None),
        "sample/cat_e000003_00_20260304050607_42_000.png": (0, None, 3),
    },
    "ai-toolkit": {
        "samples/1772600767123__000000500_0.jpg": (0, 500, None),
        "samples/1772600768123__000000500_1.png": (1, 500, None),
    },
    "onetrainer": {
        "samples/0 - a red cat sitting/2026-03-04_05-06-07-training-sample-500-2-100.jpg": (0, 500, None),
        "samples/1 - a dog/cat2026-03-04_05-06-07-training-sample-500-2-100.png": (1, 500, None),
    },
    "simpletuner": {
        "validation_images/step_500_one_0_64x64.png": (0, 500, None),
        "validation_images/step_0_two_0_64x64.jpg": (1, 0, None),
    },
    "eridiffusion": {
        "samples_step_000500/step_000500_sample_01.png": (1, 500, None),
        "samples/step_000500/sample_00.png": (0, 500, None),
    },
    "eridiffusion-v2": {
        "sample_step500_p2.png": (1, 500, None),
        "sample_step500.png": (0, 500, None),
        "sample_step0_base.png": (0, 0, None),
        "sample_step0_base_p1.png": (0, 0, None),
        "sample_002.png": (1, None, None),
    },
    # bin/train_sd35.rs of CodeAlexx/EriTrainer@c2c7ac9, L1188 and L1700-1704
    "eritrainer": {
        "sample_step500_p2.png": (1, 500, None),
        "sample_step0_base.png": (0, 0, None),
    },
    "native": {"step_000500/sample_01.png": (1, 500, None)},
}
#: What lies beside them and is none.
OTHERS = (
    "cat-step00000500.safetensors",
    "samples/.thumbs/1772600767123__000000500_0.jpg.jpg",
    "samples/1772600767123__000000500_0.txt",
    "samples/custom/2026-03-04_05-06-07-training-sample-500-2-100.jpg",
    "samples/0 - a red cat sitting - no-ema/2026-03-04_05-06-07-training-sample-500-2-100.jpg",
    "sample/cat_000500_07_20260304050607_7.png",
    "validation_images/step_500_three_0_64x64.png",
    "contact_sheet.png",
)


def spec(layout: str) -> SampleSpec:
    return SampleSpec("flux", layout, ITEMS, name="cat", layout=layout)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


@pytest.mark.parametrize("layout", LAYOUT_NAMES)
def test_names(tmp_path: Path, layout: str) -> None:
    write(tmp_path, *NAMES[layout], *OTHERS)
    found = trainer_samples(tmp_path, spec(layout))
    read = {one.path.relative_to(tmp_path).as_posix(): (one.index, one.step, one.epoch) for one in found}
    assert read == NAMES[layout]
    assert not any(one.problem for one in found)


@pytest.mark.parametrize("layout", ["kohya", "ai-toolkit", "onetrainer", "simpletuner"])
def test_the_folder_of_samples_itself_will_do(tmp_path: Path, layout: str) -> None:
    write(tmp_path, *NAMES[layout])
    (folder,) = tmp_path.iterdir()
    assert len(trainer_samples(folder, spec(layout))) == len(NAMES[layout])


def test_what_a_name_says_against_the_config_is_told(tmp_path: Path) -> None:
    write(tmp_path, "sample/cat_000500_00_20260304050607_8.png", "sample/dog_000500_00_20260304050607_42.png")
    found = {one.run: one.problem for one in trainer_samples(tmp_path, spec("kohya"))}
    assert found == {"cat": "its name says seed 8, the config says 42", "dog": ""}
    write(tmp_path, "samples/0 - a blue cat/2026-03-04_05-06-07-training-sample-500-2-100.jpg")
    (one,) = trainer_samples(tmp_path, spec("onetrainer"))
    assert one.problem == "it was made of another prompt"


def test_the_newest_comes_first(tmp_path: Path) -> None:
    """By the time in the name, which copies keep; where there is none, by that of the file."""
    names = [f"sample/cat_000500_00_2026030405060{second}_42.png" for second in (8, 9, 7)]
    write(tmp_path, *names)
    found = trainer_samples(tmp_path, spec("kohya"))
    assert [one.path.name for one in found] == [Path(names[place]).name for place in (1, 0, 2)]
    write(tmp_path, "sample_step5.png", "sample_step5_p1.png")
    os.utime(tmp_path / "sample_step5.png", (1, 1))
    assert [one.path.name for one in trainer_samples(tmp_path, spec("eridiffusion-v2"))] == [
        "sample_step5_p1.png", "sample_step5.png",
    ]  # fmt: skip


def test_pictures_on_a_board(tmp_path: Path) -> None:
    """As EriTrainer and SerenityBoard's own writer put them there; those of `eri watch` are not the trainer's."""
    prompts = {"samples/p1": ITEMS[0].prompt, "samples/p2": "another"}
    with serenity_board.opened_board(tmp_path) as board:
        for tag, prompt in prompts.items():
            board.execute(
                "INSERT INTO artifacts VALUES (?, 500, 0, 1.0, 'image', 'image/png', ?, 64, 64, '{}')",
                (tag, f"{tag[-2:]}.png"),
            )
            told = (tag.replace("samples", "prompts"), prompt)
            board.execute("INSERT INTO text_events VALUES (?, 500, 1.0, ?)", told)
        write(tmp_path, "blobs/p1.png", "blobs/p2.png")
        serenity_board.add_image(board, tmp_path, "samples/p1", 750, b"ours", 64, 64)
    found = trainer_samples(tmp_path, spec("eridiffusion-v2"))
    assert {(one.index, one.step, one.path.name, one.problem) for one in found} == {
        (0, 500, "p1.png", ""),
        (1, 500, "p2.png", "it was made of another prompt"),
    }
    with sqlite3.connect(tmp_path / "board.db") as board:
        board.execute("DROP TABLE artifacts")
    board.close()
    with pytest.raises(ImagesError, match=r"board\.db: the board cannot be read"):
        trainer_samples(tmp_path, spec("eridiffusion-v2"))


@pytest.mark.parametrize(
    ("tag", "step", "key"),
    [
        *((tag, 500, "p1.png") for tag in (b"samples/p1", 5, None, f"samples/p{'9' * 5000}")),
        *(("samples/p1", step, "p1.png") for step in (b"5", 1.5, None)),
        *(("samples/p1", 500, key) for key in (b"p1.png", 5, None, "p" * 300, "p\0.png", "")),
    ],
)
def test_rows_of_a_board_that_no_trainer_writes(tmp_path: Path, tag: object, step: object, key: object) -> None:
    write(tmp_path, "blobs/p1.png")
    with sqlite3.connect(tmp_path / "board.db") as board:
        board.execute("CREATE TABLE artifacts (tag, step, blob_key, kind, meta, wall_time)")
        board.execute("CREATE TABLE text_events (tag, step, value)")
        for row in (("samples/p1", 250, "p1.png"), (tag, step, key)):
            board.execute("INSERT INTO artifacts VALUES (?, ?, ?, 'image', '{}', 1)", row)
        board.execute("INSERT INTO text_events VALUES ('prompts/p1', 500, x'ff')")
    board.close()
    assert [one.step for one in trainer_samples(tmp_path, spec("eridiffusion-v2"))] == [250]


@pytest.mark.parametrize(
    "table",
    [
        "VIEW artifacts AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
        " SELECT 'p' AS tag, x AS step, 'p1.png' AS blob_key, 'image' AS kind, '' AS meta, 1 AS wall_time FROM n",
        "TABLE artifacts (tag, step, kind, meta, wall_time, blob_key AS (hex(zeroblob(400000000))))",
        "VIRTUAL TABLE artifacts USING rtree (tag, step, kind, meta, blob_key)",
    ],
    ids=["view", "computed", "virtual"],
)
def test_a_board_that_computes_without_end_is_none(tmp_path: Path, table: str) -> None:
    with sqlite3.connect(tmp_path / "board.db") as board:
        board.execute("CREATE TABLE text_events (tag, step, wall_time, value)")
        board.execute(f"CREATE {table}")
    board.close()
    with pytest.raises(ImagesError, match="artifacts is no table as SerenityBoard makes it"):
        trainer_samples(tmp_path, spec("eridiffusion-v2"))


def test_files_that_may_not_be_read_are_left_out(tmp_path: Path) -> None:
    """Links that lead out, where the caller knows what is outside; and links to nothing."""
    write(tmp_path, "sample_step5_p1.png", "sample_step6_p1.png")
    (tmp_path / "sample_step7_p1.png").symlink_to(tmp_path / "gone.png")
    with serenity_board.opened_board(tmp_path):
        pass
    asked: list[str] = []

    def allowed(path: Path) -> bool:
        asked.append(path.name)
        return path.name == "sample_step5_p1.png"

    (found,) = trainer_samples(tmp_path, spec("eridiffusion-v2"), allowed)
    assert found.step == 5
    assert serenity_board.DATABASE in asked


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="no such folder"):
        trainer_samples(tmp_path / "none", spec("kohya"))
    with pytest.raises(ImagesError, match=r"'nobody'.*kohya"):
        trainer_samples(tmp_path, replace(spec("kohya"), layout="nobody"))
    with pytest.raises(ValueError, match="no group colour"):
        SavedName("(?P<colour>red)")


def test_of_a_folder_of_several_runs_only_names_that_tell_the_run(tmp_path: Path) -> None:
    """`sample` of sd-scripts and musubi-tuner lies in output_dir, which may be that of all runs."""
    told = {trainer.id: {name.shared_folder for name in trainer.saved} - {""} for trainer in TRAINERS.values()}
    assert {layout for layout, folders in told.items() if folders} == {"kohya", "musubi"}
    assert told["kohya"] == told["musubi"] == {"sample"}
    spec = SampleSpec("flux", "kohya", ITEMS, name="cat", layout="kohya")
    folder = tmp_path / "sample"
    folder.mkdir()
    for name in ("cat_000500_01_20260304050607_7", "dog_000500_00_20260304050607_42", "000750_01_20260304050607"):
        (folder / f"{name}.png").touch()
    assert set(own_samples(folder, spec, [])) == {(500, 1), (750, 1)}
    assert set(own_samples(folder, spec, [], shared=True)) == {(500, 1)}
