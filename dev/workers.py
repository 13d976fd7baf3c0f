"""A worker's own ComfyUI on a machine of a Ray cluster."""

from __future__ import annotations

from pathlib import Path

from .local_host import LocalHost


def own_host(loras: Path, output: Path) -> LocalHost:
    """A ComfyUI of this machine, not started yet, with this folder of LoRAs and this output folder."""
    return LocalHost(output_dir=output, model_paths={"loras": [loras]})
