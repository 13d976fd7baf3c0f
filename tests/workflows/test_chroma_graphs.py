"""Graphs of Chroma's configs in ComfyUI with a small Chroma of random weights; only its loaders' reading of files is
replaced, since ComfyUI takes the sizes of a Chroma for granted and loads none that is small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from comfyui_eridiffusion.families import CHROMA
from comfyui_eridiffusion.spec import SampleItem, SampleSpec, read_spec
from comfyui_eridiffusion.tests.nodes.chroma_models import chroma_clip, chroma_names, comfy_model, diffusers_model
from comfyui_eridiffusion.tests.nodes.host_calls import succeed
from comfyui_eridiffusion.tests.nodes.lora_runs import folders, write_kohya
from comfyui_eridiffusion.tests.workflows.graph_to_prompt import graph_to_prompt, object_info
from comfyui_eridiffusion.tests.workflows.test_canvas_form import same_graph
from comfyui_eridiffusion.workflows import build
from comfyui_eridiffusion.workflows.builder import Workflow

DATA = Path(__file__).parents[1] / "spec" / "data" / "chroma"
CONFIGS = ("ai_toolkit.yaml", "kohya.toml", "simpletuner.json", "onetrainer.json", "eridiffusion_v2.sh")
Pictures = list[np.ndarray[Any, Any]]


@lru_cache(maxsize=1)
def small_chroma() -> tuple[Any, Any]:
    """MODEL and CLIP."""
    return comfy_model(chroma_names(diffusers_model().state_dict())), chroma_clip()


@pytest.fixture
def offered(comfy_host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Chroma's files by their usual names, which the stock loaders offer and give the small models for; the folder
    that pictures are saved in."""
    import folder_paths
    import nodes

    for kind, name in ((file.folder, file.name) for file in CHROMA.files.values()):
        (tmp_path / kind).mkdir(exist_ok=True)
        save_file({"x": torch.zeros(1)}, tmp_path / kind / name)
        folder_paths.add_model_folder_path(kind, str(tmp_path / kind))
    folder_paths.filename_list_cache.clear()
    model, clip = small_chroma()
    kinds: list[str] = []

    def load_clip(_: Any, clip_name: str, type: str, device: str = "default") -> tuple[Any]:
        kinds.append(type)
        return (clip,)

    monkeypatch.setattr(nodes.UNETLoader, "load_unet", lambda _, unet_name, weight_dtype: (model,))
    monkeypatch.setattr(nodes.CLIPLoader, "load_clip", load_clip)
    monkeypatch.setattr(nodes.VAELoader, "load_vae", lambda _, vae_name: (small_vae(),))
    before, output = folder_paths.get_output_directory(), tmp_path / "output"
    output.mkdir()
    folder_paths.set_output_directory(str(output))
    yield output
    folder_paths.set_output_directory(before)
    for kind in {file.folder for file in CHROMA.files.values()}:
        folder_paths.folder_names_and_paths[kind][0].remove(str(tmp_path / kind))
    folder_paths.filename_list_cache.clear()
    assert set(kinds) <= {"chroma"}


@lru_cache(maxsize=1)
def small_vae() -> Any:
    from comfyui_eridiffusion.tests.nodes.memory_helpers import small_vae as made

    return made(16)


def small_items(spec: SampleSpec) -> SampleSpec:
    """The same config with pictures of 64 × 96 pixels in three steps."""
    items = [replace(item, width=64, height=96, steps=3) for item in spec.items]
    return replace(spec, items=items)


def pictures(folder: Path, prompt: dict[str, Any]) -> Pictures:
    """Run a prompt in ComfyUI with nothing cached; what it saved."""
    succeed(prompt)
    found = []
    for path in sorted(path for path in folder.rglob("*.*") if path.suffix in (".png", ".jpg")):
        with Image.open(path) as picture:
            found.append(np.asarray(picture.convert("RGB")).astype(np.int16))
        path.unlink()
    assert found
    assert all(picture.shape == (96, 64, 3) and picture.std() > 5 for picture in found)
    return found


def furthest(one: Pictures, other: Pictures) -> int:
    return max(int(np.abs(a - b).max()) for a, b in zip(one, other, strict=True))


def both_forms(comfy_host: Any, workflow: Workflow) -> dict[str, Any]:
    """The canvas's form, which is the API form."""
    known = object_info(comfy_host.nodes)
    canvas = graph_to_prompt(workflow.ui(known), known)
    same_graph(canvas, workflow.api(), known)
    return canvas


@pytest.mark.parametrize("style", ["eri", "stock"])
@pytest.mark.parametrize("name", CONFIGS)
def test_a_trainers_config_runs(comfy_host: Any, offered: Path, name: str, style: str) -> None:
    spec = small_items(read_spec(DATA / name))
    prompt = both_forms(comfy_host, build(spec, style=style))
    assert len(pictures(offered, prompt)) == len(spec.items)


@pytest.mark.parametrize(
    "sampling",
    [
        {"t5_padding": "one", "rounding": "truncate"},
        {"t5_padding": "one", "shifted": False, "shift": 3.0, "spacing": "timesteps"},
        {"t5_padding": "one", "shifted": False, "shift": 1.0, "spacing": "simple"},
    ],
)
def test_both_styles_give_the_same_pixels(comfy_host: Any, offered: Path, sampling: dict[str, Any]) -> None:
    items = [
        SampleItem(i, text, 64, 96, 4, seed=3 + i, cfg_scale=3.0, negative_prompt="dull")
        for i, text in enumerate(("a red star", "a (green:1.3) cat"))
    ]
    spec = SampleSpec("chroma", "native", items, name="same", sampling=sampling)
    made = []
    for style in ("eri", "stock"):
        workflow = build(spec, style=style)
        assert not [note for note in workflow.notes if "differ" in note], workflow.notes
        made.append(pictures(offered, both_forms(comfy_host, workflow)))
    # ComfyUI's table of the shifted schedule is a rounding of float32 away, which may tip a pixel over
    assert furthest(*made) <= (1 if sampling.get("shifted", True) else 0)


def test_stock_nodes_say_that_they_see_other_padding(offered: Path) -> None:
    spec = read_spec(DATA / "ai_toolkit.yaml")
    said = "T5 sees one padding token with stock nodes"
    assert any(said in note for note in build(spec, style="stock").notes)
    assert not any(said in note for note in build(spec).notes)


def test_a_lora_of_a_run_is_applied(comfy_host: Any, tmp_path: Path) -> None:
    model, _ = small_chroma()
    write_kohya(tmp_path / "run" / "chroma_lora_step5.safetensors", model, 5)
    at_step = comfy_host.nodes["EriLoraAtStep"].execute
    inputs = {"clip": None, "run": "run", "mode": "exact", "strength_model": 1.0, "strength_clip": 1.0}
    with folders(loras=tmp_path):
        beside, merged = (
            at_step(model=model, step=5, apply=apply, **inputs).args[0]
            for apply in ("beside the weights", "into the weights")
        )
    assert beside.injections
    assert set(merged.patches) - set(model.patches)
