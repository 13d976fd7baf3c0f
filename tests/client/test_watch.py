"""A run folder that grows while it is watched, in a real host."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.changes import sees_changes
from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.watch import Told, Watch
from comfyui_eridiffusion.spec import SampleSpec
from comfyui_eridiffusion.tests.client.relay import Relay
from comfyui_eridiffusion.tests.client.watched import MODELS, Place, checkpoint, short, stamps
from comfyui_eridiffusion.tests.waiting import until


async def heard(task: asyncio.Task[None], told: list[Told], what: str, times: int = 1) -> None:
    """Until the watch has told this so many times; its error where it ended instead."""

    def enough() -> bool:
        return [entry.what for entry in told].count(what) >= times

    await until(lambda: enough() or task.done(), f"{what!r} is told {times} times")
    if task.done():
        await task


async def stopped(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_checkpoints_one_by_one(place: Place, tmp_path: Path) -> None:
    """Whole, half written then finished, broken then replaced; afterwards a restart repeats nothing."""
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append)
        task = asyncio.create_task(watcher.forever(client, 0.5))
        await heard(task, told, "sampled")
        whole, half = checkpoint(100).read_bytes(), place.run / checkpoint(100).name
        half.write_bytes(whole[: len(whole) // 2])
        await heard(task, told, "waiting")
        broken = place.run / checkpoint(200).name
        broken.write_bytes(b"\x02\0\0\0\0\0\0\0[]" + b"x" * 100)
        await heard(task, told, "broken")
        assert list(watcher.summary.failed) == [str(broken)]
        half.write_bytes(whole)
        await heard(task, told, "sampled", 2)
        shutil.copy(checkpoint(200), broken)
        await heard(task, told, "sampled", 3)
        await stopped(task)
        assert half.name in told[1].text
        # a file that is looked at while it is written here is "waiting", too
        assert [entry.what for entry in told if entry.what != "waiting"] == ["sampled", "broken", "sampled", "sampled"]
        assert watcher.summary.failed == {}
        made = stamps(tmp_path)
        assert set(made) == {f"step_{step:06}_sample_{index:02}.png" for step in (50, 100, 200) for index in (0, 2)}
        (sheet,) = watcher.summary.sheets
        assert sheet is not None
        with Image.open(sheet) as picture:
            assert picture.width > 3 * 160

        next(tmp_path.rglob("step_000100_sample_02.png")).unlink()
        again = Watch(short(), place.run, tmp_path, models=MODELS)
        await again.once(client)
    assert {step: [path.name for path in paths] for step, paths in again.summary.made.items()} == {
        100: ["step_000100_sample_02.png"]
    }
    after = stamps(tmp_path)
    assert {name for name in made if after[name] != made[name]} == {"step_000100_sample_02.png"}


async def test_a_checkpoint_that_is_replaced_is_sampled_again(place: Place, tmp_path: Path) -> None:
    """By a training that was started anew: while the folder is watched, and between two sessions."""
    told: list[Told] = []
    for step in (50, 100):
        shutil.copy(checkpoint(step), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append)
        await watcher.once(client)
        before = stamps(tmp_path)
        shutil.copy(checkpoint(400), place.run / checkpoint(50).name)
        assert [step for _, step in watcher.pending()] == [50]
        await watcher.once(client)
        assert [(entry.what, entry.step) for entry in told[2:]] == [("replaced", 50), ("sampled", 50)]
        after = stamps(tmp_path)
        assert {name for name in after if after[name] != before[name]} == {n for n in before if "000050" in n}
        assert list(watcher.pending()) == []
        shutil.copy(checkpoint(700), place.run / checkpoint(100).name)
        await Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append).once(client)
    assert [(entry.what, entry.step) for entry in told[4:]] == [("replaced", 100), ("sampled", 100)]


async def test_a_host_whose_run_is_another_than_the_one_here(place: Place, tmp_path: Path) -> None:
    """Told once, not sampled over and over."""
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    here = tmp_path / place.run.name / checkpoint(50).name
    here.parent.mkdir()
    shutil.copy(checkpoint(100), here)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), here.parent, tmp_path, models=MODELS, tell=told.append)
        for _ in range(2):
            await watcher.once(client)
    assert [entry.what for entry in told] == ["failed"]
    assert "holds another file" in watcher.summary.failed[str(here)]


async def test_new_only(place: Place, tmp_path: Path) -> None:
    shutil.copy(checkpoint(50), place.run)
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, new_only=True)
        await watcher.once(client)
        assert watcher.summary.made == {}
        shutil.copy(checkpoint(100), place.run)
        await watcher.once(client)
    assert list(watcher.summary.made) == [100]


async def test_a_host_that_is_away_at_first_and_again_in_the_middle(place: Place, tmp_path: Path) -> None:
    told: list[Told] = []
    shutil.copy(checkpoint(50), place.run)
    async with Relay(place.url) as relay, HostClient(relay.url, patience=0.5) as client:
        relay.refuse = True
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append, progress=cuts(relay))
        task = asyncio.create_task(watcher.forever(client, 0.3))
        await heard(task, told, "host")
        assert [entry.what for entry in told] == ["host"]
        assert "eri host start" in told[0].text
        relay.refuse = False
        await heard(task, told, "sampled")
        shutil.copy(checkpoint(100), place.run)  # this one's line is cut while it is sampled, see `cuts`
        await heard(task, told, "host", 2)
        assert "did not come back" in told[-1].text
        relay.refuse = False
        await heard(task, told, "sampled", 2)
        await stopped(task)
    assert sorted(stamps(tmp_path)) == [f"step_{step:06}_sample_{i:02}.png" for step in (50, 100) for i in (0, 2)]


def cuts(relay: Relay) -> Any:
    """A progress display that cuts the line, once, at the first event of step 100."""

    @contextlib.contextmanager
    def progress(title: str, _: SampleSpec) -> Iterator[Any]:
        def report(_workflow: Any, event: Any) -> None:
            if title == "step 100" and event is not None and not done:
                done.append(True)
                relay.refuse = True
                relay.cut()

        yield report

    done: list[bool] = []
    return progress


async def test_without_watchfiles_the_folder_is_looked_at(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert not sees_changes()
    told: list[Told] = []
    async with HostClient(place.url) as client:
        watcher = Watch(short(), place.run, tmp_path, models=MODELS, tell=told.append)
        once, looks = watcher.once, 0

        async def counted(host: HostClient) -> None:
            nonlocal looks
            await once(host)
            looks += 1

        monkeypatch.setattr(watcher, "once", counted)
        task = asyncio.create_task(watcher.forever(client, 0.2))
        await until(lambda: looks > 1 or task.done(), "the folder was looked at")
        shutil.copy(checkpoint(50), place.run)
        await heard(task, told, "sampled")
        await stopped(task)
    assert [(entry.what, entry.step) for entry in told] == [("sampled", 50)]


@pytest.mark.parametrize("kind", ["jpg", "webp"])
async def test_records_of_other_file_types(place: Place, tmp_path: Path, kind: str) -> None:
    """JPEG and WebP keep the record in EXIF; `again` overrides it, another run's LoRA or other models do too."""
    shutil.copy(checkpoint(50), place.run)
    spec = replace(short(), image_format=kind)
    async with HostClient(place.url) as client:

        async def made(**changes: Any) -> int:
            options = {"run": place.run, "models": MODELS, **changes}
            watcher = Watch(spec, folder=tmp_path, **options)
            await watcher.once(client)
            return sum(len(paths) for paths in watcher.summary.made.values())

        assert await made() == 2
        assert {path.suffix for path in tmp_path.rglob("step_*") if path.is_file()} == {f".{kind}"}
        assert await made() == 0
        assert await made(again=True) == 2
        assert await made() == 0
        if kind == "jpg":
            other = place.run.with_name("another_run")
            shutil.copytree(place.run, other)
            assert await made(run=other) == 2
