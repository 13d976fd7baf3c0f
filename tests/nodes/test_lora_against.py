"""`eri lora FILE --against MODEL` gives the node's own answer: what it takes of a file, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from comfyui_eridiffusion.client.describe import describe_lora
from comfyui_eridiffusion.errors import LoraError
from comfyui_eridiffusion.tests.lora import test_lora_not_ours as not_ours
from comfyui_eridiffusion.tests.lora import test_lora_refusals as refusals
from comfyui_eridiffusion.tests.lora.dialect_files import CASES
from comfyui_eridiffusion.tests.lora.host_models import HIDDEN, host_model
from comfyui_eridiffusion.tests.nodes.lora_runs import folders

PROJ = "diffusion_model.double_blocks.0.img_attn.proj"
ODD = {f"{PROJ}.oft_blocks": torch.ones(65, 3, 3), f"{PROJ}.rescale": torch.ones(195, 1)}
TO_Q = "transformer.transformer_blocks.0.attn.to_q"
ANY = {f"{TO_Q}.lora_A.weight": (2, HIDDEN), f"{TO_Q}.lora_B.weight": (HIDDEN, 2)}
FILES: dict[str, dict[str, Tensor]] = {
    **{name: tensors for name, (tensors, _) in not_ours.REFUSED.items()},
    **not_ours.HALF,
    **{f"no LoRA: {name}": tensors for name, tensors in refusals.NOT_LORAS.items()},
    "unknown names": refusals.pair("stack.0.unit.to_q"),
    "half a pair": {f"{PROJ}.lora_A.weight": torch.ones(2, HIDDEN)},
    "too wide": not_ours.pairs(PROJ, width=2 * HIDDEN),
    "another family": not_ours.pairs("diffusion_model.joint_blocks.0.x_block.attn.proj"),
    "any family": {name: torch.ones(shape) for name, shape in ANY.items()},
    "a module that is not there": not_ours.pairs("diffusion_model.double_blocks.77.img_attn.proj"),
    "OFT that ComfyUI cannot apply": ODD,
    "two names": {**not_ours.pairs(PROJ), **not_ours.pairs("lora_unet_double_blocks_0_img_attn_proj")},
    "NaN": {name: tensor * float("nan") for name, tensor in not_ours.pairs(PROJ, width=HIDDEN).items()},
}
#: One file of each dialect, of the first family that has it.
DIALECTS = {case.dialect: case for case in reversed(CASES)}


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The small model of a family as a file, written once."""
    folder = tmp_path_factory.mktemp("models")

    def file_of(family: str) -> Path:
        path = folder / f"{family}.safetensors"
        if not path.exists():
            weights = host_model(family).state_dict()
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, path)
        return path

    return file_of


def answers(comfy_host: Any, family: str, model: Path, path: Path) -> tuple[Any, Any]:
    """Why the file is refused, or how many keys of the model match, and do not: by the command and by the node."""
    import comfy.model_patcher

    try:
        found = describe_lora(path, against=model)["parts"]["model"]
        by_command: Any = found["matched"], len(found["unmatched"])
    except LoraError as error:
        by_command = error.problem
    apply, runs = comfy_host.pack("host.lora.apply"), comfy_host.pack("host.lora.runs")
    patcher = comfy.model_patcher.ModelPatcher(host_model(family), torch.device("cpu"), torch.device("cpu"))
    with folders(loras=path.parent):
        try:
            applied = apply.apply_step(patcher, None, runs.Choice(path.name, 0, "latest"), apply.Use(wait=0.0))
            part = json.loads(applied.details)["parts"]["model"]
            by_node: Any = part["matched"], part["unmatched"]
        except comfy_host.pack("lora").LoraError as error:
            by_node = error.problem
    return by_command, by_node


@pytest.mark.parametrize("kind", FILES)
def test_refusals(comfy_host: Any, model_files: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    save_file({name: tensor.contiguous() for name, tensor in FILES[kind].items()}, tmp_path / "a.safetensors")
    by_command, by_node = answers(comfy_host, "flux", model_files("flux"), tmp_path / "a.safetensors")
    assert by_command == by_node
    assert isinstance(by_node, str) is (kind != "any family")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect(comfy_host: Any, model_files: Callable[[str], Path], tmp_path: Path, dialect: str) -> None:
    case = DIALECTS[dialect]
    path, _ = case.write(tmp_path)
    by_command, by_node = answers(comfy_host, case.family, model_files(case.family), path)
    assert by_command == by_node
    assert by_node[0] > 0
    assert by_node[1] == 0
