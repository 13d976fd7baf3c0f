"""Every node given every kind of bad input that its inputs can carry, through the host's validation and executor.

The table is `bad_inputs.py`. Each error rises in the node itself, names the input and says what to change.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from comfyui_eridiffusion.tests.nodes import bad_input_graphs as graphs
from comfyui_eridiffusion.tests.nodes.bad_inputs import CASES, Case
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.test_lora_node import write

#: Nodes that take every family's models or conditioning.
ANY_FAMILY = ("EriMemoryPolicy", "EriCacheConditioning")
#: Errors of the pack's pure parts, where a config, a LoRA file or a picture is at fault.
KINDS = ("NodeInputError", "OutsideError", "SpecError", "LoraError")


@pytest.fixture(scope="module", autouse=True)
def files(comfy_host: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A run of one checkpoint, a file of noise that holds NaN, and the helper nodes."""
    import folder_paths

    loras = tmp_path_factory.mktemp("loras")
    write(loras / "bad_input" / "sd35_lora_step100.safetensors", 100)
    paths, extensions = folder_paths.folder_names_and_paths["loras"]
    folder_paths.folder_names_and_paths["loras"] = ([str(loras)], extensions)
    inputs = Path(folder_paths.get_input_directory())
    save_file({"noise": torch.full((1, 16, 8, 8), float("nan"))}, inputs / "bad_noise.safetensors")
    save_file({"noise": torch.randn(1, 16, 8, 8)}, inputs / "noise.safetensors")
    before = dict(comfy_host.nodes)
    comfy_host.nodes["Sink"] = graphs.Sink
    yield
    comfy_host.nodes.clear()
    comfy_host.nodes.update(before)
    (inputs / "bad_noise.safetensors").unlink()
    (inputs / "noise.safetensors").unlink()
    folder_paths.folder_names_and_paths["loras"] = (paths, extensions)
    folder_paths.filename_list_cache.pop("loras", None)


def folders() -> list[str]:
    """Where things lie on this machine, which no error tells."""
    import folder_paths

    return [folder_paths.base_path, *folder_paths.get_folder_paths("loras"), str(Path.home())]


def cells(schema: Any) -> set[str]:
    """The kinds of bad input that a node's inputs can carry."""
    kinds = {entry.get_io_type() for entry in schema.inputs}
    required = {entry.get_io_type() for entry in schema.inputs if not entry.optional}
    made = {entry.get_io_type() for entry in schema.outputs}
    found = {
        "range": bool({"INT", "FLOAT"} & kinds),
        "steps": any(entry.id == "steps" and entry.get_io_type() == "INT" for entry in schema.inputs),
        "nan": bool({"LATENT", "IMAGE", "CONDITIONING", "NOISE"} & kinds),
        "shape": bool({"LATENT", "IMAGE", "NOISE"} & kinds),
        "sigmas": "SIGMAS" in kinds or "SAMPLER" in made,
        "family": bool({"MODEL", "CLIP", "LATENT", "CONDITIONING"} & kinds) and schema.node_id not in ANY_FAMILY,
        "missing": "CLIP" in required,
        "empty": schema.is_input_list,
        "lengths": schema.is_input_list,
    }
    return {kind for kind, there in found.items() if there}


def test_the_table_has_every_cell(comfy_host: Any) -> None:
    for node in comfy_host.pack("extension").NODES:
        schema = node.GET_SCHEMA()
        filled = {case.kind for case in CASES if case.node == schema.node_id}
        assert filled, schema.node_id
        assert cells(schema) <= filled, (schema.node_id, cells(schema) - filled)
    extension = comfy_host.pack("extension")
    unguarded = [node for node in (*extension.NODES, *extension.BRANCHES) if not hasattr(node.execute, "__wrapped__")]
    assert unguarded == [], "its execute lets errors out that name folders: see host.inputs.guarded"


def test_lists_that_fit_are_sampled_row_by_row(comfy_host: Any) -> None:
    """The same as one call per row; a single entry stands for all."""
    right = {name: make() for name, make in graphs.good("flux").items()}
    names = ("model", "positive", "negative", "sampler", "sigmas", "latent")
    once = {name: [right[name]] for name in names} | {"cfg": [2.0]}
    noises = [graphs.Noise(lambda shape, fill=fill: torch.full(shape, fill)) for fill in (0.5, -1.0)]
    listed = outputs(comfy_host, "EriSample", **once, noise=noises)[0]
    assert len(listed) == 2
    for noise, made in zip(noises, listed, strict=True):
        guider, sampler, sigmas = right["guider"], right["sampler"], right["sigmas"]
        guider.set_cfg(2.0)
        given = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas}
        stock = outputs(comfy_host, "SamplerCustomAdvanced", **given, latent_image=right["latent"])[0]
        assert torch.equal(made["samples"], stock["samples"])


def test_every_row_is_looked_at_before_the_first_is_sampled(comfy_host: Any) -> None:
    right = {name: make() for name, make in graphs.good("flux").items()}
    once = {name: [right[name]] for name in ("model", "positive", "negative", "sigmas", "noise")} | {"cfg": [1.0]}
    bad = {"samples": torch.full((1, 16, 8, 8), float("nan"))}
    given = {**once, "sampler": [object()], "latent": [right["latent"], bad]}
    with pytest.raises(ValueError, match="entry 2 of 2: latent holds NaN"):
        outputs(comfy_host, "EriSample", **given)
    with pytest.raises(AttributeError, match="sample"):  # what a first row does that gets as far as its sampler
        outputs(comfy_host, "EriSample", **{**given, "latent": [right["latent"]] * 2})


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_input_says_what_to_change(comfy_host: Any, case: Case) -> None:
    graph = graphs.prompt(comfy_host, case.node, case.given, case.family, case.user, case.use)
    when, error = graphs.refusal(graph)
    assert when == ("before" if case.before else "while"), error
    said = str(error["bad"]["errors"] if case.before else error["exception_message"])
    assert not [folder for folder in folders() if folder in said], said
    if case.before:
        assert set(error) == {"bad"}
        assert re.search(case.says, str(error["bad"]["errors"]), re.DOTALL), error
        return
    assert error["node_id"] == ("user" if case.user else "bad"), error["exception_message"]
    assert re.search(case.says, error["exception_message"]), error["exception_message"]
    assert error["exception_type"].rpartition(".")[2] in KINDS, error["exception_type"]
