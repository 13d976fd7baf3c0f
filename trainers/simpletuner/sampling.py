"""How SimpleTuner samples its validation images.

Sources: bghira/SimpleTuner `helpers/training/validation.py`, `helpers/models/flux/pipeline.py`, `sd3/pipeline.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..claims import (
    EXCLAMATION,
    HALF_LATENTS,
    OF_SAMPLING,
    differs,
    of_variant,
    ran,
    read,
    scheduled,
)
from ..trainer import FLOW_SAMPLERS, Change, Noise, Samplers, Sizes, Way, scheduler

ID: Final = "simpletuner"
SIZE: Final = Sizes(16, "round", 16)
_NOISE: Final = Noise(
    "torch-cpu",
    "nchw",
    "precision",
    "diffusers with a CPU generator, in the dtype of the prompt embeddings. With validation_seed_source gpu it is "
    "torch-cuda.",
)
#: What --validation_noise_scheduler takes: the choices of its parser (simpletuner_sdk/server/services/field_registry/
#: sections/validation.py L872; helpers/configuration/cmd_args.py L519). SCHEDULER_NAME_MAP has more, for other models.
SCHEDULER_WORDS: Final = ("ddim", "ddpm", "euler", "euler-a", "unipc", "dpm++", "perflow")
#: setup_scheduler, from the scheduler config of SDXL base, with inference_scheduler_timestep_spacing.
_SCHEDULERS: Final[Mapping[str, Change]] = {
    "ddpm": scheduler("ddpm", "trailing"),
    "euler": scheduler("euler", "trailing"),
    "euler-a": scheduler("euler_a", "trailing"),
    "unipc": scheduler("unipc", "trailing"),
    "dpm++": scheduler("dpmsolver++", "trailing"),
    "perflow": scheduler("perflow", "trailing"),
}


#: helpers/models/common.py L1066, L1090.
_LORA_SCALE: Final = read(
    "LoRA scale",
    text="PEFT: lora_alpha / lora_rank, 1 without a lora_alpha; LyCORIS: alpha / dim of its own config",
)


WAYS: Final = (
    Way(
        ID,
        "flux",
        differs={"rounding": "round", "cfg_from_step": 2, "half_steps": True},
        variants={"schnell": Change({"t5_length": 256})},
        noise=_NOISE,
        sizes=SIZE,
        samplers=FLOW_SAMPLERS,
        negative="only `validation_guidance_real` > 1; not in its first 2 steps",
        remarks=(),
        claims=(
            *read("sigmas", "token lengths", when=of_variant("schnell")),
            *HALF_LATENTS,
            *ran("st_flux", "st_flux_real"),
            *_LORA_SCALE,
        ),
    ),
    Way(
        ID,
        "sd35",
        differs={
            "t5_length": 154,
            "rounding": "round",
            "zero_star": True,
            "text_rules": "diffusers",
            "half_steps": True,
        },
        variants={},
        noise=_NOISE,
        sizes=SIZE,
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(),
        claims=(
            *EXCLAMATION,
            *differs(
                "guidance",
                text="The window of skip-layer guidance is counted in noise levels here and in steps in the trainer",
                when=lambda case: bool(case.profile.skip_layers),
            ),
            *read("model", when=of_variant("large", "3-medium")),
            *HALF_LATENTS,
            *ran("st_sd35"),
            *_LORA_SCALE,
        ),
    ),
    Way(
        ID,
        "sdxl",
        differs={"spacing": "trailing", "rounding": "round", "text_rules": "diffusers"},
        variants={},
        noise=_NOISE,
        sizes=SIZE,
        samplers=Samplers({"ddim": Change({}), **_SCHEDULERS}, None),
        negative="CFG",
        remarks=(),
        claims=(
            *scheduled(*_SCHEDULERS),
            *_LORA_SCALE,
            *read(*OF_SAMPLING),
        ),
    ),
    Way(
        ID,
        "chroma",
        # the scheduler config of the base model's repository, with flow_schedule_shift in it
        differs={"shifted": False, "t5_padding": "weighted", "rounding": "round"},
        variants={"base": Change({"spacing": "beta"})},
        noise=_NOISE,
        sizes=SIZE,
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(),
        claims=(
            *read("sigmas", text="Of the published models' scheduler configs only reports were read"),
            *_LORA_SCALE,
            *read(*OF_SAMPLING),
        ),
    ),
)
