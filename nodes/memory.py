"""Trainers' memory switches."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker

from ..host.memory.policy import MODES, Models, apply_policy
from ..host.ranges import in_range
from ..host.schema import MEMORY_MENU, schema


class EriMemoryPolicy(io.ComfyNode):
    """CPU offload, sequential offload, attention slicing and VAE tiling through ComfyUI's model management."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriMemoryPolicy",
            display_name="Memory Policy",
            category=MEMORY_MENU,
            description="Sets what the memory switches of trainers set, through ComfyUI's own model management: CPU "
            "offload, sequential offload, attention slicing and VAE tiling. Put several in a row to combine them.",
            search_aliases=["offload", "lowvram", "attention slicing", "VAE tiling", "out of memory"],
            inputs=[
                io.Combo.Input(
                    "mode",
                    options=list(MODES),
                    default="auto",
                    tooltip="auto: ComfyUI decides. offload: one model at a time is on the GPU. sequential: the "
                    "model's weights go to the GPU layer by layer. attention slicing: attention takes slice_size "
                    "queries at a time. VAE tiling: the VAE takes tiles of tile_size pixels.",
                ),
                io.Int.Input(
                    "slice_size",
                    default=1024,
                    min=16,
                    max=65536,
                    step=16,
                    tooltip="For attention slicing: the number of queries (image and text tokens) per slice. A "
                    "smaller number needs less memory and more time, and the picture stays the same. Flux at "
                    "1024x1024 has 4096 image tokens.",
                ),
                io.Int.Input(
                    "tile_size",
                    default=512,
                    min=64,
                    max=4096,
                    step=32,
                    tooltip="For VAE tiling: the size of a tile in pixels. A picture that fits into one tile is not "
                    "tiled.",
                ),
                io.Model.Input("model", optional=True, tooltip="The model to sample with."),
                io.Clip.Input("clip", optional=True, tooltip="The text encoders. offload and sequential act on them."),
                io.Vae.Input("vae", optional=True, tooltip="The VAE. offload, sequential and VAE tiling act on it."),
            ],
            outputs=[
                io.Model.Output(tooltip="The model with the policy."),
                io.Clip.Output(tooltip="The text encoders with the policy."),
                io.Vae.Output(tooltip="The VAE with the policy."),
            ],
        )

    @classmethod
    @in_range()
    def execute(
        cls, mode: str, slice_size: int, tile_size: int, model: Any = None, clip: Any = None, vae: Any = None
    ) -> io.NodeOutput:
        made = apply_policy(Models(model, clip, vae), mode, slice_size, tile_size)
        return io.NodeOutput(
            *(
                ExecutionBlocker(f"Memory Policy has no {name} connected.") if value is None else value
                for name, value in made._asdict().items()
            )
        )
