"""Graphs with an embedding cache for tests, and nodes for them in the host's older form. Import inside tests only."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import load_file, save_file

from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import succeed
from comfyui_eridiffusion.tests.nodes.test_graph_in_host import node

TEXT = {"prompt_2": "", "prompt_3": "", "t5_length": 20, "weighting": False, "empty": "encode"}
SIZE = {"width": 64, "height": 64}
PROMPTS = [f"prompt number {number}" for number in range(10)]


@cache
def small_clip(family: str, seed: int) -> Any:
    return getattr(small_models, f"{family}_clip")(seed)


class LoadTextFile:
    """CLIP of a family whose weights are drawn from the seed that a file of the text_encoders folder holds."""

    RETURN_TYPES = ("CLIP",)
    FUNCTION = "load"
    loads: ClassVar[list[str]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"name": ("STRING", {"default": ""}), "family": ("STRING", {"default": "sdxl"})}}

    def load(self, name: str, family: str) -> tuple[Any]:
        import folder_paths

        path = folder_paths.get_full_path_or_raise("text_encoders", name)
        self.loads.append(name)
        clip = small_clip(family, int(load_file(path)["seed"]))
        return (clip.clone(),)  # a new one at each load, as from a loader


class Keep:
    """An output node that keeps the conditionings it gets, one by one."""

    RETURN_TYPES = ()
    FUNCTION = "keep"
    OUTPUT_NODE = True
    kept: ClassVar[list[Any]] = []

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning": ("CONDITIONING",)}}

    def keep(self, conditioning: Any) -> dict[str, Any]:
        self.kept.append(conditioning)
        return {}


class AlwaysNew:
    """Passes a conditioning on and says that it changes with every run."""

    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "pass_on"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"conditioning": ("CONDITIONING",)}}

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:
        return float("nan")

    def pass_on(self, conditioning: Any) -> tuple[Any]:
        return (conditioning,)


class Nothing:
    """No conditioning at all: an empty list."""

    RETURN_TYPES = ("CONDITIONING",)
    OUTPUT_IS_LIST = (True,)
    FUNCTION = "nothing"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {}}

    def nothing(self) -> tuple[list[Any]]:
        return ([],)


NODES = (LoadTextFile, Keep, AlwaysNew, Nothing)


def write_encoder(folder: Path, seed: int, name: str = "encoder.safetensors") -> Path:
    path = folder / "text_encoders" / name
    path.parent.mkdir(exist_ok=True)
    save_file({"seed": torch.tensor(seed)}, path)
    return path


def spec(prompts: list[str], family: str = "sdxl", **item: Any) -> str:
    values = {"width": 64, "height": 64, "steps": 2, "seed": 1, **item}
    items = [{"index": number, "prompt": text, **values} for number, text in enumerate(prompts)]
    head = {"eri_spec": 1, "family": family, "trainer": "native", "layout": "eridiffusion", "name": "cached"}
    return json.dumps({**head, "items": items})


def graph(family: str = "sdxl", prompts: list[str] | None = None, **inputs: Any) -> dict[str, Any]:
    """loader, spec -> text encode -> cache -> keep; `inputs`: those of the cache node."""
    config = spec(prompts or PROMPTS[:2], family)
    empty = {"family": "auto", "trainer": "auto", "trigger_word": "", "items": ""}
    widgets = {"key": "", "size_limit_mb": 64, "mode": "use", **inputs}
    return {
        "clip": node("LoadTextFile", name="encoder.safetensors", family=family),
        "spec": node("EriSampleSpec", config=config, **empty),
        "encode": node("EriTripleTextEncode", clip=["clip", 0], prompt=["spec", 0], **TEXT, **SIZE),
        "cache": node("EriCacheConditioning", conditioning=["encode", 0], **widgets),
        "keep": node("Keep", conditioning=["cache", 0]),
    }


def results(prompt: dict[str, Any], executor: Any = None) -> list[Any]:
    """What arrives behind the cache node."""
    Keep.kept.clear()
    succeed(prompt, executor)
    return list(Keep.kept)


def ran() -> set[str]:
    """Ids of the nodes that were executed in the last run, as the host counts them."""
    from comfy_execution.progress import get_progress_state

    return set(get_progress_state().nodes)


def equal(one: Any, two: Any) -> bool:
    """Bit for bit, kinds and dtypes included."""
    if type(one) is not type(two):
        return False
    if torch.is_tensor(one):
        same_form = one.dtype == two.dtype and one.shape == two.shape
        raw = [value.contiguous().reshape(-1).view(torch.uint8) for value in (one, two)]
        return same_form and torch.equal(*raw)
    if isinstance(one, dict):
        return list(one) == list(two) and all(equal(value, two[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(equal(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two) or (one != one and two != two)
