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
            description="Rescales guidance on the model's own output, which is right for flow, epsilon and v models, "
            "and does dynamic thresholding. It also chooses between true CFG and Flux's embedded guidance.",
            search_aliases=["RescaleCFG", "cfg rescale"],
            inputs=[
                io.Float.Input(
                    "rescale",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    round=False,
                    tooltip="How much guidance is rescaled (phi). 0 switches it off; Lin et al. 2023 use 0.7.",
                ),
                io.Float.Input(
                    "threshold_percentile",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.001,
                    round=False,
                    tooltip="Dynamic thresholding (Imagen): the percentile of the predicted latent, e.g. 0.995. 0 "
                    "switches it off.",
                ),
                io.Float.Input(
                    "threshold_max",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.01,
                    round=False,
                    tooltip="The largest threshold, 1 or more. 0 sets no limit.",
                ),
                io.Combo.Input(
                    "mode",
                    options=["cfg", "embedded", "bypass"],
                    default="cfg",
                    tooltip="cfg: follows the sampler's cfg. embedded: makes one pass with Flux's embedded guidance, "
                    "whatever cfg is. bypass: makes true CFG with the guidance embedding switched off.",
                ),
                io.Model.Input("model", tooltip="The model to patch. The model itself does not change."),
            ],
            outputs=[io.Model.Output(tooltip="The patched model.")],
        )

    @classmethod
    @in_range()
    def execute(
        cls, rescale: float, threshold_percentile: float, threshold_max: float, mode: str, model: Any
    ) -> io.NodeOutput:
        return io.NodeOutput(guided_model(model, rescale, threshold_percentile, threshold_max, mode))
