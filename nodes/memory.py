"""Trainers' memory switches."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker

from ..host.inputs import guarded
from ..host.memory.policy import MODES, Models, apply_policy
from ..host.schema import MEMORY_MENU, schema


class EriMemoryPolicy(io.ComfyNode):
    """CPU offload, sequential offload, attention slicing and VAE tiling through ComfyUI's model management."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriMemoryPolicy",
            category=MEMORY_MENU,
            search_aliases=["offload", "lowvram", "attention slicing", "VAE tiling", "out of memory"],
            inputs=[
                io.Combo.Input("mode", options=list(MODES), default="auto"),
                io.Int.Input("slice_size", default=1024, min=16, max=65536, step=16),
                io.Int.Input("tile_size", default=512, min=64, max=4096, step=32),
                io.Model.Input("model", optional=True),
                io.Clip.Input("clip", optional=True),
                io.Vae.Input("vae", optional=True),
            ],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    @guarded()
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
