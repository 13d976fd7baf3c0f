"""The table of docs/parity.md, made from `parity`: one row per trainer and family."""

from __future__ import annotations

from typing import Final

from comfyui_eridiffusion.spec import SampleItem, SampleSpec
from comfyui_eridiffusion.trainers.profiles import PROFILES
from comfyui_eridiffusion.workflows.parity import Match, explain

_COLUMNS: Final = ("noise", "sigmas", "token lengths", "size", "file layout", "precision")


def default_spec(trainer: str, family: str) -> SampleSpec:
    """One seeded item of 1024 × 1024 in bfloat16 with the trainer's defaults."""
    guidance, cfg = (3.5, 1.0) if family == "flux" else (None, 5.0)
    item = SampleItem(0, "a cat", 1024, 1024, 20, seed=42, guidance=guidance, cfg_scale=cfg)
    precision = None if trainer == "native" else "bfloat16"
    return SampleSpec(family, trainer, [item], layout=trainer, precision=precision)


def markdown() -> str:
    """Rows for every trainer and family of `PROFILES`, with a trainer's default settings."""
    lines = [f"| trainer | family | {' | '.join(_COLUMNS)} |", "|" + "---|" * (len(_COLUMNS) + 2)]
    for trainer, family in PROFILES:
        found = explain(default_spec(trainer, family))
        cells = [_cell([match for match in found if match.topic == topic]) for topic in _COLUMNS]
        lines.append(f"| `{trainer}` | {family} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(matches: list[Match]) -> str:
    return "; ".join(
        match.kind + (f" ({match.figure:.1g} {match.unit})" if match.kind == "close" else "") for match in matches
    )
