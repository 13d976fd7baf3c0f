"""How OneTrainer samples.

Source: Nerogar/OneTrainer `modules/modelSampler/*Sampler.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..claims import (
    EXCLAMATION,
    HALF_LATENTS,
    NAMED_NOISE,
    OF_SAMPLING,
    Case,
    Claim,
    ran,
    ran_with_cuda_noise,
    read,
    rescales,
    sampled_with,
    scheduled,
    steps_on_cuda,
)
from ..trainer import FLOW_SAMPLERS, GPU_NOTE, Change, Noise, Samplers, Sizes, Way, scheduler

ID: Final = "onetrainer"
SIZES: Final = {
    "flux": Sizes(64, "round", 0),
    "sd35": Sizes(16, "round", 0),
    "sdxl": Sizes(64, "round", 0),
    "chroma": Sizes(64, "round", 0),
}
#: modules/util/create.py::create_noise_scheduler; timestep_spacing is diffusers' default. By the word in small letters.
_SCHEDULERS: Final[Mapping[str, Change]] = {
    "euler": scheduler("euler", "linspace"),
    "euler_a": scheduler("euler_a", "linspace"),
    "euler_karras": scheduler("euler", "linspace", karras=True),
    "dpmpp": scheduler("dpmsolver++", "linspace"),
    "dpmpp_karras": scheduler("dpmsolver++", "linspace", karras=True),
    "dpmpp_sde": scheduler("sde-dpmsolver++", "linspace"),
    "dpmpp_sde_karras": scheduler("sde-dpmsolver++", "linspace", karras=True),
    "unipc": scheduler("unipc", "linspace"),
    "unipc_karras": scheduler("unipc", "linspace", karras=True),
}
_NOISE: Final = Noise("torch-cuda", "nchw", "float32", f"modules/modelSampler.{GPU_NOTE}")
#: modules/module/LoRAModule.py L581.
_LORA_SCALE: Final = read("LoRA scale", text="LoRAModule.py: lora_alpha / lora_rank, which the file holds as alpha")


#: DDIM begins at the last timestep.
_LAST_FIRST: Final = "nodes/test_ddim_in_host.py::test_final_latent_is_diffusers"


def _last_first(case: Case) -> bool:
    return case.profile.last_first and not case.profile.sampler


WAYS: Final = (
    Way(
        ID,
        "flux",
        differs={"t5_length": 77, "spacing": "timesteps", "rounding": "round", "half_steps": True},
        variants={},
        noise=_NOISE,
        sizes=SIZES["flux"],
        samplers=FLOW_SAMPLERS,
        negative="never",
        remarks=(),
        claims=(*HALF_LATENTS, *ran_with_cuda_noise("ot_flux"), *_LORA_SCALE),
    ),
    Way(
        ID,
        "sd35",
        differs={"t5_length": 77, "rounding": "round", "text_rules": "diffusers", "half_steps": True},
        variants={},
        noise=_NOISE,
        sizes=SIZES["sd35"],
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(),
        claims=(*HALF_LATENTS, *_LORA_SCALE, *read(*OF_SAMPLING)),
    ),
    Way(
        ID,
        "sdxl",
        differs={"rounding": "round", "text_rules": "diffusers"},
        variants={},
        noise=Noise("torch-cuda", "nchw", "precision", f"modules/modelSampler, in the train dtype.{GPU_NOTE}"),
        sizes=SIZES["sdxl"],
        samplers=Samplers({"ddim": Change({}), **_SCHEDULERS}, None),
        negative="CFG",
        remarks=(),
        claims=(
            *EXCLAMATION,
            Claim("sigmas", "exact", "DDIM was run so, not the trainer", (_LAST_FIRST,), when=_last_first),
            *read("guidance", when=rescales),
            *ran("ot_sdxl_euler", topics=("sigmas",), when=sampled_with("euler")),
            *ran("ot_sdxl_euler_a", topics=("sigmas",), when=sampled_with("euler_a")),
            *scheduled(*_SCHEDULERS),
            *steps_on_cuda("euler_a", "dpmpp_sde", "dpmpp_sde_karras"),
            *ran_with_cuda_noise("ot_sdxl", "ot_sdxl_euler", "ot_sdxl_euler_a"),
            *_LORA_SCALE,
        ),
    ),
    Way(
        ID,
        "chroma",
        # `set_timesteps` without sigmas or mu: what the scheduler config of the base model says
        differs={"shifted": False, "spacing": "timesteps", "t5_padding": "one", "rounding": "round"},
        variants={"base": Change({"shift": 1.0, "spacing": "beta timesteps"}), "flash": Change({"shift": 1.0})},
        noise=_NOISE,
        sizes=SIZES["chroma"],
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(),
        claims=(
            *NAMED_NOISE,
            *read("sigmas", text="Of the published models' scheduler configs only reports were read"),
            *_LORA_SCALE,
            *read(*OF_SAMPLING),
        ),
    ),
)
