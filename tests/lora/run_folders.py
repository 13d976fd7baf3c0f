"""Run folders for tests: empty files where names say everything, and real, tiny LoRA files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import save_file

PAIR = {"lora_unet_x.lora_down.weight": torch.zeros(1, 2), "lora_unet_x.lora_up.weight": torch.zeros(2, 1)}


def lay(root: Path, names: Iterable[str]) -> Path:
    """Make empty files; discovery must not need to open a file whose name says everything."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def lora(path: Path, **metadata: str) -> Path:
    """A real, tiny LoRA file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(PAIR, path, metadata or None)
    return path
