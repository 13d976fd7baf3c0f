"""The routes behind the sidebar in a running host: runs, their configs, and the samples that lie on disk."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from PIL import Image
from yarl import URL

from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.images.serenity_board import DATABASE
from comfyui_eridiffusion.spec import read_spec
from comfyui_eridiffusion.tests.compare.sample_pictures import picture as sample_picture
from comfyui_eridiffusion.tests.nodes.conftest import EXAMPLES
from comfyui_eridiffusion.tests.nodes.route_calls import conforms, get, put

pytestmark = pytest.mark.usefixtures("runs_host")


async def test_runs_are_listed_with_their_steps(web: aiohttp.ClientSession) -> None:
    status, document = await get(web, "/eridiffusion/runs")
    assert status == 200
    conforms(document, "Runs")
    run = next(run for run in document["runs"] if run["name"] == "many")
    assert run["steps"] == list(range(100, 5100, 100))


async def test_the_version_is_another_one_when_checkpoints_come_or_go(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path]
) -> None:
    run = runs_host[1].with_name("growing")
    weights = next((EXAMPLES / "runs" / "flux_zorp").rglob("*.safetensors"))

    async def version() -> str:
        status, document = await get(web, "/eridiffusion/runs-version")
        assert status == 200
        conforms(document, "RunsVersion")
        assert (await get(web, "/eridiffusion/runs"))[1]["version"] == document["version"]
        return str(document["version"])

    seen = [await version()]
    run.mkdir()
    for step in (100, 200):
        shutil.copy(weights, run / f"growing_{step:09d}.safetensors")
        seen.append(await version())
        assert await version() == seen[-1]
    (run / "growing_000000200.safetensors").unlink()
    seen.append(await version())
    shutil.rmtree(run)
    seen.append(await version())
    assert (seen[3], seen[4]) == (seen[1], seen[0]), "as before it came"
    assert len({*seen}) == 3


async def test_run_has_prompts_samples_and_the_reason_for_what_is_no_config(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path]
) -> None:
    host = runs_host[0]
    _, empty = await get(web, "/eridiffusion/runs/many")
    assert empty["samples"] == []
    name = empty["spec"]["name"]
    # EriDiffusion's own file name, spelled out
    for step in (0, 700):
        place = host.output_dir / name / f"samples_step_{step:06}" / f"step_{step:06}_sample_42.png"
        place.parent.mkdir(parents=True)
        shutil.copy(EXAMPLES.parent / "example_workflows" / "Flux dev.jpg", place)
    swept = sample_picture(host.output_dir / name, read_spec(runs_host[1] / "train.yaml"), 700, 3, "strength=0.5,cfg=2")
    (host.output_dir / name / "strength=2").symlink_to(host.output_dir / name / "samples_step_000700")
    process = psutil.Process(host.pid)
    before = sum(process.cpu_times()[:2])
    (runs_host[1] / "learnable_snr.json").write_text("{}", encoding="utf-8")  # ai-toolkit leaves it there
    status, document = await get(web, "/eridiffusion/runs/many")
    assert sum(process.cpu_times()[:2]) - before < 2
    assert status == 200
    conforms(document, "Run")
    assert [item["prompt"] for item in document["spec"]["items"]][:2] == ["prompt <b>0</b>", "prompt <b>1</b>"]
    assert (len(document["spec"]["items"]), document["spec"]["source"]) == (100, "many/train.yaml")
    told = {entry["file"]: (entry["kind"], entry["reason"]) for entry in document["unreadable"]}
    assert {file: kind for file, (kind, _) in told.items()} == {
        "broken.yaml": "config", "learnable_snr.json": "not_config",
    }  # fmt: skip
    assert "line" in told["broken.yaml"][1]
    assert "trainer=" not in told["learnable_snr.json"][1], "of use in Python only"
    (runs_host[1] / "learnable_snr.json").unlink()
    assert [(sample["step"], sample["item"]) for sample in document["samples"]] == [(0, 42), (700, 42)]
    async with web.get(document["samples"][1]["url"]) as answer:
        assert (answer.status, await answer.read()) == (200, place.read_bytes())
    (variant,) = document["variants"]
    assert (variant["title"], variant["axes"]) == ("strength 0.5, cfg 2", {"strength": "0.5", "cfg": "2"})
    (sample,) = variant["samples"]
    async with web.get(sample["url"]) as answer:
        assert (sample["step"], sample["item"], await answer.read()) == (700, 3, swept.read_bytes())
    (host.output_dir / name / "strength=2").unlink()
    shutil.rmtree(swept.parents[1])


async def test_a_sweep_is_planned_by_what_has_no_picture(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path]
) -> None:
    root = runs_host[0].output_dir / "many"
    made = sample_picture(root, read_spec(runs_host[1] / "train.yaml"), 700, 3, "strength=0.5")

    async def plan(**body: object) -> tuple[int, Any]:
        async with web.post("/eridiffusion/run-sweep/many", json=body) as answer:
            return answer.status, await answer.json()

    status, document = await plan(steps="700", axes={"strength": "0.5, 1"})
    assert status == 200, document
    conforms(document, "SweepPlan")
    assert [variant["key"] for variant in document["variants"]] == ["strength=0.5", "strength=1"]
    missing = {(cell["variant"], cell["step"], cell["item"]) for cell in document["cells"]}
    assert missing == {(variant, 700, item) for variant in (0, 1) for item in range(100)} - {(0, 700, 3)}
    assert document["there"] == 1
    manifest = root / "manifest.jsonl"
    manifest.write_text("{}\n", encoding="utf-8")
    status, document = await plan(steps="700")
    assert (status, document["error"]["kind"]) == (422, "compare")
    for path in (made, manifest):
        path.unlink()
    request = {"config": (EXAMPLES / "configs" / "flux.yaml").read_text(encoding="utf-8"), "items": "0"}
    async with web.post("/eridiffusion/graph", json=request | {"step": 50, "axes": {"strength": "0.5"}}) as answer:
        graph = (await answer.json())["api"]
    assert graph["lora"]["inputs"]["strength_model"] == 0.5
    assert "/strength=0.5/" in graph["save"]["inputs"]["template"]
    wrong = {"cfg": {"axes": {"cfg": "0"}}, "steps": {"steps": "7"}, "seed": {"axes": {"seed": "a"}}}
    for field, body in wrong.items():
        status, document = await plan(**body)
        assert (status, document["error"]["field"]) == (400, field), document
    many = ",".join(map(str, range(1, 101)))
    status, document = await plan(axes=dict.fromkeys(("strength", "seed", "cfg", "guidance"), many))
    assert (status, document["error"]["kind"]) == (400, "large"), document


async def test_a_gallery_is_written_into_the_output_folder(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path], tmp_path: Path
) -> None:
    host, run = runs_host
    root = host.output_dir / "many"
    place = root / "samples_step_000700" / "step_000700_sample_07.png"
    place.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (64, 48), (1, 2, 3)).save(place)
    Image.new("RGB", (64, 48), (4, 5, 6)).save(tmp_path / "elsewhere.png")
    linked = place.with_name("step_000700_sample_08.png")
    linked.symlink_to(tmp_path / "elsewhere.png")
    board = run / DATABASE
    board.write_bytes(b"no database, as of a disk that was full")
    async with web.put("/eridiffusion/run-gallery/many", json={}) as answer:
        document = await answer.json()
        assert answer.status == 200, document
    conforms(document, "WrittenGallery")
    board.unlink()
    (note,) = [note for note in document["notes"] if "own samples" in note]
    assert (DATABASE in note, str(run) in note) == (True, False)
    assert document["page"] == "many/gallery/index.html"
    folder = host.output_dir / "many" / "gallery"
    shown = {path.read_bytes() for path in (folder / "pictures").iterdir()}
    assert place.read_bytes() in shown
    assert linked.read_bytes() not in shown, "it lies elsewhere"
    shutil.rmtree(folder)
    folder.symlink_to(tmp_path)
    try:
        async with web.put("/eridiffusion/run-gallery/many", json={}) as answer:
            assert (answer.status, (await answer.json())["error"]["kind"]) == (403, "outside")
        folder.unlink()
        folder.mkdir()
        (folder / "mine.txt").write_text("kept", encoding="utf-8")
        async with web.put("/eridiffusion/run-gallery/many", json={}) as answer:
            message = (await answer.json())["error"]["message"]
            assert (answer.status, str(host.output_dir) in message) == (409, False), message
    finally:
        for path in (linked, place, *([folder] if folder.is_symlink() else [folder / "mine.txt"])):
            path.unlink()


async def test_a_sample_has_a_small_copy(web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path]) -> None:
    host, _ = runs_host
    folder = host.output_dir / "small copies"
    folder.mkdir()
    Image.new("RGB", (640, 320), (200, 30, 30)).save(folder / "wide.png")
    Image.new("P", (40, 60), 3).save(folder / "little.png")
    (folder / "half.png").write_bytes((folder / "wide.png").read_bytes()[:200])
    (host.output_dir / "link.png").symlink_to(EXAMPLES.parent / "example_workflows" / "Flux dev.jpg")
    sizes = {}
    for name in ("wide.png", "little.png"):
        query = {"filename": name, "subfolder": folder.name, "version": "1"}
        async with web.get("/eridiffusion/thumbnail", params=query) as answer:
            assert (answer.status, answer.content_type) == (200, "image/webp")
            assert "immutable" in answer.headers["Cache-Control"]
            picture = Image.open(io.BytesIO(await answer.read()))
            sizes[name] = picture.size
            if name == "wide.png":
                assert all(abs(a - b) < 8 for a, b in zip(picture.getpixel((9, 9)), (200, 30, 30), strict=True))
    assert sizes == {"wide.png": (144, 72), "little.png": (40, 60)}
    for name, subfolder, status in (
        ("half.png", folder.name, 422),
        ("gone.png", folder.name, 404),
        ("", folder.name, 404),
        ("a\0b.png", "", 404),
        ("broken.yaml", "../../many", 403),
        ("/etc/hostname", "", 403),
        ("link.png", "", 403),
    ):
        async with web.get("/eridiffusion/thumbnail", params={"filename": name, "subfolder": subfolder}) as answer:
            assert (answer.status, name) == (status, name)
            conforms(await answer.json(), "Error")


@pytest.mark.parametrize("name", ["..%2F..%2Fetc", "%2Fetc", "many%2F..%2F..%2F.."])
async def test_a_name_outside_is_refused(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path], name: str
) -> None:
    async with web.get(URL(f"{runs_host[0].url}/eridiffusion/runs/{name}", encoded=True)) as answer:
        assert answer.status == 403
        assert (await answer.json())["error"]["kind"] == "outside"


async def test_a_config_outside_or_missing_is_refused(web: aiohttp.ClientSession) -> None:
    for config, status in (("../../secret.yaml", 403), ("/etc/host.yaml", 403), ("nowhere.yaml", 404)):
        found, document = await get(web, f"/eridiffusion/runs/many?config={config}")
        assert (found, bool(document["error"]["message"])) == (status, True)
    assert (await get(web, "/eridiffusion/runs/unknown"))[0] == 404


async def test_a_run_keeps_its_config_and_marks(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path]
) -> None:
    kept = runs_host[1] / "eridiffusion.json"
    text = (runs_host[1] / "train.yaml").read_text(encoding="utf-8")
    wanted = {"config": text.replace("prompt <b>0</b>", "another"), "source": "mine.yaml"}
    assert await put(web, "run-config/many", wanted) == (200, {"config": "mine.yaml", "marks": 0, "notes": 0})
    for mark in ("reject", "favourite"):
        status, document = await put(web, "run-marks/many", {"step": 700, "item": 42, "mark": mark})
        assert (status, conforms(document, "Kept")["marks"]) == (200, 1)
    for note, count in (("the hand\nis <b>odd</b>", 1), ("", 0), (" better ", 1)):
        status, document = await put(web, "run-notes/many", {"step": 700, "item": 42, "note": note})
        assert (status, conforms(document, "Kept")["notes"]) == (200, count)
    document = conforms((await get(web, "/eridiffusion/runs/many"))[1], "Run")
    assert document["notes"] == [{"step": 700, "item": 42, "note": "better"}]
    assert (document["config"], document["config_from"]) == ("mine.yaml", "remembered")
    assert document["spec"]["items"][0]["prompt"] == "another"
    assert document["marks"] == [{"step": 700, "item": 42, "mark": "favourite"}]
    assert "eridiffusion.json" not in str(document["unreadable"])

    # a list of prompts names no run, so it is this one's
    prompts = {"config": "a red cat --w 512 --h 512 --d 7", "source": "prompts.txt", "family": "sdxl"}
    assert (await put(web, "run-config/many", prompts))[1]["config"] == "prompts.txt"
    document = (await get(web, "/eridiffusion/runs/many"))[1]
    assert (document["spec"]["name"], document["spec"]["items"][0]["prompt"]) == ("many", "a red cat")
    await put(web, "run-config/many", wanted)

    refused = [
        ("run-config/many", {"config": text.replace("many", "other")}, 409, "other_run"),
        ("run-config/many", {"file": "../../secret.yaml"}, 403, "outside"),
        ("run-config/many", {"config": "a: [1"}, 400, "config"),
        ("run-config/many", {"config": text, "file": "many/train.yaml"}, 400, "request"),
        ("run-marks/many", {"step": 1, "item": 1, "mark": "perhaps"}, 400, "request"),
        ("run-notes/many", {"step": 1, "item": 1, "note": "n" * 2001}, 400, "request"),
        ("run-marks/..%2F..%2Fx", {"step": 1, "item": 1}, 403, "outside"),
        ("run-marks/none", {"step": 1, "item": 1}, 404, "unknown_run"),
    ]
    before = kept.read_bytes()
    for path, body, status, kind in refused:
        async with web.put(URL(f"{runs_host[0].url}/eridiffusion/{path}", encoded=True), json=body) as answer:
            assert (answer.status, conforms(await answer.json(), "Error")["error"]["kind"]) == (status, kind)
    assert kept.read_bytes() == before

    kept.write_text("{", encoding="utf-8")  # nothing that cannot be read is written over
    status, document = await put(web, "run-marks/many", {"step": 1, "item": 1})
    assert (status, conforms(document, "Error")["error"]["kind"], kept.read_text()) == (422, "run_file", "{")
    document = (await get(web, "/eridiffusion/runs/many"))[1]
    assert document["unreadable"][0]["file"] == "eridiffusion.json"
    kept.unlink()
    kept.symlink_to(EXAMPLES / "README.md")
    assert (await put(web, "run-marks/many", {"step": 1, "item": 1}))[0] == 403
    kept.unlink()


def vote(made: str, left: int, right: int, choice: str | None, run: str = "many") -> dict[str, Any]:
    sides = {"left": {"step": left}, "right": {"step": right, "axes": {"cfg": 5}}}
    return {"run": run, "voter": "Ann", "made": made, "item": 1, "seed": 7, **sides, "vote": choice}


async def test_a_run_keeps_votes_and_ranks_by_them(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path]
) -> None:
    path, kept = "/eridiffusion/run-votes/many", runs_host[1] / "votes.jsonl"
    document = conforms((await get(web, path))[1], "Votes")
    assert (document["votes"], document["ranking"]["places"]) == ([], [])
    given = [vote(str(number), 100, 200, "left") for number in range(5)]
    for body in (*given, vote("x", 100, 200, "right"), vote("x", 100, 200, None)):
        conforms(body, "NewVote")
        async with web.post(path, json=body) as answer:
            assert answer.status == 200
            await answer.json()
    document = conforms((await get(web, path))[1], "Votes")
    assert [entry["vote"] for entry in document["votes"]] == ["left"] * 5
    places = [(place["candidate"], place["wins"], place["losses"]) for place in document["ranking"]["places"]]
    assert places == [("step 100", 5, 0), ("step 200, cfg 5", 0, 5)]
    before = kept.read_bytes()
    refused = [
        (vote("y", 100, 200, "left", run="other"), 422, "compare"),
        (vote("y", 100, 200, "both"), 400, "request"),
        (vote("y", -1, 200, "left"), 400, "request"),
        ({**vote("y", 100, 100, "left"), "right": {"step": 100}}, 400, "request"),
    ]
    for body, status, kind in refused:
        async with web.post(path, json=body) as answer:
            error = conforms(await answer.json(), "Error")["error"]
            assert (answer.status, error["kind"], str(runs_host[1]) in error["message"]) == (status, kind, False)
    assert kept.read_bytes() == before
    kept.unlink()
    kept.symlink_to(EXAMPLES / "README.md")
    assert (await get(web, path))[0] == 403
    kept.unlink()
