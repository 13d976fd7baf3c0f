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
from comfyui_eridiffusion.tests.nodes.test_lora_node import write

#: Errors of the pack's pure parts, where a config, a LoRA file or a picture is at fault.
KINDS = ("NodeInputError", "SpecError", "LoraError")


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_input_says_what_to_change(comfy_host: Any, case: Case) -> None:
    graph = graphs.prompt(comfy_host, case.node, case.given, case.family, case.user, case.use)
    when, error = graphs.refusal(graph)
    assert when == ("before" if case.before else "while"), error
    if case.before:
        assert set(error) == {"bad"}
        assert re.search(case.says, str(error["bad"]["errors"]), re.DOTALL), error
        return
    assert error["node_id"] == ("user" if case.user else "bad"), error["exception_message"]
    assert re.search(case.says, error["exception_message"]), error["exception_message"]
    assert error["exception_type"].rpartition(".")[2] in KINDS, error["exception_type"]
