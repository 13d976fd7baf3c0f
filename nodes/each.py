"""What Save Samples puts into the graph to make pictures one by one. Nobody adds these nodes by hand."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker

from ..host.inputs import in_range
from ..host.sampling.sample import sample_part
from ..host.sampling.told import told_sigmas
from ..host.schema import OUTPUT_MENU, SAMPLING_MENU, schema
from .output import save_node_inputs, saved
from .sampling import sample_node_inputs


class EriEachSample(io.ComfyNode):
    """EriSample for one picture of a list, or for those of one batch; nothing where there is no such batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriEachSample",
            category=SAMPLING_MENU,
            is_deprecated=True,  # keeps it out of the menus
            is_input_list=True,
            inputs=[
                io.Int.Input("number", default=1, min=1, max=2**31 - 1),
                io.Int.Input("count", default=1, min=1, max=2**31 - 1),
                *sample_node_inputs(),
                io.Vae.Input("vae", optional=True),
            ],
            outputs=[io.Latent.Output(is_output_list=True), io.String.Output(display_name="part")],
        )

    @classmethod
    @in_range()
    def execute(
        cls, number: list[int], count: list[int], vae: list[Any] | None = None, **inputs: Any
    ) -> io.NodeOutput:
        part = sample_part(inputs, number[0], count[0], vae[0] if vae else None)
        if part is None:
            return io.NodeOutput([ExecutionBlocker(None)], ExecutionBlocker(None))
        return io.NodeOutput(part.latents, part.text, ui=told_sigmas(inputs["sigmas"], part.rows))


class EriEachSave(io.ComfyNode):
    """EriSaveSamples for some pictures of a list."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriEachSave",
            category=OUTPUT_MENU,
            is_deprecated=True,
            is_output_node=True,
            is_input_list=True,
            inputs=[*save_node_inputs(lazy=False), io.String.Input("part", optional=True, default="")],
            outputs=[],
        )

    @classmethod
    @in_range(but=("step",))
    def execute(cls, images: list[Any], part: list[str] | None = None, **lists: list[Any]) -> io.NodeOutput:
        return saved(cls.hidden, images, lists, part[0] if part else "")
