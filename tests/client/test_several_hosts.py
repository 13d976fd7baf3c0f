"""A sweep on several ComfyUIs: who cannot take part is named, who is lost is replaced, every picture is made once."""

from __future__ import annotations

import asyncio
import copy
import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from comfyui_eridiffusion.client import fitness
from comfyui_eridiffusion.client.fitness import require_fit, require_version
from comfyui_eridiffusion.client.grid import Grid, Job, Recipe, plan_grid
from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.jobs import JobDone, sample_grid, worker_name
from comfyui_eridiffusion.client.ray_worker import RayWorker
from comfyui_eridiffusion.client.several_hosts import HostPlace
from comfyui_eridiffusion.client.workers import SoFar, sample_on
from comfyui_eridiffusion.compare.axes import PLAIN
from comfyui_eridiffusion.compare.manifest import read
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.host_version import FLOOR
from comfyui_eridiffusion.tests.client.relay import Relay
from comfyui_eridiffusion.tests.client.test_cli import eri
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, pixels, short
from comfyui_eridiffusion.tests.waiting import until
from comfyui_eridiffusion.workflows import build

MODELS = EXAMPLES / "models" / "flux.yaml"
DOWN = "http://127.0.0.1:9"
STEPS = [0, 50, 100, 200]


def run_with_a_bad_checkpoint(loras: Path) -> Path:
    """A run of three checkpoints of which the last one holds no tensor."""
    run = loras / "shared_hexa"
    run.mkdir(exist_ok=True)
    for step in STEPS[1:]:
        shutil.copy(EXAMPLES / "runs" / "flux_zorp" / f"flux_lora_step{step}.safetensors", run)
    save_file({}, run / f"flux_lora_step{STEPS[-1]}.safetensors")
    return run


class Patient(HostPlace):
    """A host that begins when another one has."""

    other: asyncio.Event

    async def do(self, recipe: Recipe, job: Job, so_far: SoFar) -> JobDone:
        await self.other.wait()
        return await super().do(recipe, job, so_far)


class Dying(HostPlace):
    """A host whose line is cut for good as soon as it begins a job."""

    relay: Relay
    begun: asyncio.Event

    async def do(self, recipe: Recipe, job: Job, so_far: SoFar) -> JobDone:
        self.begun.set()
        doing = asyncio.ensure_future(super().do(recipe, job, so_far))
        await until(lambda: self._client.met, "it samples")
        self.relay.refuse = True
        self.relay.cut()
        return await doing


async def test_one_is_down_one_is_lost_and_a_checkpoint_is_bad(
    host_server: Any, loras_dir: Path, tmp_path: Path
) -> None:
    spec, run = short("flux", steps=2), run_with_a_bad_checkpoint(loras_dir)
    told: list[str] = []
    counts: list[tuple[int, int, int]] = []

    def plan(folder: str, steps: list[int]) -> Grid:
        return plan_grid(spec, steps, tmp_path / folder, models=MODELS, runs={"": str(run)})

    async with Relay(host_server.url) as relay:
        dying = Dying(relay.url, tmp_path / "shared", patience=0.5)
        patient = Patient(host_server.url, tmp_path / "shared")
        dying.relay, patient.other, dying.begun = relay, (begun := asyncio.Event()), begun
        places = [HostPlace(DOWN, tmp_path / "shared"), patient, dying]
        with pytest.raises(HostError, match=r"^step 200, samples 0, 2 could not be made\.") as caught:
            await sample_on(places, lambda _: plan("shared", STEPS), told.append, lambda *now: counts.append(now))
    assert "flux_lora_step200.safetensors" in str(caught.value)
    assert any(line.startswith("127.0.0.1:9 is left out: No ComfyUI answers") for line in told)
    assert any(line.startswith(f"{dying.name} is left out from now on: ") for line in told)
    assert max(counts)[:2] == (6, 8)
    made = Counter((line.step, line.item, line.worker) for line in read(tmp_path / "shared" / spec.name))
    assert made == Counter((step, item, patient.name) for step in STEPS[:3] for item in (0, 2))
    await sample_grid(host_server.url, plan("alone", STEPS[:3]), tmp_path / "alone", None)
    assert shown(tmp_path / "shared") == shown(tmp_path / "alone")


def shown(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): pixels(path) for path in sorted(folder.rglob("step_*.png"))}


async def test_command_line_shares_and_goes_on(
    host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "native.json"
    config.write_text(short("flux", steps=1).to_json())
    words = ["sweep", config, "--run", EXAMPLES / "runs" / "flux_zorp", "--models", MODELS, "-o", tmp_path, "--json"]
    async with Relay(host_server.url) as relay:
        hosts = [word for url in (host_server.url, relay.url, DOWN) for word in ("--host", url)]
        assert await asyncio.to_thread(eri, *words, *hosts, "--steps", "0,50") == 0
    document = json.loads(capsys.readouterr().out)
    assert [(image["step"], image["index"], image["kept"]) for image in document["images"]] == [
        (step, item, False) for step in (0, 50) for item in (0, 2)
    ]
    assert [note for note in document["notes"] if "127.0.0.1:9 is left out" in note]
    words += ["--host", DOWN, "--host", f"{DOWN}9", "--steps"]
    assert await asyncio.to_thread(eri, *words, "0,50") == 0  # all there
    capsys.readouterr()
    assert await asyncio.to_thread(eri, *words, "0,100") == 1
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert "No worker can make these pictures" in message
    assert "127.0.0.1:9 is left out" in message
    assert "127.0.0.1:99 is left out" in message


UNFIT: dict[str, tuple[Callable[[Any, Any, Any], object], str]] = {
    "too old": (lambda stats, _, __: stats["system"].update(comfyui_version="0.3.60"), rf"0\.3\.60.*{FLOOR}"),
    "no pack": (lambda _, info, __: info.pop("EriSampleSpec"), r"no node EriSampleSpec.*Install this pack"),
    "no loader": (lambda _, info, graph: info.pop(graph["model"]["class_type"]), r"no node Eri"),
    "no model": (lambda _, __, graph: graph["model"]["inputs"].update(name="a.safetensors"), r"offer 'a\.safetensors'"),
}


@pytest.mark.parametrize("fault", UNFIT)
async def test_who_is_not_fit_is_told_why(host_server: Any, fault: str) -> None:
    """Its own answers to /system_stats and /object_info, changed as another ComfyUI's would differ."""
    spec = short("flux", steps=1)
    graph = build(spec, MODELS, "flux_zorp", 50).api()
    async with HostClient(host_server.url) as client:
        stats, info = await client.system_stats(), copy.deepcopy(await client.object_info())
    change, says = UNFIT[fault]

    def require() -> None:
        require_version(host_server.url, stats)
        require_fit(host_server.url, info, graph)

    require()
    change(stats, info, graph)
    with pytest.raises(HostError, match=says):
        require()


async def test_who_has_another_version_of_the_pack_is_left_out(
    host_server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked of the ComfyUI itself; both versions are named. One from before packs said it is another one, too."""
    place = HostPlace(host_server.url, tmp_path)
    assert "EriSampleSpec" in await place.open()
    monkeypatch.setattr(fitness, "pack_version", lambda: "9.9.9 (00000000)")
    both = r"is version \d\.\d\.\d \(\w{8}\), this one is version 9\.9\.9 .+Install the same version"
    with pytest.raises(HostError, match=both):
        await place.open()
    await place.close()
    with pytest.raises(HostError, match="is an older one, which does not say its version, this one is"):
        fitness.require_pack(DOWN, None)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--address", "auto"], "goes with --engine ray"),
        (["--workers", "2"], "goes with --engine ray"),
        (["--engine", "spark"], "write 'ray'"),
        (["--engine", "ray", "--host", DOWN, "--workers", "2"], "each --host is one worker"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert eri("sweep", EXAMPLES / "configs" / "flux.yaml", *words, "--json") == 2
    assert says in json.loads(capsys.readouterr().out)["error"]["message"]


def test_ray_is_not_needed_but_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # as where it is not installed
    words = ["--steps", "0", "-o", tmp_path, "--engine", "ray", "--json"]
    assert eri("sweep", EXAMPLES / "configs" / "flux.yaml", *words) == 1
    message = json.loads(capsys.readouterr().out)["error"]["message"]
    assert message == 'Ray is not installed. Install it: pip install "eridiffusion[cli,ray]"'


@pytest.mark.parametrize(
    ("url", "name"),
    [("http://anna:secret@127.0.0.1:8188/", "127.0.0.1:8188"), ("https://gpus.example/one", "gpus.example/one")],
)
def test_a_host_is_named_without_its_password(tmp_path: Path, url: str, name: str) -> None:
    """In the manifest as in messages, and as one among several as alone."""
    assert HostPlace(url, tmp_path).name == worker_name(url) == name


async def test_a_ray_worker_counts_each_job_from_none() -> None:
    worker = RayWorker(DOWN, None)
    worker._count(3)  # as its last job left it
    await worker.do(Job(PLAIN, 0, (0,), (PLAIN,)))
    assert await worker.made([]) == (0, {})
    await worker.close()
