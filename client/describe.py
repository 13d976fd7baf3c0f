"""What `eri lora` says about a LoRA file or a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .errors import HostError


def describe_lora(path: Path, family: str | None = None) -> dict[str, Any]:
    """A file's dialect, family, rank, alpha, step and tensors, or a folder's checkpoints, as JSON types.

    Raises LoraError for what is no LoRA, HostError where nothing is there.
    """
    from ..lora import find_checkpoints, read_lora, to_host_keys

    if path.is_dir():
        checkpoints = [{"step": found.step, "path": str(found.path)} for found in find_checkpoints(path)]
        return {"folder": str(path), "checkpoints": checkpoints}
    if not path.exists():
        raise HostError(f"There is no {path}", remedy="Give a LoRA file or a run folder.")
    lora = read_lora(path, family=family)
    modules = {key.rpartition(".lora_up.weight")[0] for key in to_host_keys(lora) if key.endswith(".lora_up.weight")}
    return {
        "file": str(path),
        "dialect": lora.dialect,
        "family": lora.family,
        "rank": lora.rank,
        "alpha": lora.alpha,
        "step": lora.step,
        "tensors": len(lora.tensors),
        "modules": len(modules),
        "ignored": sorted(lora.ignored),
    }
