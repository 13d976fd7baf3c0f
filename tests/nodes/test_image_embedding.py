"""Embeddings of pictures in a real ComfyUI: a small model of its own class with random weights, its own nodes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from comfyui_eridiffusion.client.embeddings import embedding_graph

CONFIG = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2, "num_channels": 3,
    "image_size": 56, "patch_size": 14, "projection_dim": 16, "hidden_act": "quick_gelu",
    "model_type": "clip_vision_model", "layer_norm_eps": 1e-5, "num_positions": 17,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(comfy_host: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from comfy.clip_vision import ClipVisionModel

    config = tmp_path_factory.mktemp("vision") / "small.json"
    config.write_text(json.dumps(CONFIG), encoding="utf-8")
    found = ClipVisionModel(str(config))
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(value.shape, generator=generator) * 0.1 for name, value in found.get_sd().items()
               if value.is_floating_point()}  # fmt: skip
    found.load_sd(weights)
    return found


def told(comfy_host: Any, model: Any, pictures: dict[str, torch.Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """The graph of `eri measure`, node by node, but for what loads the model and the pictures."""
    graph = embedding_graph("small.safetensors", {name: f"{name}.png" for name in pictures})
    images = {f"load{number}": picture for number, picture in enumerate(pictures.values())}
    found: dict[str, np.ndarray[Any, Any]] = {}
    made: dict[str, Any] = {"model": model, **images}
    for name, node in graph.items():
        if name in made:
            continue
        kind = comfy_host.nodes[node["class_type"]]
        inputs = {key: made[value[0]] if isinstance(value, list) else value for key, value in node["inputs"].items()}
        if node["class_type"] == "CLIPVisionEncode":
            made[name] = getattr(kind(), kind.FUNCTION)(**inputs)[0]
        else:
            (entry,) = kind.execute(**inputs).ui["embeddings"]
            found[entry["name"]] = np.array(entry["embedding"])
    return found


def test_embeddings_are_the_models_of_length_one(comfy_host: Any, model: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    one, other = (torch.rand((1, 40, 60, 3), generator=generator) for _ in range(2))
    found = told(comfy_host, model, {"one": one, "same": one.clone(), "other": other})
    direct = model.encode_image(one, crop=True)["image_embeds"][0].detach().double()
    assert found["one"] == pytest.approx((direct / direct.norm()).numpy())
    assert found["one"] @ found["same"] == pytest.approx(1)
    assert found["one"] @ found["other"] < 0.9999
