"""The trainer's own samples in the routes behind the sidebar: where they are found, and what may be read of them."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import aiohttp
import pytest
from PIL import Image

from comfyui_eridiffusion.dev.local_host import LocalHost
from comfyui_eridiffusion.images.serenity_board import DATABASE
from comfyui_eridiffusion.tests.nodes.conftest import EXAMPLES
from comfyui_eridiffusion.tests.nodes.route_calls import conforms, get

PICTURE = Image.effect_noise((96, 64), 60).convert("RGB")


def at_step(folder: Path, step: int) -> Path:
    """The place of a sample below a folder, by EriDiffusion's own names; its folder is made."""
    place = folder / f"samples_step_{step:06}" / f"step_{step:06}_sample_07.png"
    place.parent.mkdir(parents=True)
    return place


@pytest.fixture(scope="module")
def theirs(runs_host: tuple[LocalHost, Path]) -> Path:
    """A sample that the trainer made, in the run's folder."""
    place = at_step(runs_host[1], 300)
    PICTURE.save(place)
    return place


async def test_they_are_shown_and_compared(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path], theirs: Path
) -> None:
    ours = at_step(runs_host[0].output_dir / "many", 300)
    PICTURE.point(lambda level: min(level + 5, 255)).save(ours)
    document = conforms((await get(web, "/eridiffusion/runs/many"))[1], "Run")
    (found,) = document["theirs"]
    assert (found["step"], found["item"], found["problem"]) == (300, 7, "")
    async with web.get(found["url"]) as answer:
        assert (answer.content_type, await answer.read()) == ("image/png", theirs.read_bytes())
    places = {"run": "many", "file": found["file"]}
    async with web.get("/eridiffusion/thumbnail", params={**places, "size": 288}) as answer:
        assert Image.open(io.BytesIO(await answer.read())).size == (96, 64)
    pair = {**places, "filename": ours.name, "subfolder": "many/samples_step_000300"}
    async with web.get("/eridiffusion/verdict", params=pair) as answer:
        verdict = conforms(await answer.json(), "Verdict")
    assert (verdict["verdict"], verdict["text"], verdict["largest"]) == ("close", "close (5 of 255)", 5)
    Image.new("RGB", (64, 64)).save(ours)
    async with web.get("/eridiffusion/verdict", params=pair) as answer:
        assert (await answer.json())["verdict"] == "different"


async def test_what_a_link_outside_or_to_nothing_leads_to_is_none(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path], theirs: Path
) -> None:
    host, run = runs_host
    (outside := host.output_dir.parent / "outside").mkdir()
    shutil.copy(theirs, outside / "theirs.png")
    for folder in (run, host.output_dir / "many"):
        for step, target in ((302, outside / "theirs.png"), (303, outside / "gone.png")):
            at_step(folder, step).symlink_to(target)
    (run / DATABASE).symlink_to(outside / DATABASE)
    (outside / DATABASE).write_bytes(b"no board")
    document = conforms((await get(web, "/eridiffusion/runs/many"))[1], "Run")
    assert [one["step"] for one in document["theirs"]] == [300]
    assert 303 not in [one["step"] for one in document["samples"]]
    assert DATABASE not in [one["file"] for one in document["unreadable"]]


@pytest.mark.usefixtures("theirs")
async def test_they_are_found_in_another_allowed_folder_that_is_called_as_the_run_is(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path]
) -> None:
    """The run's own folder goes first."""
    elsewhere = runs_host[0].input_dir / "many"
    places = [at_step(elsewhere, step) for step in (300, 400)]
    for place in places:
        PICTURE.resize((48, 32)).save(place)
    (elsewhere / "samples_step_000500").symlink_to(EXAMPLES / "runs")
    document = conforms((await get(web, "/eridiffusion/runs/many"))[1], "Run")
    assert [(one["step"], one["file"]) for one in document["theirs"]] == [
        (300, "samples_step_000300/step_000300_sample_07.png"),
        (400, "allowed:0/many/samples_step_000400/step_000400_sample_07.png"),
    ]
    async with web.get(document["theirs"][1]["url"]) as answer:
        assert (answer.status, await answer.read()) == (200, places[1].read_bytes())
    shutil.rmtree(elsewhere)


@pytest.mark.parametrize(
    ("run", "file", "status"),
    [
        ("many", "train.yaml", 403),
        ("many", "../growing/step_000300_sample_07.png", 403),
        ("many", "/etc/hostname", 403),
        ("many", "linked.png", 403),
        ("many", "allowed:0/../output/x.png", 403),
        ("many", "allowed:0//etc/hostname", 403),
        ("many", "allowed:99/x.png", 404),
        ("many", "allowed:x/x.png", 404),
        ("many", "gone.png", 404),
        ("many", "a\0b.png", 404),
        ("..", "x.png", 403),
    ],
)
async def test_no_other_file_is_read(
    web: aiohttp.ClientSession, runs_host: tuple[LocalHost, Path], run: str, file: str, status: int
) -> None:
    link = runs_host[1] / "linked.png"
    link.unlink(missing_ok=True)
    link.symlink_to(EXAMPLES.parent / "docs" / "rooms.svg")
    async with web.get("/eridiffusion/run-picture", params={"run": run, "file": file}) as answer:
        assert answer.status == status
