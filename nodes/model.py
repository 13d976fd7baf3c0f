"""What a trainer runs otherwise in the model itself."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.sampling.model import PUBLISHED, SECOND_ATTENTION, trainers_model
from ..host.schema import SAMPLING_MENU, schema


class EriTrainerModel(io.ComfyNode):
    """A MODEL that is run as a trainer's own code runs it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTrainerModel",
            category=SAMPLING_MENU,
            search_aliases=["attn2", "MMDiT-X", "sd-scripts", "kohya"],
            inputs=[
                io.Combo.Input("second_attention", options=list(SECOND_ATTENTION), default=PUBLISHED),
                io.Model.Input("model"),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, second_attention: str, model: Any) -> io.NodeOutput:
        return io.NodeOutput(trainers_model(model, second_attention))
