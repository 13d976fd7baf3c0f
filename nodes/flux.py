"""Flux's packed latents."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ._host_flux import patchify_latent, unpatchify_latent
from ._schema import FLUX_MENU, MAX_RESOLUTION, schema


class EriFluxPatchify(io.ComfyNode):
    """LATENT to Flux tokens and ids."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxPatchify",
            display_name="Flux Patchify",
            category=FLUX_MENU,
            description="Packs a latent into Flux' token layout (2 x 2 patches) with its position ids, e.g. to export "
            "latents or noise for a trainer with Save Latent. Not needed for sampling: the model packs by itself.",
            search_aliases=["pack latents"],
            inputs=[
                io.Int.Input(
                    "text_length", default=512, min=0, max=4096, tooltip="Number of text tokens, for text_ids."
                ),
                io.Latent.Input("latent", tooltip="A latent [B, C, H, W]; odd sizes are padded circularly to even."),
            ],
            outputs=[
                io.Latent.Output(id="tokens", display_name="tokens", tooltip="[B, N, 4C], N = H/2 x W/2."),
                io.Latent.Output(id="image_ids", display_name="image_ids", tooltip="[B, N, 3]: 0, row, column."),
                io.Latent.Output(id="text_ids", display_name="text_ids", tooltip="[B, text_length, 3], all zero."),
            ],
        )

    @classmethod
    def execute(cls, text_length: int, latent: dict[str, Any]) -> io.NodeOutput:
        return io.NodeOutput(*patchify_latent(latent, text_length))


class EriFluxUnpatchify(io.ComfyNode):
    """Flux tokens to LATENT."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriFluxUnpatchify",
            display_name="Flux Unpatchify",
            category=FLUX_MENU,
            description="Unpacks Flux tokens into a latent, e.g. packed latents or noise that a trainer wrote.",
            search_aliases=["unpack latents"],
            inputs=[
                io.Int.Input("width", default=1024, min=8, max=MAX_RESOLUTION, tooltip="Image width in pixels."),
                io.Int.Input("height", default=1024, min=8, max=MAX_RESOLUTION, tooltip="Image height in pixels."),
                io.Latent.Input("tokens", tooltip="Tokens [B, N, 4C] from EriFluxPatchify or Load Latent."),
            ],
            outputs=[io.Latent.Output(tooltip="The latent [B, C, height/8, width/8].")],
        )

    @classmethod
    def execute(cls, width: int, height: int, tokens: dict[str, Any]) -> io.NodeOutput:
        return io.NodeOutput(unpatchify_latent(tokens, width, height))
