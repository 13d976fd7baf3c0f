"""Flux's packed latents, and the control images of Kontext."""

from __future__ import annotations

from typing import Any, Final

from comfy_api.latest import io
from comfy_execution.graph import ExecutionBlocker

from ..families.profile import CONTROL_FITS
from ..host import tensor_files as _tensor_files
from ..host.control import MEAN, control_images, control_latents
from ..host.inputs import guarded
from ..host.sampling.flux import patchify_latent, unpatchify_latent
from ..host.sampling.noise import PROFILES, problem_with
from ..host.schema import FLUX_MENU, MAX_RESOLUTION, SPEC, SPEC_MENU, schema

#: What the latent of a control image can be drawn with, in the order of its values.
_NCHW: Final = tuple(profile for profile in PROFILES if "/nchw/" in profile)


class EriFluxPatchify(io.ComfyNode):
    """LATENT to Flux tokens and ids."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxPatchify",
            category=FLUX_MENU,
            search_aliases=["pack latents"],
            inputs=[
                io.Int.Input("text_length", default=512, min=0, max=4096),
                io.Latent.Input("latent"),
                io.Int.Input("index", default=0, min=0, max=4096, optional=True),
                io.Boolean.Input("model_space", default=False, optional=True),
                io.Combo.Input("layout", options=["packed", "patches"], default="packed", optional=True),
            ],
            outputs=[
                io.Latent.Output(id="tokens", display_name="tokens"),
                io.Latent.Output(id="image_ids", display_name="image_ids"),
                io.Latent.Output(id="text_ids", display_name="text_ids"),
            ],
        )

    @classmethod
    @guarded()
    def execute(cls, text_length: int, latent: dict[str, Any], **options: Any) -> io.NodeOutput:
        return io.NodeOutput(*patchify_latent(latent, text_length, **options))


class EriFluxUnpatchify(io.ComfyNode):
    """Flux tokens to LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxUnpatchify",
            category=FLUX_MENU,
            search_aliases=["unpack latents", "import latents"],
            inputs=[
                io.Int.Input("width", default=1024, min=8, max=MAX_RESOLUTION),
                io.Int.Input("height", default=1024, min=8, max=MAX_RESOLUTION),
                io.Latent.Input("tokens", optional=True),
                io.String.Input("file", default="", optional=True),
                io.Boolean.Input("model_space", default=False, optional=True),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return _tensor_files.problem(file or "") or True

    @classmethod
    def fingerprint_inputs(cls, file: Any = None, **_: Any) -> str:
        return _tensor_files.fingerprint(file) if isinstance(file, str) else ""

    @classmethod
    @guarded()
    def execute(
        cls, width: int, height: int, tokens: dict[str, Any] | None = None, file: str = "", model_space: bool = False
    ) -> io.NodeOutput:
        return io.NodeOutput(unpatchify_latent(tokens, width, height, file, model_space))


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
                io.Combo.Input("draw", options=[MEAN, *_NCHW], default=MEAN, optional=True),
                io.Vae.Input("vae", optional=True),
            ],
            outputs=[io.Image.Output(is_output_list=True), io.Latent.Output(is_output_list=True)],
        )

    @classmethod
    def validate_inputs(cls, draw: str | None = None) -> bool | str:
        return problem_with(None if draw == MEAN else draw) or True

    @classmethod
    @guarded()
    def execute(cls, fit: str, spec: Any, draw: str = MEAN, vae: Any = None) -> io.NodeOutput:
        images = control_images(spec, fit)
        if vae is None:
            return io.NodeOutput(images, [ExecutionBlocker("Control Images has no vae connected.")])
        return io.NodeOutput(images, control_latents(spec, images, vae, draw))
