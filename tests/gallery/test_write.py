"""The folder of a gallery: what is in it, what is made again, and what is left alone."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageSequence
from typer.testing import CliRunner

from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.compare.collection import GALLERY_MARKER, read_collection
from comfyui_eridiffusion.errors import CompareError
from comfyui_eridiffusion.gallery import page as pages
from comfyui_eridiffusion.gallery.marks import KeptMarks
from comfyui_eridiffusion.gallery.moving import FRAMES, SIDE, moving_picture
from comfyui_eridiffusion.gallery.write import Written, write_gallery
from comfyui_eridiffusion.tests.compare.sample_pictures import picture, run_of_pictures, spec_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    root = run_of_pictures(tmp_path / "my_run", spec_of(), (0, 500, 1000))
    return run_of_pictures(root, spec_of(), (500,), ("strength=0.5",))


def written(run: Path, **options: object) -> Written:
    return write_gallery(read_collection(run), **options)  # type: ignore[arg-type]


def data_of(page: Path) -> dict[str, object]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    data: dict[str, object] = json.loads(found[1])
    return data


def test_the_means_of_measures_are_shown(run: Path) -> None:
    """Worked by hand; a file that is none of measures is named, and the pictures are shown."""
    about = {"version": 1, "run": "my_run", "file": "a.png"}
    values = [("", 0, 0, 1.0), ("", 0, 1, 3.0), ("", 500, 0, 8.0), ("0.5", 500, 0, 4.0), ("0.7", 500, 0, 9.0)]
    lines = [
        {**about, "item": item, "step": step, "axes": {"strength": float(of)} if of else {}, "change": value}
        for of, step, item, value in values
    ]
    (run / "measures.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    data = data_of(written(run).page)
    assert data["measures"] == [["change", [[0, [[0, 2.0], [500, 8.0]]], [1, [[500, 4.0]]]]]]
    (run / "measures.jsonl").write_text("no measure\n", encoding="utf-8")
    done = written(run)
    assert data_of(done.page)["measures"] == []
    assert ["measures.jsonl, line 1" in note for note in done.notes] == [True]


def stamps(folder: Path) -> dict[str, int]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in files}


def test_a_gallery_is_whole_and_says_no_path_of_this_machine(run: Path) -> None:
    done = written(run)
    assert done.page == run / "gallery" / "index.html"
    assert (done.pictures, done.linked, done.notes) == (12, False, ())
    data = data_of(done.page)
    for row in data["pictures"]:  # type: ignore[attr-defined]
        name = row[3]
        assert (run / "gallery" / "pictures" / name).is_file()
        for side in (288, 576):
            with Image.open(run / "gallery" / "small" / f"{name[:-4]}-{side}.webp") as small:
                assert small.size == (96, 64)
    assert data["steps"] == [0, 500, 1000]
    with Image.open(run / "gallery" / data["moving"][0][2]) as moving:  # type: ignore[index]
        assert moving.n_frames == 3
    told = done.page.read_bytes() + (run / "gallery" / GALLERY_MARKER).read_bytes()
    assert str(run.parent).encode() not in told


def test_only_what_is_new_is_made_again(run: Path) -> None:
    written(run)
    before, page = stamps(run / "gallery"), (run / "gallery" / "index.html").read_bytes()
    assert written(run).made == 0
    assert (run / "gallery" / "index.html").read_bytes() == page
    picture(run, spec_of(), 1500, 0)
    done = written(run)
    assert done.made == 4  # the picture, its two small copies, and its row's moving picture
    after = stamps(run / "gallery")
    changed = {name for name in after if after[name] != before.get(name)}
    assert {name.split("/")[0] for name in changed} == {"pictures", "small", "moving", "index.html", GALLERY_MARKER}
    assert sum(name.startswith("moving/") for name in after) == 3, "the old moving picture is gone"


def test_the_trainers_own_get_a_verdict_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same picture, one that is three levels apart, one of another colour; an open seed gives none."""
    for item, levels in enumerate((0, 3, 100)):
        own = picture(tmp_path / "trained", spec_of(), 500, item)
        with Image.open(own) as image:
            image.convert("RGB").point([min(255, level + levels) for level in range(256)] * 3).save(own)
    found = read_collection(run, tmp_path / "trained")
    data = data_of(write_gallery(found).page)
    told = [(step, item, said["verdict"], said["text"]) for step, item, said in data["verdicts"]]  # type: ignore[attr-defined]
    words = (("same picture", "same picture"), ("close", "close (3 of 255)"), ("different", "different"))
    assert told == [(500, item, *said) for item, said in enumerate(words)]
    page = (run / "gallery" / "index.html").read_bytes()
    monkeypatch.setattr("comfyui_eridiffusion.gallery.verdicts.verdict_on", None)
    assert write_gallery(found).page.read_bytes() == page
    drawn = replace(found, items=tuple(replace(item, seed=None) for item in found.items))
    assert data_of(write_gallery(drawn).page)["verdicts"] == []


def test_links_take_no_space_and_are_the_runs_files(run: Path) -> None:
    done = written(run, link=True)
    assert done.linked
    names = list((run / "gallery" / "pictures").iterdir())
    assert names
    assert all(path.stat().st_nlink > 1 for path in names)


def test_other_folders_are_left_alone(run: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "holidays"
    foreign.mkdir()
    (foreign / "index.html").write_text("mine", encoding="utf-8")
    with pytest.raises(CompareError, match=r"holidays: this folder is no gallery. Nothing was changed"):
        written(run, folder=foreign)
    assert [path.name for path in foreign.iterdir()] == ["index.html"]
    with pytest.raises(CompareError, match="a file, no folder"):
        written(run, folder=foreign / "index.html")
    other = run_of_pictures(tmp_path / "other", spec_of(name="other"), (500,))
    with pytest.raises(CompareError, match="the gallery of another run, 'my_run'"):
        written(other, folder=written(run).page.parent)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / GALLERY_MARKER).write_bytes((run / "gallery" / GALLERY_MARKER).read_bytes())
    (linked / "pictures").symlink_to(foreign)
    with pytest.raises(CompareError, match="a link or a file"):
        written(run, folder=linked)


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("{", "no gallery's file"),
        ('{"version": 2, "run": "my_run", "files": [], "known": {}}', "a gallery of version 2"),
        ('{"version": 1, "run": "my_run", "files": 3, "known": {}}', "no gallery's file"),
    ],
)
def test_a_marker_that_is_none_is_refused(run: Path, marker: str, said: str) -> None:
    (run / "gallery").mkdir()
    (run / "gallery" / GALLERY_MARKER).write_text(marker, encoding="utf-8")
    with pytest.raises(CompareError, match=said):
        written(run)


def test_nothing_of_the_users_is_deleted(run: Path, tmp_path: Path) -> None:
    """Neither a file that was put into the gallery, nor one elsewhere that a changed marker names."""
    folder = written(run).page.parent
    mine, outside = folder / "pictures" / "mine.png", tmp_path / "kept.txt"
    for path in (mine, outside):
        path.write_text("kept", encoding="utf-8")
    marker = json.loads((folder / GALLERY_MARKER).read_text(encoding="utf-8"))
    marker["files"] += ["../../kept.txt", str(outside), "pictures/../../../kept.txt"]
    (folder / GALLERY_MARKER).write_text(json.dumps(marker), encoding="utf-8")
    shutil.rmtree(run / "samples_step_001000")
    written(run)
    assert mine.is_file()
    assert outside.is_file()


def test_a_broken_picture_is_named_and_the_rest_is_shown(run: Path) -> None:
    path = run / "samples_step_000500" / "step_000500_sample_01.png"
    path.write_bytes(path.read_bytes()[:-60])
    done = written(run)
    assert done.pictures == 11
    (note,) = done.notes
    assert note.startswith("step_000500_sample_01.png is no whole picture")


def test_texts_cannot_leave_their_place(tmp_path: Path) -> None:
    hostile = ("</script><script>harmed()</script>", '"><img src=x onerror=harmed()>', "<!-- \u2028 😀")
    root = run_of_pictures(tmp_path / "r", spec_of(hostile, name="r"), (500,))
    done = write_gallery(read_collection(root), title="<b>&\"'")
    text = done.page.read_text(encoding="utf-8")
    assert text.count("<script") == 2  # the data and the pack's own
    assert "<title>&lt;b&gt;&amp;&quot;&#x27;</title>" in text
    assert [item["prompt"] for item in data_of(done.page)["items"]] == list(hostile)  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", ["webp", "gif"])
def test_moving_pictures_are_small(tmp_path: Path, form: str) -> None:
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (1200, 800), (80 * number, 0, 0)).save(paths[-1])
    data = moving_picture(paths, [0, 500, -1], form)  # type: ignore[arg-type]
    (tmp_path / "out").write_bytes(data)
    with Image.open(tmp_path / "out") as moving:
        assert moving.format == form.upper()
        frames = [frame.convert("RGB").getpixel((380, 5)) for frame in ImageSequence.Iterator(moving)]
        assert moving.size == (SIDE, SIDE * 2 // 3)
    assert len(frames) == 3
    for number, pixel in enumerate(frames):
        assert abs(pixel[0] - 80 * number) < 6  # type: ignore[index]
    assert FRAMES <= 100


def test_marks_are_kept_beside_the_pictures(run: Path, tmp_path: Path) -> None:
    kept = KeptMarks(read_collection(run))
    kept.keep({"step": 500, "item": 1, "mark": "favourite"})
    kept.keep({"variant": "strength=0.5", "step": 500, "item": 0, "mark": "reject"})
    document = json.loads((run / "eridiffusion.json").read_text(encoding="utf-8"))
    assert document["marks"] == [{"step": 500, "item": 1, "mark": "favourite"}]
    assert len(kept.all()) == 2
    saved = tmp_path / "saved.json"
    reject = {"step": 0, "item": 2, "mark": "reject"}
    saved.write_text(json.dumps({"version": 1, "run": "my_run", "marks": [reject]}))
    assert kept.take(saved) == 1
    assert reject in kept.all()
    for document in ({"version": 1, "run": "other", "marks": []}, {"version": 9, "run": "my_run", "marks": []}, []):
        saved.write_text(json.dumps(document))
        with pytest.raises(CompareError, match=r"saved\.json"):
            kept.take(saved)
    for entry in ({}, {"step": 1, "item": 1, "mark": "great"}, {"variant": "../x", "step": 1, "item": 1, "mark": None}):
        with pytest.raises(CompareError, match="is no mark"):
            kept.keep(entry)
        saved.write_text(json.dumps({"version": 1, "run": "my_run", "marks": [{**reject, "item": 0}, entry]}))
        before = kept.all()
        with pytest.raises(CompareError, match="is no mark"):
            kept.take(saved)
        assert kept.all() == before


def test_the_command_finds_a_run_by_its_name(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "eri_samples").mkdir()
    run.rename(tmp_path / "eri_samples" / "my_run")
    saved = tmp_path / "saved.json"
    saved.write_text(json.dumps({"version": 1, "run": "my_run", "marks": [{"step": 500, "item": 2, "mark": "reject"}]}))
    done = CliRunner().invoke(app, ["gallery", "my_run", "--marks", str(saved), "--animation", "none", "--json"])
    document = json.loads(done.stdout)
    assert (document["pictures"], document["linked"], document["notes"]) == (12, False, [])
    data = data_of(tmp_path / document["page"])
    assert (data["marks"], data["moving"]) == ([{"step": 500, "item": 2, "mark": "reject"}], [])


@pytest.mark.parametrize("line", ["export default 3;", 'import x from "./a.js";', "const a = import.meta.url;"])
def test_forms_of_modules_that_are_not_joined_are_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "start.js").write_text(f"{line}\nexport function start() {{}}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"start\.js has a form"):
        pages.joined(tmp_path / "start.js")
