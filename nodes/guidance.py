"""Guidance that is right for flow models too."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.inputs import guarded
from ..host.sampling.guidance import guided_model
from ..host.schema import SAMPLING_MENU, schema


class EriGuidance(io.ComfyNode):
    """Rescale, dynamic thresholding and the choice of guidance, as a model patch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriGuidance",
            category=SAMPLING_MENU,
            search_aliases=["RescaleCFG", "cfg rescale"],
            inputs=[
                io.Float.Input("rescale", default=0.0, min=0.0, max=1.0, step=0.01, round=False),
                io.Float.Input("threshold_percentile", default=0.0, min=0.0, max=1.0, step=0.001, round=False),
                io.Float.Input("threshold_max", default=0.0, min=0.0, max=1000.0, step=0.01, round=False),
                io.Combo.Input("mode", options=["cfg", "embedded", "bypass"], default="cfg"),
                io.Model.Input("model"),
                io.Int.Input("zero_steps", default=0, min=0, max=1000, optional=True),
                io.Int.Input("cfg_from_step", default=0, min=0, max=1000, optional=True),
                io.Boolean.Input("zero_star", default=False, optional=True),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    @guarded()
    def execute(
        cls, rescale: float, threshold_percentile: float, threshold_max: float, mode: str, model: Any, **by_steps: Any
    ) -> io.NodeOutput:
        made = guided_model(model, rescale, threshold_percentile, threshold_max, mode, **by_steps)
        return io.NodeOutput(made)
