"""The three loader nodes: thin shells around `weights`."""

from __future__ import annotations

import folder_paths
from comfy_api.latest import ComfyExtension, io

from .weights import load_clip, load_model, load_vae

FAMILIES = ["flux", "sd35", "sdxl"]


class EriExampleModelLoader(io.ComfyNode):
    """Loads a small example diffusion model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """One file name in, MODEL out."""
        return io.Schema(
            node_id="EriExampleModelLoader",
            display_name="Load Example Model",
            category="eridiffusion/examples",
            description="Loads a small example diffusion model (Flux, SD 3.5 or SDXL architecture).",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=folder_paths.get_filename_list("diffusion_models"),
                    tooltip="A small model of the examples folder.",
                ),
                io.Combo.Input("family", options=FAMILIES, tooltip="Architecture the file must hold."),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, name: str, family: str) -> io.NodeOutput:
        """Load it as the host's MODEL."""
        return io.NodeOutput(load_model(folder_paths.get_full_path_or_raise("diffusion_models", name), family))


class EriExampleCLIPLoader(io.ComfyNode):
    """Loads the small text encoders as one family uses them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """File name and family in, CLIP out."""
        return io.Schema(
            node_id="EriExampleCLIPLoader",
            display_name="Load Example Text Encoders",
            category="eridiffusion/examples",
            description="Loads the small text encoders: CLIP-L + T5 (Flux), L + G + T5 (SD 3.5) or L + G (SDXL).",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=folder_paths.get_filename_list("text_encoders"),
                    tooltip="The small text encoders of the examples folder.",
                ),
                io.Combo.Input("type", options=FAMILIES, tooltip="Which encoders, and how their outputs are joined."),
            ],
            outputs=[io.Clip.Output()],
        )

    @classmethod
    def execute(cls, name: str, type: str) -> io.NodeOutput:
        """Load them as the host's CLIP."""
        return io.NodeOutput(load_clip(folder_paths.get_full_path_or_raise("text_encoders", name), type))


class EriExampleVAELoader(io.ComfyNode):
    """Loads a narrow TAESD autoencoder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """One file name in, VAE out."""
        return io.Schema(
            node_id="EriExampleVAELoader",
            display_name="Load Example VAE",
            category="eridiffusion/examples",
            description="Loads a small example autoencoder into the host's own TAESD class.",
            inputs=[
                io.Combo.Input(
                    "name",
                    options=folder_paths.get_filename_list("vae"),
                    tooltip="A small autoencoder of the examples folder.",
                ),
                io.Combo.Input("family", options=FAMILIES, tooltip="Whose latent scale and shift to use."),
            ],
            outputs=[io.Vae.Output()],
        )

    @classmethod
    def execute(cls, name: str, family: str) -> io.NodeOutput:
        """Load it as the host's VAE."""
        return io.NodeOutput(load_vae(folder_paths.get_full_path_or_raise("vae", name), family))


class ExampleLoaders(ComfyExtension):
    """The pack."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Its three nodes."""
        return [EriExampleModelLoader, EriExampleCLIPLoader, EriExampleVAELoader]
