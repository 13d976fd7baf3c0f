"""What lies in a run's folder of pictures, told by the pictures themselves."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from comfyui_eridiffusion.compare import collection
from comfyui_eridiffusion.compare.collection import GALLERY_MARKER, NEWEST, Place, read_collection
from comfyui_eridiffusion.compare.manifest import ManifestLine, append
from comfyui_eridiffusion.errors import CompareError
from comfyui_eridiffusion.images.inner_texts import read_texts
from comfyui_eridiffusion.tests.compare.sample_pictures import PROMPTS, picture, run_of_pictures, spec_of


def test_cells_of_a_run(tmp_path: Path) -> None:
    root = run_of_pictures(tmp_path / "my_run", spec_of(), (0, 500, 1000))
    Image.new("RGB", (8, 8)).save(root / "sheet.png")  # a contact sheet says no sample
    copies = root / "gallery"
    picture(copies, spec_of(), 2000, 0)
    (copies / GALLERY_MARKER).write_text("{}", encoding="utf-8")
    (root / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = read_collection(root)
    assert (found.name, found.family, found.trainer) == ("my_run", "flux", "eridiffusion")
    assert [(item.index, item.prompt, item.seed) for item in found.items] == [
        (index, prompt, 40 + index) for index, prompt in enumerate(PROMPTS)
    ]
    assert found.steps == (0, 500, 1000)
    assert [(variant.key, dict(variant.values)) for variant in found.variants] == [("", {})]
    assert found.pictures == {
        Place("", step, index): root / f"samples_step_{step:06}" / f"step_{step:06}_sample_{index:02}.png"
        for step in (0, 500, 1000)
        for index in range(3)
    }
    assert not found.theirs
    assert not found.notes


def test_variants_have_their_values(tmp_path: Path) -> None:
    keys = ("", "strength=10", "strength=0.5,sampler=euler_a", "strength=9")
    root = run_of_pictures(tmp_path / "my_run", spec_of(), (500,), keys)
    picture(root, spec_of(), 500, 0, "seed=7", seed=7)
    found = read_collection(root)
    assert [variant.key for variant in found.variants] == [
        "", "seed=7", "strength=0.5,sampler=euler_a", "strength=9", "strength=10",
    ]  # fmt: skip
    assert dict(found.variants[2].values) == {"strength": 0.5, "sampler": "euler_a"}
    assert found.items[0].seed == 40
    assert found.pictures["seed=7", 500, 0].parent.parent.name == "seed=7"


def test_what_the_newest_pictures_say_counts(tmp_path: Path) -> None:
    """A prompt that was changed since, another run's picture in the folder, and a sample that was made twice."""
    root = run_of_pictures(tmp_path / "my_run", spec_of(), (500,))
    for number, path in enumerate(sorted(root.rglob("*.png"))):
        os.utime(path, (1000 + number, 1000 + number))
    other = picture(root / "copied", spec_of(name="other"), 500, 0)
    os.utime(other, (900, 900))
    again = picture(root / "later", spec_of(), 500, 2)
    picture(root, spec_of(("a green fox", *PROMPTS[1:])), 1000, 0)
    found = read_collection(root)
    assert found.items[0].prompt == "a green fox"
    assert ("", 500, 0) not in found.pictures
    assert found.pictures["", 500, 2] == again
    assert len(found.notes) == 2
    assert "'my_run'" in found.notes[0]


def test_the_trainers_own_samples(tmp_path: Path) -> None:
    root = run_of_pictures(tmp_path / "out" / "my_run", spec_of(), (500,))
    own = tmp_path / "trained" / "samples_step_000500" / "step_000500_sample_01.png"
    own.parent.mkdir(parents=True)
    Image.new("RGB", (96, 64)).save(own)
    assert read_collection(root, tmp_path / "trained").theirs == {(500, 1): own}


def test_the_manifest_says_what_a_picture_shows(tmp_path: Path) -> None:
    """Also of one that cannot say it itself, and of a checkpoint whose step nobody knew; what has gone is left out."""
    root = run_of_pictures(tmp_path / "my_run", spec_of(), (500,))
    Image.new("RGB", (96, 64)).save(root / "plain.webp")
    line = ManifestLine("my_run", "eridiffusion", "flux", 1, PROMPTS[1], "", 41, 96, 64, None, "plain.webp")
    both = [replace(line, step=0, axes=axes) for axes in ({}, {"strength": 0.5}, {"run": "a/b"})]
    append(root, [line, replace(line, step=700, file="gone.png"), *both])
    found = read_collection(root)
    assert found.steps == (NEWEST, 0, 500)
    assert {key: path.name for (key, step, _), path in found.pictures.items() if step == 0} == {
        variant.key: "plain.webp" for variant in found.variants
    }
    assert {variant.title for variant in found.variants} == {"", "strength 0.5", "run a/b"}
    assert found.pictures["", NEWEST, 1] == root / "plain.webp"


def test_folders_that_are_no_run(tmp_path: Path) -> None:
    with pytest.raises(CompareError, match=r"no such folder.*eri_samples/my_run"):
        read_collection(tmp_path / "none")
    run_of_pictures(tmp_path / "out" / "my_run", spec_of(), (500,))
    (tmp_path / "out" / "zebra").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / GALLERY_MARKER).write_text("{}", encoding="utf-8")
    with pytest.raises(CompareError, match=r"copies: this is a gallery.*folder above"):
        read_collection(tmp_path / "copies")
    with pytest.raises(CompareError, match=r"empty: no picture here.*disable-metadata"):
        read_collection(tmp_path / "empty")


def test_the_folder_above_those_of_runs_is_refused(tmp_path: Path) -> None:
    for name in ("my_run", "other"):
        run_of_pictures(tmp_path / name, spec_of(name=name), (500,))
    with pytest.raises(CompareError, match=r"own folders.*my_run, other"):
        read_collection(tmp_path)


def test_a_picture_that_goes_while_the_folder_is_read_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = run_of_pictures(tmp_path / "my_run", spec_of(), (500,))
    going, *others = sorted(root.rglob("*.png"))

    def read(path: Path) -> dict[str, str]:
        texts = read_texts(path)
        if path == going:
            path.unlink()
        return texts

    monkeypatch.setattr(collection, "read_texts", read)
    assert sorted(read_collection(root).pictures.values()) == others
