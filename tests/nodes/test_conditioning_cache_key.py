"""The cache key of a graph: different wherever the conditioning may differ, the same where it cannot."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from comfyui_eridiffusion.tests.nodes import cache_graphs as graphs
from comfyui_eridiffusion.tests.nodes import test_lora_node as lora_files
from comfyui_eridiffusion.tests.nodes.test_conditioning_cache import host  # noqa: F401
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import node

Graph = dict[str, Any]


@pytest.fixture
def key(comfy_host: Any, host: Path) -> Callable[[Graph], str]:  # noqa: F811
    """The key of a graph's cache node; nothing runs."""
    from comfy_execution.graph import DynamicPrompt

    module = comfy_host.pack("host.text.cache_key")

    def of(prompt: Graph, more: tuple[str, ...] = ("",), node_id: str = "cache") -> str:
        return str(module.graph_key(DynamicPrompt(prompt), node_id, "conditioning", list(more)).digest)

    return of


@pytest.fixture
def lora(host: Path) -> Path:  # noqa: F811
    save_file({"lora": torch.zeros(4)}, host / "loras" / "style.safetensors")
    return host / "loras" / "style.safetensors"


def with_lora(**changes: Any) -> Graph:
    prompt = graphs.graph()
    inputs = {"lora_name": "style.safetensors", "strength_model": 1.0, "strength_clip": 1.0, **changes}
    prompt["lora"] = node("LoraLoader", model=["model", 0], clip=["clip", 0], **inputs)
    prompt["model"] = node("UNETLoader", unet_name="model.safetensors", weight_dtype="default")
    prompt["encode"]["inputs"]["clip"] = ["lora", 1]
    return prompt


def at_step(step: Any = 250, **changes: Any) -> Graph:
    prompt = with_lora()
    inputs = {"run": "run", "step": step, "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0, **changes}
    prompt["lora"] = node("EriLoraAtStep", model=["model", 0], clip=["clip", 0], **inputs)
    return prompt


def changed(node_id: str, **inputs: Any) -> Graph:
    prompt = graphs.graph()
    prompt[node_id]["inputs"] |= inputs
    return prompt


def test_every_setting_counts(key: Callable[..., str], lora: Path) -> None:
    prompts = {
        "as it is": graphs.graph(),
        "prompt": graphs.graph(prompts=["another", graphs.PROMPTS[1]]),
        "order": graphs.graph(prompts=graphs.PROMPTS[1::-1]),
        "number": graphs.graph(prompts=graphs.PROMPTS[:3]),
        "family": changed("clip", family="flux"),
        "t5_length": changed("encode", t5_length=77),
        "weighting": changed("encode", weighting=True),
        "empty": changed("encode", empty="zeros"),
        "size": changed("encode", width=128),
        "long_prompt": changed("encode", long_prompt="truncate"),
        "missing": changed("encode", missing="zeros"),
        "prompt_2": changed("encode", prompt_2="more"),
        "other output": changed("encode", prompt=["spec", 1]),
        "lora": with_lora(),
        "lora strength": with_lora(strength_clip=0.5),
    }
    skipped = graphs.graph()
    skipped["skip"] = node("CLIPSetLastLayer", clip=["clip", 0], stop_at_clip_layer=-2)
    skipped["encode"]["inputs"]["clip"] = ["skip", 0]
    prompts["clip skip"] = skipped
    behind = graphs.graph()
    behind["guide"] = node("FluxGuidance", conditioning=["encode", 0], guidance=3.5)
    behind["cache"]["inputs"]["conditioning"] = ["guide", 0]
    prompts["guidance"] = behind
    keys = {name: key(prompt) for name, prompt in prompts.items()} | {"key": key(graphs.graph(), ("mine",))}
    assert len(set(keys.values())) == len(keys), keys


def test_names_and_bystanders_do_not_count(key: Callable[..., str]) -> None:
    expected = key(graphs.graph())
    assert key(graphs.graph()) == expected
    renamed: Graph = {}
    for node_id, entry in graphs.graph().items():
        inputs = {k: [f"x{v[0]}", v[1]] if isinstance(v, list) else v for k, v in entry["inputs"].items()}
        renamed[f"x{node_id}"] = {**entry, "inputs": inputs, "_meta": {"title": "renamed"}}
    assert key(renamed, node_id="xcache") == expected
    more = graphs.graph()
    more["other"] = node("LoadTextFile", name="encoder.safetensors", family="flux")
    assert key(more) == expected
    assert key(changed("cache", size_limit_mb=9)) == expected


def test_only_the_used_values_of_a_config_count(key: Callable[..., str]) -> None:
    expected = key(graphs.graph())
    for change in ({"seed": 77}, {"steps": 9}, {"width": 128}, {"cfg_scale": 3.0}, {"seed": None}):
        assert key(changed("spec", config=graphs.spec(graphs.PROMPTS[:2], "sdxl", **change))) == expected, change
    sized = changed("encode", width=["spec", 2])
    before = key(sized)
    sized["spec"]["inputs"]["config"] = graphs.spec(graphs.PROMPTS[:2], "sdxl", width=128)
    assert key(sized) != before
    assert key(changed("spec", items="0")) != expected


def test_the_encoder_file_counts(key: Callable[..., str], host: Path) -> None:  # noqa: F811
    expected = key(graphs.graph())
    path = graphs.write_encoder(host, seed=1)
    stat = path.stat()
    graphs.write_encoder(host, seed=2)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert key(graphs.graph()) != expected, "same name, size and time, other weights"
    other = graphs.write_encoder(host, seed=2, name="other.safetensors")
    assert key(changed("clip", name=other.name)) != key(graphs.graph())


def test_a_large_file_is_told_by_samples(comfy_host: Any, tmp_path: Path) -> None:
    fingerprint = comfy_host.pack("host.text.cache_key").fingerprint
    path = tmp_path / "large.safetensors"
    block = bytes(range(256)) * 4096
    path.write_bytes(block * 40)
    expected = fingerprint(path)
    stat = path.stat()
    for position in (0, 3 * 2**20, 20 * 2**20, 40 * 2**20 - 1):
        with path.open("r+b") as stream:
            for start in (position,) if position % 2**20 else range(position, position + 2**20, 4096):
                stream.seek(start)
                stream.write(b"!")
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + position + 1))
        parts = fingerprint(path).split("|"), expected.split("|")
        assert parts[0][0] == parts[1][0]
        assert parts[0][2] != parts[1][2], position
        path.write_bytes(block * 40)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_lora_on_the_clip_counts(key: Callable[..., str], lora: Path) -> None:
    expected = key(with_lora())
    save_file({"lora": torch.ones(4)}, lora)
    assert key(with_lora()) != expected


def test_a_run_step_on_the_clip_counts(key: Callable[..., str], host: Path) -> None:  # noqa: F811
    paths = {step: host / "loras" / "run" / f"sd35_lora_step{step}.safetensors" for step in (250, 500)}
    for step, path in paths.items():
        lora_files.write(path, step, with_clip=True)
    keys = {step: key(at_step(step)) for step in paths}
    assert len({*keys.values(), key(graphs.graph())}) == 3
    assert key(at_step(999, mode="latest")) != keys[250]
    assert key(at_step(250, strength_clip=0.5)) != keys[250]
    lora_files.write(paths[250], 251, with_clip=True)
    assert key(at_step(250)) != keys[250]
    assert key(at_step(500)) == keys[500]


def test_a_run_step_that_leaves_the_clip_alone_does_not(key: Callable[..., str], host: Path) -> None:  # noqa: F811
    """Most Flux and SD 3.5 LoRAs have no text-encoder part; a sweep over their steps encodes its prompts once."""
    paths = {step: host / "loras" / "run" / f"sd35_lora_step{step}.safetensors" for step in (250, 500)}
    for step, path in paths.items():
        lora_files.write(path, step)
    without = key(graphs.graph())
    assert key(at_step(250)) == key(at_step(500)) == key(at_step(0)) == without
    lora_files.write(paths[500], 500, with_clip=True)
    assert key(at_step(250)) == without
    assert key(at_step(500)) != without


def test_a_step_from_another_node_counts_with_the_whole_run(key: Callable[..., str], host: Path) -> None:  # noqa: F811
    path = host / "loras" / "run" / "sd35_lora_step250.safetensors"
    lora_files.write(path, 250, with_clip=True)
    prompt = at_step(["number", 0])
    prompt["number"] = node("PrimitiveInt", value=250)
    expected = key(prompt)
    assert key(copy.deepcopy(prompt)) == expected
    lora_files.write(host / "loras" / "run" / "sd35_lora_step500.safetensors", 500, with_clip=True)
    assert key(prompt) != expected


def test_an_embedding_in_a_weighted_prompt_counts(key: Callable[..., str], host: Path) -> None:  # noqa: F811
    prompt = graphs.graph(prompts=["a (embedding:thing:1.2), red"])
    prompt["encode"]["inputs"]["weighting"] = True
    missing = key(prompt)
    save_file({"clip_l": torch.zeros(2, 4)}, host / "embeddings" / "thing.safetensors")
    there = key(prompt)
    save_file({"clip_l": torch.ones(2, 4)}, host / "embeddings" / "thing.safetensors")
    assert len({missing, there, key(prompt)}) == 3


def test_the_host_counts(key: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    import comfyui_version
    from comfy.cli_args import args

    expected = key(graphs.graph())
    with monkeypatch.context() as patch:
        patch.setattr(args, "fp32_text_enc", True)
        assert key(graphs.graph()) != expected
    with monkeypatch.context() as patch:
        patch.setattr(comfyui_version, "__version__", "0.0.1")
        assert key(graphs.graph()) != expected
    assert key(graphs.graph()) == expected


def test_values_that_only_exist_in_the_run_have_no_key(comfy_host: Any, key: Callable[..., str]) -> None:
    error = comfy_host.pack("host.text.cache_key").NotCacheableError
    with pytest.raises(error, match="node encode holds a value that only exists while the graph runs"):
        key(changed("encode", prompt_2=torch.zeros(1)))


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.txt", "/dev/zero", "a\nb", "\x00", " ", "x" * 5000])
def test_no_file_outside_the_hosts_folders_is_read(comfy_host: Any, host: Path, name: str) -> None:  # noqa: F811
    assert comfy_host.pack("host.text.cache_key").files_named(name) == []
