"""The trainers' initial noise."""

from __future__ import annotations

from comfy_api.latest import io

from ..samplers.noise import NoiseProfile
from ._noise import PROFILES, TrainerNoise
from ._schema import FAMILIES, MAX_SEED, SAMPLING_MENU, schema


class EriTrainerNoise(io.ComfyNode):
    """Initial noise as a trainer draws it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTrainerNoise",
            display_name="Trainer Noise",
            category=SAMPLING_MENU,
            description="The trainer's own initial noise for a seed: its random generator, its layout (NCHW or Flux "
            "packed) and its number type. torch-cpu/nchw/float32 is ComfyUI's own noise.",
            search_aliases=["RandomNoise", "seed"],
            inputs=[
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="Seed of the noise, as in the training config.",
                ),
                io.Combo.Input(
                    "profile",
                    options=PROFILES,
                    default=PROFILES[0],
                    tooltip="generator/layout/dtype: who draws the numbers (torch on CPU or CUDA, Rust's StdRng), "
                    "in which order, in which precision. A graph may also name the GPU (torch-cuda@rtx-3090/…) and a "
                    "fourth part, the precision the noise is rounded to.",
                ),
                io.Combo.Input(
                    "family",
                    options=["auto", *FAMILIES],
                    default="auto",
                    tooltip="Checks that the latent is of this family; auto takes any.",
                ),
            ],
            outputs=[io.Noise.Output(tooltip="For EriSample or SamplerCustomAdvanced.")],
        )

    @classmethod
    def validate_inputs(cls, profile: str | None = None) -> bool | str:
        try:
            if profile is not None:
                NoiseProfile.parse(profile)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(cls, seed: int, profile: str, family: str) -> io.NodeOutput:
        return io.NodeOutput(TrainerNoise(seed, profile, family))
