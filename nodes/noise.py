"""The trainers' initial noise."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..families import FAMILIES
from ..host import tensor_files as _tensor_files
from ..host.ranges import in_range
from ..host.sampling.noise import PROFILES, WALKS, TrainerNoise, stored_noise
from ..host.schema import MAX_SEED, SAMPLING_MENU, schema
from ..samplers.noise import NoiseProfile


class EriTrainerNoise(io.ComfyNode):
    """Initial noise as a trainer draws it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTrainerNoise",
            display_name="Trainer Noise",
            category=SAMPLING_MENU,
            description="Gives the trainer's own initial noise for a seed, with its random generator, its layout "
            "(NCHW or packed as in Flux) and its number type, or noise that the trainer wrote to a file. "
            "torch-cpu/nchw/float32 is ComfyUI's own noise.",
            search_aliases=["RandomNoise", "seed"],
            inputs=[
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=True,
                    tooltip="The seed of the noise, as in the training config.",
                ),
                io.Combo.Input(
                    "profile",
                    options=PROFILES,
                    default=PROFILES[0],
                    tooltip="generator/layout/dtype: what draws the numbers (torch on CPU or CUDA, Rust's StdRng), "
                    "in which order, and in which precision. A graph may also name the GPU (torch-cuda@rtx-3090/…) "
                    "and a fourth part, the precision to which the noise is rounded.",
                ),
                io.Combo.Input(
                    "family",
                    options=["auto", *FAMILIES],
                    default="auto",
                    tooltip="Checks that the latent belongs to this family; auto accepts any.",
                ),
                io.Combo.Input(
                    "walk",
                    options=list(WALKS),
                    default=WALKS[0],
                    optional=True,
                    tooltip="How a batch gets its seeds. one draw: one generator draws all pictures, as in ComfyUI. "
                    "seed + index, same seed: each picture is drawn by itself, as in trainers with and without "
                    "walk_seed.",
                ),
                io.String.Input(
                    "file",
                    default="",
                    optional=True,
                    tooltip="A safetensors file with the trainer's noise, in the input folder or a loras folder. It "
                    "is used instead of drawing noise. {seed} in the name becomes the seed. When it is empty, the "
                    "noise is drawn.",
                ),
            ],
            outputs=[io.Noise.Output(tooltip="The noise, for Sample or SamplerCustomAdvanced.")],
        )

    @classmethod
    def validate_inputs(cls, profile: str | None = None, file: str | None = None) -> bool | str:
        try:
            if profile is not None:
                NoiseProfile.parse(profile)
        except ValueError as error:
            return str(error)
        return _tensor_files.problem(file or "") or True

    @classmethod
    def fingerprint_inputs(cls, seed: Any = None, file: Any = None, **_: Any) -> str:
        return _tensor_files.fingerprint(file, seed) if isinstance(file, str) else ""

    @classmethod
    @in_range()
    def execute(cls, seed: int, profile: str, family: str, walk: str = WALKS[0], file: str = "") -> io.NodeOutput:
        return io.NodeOutput(TrainerNoise(seed, profile, family, walk, stored_noise(file, seed) if file else None))
