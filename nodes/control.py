"""The images that Flux Kontext's samples follow."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..families.profile import CONTROL_FITS
from ..host.control import control_images
from ..host.schema import SPEC, SPEC_MENU, schema


class EriControlImages(io.ComfyNode):
    """A run's control images, fitted as its trainer fits them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriControlImages",
            category=SPEC_MENU,
            search_aliases=["kontext", "ctrl_img", "control_image_path", "reference image"],
            inputs=[
                io.Combo.Input("fit", options=list(CONTROL_FITS), default=CONTROL_FITS[0]),
                SPEC.Input("spec"),
            ],
            outputs=[io.Image.Output(is_output_list=True)],
        )

    @classmethod
    def execute(cls, fit: str, spec: Any) -> io.NodeOutput:
        return io.NodeOutput(control_images(spec, fit))
