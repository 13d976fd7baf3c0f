"""A training step's LoRA onto the host's MODEL and CLIP, with a report of what matched."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.lora
import folder_paths
from torch import Tensor

from ..lora import Checkpoint, LoraError, find_checkpoints, read_lora, select_checkpoint, to_host_keys
from ..lora.report import load_report
from ._host_paths import candidates, lora_roots
from ._schema import NodeInputError


@dataclass(frozen=True)
class Choice:
    """Which checkpoint is wanted: `run` below a loras folder, `step`, `mode` (see lora.select_checkpoint)."""

    run: str
    step: int
    mode: str = "exact"


def list_runs() -> list[str]:
    """Below the host's loras folders: every folder that holds a .safetensors file, then every such file."""
    files = [Path(name).as_posix() for name in folder_paths.get_filename_list("loras") if name.endswith(".safetensors")]
    folders = {Path(name).parent.as_posix() for name in files} - {"."}
    return [*sorted(folders), *sorted(files)]


def find(choice: Choice) -> Checkpoint | None:
    """The checkpoint that `choice` names; None = step 0 of a run that has none: the model before training.

    run: a run folder, `<folder>/<name>` for one of several runs in a folder, or a file. Raises NodeInputError when it
    is empty or outside the loras folders, LoraError when there is no such run or step.
    """
    if not choice.run.strip():
        raise NodeInputError("run is empty. Choose a run folder or a LoRA file below a loras folder.")
    place, checkpoints = _checkpoints(choice.run.strip())
    if place.is_file():
        return checkpoints[0]
    if choice.step == 0 and choice.mode == "exact" and not any(entry.step == 0 for entry in checkpoints):
        return None
    return select_checkpoint(checkpoints, choice.step, choice.mode)


def _checkpoints(run: str) -> tuple[Path, list[Checkpoint]]:
    """The first place below the loras folders where `run` is something, and what is there."""
    places = candidates(run, lora_roots(), "run")
    for place in sorted(places, key=lambda path: not path.exists()):
        try:
            return place, find_checkpoints(place)
        except LoraError as error:
            reason = error
    raise reason


def fingerprint(choice: Choice) -> str:
    """Path, time and size of the chosen file; changes when another file is chosen or its content does."""
    try:
        checkpoint = find(choice)
        if checkpoint is None:
            return "base"
        stat = checkpoint.path.stat()
    except (ValueError, OSError) as error:
        return f"unreadable: {error}"
    return f"{checkpoint.path}|{stat.st_mtime_ns}|{stat.st_size}"


def apply_step(
    model: Any, clip: Any, choice: Choice, strength_model: float, strength_clip: float
) -> tuple[Any, Any, int, str]:
    """MODEL and CLIP clones with the chosen step's LoRA, the step found (-1 = unknown), and the report's text.

    clip may be None. The given objects keep their weights and patches. Step 0 of a run without one is the model as it
    is. Raises LoraError when no key matches, naming file and keys, and for files that cannot be used.
    """
    checkpoint = find(choice)
    if checkpoint is None:
        return model, clip, 0, f"{choice.run}, step 0: before training, no LoRA."
    lora = read_lora(checkpoint.path, family=family_of(model))
    patches, targets = host_patches(to_host_keys(lora), model, clip)
    new_model, in_model = _patched(model, patches, strength_model)
    new_clip, in_clip = _patched(clip, patches, strength_clip)
    taken = in_model | in_clip
    report = load_report(lora, {name for name, target in targets.items() if target in taken}).as_text()
    if clip is None and any(adapter.target.part != "model" for adapter in lora.adapters):
        report += "\nnote: no CLIP is connected, so the LoRA's text-encoder part has no effect"
    return new_model, new_clip, -1 if checkpoint.step is None else checkpoint.step, report


def family_of(model: Any) -> str | None:
    """The pack's name of a MODEL's family, None for others."""
    names = {"Flux": "flux", "SD3": "sd35", "SDXL": "sdxl"}
    return next((names[kind.__name__] for kind in type(model.model).__mro__ if kind.__name__ in names), None)


def host_patches(keys: dict[str, Tensor], model: Any, clip: Any) -> tuple[dict[Any, Any], dict[str, Any]]:
    """What the host's own loader makes of LoRA keys: patches by host weight, and module name -> host weight.

    keys: `lora.to_host_keys`' result. Nothing is logged; what did not match shows in the report.
    """
    key_map = comfy.lora.model_lora_keys_unet(model.model, {})
    if clip is not None:
        key_map = comfy.lora.model_lora_keys_clip(clip.cond_stage_model, key_map)
    patches = comfy.lora.load_lora(keys, key_map, log_missing=False)
    return patches, {name: target for name, target in key_map.items() if target in patches}


def _patched(target: Any, patches: dict[Any, Any], strength: float) -> tuple[Any, set[Any]]:
    if target is None:
        return None, set()
    clone = target.clone()
    return clone, set(clone.add_patches(patches, strength))
