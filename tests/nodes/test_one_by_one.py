"""Pictures of a list one by one: each is sampled, decoded and saved before the next; through ComfyUI's executor."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from comfyui_eridiffusion.tests.nodes.host_calls import failure, new_executor, run, succeed, turn_previews_on
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import SPEC, folders, graph, node  # noqa: F401
from comfyui_eridiffusion.tests.nodes.test_memory_loads import HELD, GiveModels, Loads, models

STEPS = (2, 3, 2)
FILES = [f"step_000000_sample_{number:02}.png" for number in range(3)]


@pytest.fixture(scope="module")
def flux(comfy_host: Any) -> list[Any]:
    return models("flux", torch.device("cpu"))


@pytest.fixture
def made(flux: list[Any], folders: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:  # noqa: F811
    import comfy.model_management as management
    import nodes

    monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, "GiveModels", GiveModels)
    management.unload_all_models()
    HELD["models"] = {"flux": flux}
    yield flux
    HELD.clear()
    management.unload_all_models()


class Told:
    """What ComfyUI tells its client: the progress of each node of the graph, with the files there at that moment."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import comfy.utils

        self.folder, self.steps = folder, list[tuple[float, float, int]]()
        self.at: Callable[[float], None] = lambda value: None
        turn_previews_on(monkeypatch)  # so that every step is told
        monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", self._hook)

    def _hook(self, value: float, total: float, preview: Any, **_: Any) -> None:
        from comfy_execution.progress import get_progress_state
        from comfy_execution.utils import get_executing_context

        context = get_executing_context()
        if context is not None and get_progress_state().dynprompt.get_display_node_id(context.node_id) == "sample":
            self.steps.append((value, total, len(pixels(self.folder))))
            self.at(value)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(tmp_path, monkeypatch)


def listed(steps: tuple[int, ...] = STEPS, *, whole: bool = False, **settings: Any) -> dict[str, Any]:
    """A list of pictures that is saved; whole: something else looks at the pictures, too."""
    items = [
        {"index": i, "prompt": f"picture {i}", "width": 64, "height": 64, "steps": count, "seed": i}
        for i, count in enumerate(steps)
    ]
    prompt = graph("flux")
    del prompt["sheet"], prompt["show"], prompt["negative"], prompt["sample"]["inputs"]["negative"]
    prompt["load"] = node("GiveModels", family="flux")
    prompt["spec"]["inputs"]["config"] = json.dumps({**SPEC, "items": items})
    prompt["decode"] = node("VAEDecode", samples=["sample", 0], vae=["load", 2])
    prompt["save"]["inputs"].update(settings)
    if whole:
        prompt["show"] = node("PreviewImage", images=["decode", 0])
    return prompt


def pixels(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted((folder / "output").rglob("*.png")):
        with Image.open(path) as picture:
            found[path.name] = picture.tobytes()
    return found


def test_each_picture_is_saved_when_it_is_done(made: list[Any], tmp_path: Path, told: Told) -> None:
    """The same pictures as of the whole list, each model loaded once, and one bar over all steps."""
    loads = Loads([made[0], made[1].patcher, made[2].patcher])
    executor = succeed(listed())
    one_by_one, steps = pixels(tmp_path), told.steps
    assert list(one_by_one) == FILES
    assert loads.order == ["FluxClipModel_", "Flux", "AutoencoderKL"]
    assert sorted(steps, key=lambda step: step[0]) == steps
    assert {total for _, total, _ in steps} == {float(sum(STEPS))}
    files = {value: there for value, _, there in steps}  # the last report of each step
    assert {value: files[value] for value in (1, 2, 3, 5, 6, 7)} == {1: 0, 2: 1, 3: 1, 5: 2, 6: 2, 7: 2}
    meta = executor.history_result["meta"]
    assert [meta[name]["display_node"] for name in executor.history_result["outputs"]] == ["save"] * 3
    told.steps = []
    succeed(listed(whole=True))
    assert pixels(tmp_path) == one_by_one
    assert {there for _, _, there in told.steps[:1]} == {3}
    assert [value for value, _, _ in told.steps][-1] == sum(STEPS)


def test_what_was_stopped_goes_on(made: list[Any], tmp_path: Path, told: Told) -> None:
    import comfy.model_management as management

    def stop(value: float) -> None:
        if value == 3:
            management.interrupt_current_processing()

    told.at = stop
    executor = run(listed(existing="number"))
    assert any(event == "execution_interrupted" for event, _ in executor.status_messages)
    assert list(pixels(tmp_path)) == FILES[:1]
    told.at, told.steps = lambda value: None, []
    succeed(listed(existing="number"), executor)
    assert list(pixels(tmp_path)) == FILES
    assert min(value for value, _, _ in told.steps) == STEPS[0]
    told.steps = []
    succeed(listed(existing="number"), executor)  # nothing is left to do
    assert list(pixels(tmp_path)) == FILES
    assert told.steps == []


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_contact_sheet_shows_each_picture_when_it_is_done(
    made: list[Any], tmp_path: Path, told: Told, batch_size: int
) -> None:
    """A stopped one goes on, and is that of the whole list, each picture in its place."""
    import comfy.model_management as management
    import folder_paths

    steps = (2, 3, 2)  # with batches of two the last is sampled with the first
    loads = Loads([made[0], made[1].patcher, made[2].patcher])
    told.at = lambda value: management.interrupt_current_processing() if value == 6 else None
    executor = run(sheet(steps, batch_size))
    assert any(event == "execution_interrupted" for event, _ in executor.status_messages)
    shown = shown_on_sheet(executor)
    told.at, told.steps = lambda value: None, []
    succeed(sheet(steps, batch_size), executor)
    assert min(value for value, _, _ in told.steps) == (5, 4)[batch_size - 1]
    assert [name for name in loads.order if name != "FluxClipModel_"] == ["Flux", "AutoencoderKL"]
    shown |= shown_on_sheet(executor)  # newer hosts tell what they kept once more
    assert set(shown) == ({(0,), (1,), (2,)} if batch_size == 1 else {(0, 2), (1,)})
    files = {
        number: Path(folder_paths.get_temp_directory()) / image["filename"]
        for numbers, images in shown.items()
        for number, image in zip(numbers, images, strict=True)
    }
    on_sheet = pixels(tmp_path)
    succeed(sheet(steps, batch_size, whole=True))
    assert list(on_sheet.values()) == [list(pixels(tmp_path).values())[-1]]
    succeed({**listed(steps, whole=True), "sample": sheet(steps, batch_size)["sample"]})
    saved = pixels(tmp_path)
    for number, file in files.items():
        with Image.open(file) as picture:
            assert picture.tobytes() == saved[FILES[number]]


def shown_on_sheet(executor: Any) -> dict[tuple[int, ...], Any]:
    """What the sheet was told to show, by the numbers of the pictures."""
    record = executor.history_result
    told = (output for name, output in record["outputs"].items() if record["meta"][name]["display_node"] == "sheet")
    return {tuple(output["pictures"]): output["images"] for output in told}


def sheet(steps: tuple[int, ...], batch_size: int, *, whole: bool = False) -> dict[str, Any]:
    prompt = listed(steps, whole=whole)
    prompt["sample"]["inputs"]["batch_size"] = batch_size
    prompt["sheet"] = node("EriContactSheet", images=["decode", 0], rows="", columns=["spec", 8], title="t", cell=64)
    prompt["save"] = node("SaveImage", images=["sheet", 0], filename_prefix="sheet")
    return prompt


def test_pictures_without_names_are_saved_one_by_one_too(made: list[Any], tmp_path: Path, told: Told) -> None:
    prompt = listed()
    del prompt["save"]["inputs"]["name"]
    succeed(prompt)
    assert list(pixels(tmp_path)) == FILES
    assert told.steps[-1][2] == 2


def test_an_error_leaves_the_pictures_before_it(made: list[Any], tmp_path: Path) -> None:
    taken = tmp_path / "output" / "graph_run" / "samples_step_000000" / FILES[1]
    taken.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(taken)
    executor = run(listed(existing="error"))
    assert "exists already" in failure(executor)["exception_message"]
    assert list(pixels(tmp_path)) == FILES[:2]
    assert len(pixels(tmp_path)[FILES[0]]) == 64 * 64 * 3


def test_batches_are_saved_one_after_the_other(made: list[Any], tmp_path: Path, told: Told) -> None:
    prompt = listed((2, 3, 2, 2))
    prompt["sample"]["inputs"]["batch_size"] = 2
    executor = succeed(prompt)
    told_of = [one for one in executor.history_result["outputs"].values() if "pictures" in one]
    outputs = sorted(told_of, key=lambda output: output["pictures"])  # ComfyUI 0.3.64 keeps them in no order
    assert [output["pictures"] for output in outputs] == [[0, 2], [1], [3]]
    assert [image["filename"][-6:-4] for output in outputs for image in output["images"]] == ["00", "02", "01", "03"]
    assert [value for value, _, _ in told.steps] == sorted(value for value, _, _ in told.steps)
    by_batches = pixels(tmp_path)
    prompt = listed((2, 3, 2, 2), whole=True)
    prompt["sample"]["inputs"]["batch_size"] = 2
    succeed(prompt)
    assert pixels(tmp_path) == by_batches


def test_a_list_of_other_length_than_its_pictures_is_made_whole(made: list[Any], tmp_path: Path) -> None:
    prompt = listed((2, 2))
    prompt["noise"]["inputs"]["seed"] = 0
    prompt["latent"]["inputs"].update(batch_size=2, width=64, height=64)
    prompt["positive"]["inputs"].update(prompt="same", width=64, height=64)
    prompt["sigmas"]["inputs"].update(steps=2, width=64, height=64)
    executor = succeed(prompt)
    assert list(pixels(tmp_path)) == FILES[:2]
    assert not any("pictures" in one for one in executor.history_result["outputs"].values())


def test_without_room_for_both_models_the_list_is_made_whole(
    made: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `test_ten_prompts_with_room_for_one_model`: each model is loaded once even so."""
    import comfy.model_management as management

    monkeypatch.setattr(management, "EXTRA_RESERVED_VRAM", 1 << 50)
    HELD["models"]["flux"] = tight = models("flux", torch.device("cpu:0"))
    loads = Loads([tight[0], tight[1].patcher, tight[2].patcher])
    succeed(listed())
    assert len(loads.order) == 3
    assert list(pixels(tmp_path)) == FILES
    management.free_memory(1e30, torch.device("cpu:0"))


@pytest.mark.parametrize("cache", ["LRU", "NONE", "RAM_PRESSURE"])
def test_other_caches(
    made: list[Any], tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    import execution
    import server
    from comfy.cli_args import args

    monkeypatch.setattr(args, "cache_none", cache == "NONE")
    executor = new_executor()
    takes = inspect.signature(execution.PromptExecutor).parameters
    if "cache_args" in takes:
        kind = getattr(execution.CacheType, cache)
        sizes = {"lru": 100, "ram": 0.01, "ram_inactive": 0.01}
        executor = execution.PromptExecutor(server.PromptServer.instance, cache_type=kind, cache_args=sizes)
    elif cache == "NONE":  # ComfyUI 0.3.64, which calls it so
        kind = execution.CacheType.DEPENDENCY_AWARE
        executor = execution.PromptExecutor(server.PromptServer.instance, cache_type=kind)
    succeed(listed(), executor)
    assert list(pixels(tmp_path)) == FILES
    done_before_the_last_step = 0 if cache == "NONE" else 2
    assert told.steps[-1][2] == done_before_the_last_step
    told.steps = []
    succeed(listed(), executor)
    assert bool(told.steps) == (cache == "NONE")
