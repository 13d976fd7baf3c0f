"""The trainers' initial noise."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..families import FAMILIES
from ..families.noise_profile import NoiseProfile
from ..host import tensor_files as _tensor_files
from ..host.inputs import guarded
from ..host.sampling.noise import PROFILES, WALKS, TrainerNoise, stored_noise
from ..host.schema import MAX_SEED, SAMPLING_MENU, schema


class EriTrainerNoise(io.ComfyNode):
    """Initial noise as a trainer draws it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="EriTrainerNoise",
            category=SAMPLING_MENU,
            search_aliases=["RandomNoise", "seed", "starting noise", "initial noise"],
            inputs=[
                io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True),
                io.Combo.Input("profile", options=PROFILES, default=PROFILES[0]),
                io.Combo.Input("family", options=["auto", *FAMILIES], default="auto"),
                io.Combo.Input("walk", options=list(WALKS), default=WALKS[0], optional=True),
                io.String.Input("file", default="", optional=True),
            ],
            outputs=[io.Noise.Output()],
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
    @guarded()
    def execute(cls, seed: int, profile: str, family: str, walk: str = WALKS[0], file: str = "") -> io.NodeOutput:
        return io.NodeOutput(TrainerNoise(seed, profile, family, walk, stored_noise(file, seed) if file else None))
