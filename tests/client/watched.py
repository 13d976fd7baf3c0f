"""A run folder to watch, and what there is in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from comfyui_eridiffusion.spec import SampleSpec, read_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
RUN = EXAMPLES / "runs" / "flux_zorp"
MODELS = EXAMPLES / "models" / "flux.yaml"


@dataclass
class Place:
    """A host that offers the run folder `run`."""

    url: str
    run: Path


def short() -> SampleSpec:
    """Two prompts of the example, two sampler steps each."""
    spec = read_spec(EXAMPLES / "configs" / "flux.yaml").select("0,2")
    items = [type(item)(**{**vars(item), "steps": 2}) for item in spec.items]
    return type(spec)(**{**vars(spec), "items": items})


def checkpoint(step: int) -> Path:
    return RUN / f"flux_lora_step{step}.safetensors"


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("step_*.png")}
