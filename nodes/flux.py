"""Flux's packed latents."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..host import tensor_files as _tensor_files
from ..host.ranges import in_range
from ..host.sampling.flux import patchify_latent, unpatchify_latent
from ..host.schema import FLUX_MENU, MAX_RESOLUTION, schema


class EriFluxPatchify(io.ComfyNode):
    """LATENT to Flux tokens and ids."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxPatchify",
            display_name="Flux Patchify",
            category=FLUX_MENU,
            description="Packs a latent into Flux's token layout (2 x 2 patches) and gives the position ids, for "
            "example to export latents or noise for a trainer with Save Latent. Sampling does not need it, because "
            "the model packs by itself.",
            search_aliases=["pack latents"],
            inputs=[
                io.Int.Input(
                    "text_length", default=512, min=0, max=4096, tooltip="The number of text tokens, for text_ids."
                ),
                io.Latent.Input(
                    "latent", tooltip="A latent [B, 16, H, W]. Odd sizes are padded circularly to even ones."
                ),
                io.Int.Input(
                    "index",
                    default=0,
                    min=0,
                    max=4096,
                    optional=True,
                    tooltip="The value of channel 0 of image_ids: 0 for the picture itself; 1, 2, … for reference "
                    "pictures.",
                ),
                io.Boolean.Input(
                    "model_space",
                    default=False,
                    optional=True,
                    tooltip="On: the tokens hold the values that the model sees, (z - 0.1159) * 0.3611, which is "
                    "what trainers store. Off: they hold the values of ComfyUI's latents, which is right for noise.",
                ),
            ],
            outputs=[
                io.Latent.Output(
                    id="tokens", display_name="tokens", tooltip="The packed tokens [B, N, 64], N = H/2 x W/2."
                ),
                io.Latent.Output(
                    id="image_ids",
                    display_name="image_ids",
                    tooltip="The image's position ids [B, N, 3]: index, row, column.",
                ),
                io.Latent.Output(
                    id="text_ids",
                    display_name="text_ids",
                    tooltip="The text's position ids [B, text_length, 3], all zero.",
                ),
            ],
        )

    @classmethod
    @in_range()
    def execute(
        cls, text_length: int, latent: dict[str, Any], index: int = 0, model_space: bool = False
    ) -> io.NodeOutput:
        return io.NodeOutput(*patchify_latent(latent, text_length, index, model_space))


class EriFluxUnpatchify(io.ComfyNode):
    """Flux tokens to LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxUnpatchify",
            display_name="Flux Unpatchify",
            category=FLUX_MENU,
            description="Unpacks Flux tokens into a latent. They come from Flux Patchify or from a safetensors file "
            "with packed latents that a trainer wrote.",
            search_aliases=["unpack latents", "import latents"],
            inputs=[
                io.Int.Input("width", default=1024, min=8, max=MAX_RESOLUTION, tooltip="The image's width in pixels."),
                io.Int.Input(
                    "height", default=1024, min=8, max=MAX_RESOLUTION, tooltip="The image's height in pixels."
                ),
                io.Latent.Input(
                    "tokens",
                    optional=True,
                    tooltip="The tokens [B, N, 64] from Flux Patchify or Load Latent. Leave it open to read the file.",
                ),
                io.String.Input(
                    "file",
                    default="",
                    optional=True,
                    tooltip="A safetensors file of packed (or unpacked) latents in the input folder or a loras "
                    "folder. It is read when tokens is not connected.",
                ),
                io.Boolean.Input(
                    "model_space",
                    default=False,
                    optional=True,
                    tooltip="On: the values are those that the model sees, which is what trainers store. They become "
                    "ComfyUI's latents, z / 0.3611 + 0.1159. Off: the values are taken as they are.",
                ),
            ],
            outputs=[io.Latent.Output(tooltip="The latent [B, 16, height/8, width/8].")],
        )

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return _tensor_files.problem(file or "") or True

    @classmethod
    def fingerprint_inputs(cls, file: Any = None, **_: Any) -> str:
        return _tensor_files.fingerprint(file) if isinstance(file, str) else ""

    @classmethod
    @in_range()
    def execute(
        cls, width: int, height: int, tokens: dict[str, Any] | None = None, file: str = "", model_space: bool = False
    ) -> io.NodeOutput:
        return io.NodeOutput(unpatchify_latent(tokens, width, height, file, model_space))
