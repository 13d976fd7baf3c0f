"""The whole way: an example config, its LoRA run and a real host, to files and a contact sheet."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfyui_eridiffusion.client.console import doing
from comfyui_eridiffusion.client.host_client import HostClient
from comfyui_eridiffusion.client.runs import host_run_name, steps_in
from comfyui_eridiffusion.client.sheets import write_sheets
from comfyui_eridiffusion.client.sweep import Tally, fetch, sweep
from comfyui_eridiffusion.commands.app import app
from comfyui_eridiffusion.dev import demo
from comfyui_eridiffusion.errors import HostError
from comfyui_eridiffusion.protocol import events
from comfyui_eridiffusion.spec import SampleSpec, read_spec
from comfyui_eridiffusion.workflows import Workflow, build

EXAMPLES = Path(__file__).parents[2] / "examples"
FAMILIES = ("flux", "sd35", "sdxl")


def short(family: str, steps: int = 4) -> SampleSpec:
    """The family's example, two of its prompts, few sampler steps."""
    spec = read_spec(EXAMPLES / "configs" / f"{family}.yaml").select("0,2")
    items = [type(item)(**{**vars(item), "steps": steps}) for item in spec.items]
    return type(spec)(**{**vars(spec), "items": items})


def pixels(path: Path) -> bytes:
    with Image.open(path) as picture:
        return picture.convert("RGB").tobytes()


async def forget(client: HostClient) -> None:
    """Have the host drop what it keeps of earlier runs: the next prompt computes everything anew.

    It does so when it is done with a prompt, at the latest with the one that is run here.
    """
    await client.free()
    make = {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}}
    await client.run({"make": make, "keep": {"class_type": "PreviewImage", "inputs": {"images": ["make", 0]}}})


@pytest.mark.parametrize("family", FAMILIES)
async def test_sweep(host_server: Any, tmp_path: Path, family: str) -> None:
    spec = short(family)
    run = EXAMPLES / "runs" / spec.name
    last = steps_in(run)[-1]
    seen: list[tuple[int, events.Event]] = []
    tallies: list[Tally] = []
    fractions: list[float] = []
    told: set[str] = set()

    def report(workflow: Workflow, event: events.Event | None) -> None:
        if event is None:
            tallies.append(Tally(workflow))
        else:
            seen.append((len(tallies), event))
            tallies[-1].feed(event)
            if isinstance(event, events.NodeStarted | events.StepProgress):
                told.add(doing(event, tallies[-1]))
            fractions.append(len(tallies) + tallies[-1].done / tallies[-1].total)

    async with HostClient(host_server.url) as client:
        name = await host_run_name(client, run)
        done = await sweep(
            client, spec, [0, last], models=EXAMPLES / "models" / f"{family}.yaml", run=name, report=report
        )
        fetched = await fetch(client, done, tmp_path)

    item = spec.items[0]
    sdxl = family == "sdxl"
    form = "samples/step_{0:06}/sample_{1:02}" if sdxl else "samples_step_{0:06}/step_{0:06}_sample_{1:02}"
    expected = {f"{spec.name}/{form.format(step, index)}" for step in (0, last) for index in (0, 2)}
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {f"{stem}{suffix}" for stem in expected for suffix in (".png", *((".txt",) if sdxl else ()))}
    for image, path in fetched.items():
        with Image.open(path) as picture:
            assert picture.size == (item.width, item.height)
            assert json.loads(picture.text["prompt"])["save"]["class_type"] == "EriSaveSamples"  # type: ignore[attr-defined]
        assert not sdxl or path.with_suffix(".txt").read_text(encoding="utf-8").strip() == image.item.prompt
    by_step = {step: [pixels(p) for image, p in fetched.items() if image.step == step] for step in (0, last)}
    assert by_step[0][0] != by_step[last][0]
    assert by_step[0][0] != by_step[0][1]

    progress = [event for _, event in seen if isinstance(event, events.StepProgress) and event.node == "sample"]
    assert {event.maximum for event in progress} == {8.0}
    pictures = [f"picture {1 + (step > 4)} of 2, step {step} of 8" for step in range(1, 9)]
    assert told >= {"encoding prompts", *pictures, "decoding", "saving"}
    assert all(tally.items_done == 2 and tally.done == tally.total == 8 for tally in tallies)
    assert fractions == sorted(fractions)
    previews = [event for _, event in seen if isinstance(event, events.Preview)]
    assert {event.node for event in previews} == {"sample"}
    assert Image.open(io.BytesIO(previews[0].image)).size[0] > 0
    paths = {("", image.step, image.item.index): path for image, path in fetched.items()}
    with Image.open(write_sheets(paths, done.spec, done.steps, tmp_path, "sheet.png")[0]) as sheet:
        assert sheet.width > 2 * item.width
        assert sheet.height > 2 * item.height


async def test_same_graph_twice_gives_the_same_pixels(host_server: Any, tmp_path: Path) -> None:
    spec = short("flux", steps=2)
    last = steps_in(EXAMPLES / "runs" / spec.name)[-1]
    runs = []
    async with HostClient(host_server.url) as client:
        for turn in range(2):
            done = await sweep(client, spec, [last, 0], models=EXAMPLES / "models" / "flux.yaml", run=spec.name)
            fetched = await fetch(client, done, tmp_path / str(turn))
            runs.append([pixels(path) for path in fetched.values()])
            await forget(client)
    assert runs[0] == runs[1]


def test_sample_and_sweep_commands(
    host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "short.json"
    spec = short("sdxl", steps=2)
    config.write_text(spec.to_json(), encoding="utf-8")
    common = ["--host", host_server.url, "--models", str(EXAMPLES / "models" / "sdxl.yaml"), "-o", "got"]
    last = steps_in(EXAMPLES / "runs" / spec.name)[-1]
    with pytest.raises(SystemExit) as ended:
        app(["sample", str(config), "--run", spec.name, "--step", str(last), "--json", *common])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert [(image["step"], image["index"], image["seed"]) for image in document["images"]] == [
        (last, item.index, item.seed) for item in spec.items
    ]
    assert all(Path(image["path"]).is_file() for image in document["images"])
    with pytest.raises(SystemExit) as ended:
        app(["sweep", str(config), "--run", spec.name, "--steps", f"0,{last}", *common])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    sheet = Path("got") / spec.name / "contact_sheet.png"
    assert str(sheet) in shown
    with Image.open(sheet) as picture:
        assert picture.width > 300


@pytest.mark.parametrize(
    ("arguments", "node", "field", "words"),
    [
        (["sample", "CONFIG", "--run", "flux_zorp", "--step", "51"], "lora", "run", "50, 100, 200"),
        (["sweep", "CONFIG", "--run", "flux_zorp", "--steps", "51,52"], "lora", "run", "50, 100, 200"),
        (["sample", "CONFIG", "--run", "sd35_hexa", "--step", "50"], None, None, "sd35"),
        (["watch", "RUN", "--config", "CONFIG", "--once"], "model", "unet_name", "flux_small.safetensors"),
        (["sweep", "CONFIG", "--run", "no_run", "--steps", "0"], None, "run", "flux_zorp"),
        (["sample", "CONFIG", "--run", "flux_zorp", "--step", "0", "LOADER"], "model", None, "NoSuchLoader"),
    ],
    ids=["sample", "sweep", "another family", "watch", "run", "node"],
)
def test_what_the_host_refuses(
    host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], node: str | None,
    field: str | None, words: str,
) -> None:  # fmt: skip
    """Exit code 1, and in JSON the node and the input as the host names them, with what it offers instead."""
    config, models = tmp_path / "short.json", tmp_path / "models.yaml"
    config.write_text(short("flux", steps=1).to_json(), encoding="utf-8")
    text = (EXAMPLES / "models" / "flux.yaml").read_text(encoding="utf-8")
    if "watch" in arguments:  # the stock loaders, one of whose files the host does not have
        text = "family: flux\nfiles: {unet: none.st, vae: vae16_small.safetensors, clip_l: text_small.safetensors, "
        text += "t5xxl: text_small.safetensors}\n"
    if "LOADER" in arguments:  # a node that the host does not have
        arguments, text = arguments[:-1], text.replace("EriExampleModelLoader", "NoSuchLoader")
    models.write_text(text, encoding="utf-8")
    known = {"CONFIG": str(config), "RUN": str(EXAMPLES / "runs" / "flux_zorp")}
    common = ["--host", host_server.url, "--models", str(models), "-o", str(tmp_path / "got"), "--json"]
    with pytest.raises(SystemExit) as ended:
        app([*(known.get(word, word) for word in arguments), *common])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    error = json.loads(shown.out)["error"]
    assert words in error["message"]
    assert words in shown.err
    if node or field:
        kind = "missing_node" if words == "NoSuchLoader" else "validation"
        assert (error["kind"], error.get("node"), error.get("field")) == (kind, node, field)
    assert list(tmp_path.rglob("*.png")) == []


async def test_a_nodes_own_refusal_is_told_once(host_server: Any) -> None:
    """The host says it for each of `run`, `step` and `mode`; another mistake in the same node stays beside it."""
    graph = build(short("flux"), EXAMPLES / "models" / "flux.yaml", "flux_zorp", 51).api()
    async with HostClient(host_server.url) as client:
        with pytest.raises(HostError, match="no checkpoint of step 51") as alone:
            await client.queue_prompt(graph)
        graph["lora"]["inputs"]["strength_clip"] = "strong"
        with pytest.raises(HostError) as both:
            await client.queue_prompt(graph)
    assert alone.value.details is None
    told = [str(both.value).partition("\n")[0], *(both.value.details or "").splitlines()]
    assert sorted("strength_clip" in line for line in told) == [False, True]


def test_a_demo_that_the_host_refuses(
    host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its graph with a strength beyond EriLoraAtStep's range."""
    spec = short("flux", steps=1)
    spec = replace(spec, items=[replace(item, lora_scale=500.0) for item in spec.items])
    monkeypatch.setattr(demo, "read_spec", lambda _: spec)
    with pytest.raises(SystemExit) as ended:
        app(["demo", "--families", "flux", "--host", host_server.url, "-o", str(tmp_path), "--json"])
    assert ended.value.code == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["node"]) == ("validation", "lora")
    assert error["field"] in ("strength_model", "strength_clip")


def test_demo_command(
    host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The demo of one family, its prompts and steps cut down."""
    monkeypatch.setattr(demo, "read_spec", lambda _: short("flux", steps=2))
    arguments = ["demo", "--families", "flux", "--columns", "3", "--host", host_server.url, "-o", str(tmp_path)]
    with pytest.raises(SystemExit) as ended:
        app([*arguments, "--json"])
    assert ended.value.code == 0
    (family,) = json.loads(capsys.readouterr().out)["families"]
    assert (family["family"], family["images"]) == ("flux", 6)
    assert len(list(Path(family["folder"]).rglob("*.png"))) == 6
    assert Path(family["sheet"]).is_file()
    with pytest.raises(SystemExit) as ended:
        app(arguments)
    assert ended.value.code == 0
    assert "6 images" in capsys.readouterr().out


def test_control_images_are_brought_to_the_host(
    host_server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that lies beside the config is called by its content there; made pictures are kept until it is another."""
    private = tmp_path / "private"
    private.mkdir()
    config = private / "spec.json"
    item = {"prompt": "a", "width": 64, "height": 64, "steps": 1, "seed": 1, "control_image": "Fox.PNG"}
    spec = {"eri_spec": 1, "family": "flux", "variant": "kontext", "image_format": "png", "items": [item]}
    config.write_text(json.dumps(spec), encoding="utf-8")
    models = str(EXAMPLES / "models" / "flux.yaml")
    given = ["--host", host_server.url, "--models", models, "--run", "flux_zorp"]

    def swept(colour: str) -> dict[str, Any]:
        Image.new("RGB", (64, 64), colour).save(private / "Fox.PNG")
        with pytest.raises(SystemExit) as ended:
            app(["sweep", str(config), "--steps", "0", "--json", "-o", str(tmp_path / "got"), *given])
        assert ended.value.code == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert not any("Copy those" in note for note in document["notes"])
        return document

    first = swept("red")["images"][0]
    sent = host_server.input_dir / "eridiffusion"
    (there,) = sent.glob("*.png")
    assert there.read_bytes() == (private / "Fox.PNG").read_bytes()
    before = pixels(Path(first["path"]))
    with Image.open(first["path"]) as picture:
        graph = picture.text["prompt"]  # type: ignore[attr-defined]
    assert f"eridiffusion/{there.name}" in graph
    assert "Fox" not in graph
    assert swept("red")["images"][0]["kept"]
    again = swept("blue")["images"][0]
    assert not again["kept"]
    assert pixels(Path(again["path"])) != before
