"""EriCacheConditioning in real runs of the host: what runs, what is loaded, what comes out."""

from __future__ import annotations

import gc
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.tests.nodes import cache_graphs as graphs
from comfyui_eridiffusion.tests.nodes import test_lora_node as lora_files
from comfyui_eridiffusion.tests.nodes.cache_graphs import Keep, LoadTextFile, equal, graph, ran, results
from comfyui_eridiffusion.tests.nodes.host_calls import cached_outputs, failure, run, succeed
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import node


@pytest.fixture(scope="module", autouse=True)
def small_clips() -> Iterator[None]:
    """The small text encoders are built once for this module; building takes longer than encoding."""
    yield
    graphs.small_clip.cache_clear()


@pytest.fixture
def host(comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Folders of their own, the test nodes, and an encoder file."""
    import folder_paths
    import nodes

    for kind in graphs.NODES:
        monkeypatch.setitem(nodes.NODE_CLASS_MAPPINGS, kind.__name__, kind)
    monkeypatch.setattr(LoadTextFile, "loads", [])
    for category in ("text_encoders", "loras", "embeddings"):
        (tmp_path / category).mkdir()
        extensions = folder_paths.folder_names_and_paths[category][1]
        monkeypatch.setitem(folder_paths.folder_names_and_paths, category, ([str(tmp_path / category)], extensions))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    before = folder_paths.get_user_directory()
    folder_paths.set_user_directory(str(tmp_path / "user"))
    graphs.write_encoder(tmp_path, seed=1)
    yield tmp_path
    folder_paths.set_user_directory(before)


def entries(host: Path) -> list[Path]:
    return sorted((host / "user" / "eridiffusion" / "conditioning").glob("*"))


def loaded_text_encoders() -> list[Any]:
    """Text encoders in the host's own list of loaded models."""
    import comfy.model_management

    return [entry for entry in comfy.model_management.current_loaded_models if entry.model and entry.model.is_clip]


def forget_models() -> None:
    import comfy.model_management

    comfy.model_management.unload_all_models()
    gc.collect()
    assert not loaded_text_encoders()


@pytest.mark.parametrize("family", ["flux", "sd35", "sdxl"])
def test_a_second_run_loads_no_text_encoder(host: Path, family: str) -> None:
    plain = graph(family, graphs.PROMPTS)
    plain["keep"]["inputs"]["conditioning"] = ["encode", 0]
    expected = results(plain)
    forget_models()
    first = results(graph(family, graphs.PROMPTS))
    assert loaded_text_encoders(), "the first run must show that the list would tell"
    assert {"clip", "encode", "cache"} <= ran()
    forget_models()
    loads = len(LoadTextFile.loads)
    second = results(graph(family, graphs.PROMPTS))
    assert not loaded_text_encoders()
    assert len(LoadTextFile.loads) == loads
    assert not {"clip", "encode"} & ran()
    assert len(second) == len(graphs.PROMPTS)
    assert equal(first, expected)
    assert equal(second, expected)
    assert len(entries(host)) == 1


def test_other_settings_miss_and_the_old_ones_still_hit(host: Path) -> None:
    first = results(graph())
    changed = graph()
    changed["encode"]["inputs"]["width"] = 128
    second = results(changed)
    assert second[0][0][1]["width"] == 128
    assert len(LoadTextFile.loads) == 2
    assert equal(results(graph()), first)
    assert equal(results(changed), second)
    assert len(LoadTextFile.loads) == 2


def test_a_changed_run_step_is_computed_anew(host: Path) -> None:
    """The LoRA of a step acts on CLIP-L here; each step must give its own embeddings, cached or not."""
    for step in (250, 500):
        path = host / "loras" / "run" / f"sd35_lora_step{step}.safetensors"
        lora_files.write(path, step, with_clip=True)

    def at(step: int, cached: bool) -> dict[str, Any]:
        prompt = graph("sd35", ["a red circle"])
        strengths = {"strength_model": 1.0, "strength_clip": 1.0}
        prompt["model"] = node("LoadSmallModel")
        links = {"model": ["model", 0], "clip": ["clip", 0]}
        prompt["lora"] = node("EriLoraAtStep", run="run", step=step, mode="exact", **strengths, **links)
        prompt["encode"]["inputs"]["clip"] = ["lora", 1]
        prompt["keep"]["inputs"]["conditioning"] = ["cache" if cached else "encode", 0]
        return prompt

    import nodes

    from comfyui_eridiffusion.tests.nodes import small_models

    class LoadSmallModel:
        RETURN_TYPES = ("MODEL",)
        FUNCTION = "load"

        @classmethod
        def INPUT_TYPES(cls) -> dict[str, Any]:
            return {"required": {}}

        def load(self) -> tuple[Any]:
            return (small_models.sd35_model(),)

    nodes.NODE_CLASS_MAPPINGS["LoadSmallModel"] = LoadSmallModel
    try:
        expected = {step: results(at(step, cached=False)) for step in (250, 500)}
        assert not equal(expected[250], expected[500])
        for _ in range(2):
            for step in (250, 500):
                assert equal(results(at(step, cached=True)), expected[step])
        assert len(LoadTextFile.loads) == 4
        assert not {"clip", "encode", "lora"} & ran()
        assert len(entries(host)) == 2
    finally:
        del nodes.NODE_CLASS_MAPPINGS["LoadSmallModel"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "other", "empty", "renamed"])
def test_a_damaged_entry_is_computed_anew_with_a_warning(
    host: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = results(graph())
    (path,) = entries(host)
    data = path.read_bytes()
    if damage == "renamed":  # a whole entry of another graph
        results(graph(prompts=["something else"]))
        (other,) = set(entries(host)) - {path}
        other.replace(path)
    else:
        flipped = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
        path.write_bytes({"cut": data[: len(data) // 2], "flipped": flipped, "other": b"{}" * 40, "empty": b""}[damage])
    loads = len(LoadTextFile.loads)
    with caplog.at_level(logging.WARNING):
        assert equal(results(graph()), expected)
    assert len(LoadTextFile.loads) == loads + 1
    warnings = [record.getMessage() for record in caplog.records if "damaged entry" in record.getMessage()]
    assert len(warnings) == 1
    assert str(path) in warnings[0]
    assert equal(results(graph()), expected)
    assert len(LoadTextFile.loads) == loads + 1


def test_what_cannot_be_stored_passes_through(host: Path, caplog: pytest.LogCaptureFixture) -> None:
    prompt = graph("sdxl", ["a red circle"])
    prompt["hooks"] = node("CreateHookKeyframesInterpolated", **interpolated())
    prompt["lora"] = node("CreateHookLora", lora_name="hook.safetensors", strength_model=1.0, strength_clip=1.0)
    from comfyui_eridiffusion.tests.nodes import small_models
    from comfyui_eridiffusion.tests.nodes.test_text_encode_hooks import write_lora

    write_lora(host / "loras" / "hook.safetensors", small_models.sdxl_clip(1))
    prompt["timed"] = node("SetHookKeyframes", hooks=["lora", 0], hook_kf=["hooks", 0])
    prompt["hooked"] = node(
        "SetClipHooks", clip=["clip", 0], apply_to_conds=True, schedule_clip=True, hooks=["timed", 0]
    )
    prompt["encode"]["inputs"]["clip"] = ["hooked", 0]
    for _ in range(2):
        with caplog.at_level(logging.WARNING):
            (result,) = results(prompt)
        assert all("hooks" in extra for _, extra in result)
        assert "clip" in ran()
    notices = [record.getMessage() for record in caplog.records if "not cached" in record.getMessage()]
    assert len(notices) == 2
    assert "conditioning[0][0][1]['hooks'] is comfy.hooks.HookGroup" in notices[0]
    assert entries(host) == []


def interpolated() -> dict[str, Any]:
    widgets = {"strength_start": 0.2, "strength_end": 1.0, "interpolation": "linear"}
    return {**widgets, "start_percent": 0.0, "end_percent": 1.0, "keyframes_count": 3, "print_keyframes": False}


def test_a_schedule_without_hooks_on_the_conditioning_is_stored(host: Path) -> None:
    """Strengths of the schedule change the embeddings; the entry keeps each with its part of the schedule."""
    from comfyui_eridiffusion.tests.nodes import small_models
    from comfyui_eridiffusion.tests.nodes.test_text_encode_hooks import write_lora

    write_lora(host / "loras" / "hook.safetensors", small_models.sdxl_clip(1))
    prompt = graph("sdxl", ["a red circle"])
    prompt["hooks"] = node("CreateHookKeyframesInterpolated", **interpolated())
    prompt["lora"] = node("CreateHookLora", lora_name="hook.safetensors", strength_model=1.0, strength_clip=1.0)
    prompt["timed"] = node("SetHookKeyframes", hooks=["lora", 0], hook_kf=["hooks", 0])
    prompt["hooked"] = node(
        "SetClipHooks", clip=["clip", 0], apply_to_conds=False, schedule_clip=True, hooks=["timed", 0]
    )
    prompt["encode"]["inputs"]["clip"] = ["hooked", 0]
    first = results(prompt)
    assert len(first[0]) > 1
    assert equal(results(prompt), first)
    assert not {"clip", "lora", "encode"} & ran()


def test_a_node_that_always_changes_is_not_cached(host: Path, caplog: pytest.LogCaptureFixture) -> None:
    prompt = graph()
    prompt["new"] = node("AlwaysNew", conditioning=["encode", 0])
    prompt["cache"]["inputs"]["conditioning"] = ["new", 0]
    with caplog.at_level(logging.WARNING):
        first = results(prompt)
        assert equal(results(prompt), first)
    assert len(LoadTextFile.loads) == 2
    assert "node new (AlwaysNew) says that it changes with every run" in caplog.text
    assert entries(host) == []


def test_modes(host: Path) -> None:
    first = results(graph(mode="off"))
    assert entries(host) == []
    results(graph())
    (path,) = entries(host)
    os.utime(path, (1, 1))
    assert equal(results(graph(mode="refresh")), first)
    assert path.stat().st_mtime > 1
    assert len(LoadTextFile.loads) == 3
    assert equal(results(graph(mode="off")), first)
    assert len(LoadTextFile.loads) == 4


def test_a_model_replaced_under_the_host_is_not_stored_under_the_new_key(
    host: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The host keeps the model it loaded under the same file name; what that one gives is not the new file's."""
    executor = succeed(graph(prompts=["one"]))
    assert len(entries(host)) == 1
    graphs.write_encoder(host, seed=2)
    with caplog.at_level(logging.WARNING):
        stale = results(graph(prompts=["two"]), executor)
    assert len(LoadTextFile.loads) == 1
    assert len(entries(host)) == 1
    assert "encoder.safetensors may have changed since ComfyUI loaded it" in caplog.text
    fresh = results(graph(prompts=["two"]))
    assert len(entries(host)) == 2
    assert not equal(stale, fresh)
    assert equal(results(graph(prompts=["two"])), fresh)
    assert len(LoadTextFile.loads) == 2


def test_a_full_folder_evicts_and_an_oversized_entry_is_refused(host: Path, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(3):
        results(graph(prompts=[f"prompt {number}"]))
    size = entries(host)[0].stat().st_size
    kept = 2**20 // size
    assert 3 < kept < 40
    for number in range(3, kept + 2):
        results(graph(prompts=[f"prompt {number}"], size_limit_mb=1))
    assert len(entries(host)) == kept
    loads = len(LoadTextFile.loads)
    results(graph(prompts=[f"prompt {kept + 1}"], size_limit_mb=1))
    assert len(LoadTextFile.loads) == loads
    results(graph(prompts=["prompt 0"], size_limit_mb=1))
    assert len(LoadTextFile.loads) == loads + 1
    with caplog.at_level(logging.WARNING):
        results(graph(prompts=[f"long list {number}" for number in range(40)], size_limit_mb=1))
    assert "more than the size limit" in caplog.text
    assert len(entries(host)) == kept


def test_nothing_to_cache_is_an_error(host: Path) -> None:
    prompt = graph()
    prompt["nothing"] = node("Nothing")
    prompt["cache"]["inputs"]["conditioning"] = ["nothing", 0]
    error = failure(run(prompt))
    assert error["node_id"] == "cache"
    assert "conditioning is empty" in error["exception_message"]


def test_the_given_conditioning_is_passed_on_as_it_is(host: Path) -> None:
    expected = results(graph(mode="off"))
    Keep.kept.clear()
    executor = succeed(graph())
    encoded = cached_outputs(executor, "encode")[0]
    assert [id(entry) for entry in Keep.kept] == [id(entry) for entry in encoded]
    assert equal(encoded, expected)
    from_disk = results(graph())
    from_disk[0][0][1]["guidance"] = 3.5  # what a careless node may do must not reach the cache
    assert equal(results(graph()), expected)
