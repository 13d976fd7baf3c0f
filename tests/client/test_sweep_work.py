"""What a sweep over steps and strengths makes one ComfyUI do: each model is loaded, each prompt encoded and each
checkpoint read once. Counted in a real ComfyUI in this process, which runs the sweep's own prompts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from comfyui_eridiffusion.client.grid import plan_grid
from comfyui_eridiffusion.compare.axes import variants
from comfyui_eridiffusion.tests.client.test_sweep_in_host import EXAMPLES, short
from comfyui_eridiffusion.tests.nodes.host_calls import new_executor, succeed

RUN = EXAMPLES / "runs" / "flux_zorp"


@pytest.fixture
def counts(comfy_host: Any, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often models load, texts are encoded, LoRA files are read, and the model runs."""
    import comfy.model_base
    import comfy.sd
    import folder_paths
    import nodes

    counted: Counter[str] = Counter()

    def count(owner: Any, name: str, what: str) -> None:
        before = getattr(owner, name)
        plain = getattr(before, "__func__", before)

        def counting(*given: Any, **named: Any) -> Any:
            counted[what] += 1
            return plain(*given, **named)

        monkeypatch.setattr(owner, name, classmethod(counting) if plain is not before else counting)

    for what in ("Model", "CLIP", "VAE"):
        loader = nodes.NODE_CLASS_MAPPINGS[f"EriExample{what}Loader"]
        count(loader, "execute", what)
    count(comfy.sd.CLIP, "encode_from_tokens", "encodes")
    count(comfy_host.pack("host.lora.wait"), "read_lora", "reads")
    count(comfy.model_base.BaseModel, "apply_model", "passes")
    extensions = folder_paths.folder_names_and_paths["loras"][1]
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(RUN.parent)], extensions))
    monkeypatch.setattr(folder_paths, "filename_list_cache", {})
    return counted


def test_everything_once(counts: Counter[str], tmp_path: Path) -> None:
    spec = short("flux", steps=2)
    grid = plan_grid(
        spec, [0, 50, 100], tmp_path, variants({"strength": [0.5, 1.0]}), models=EXAMPLES / "models" / "flux.yaml",
        runs={"": RUN.name},
    )  # fmt: skip
    executor = new_executor()
    for job in grid.jobs:
        succeed(grid.recipe.graphs(job.variant).at(job.step, RUN.name, job.indices).api(), executor)
    pictures = 2 + 2 * 2 * 2
    assert grid.images == pictures
    assert counts["passes"] == pictures * 2  # two steps each, guidance is embedded
    assert {what: counts[what] for what in ("Model", "CLIP", "VAE")} == {"Model": 1, "CLIP": 1, "VAE": 1}
    assert counts["reads"] == 2
    assert counts["encodes"] == len({item.prompt for item in spec.items})
