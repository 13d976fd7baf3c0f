"""Guidance that is right for flow models too."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host.ranges import in_range
from ..host.sampling.guidance import guided_model
from ..host.schema import SAMPLING_MENU, schema


class EriGuidance(io.ComfyNode):
    """Rescale, dynamic thresholding and the choice of guidance, as a model patch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriGuidance",
            display_name="Guidance",
            category=SAMPLING_MENU,
            description="Guidance rescale on the model's own output (right for flow, epsilon and v models) and dynamic "
            "thresholding; or the choice between true CFG and Flux' embedded guidance.",
            search_aliases=["RescaleCFG", "cfg rescale"],
            inputs=[
                io.Float.Input(
                    "rescale",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="Guidance rescale (phi): 0 = off, 0.7 as in Lin et al. 2023.",
                ),
                io.Float.Input(
                    "threshold_percentile",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    round=False,
                    tooltip="Dynamic thresholding (Imagen): percentile of the predicted picture, e.g. 0.995. 0 = off.",
                ),
                io.Float.Input(
                    "threshold_max",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    round=False,
                    tooltip="Largest threshold, 1 or more. 0 = no limit.",
                ),
                io.Combo.Input(
                    "mode",
                    options=["cfg", "embedded", "bypass"],
                    default="cfg",
                    tooltip="cfg: as the sampler's cfg says. embedded: one pass with Flux' embedded guidance, whatever "
                    "cfg is. bypass: true CFG with the guidance embedding switched off.",
                ),
                io.Model.Input("model", tooltip="The model to patch; it is not changed itself."),
            ],
            outputs=[io.Model.Output(tooltip="The patched model.")],
        )

    @classmethod
    @in_range()
    def execute(
        cls, rescale: float, threshold_percentile: float, threshold_max: float, mode: str, model: Any
    ) -> io.NodeOutput:
        return io.NodeOutput(guided_model(model, rescale, threshold_percentile, threshold_max, mode))
