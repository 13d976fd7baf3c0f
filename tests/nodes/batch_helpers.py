"""Rows of EriSample's lists for the tests of its batches, and what the host makes of them. Import inside tests only,
after the fixture `comfy_host`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.host_calls import outputs
from comfyui_eridiffusion.tests.nodes.test_oom_backoff import ksampler
from comfyui_eridiffusion.tests.nodes.test_sample_node import SIGMAS, VP_SIGMAS

FAMILIES = ("flux", "sd35", "sdxl")
STEPS = len(SIGMAS) - 1


def prompts(family: str, row: int, tokens: int = 5, **options: Any) -> dict[str, list[Any]]:
    """Positive and negative of a row, of its own numbers."""
    _, positive, _, _ = h.inputs_for(family)
    width, pooled = positive[0][0].shape[-1], positive[0][1]["pooled_output"].shape[-1]
    made = {}
    for seed, side in ((100, "positive"), (105, "negative")):
        made[side] = small_models.conditioning(width, pooled, tokens, seed=seed + 10 * row)
        made[side][0][1].update(options)
    return made


def table(comfy_host: Any, family: str, count: int, **changes: Any) -> list[dict[str, Any]]:
    """Rows with prompts and a seed each; changes: a value for all rows, or a function of the row's number."""
    model, _, _, latent = h.inputs_for(family)
    made = []
    for row in range(count):
        given = {
            "cfg": 3.0,
            "model": model,
            **prompts(family, row),
            "noise": h.node(comfy_host, "RandomNoise", noise_seed=row + 5),
            "sampler": ksampler("euler"),
            "sigmas": VP_SIGMAS if family == "sdxl" else SIGMAS,
            "latent": {"samples": latent[:1]},
        }
        made.append(given | {name: value(row) if callable(value) else value for name, value in changes.items()})
    return made


def sampled(comfy_host: Any, rows: list[dict[str, Any]], batch_size: int) -> list[dict[str, Any]]:
    lists = {name: [row[name] for row in rows] for name in rows[0]}
    found: list[dict[str, Any]] = outputs(comfy_host, "EriSample", **lists, batch_size=[batch_size])[0]
    assert len(found) == len(rows)
    return found


class Calls:
    """A clone of a model that remembers what its network is asked: how many images, and the first step's latents."""

    def __init__(self, model: Any) -> None:
        self.images: list[int] = []
        self.first: dict[int, Tensor] = {}
        self.model = model.clone()
        # a function, since clones of the clone make deep copies of objects
        self.model.set_model_unet_function_wrapper(lambda apply_model, params: self._asked(apply_model, params))

    def _asked(self, apply_model: Callable[..., Tensor], params: dict[str, Any]) -> Tensor:
        count = len(params["input"]) // len(params["cond_or_uncond"])
        if len(self.images) % STEPS == 0:
            self.first[len(self.images) // STEPS] = params["input"][:count].clone()
        self.images.append(count)
        return apply_model(params["input"], params["timestep"], **params["c"])


def alone(comfy_host: Any, rows: list[dict[str, Any]]) -> list[Tensor]:
    """Each row by itself, through the stock nodes."""
    found = []
    for row in rows:
        guider = h.node(
            comfy_host, "CFGGuider", **{name: row[name] for name in ("model", "positive", "negative", "cfg")}
        )
        found.append(h.advanced(comfy_host, guider, row["sampler"], row["sigmas"], row["latent"], row["noise"]))
    return found


def as_one_batch(comfy_host: Any, rows: list[dict[str, Any]]) -> Tensor:
    """The rows in one run of the stock nodes: conditionings of a row an image, and each image's own noise."""
    joined = {
        side: [
            [
                torch.cat([row[side][0][0] for row in rows]),
                {
                    **rows[0][side][0][1],
                    "pooled_output": torch.cat([row[side][0][1]["pooled_output"] for row in rows]),
                },
            ]
        ]
        for side in ("positive", "negative")
    }
    noise = torch.cat([row["noise"].generate_noise(row["latent"]) for row in rows])
    latent = {"samples": torch.cat([row["latent"]["samples"] for row in rows])}
    if "noise_mask" in rows[0]["latent"]:
        latent["noise_mask"] = torch.cat([row["latent"]["noise_mask"] for row in rows])
    guider = h.node(comfy_host, "CFGGuider", model=rows[0]["model"], cfg=rows[0]["cfg"], **joined)
    return h.advanced(comfy_host, guider, rows[0]["sampler"], rows[0]["sigmas"], latent, h.FixedNoise(noise))


def region(row: int) -> dict[str, list[Any]]:
    """A conditioning of two entries, one of them for the left half."""
    whole, half = prompts("sdxl", row), prompts("sdxl", row + 50, area=(8, 6, 0, 0), strength=0.8)
    return {side: whole[side] + half[side] for side in whole}
