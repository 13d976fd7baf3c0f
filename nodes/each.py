"""What Save Samples and Contact Sheet put into the graph to make pictures one by one. Nobody adds these by hand."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.inputs import guarded
from ..host.output.each import branches, in_order, new_fingerprint
from ..host.output.sheet import previews
from ..host.sampling.batches import Batch
from ..host.sampling.sample import sample_batch
from ..host.sampling.told import say_sigmas
from ..host.schema import OUTPUT_MENU, SAMPLING_MENU, schema
from .output import save_node_inputs, saved
from .sampling import sample_node_inputs


class EriEachList(io.ComfyNode):
    """Grows a branch for each picture of a list, or for those of each batch. It gives the sheet where one is made."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriEachList",
            category=SAMPLING_MENU,
            is_deprecated=True,  # keeps it out of the menus
            is_output_node=True,  # nothing reads what a saver's list gives
            is_input_list=True,
            enable_expand=True,
            inputs=[
                io.String.Input("taker", default=""),
                io.Int.Input("count", default=0, min=0, max=2**31 - 1),
                *sample_node_inputs(),
                io.Vae.Input("vae", optional=True),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def fingerprint_inputs(cls, **_lists: Any) -> str:
        return new_fingerprint()

    @classmethod
    @guarded()
    def execute(cls, taker: list[str], count: list[int], vae: list[Any] | None = None, **inputs: Any) -> io.NodeOutput:
        graph, sheet = branches(inputs, taker[0], count[0], vae[0] if vae else None)
        return io.NodeOutput(sheet, expand=graph)


class EriEachSample(io.ComfyNode):
    """EriSample for one picture of a list, or for those of one batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriEachSample",
            category=SAMPLING_MENU,
            is_deprecated=True,
            is_input_list=True,
            inputs=[
                io.String.Input("part", default=""),
                io.Int.Input("begun", default=0, min=0, max=2**31 - 1),
                *sample_node_inputs(),
            ],
            outputs=[io.Latent.Output(is_output_list=True)],
        )

    @classmethod
    @guarded()
    def execute(cls, part: list[str], begun: list[int], **inputs: Any) -> io.NodeOutput:
        latents, rows = sample_batch(inputs, Batch(part[0], begun[0]))
        say_sigmas(inputs["sigmas"], rows)
        return io.NodeOutput(latents)


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
    @guarded(but=("step",))
    def execute(cls, images: list[Any], part: list[str] | None = None, **lists: list[Any]) -> io.NodeOutput:
        return saved(cls.hidden, images, lists, part[0] if part else "")


class EriEachShow(io.ComfyNode):
    """Shows some pictures of a list, and gives all so far."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriEachShow",
            category=OUTPUT_MENU,
            is_deprecated=True,
            is_output_node=True,
            is_input_list=True,
            inputs=[
                io.String.Input("part", default=""),
                io.Image.Input("images"),
                io.Image.Input("before", optional=True),
                io.String.Input("order", optional=True, force_input=True),
            ],
            outputs=[io.Image.Output(is_output_list=True), io.String.Output(display_name="order")],
        )

    @classmethod
    @guarded()
    def execute(
        cls, part: list[str], images: list[Any], before: list[Any] | None = None, order: list[str] | None = None
    ) -> io.NodeOutput:
        so_far, which = in_order(images, part[0], before or [], order[0] if order else "")
        return io.NodeOutput(so_far, which, ui=previews(cls, images, part[0]))
