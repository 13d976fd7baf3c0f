"""How ai-toolkit samples: diffusers' pipelines and schedulers.

Sources: ostris/ai-toolkit `toolkit/sampler.py::get_sampler`, `jobs/process/BaseSDTrainProcess.py::sample`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..claims import (
    EXCLAMATION,
    HALF_LATENTS,
    OF_SAMPLING,
    of_variant,
    ran,
    read,
    rescales,
    sampled_with,
    scheduled,
)
from ..trainer import (
    DIFFUSION_WORDS,
    FLOW_SAMPLERS,
    NO_SIGMA_ZERO,
    Change,
    Noise,
    Samplers,
    Sizes,
    Way,
    scheduler,
)

ID: Final = "ai-toolkit"
#: At least 64; the pipelines of Flux and Chroma then round down to 16, Stable Diffusion 3's refuses what 16 does not
#: divide.
SIZES: Final = {
    "flux": Sizes(16, "floor", 64),
    "sd35": Sizes(16, "exact", 64),
    "sdxl": Sizes(8, "floor", 64),
    "chroma": Sizes(16, "floor", 64),
}
_NOISE: Final = Noise(
    "torch-cpu", "nchw", "precision", "diffusers with a CPU generator, in the dtype of the prompt embeddings."
)

#: get_sampler with its sd_config: leading, skip_prk_steps.
_SCHEDULERS: Final[Mapping[str, Change]] = {
    **{
        word: scheduler(word, "leading")
        for word in ("euler_a", "heun", "dpm_2", "dpm_2_a", "lms", "dpmsolver++", "dpmsingle", "lcm", "custom_lcm")
    },
    "pndm": scheduler("plms", "leading"),
    **{f"k_{word}": scheduler(word, "leading", karras=True) for word in ("euler", "lms", "dpmsolver++")},
    "dpmsolver": scheduler("dpmsolver", "leading", remarks=(NO_SIGMA_ZERO,)),
    "flowmatch": scheduler("flowmatch", "leading"),  # shift 1, as for SD 3.5
    "mean_flow": scheduler("mean_flow", "leading"),
    "k_dpmsolver": scheduler("dpmsolver", "leading", karras=True, remarks=(NO_SIGMA_ZERO,)),
}


def _plain(sampler: str) -> str:
    """The word in small letters; `sample_…`, k-diffusion's names, are "lms" to get_sampler's caller."""
    word = sampler.lower()
    return "lms" if word.startswith("sample_") else word


#: toolkit/lora_special.py L115, L428; network_mixins.py L610.
_LORA_SCALE: Final = read(
    "LoRA scale",
    text="lora_special.py: linear_alpha / linear, the file's alpha; 1 for files of PEFT's form, without one",
)

WAYS: Final = (
    Way(
        ID,
        "flux",
        differs={"rounding": "round", "half_steps": True},
        variants={"schnell": Change({})},
        noise=_NOISE,
        sizes=SIZES["flux"],
        samplers=FLOW_SAMPLERS,
        negative="only `use_flux_cfg`",
        remarks=(),
        claims=(
            *read(*OF_SAMPLING, when=of_variant("kontext")),
            *read("sigmas", "token lengths", when=of_variant("schnell")),
            *HALF_LATENTS,
            *ran("aitk_flux", "aitk_flux_cfg"),
            *_LORA_SCALE,
        ),
    ),
    Way(
        ID,
        "sd35",
        # CustomFlowMatchEulerDiscreteScheduler takes *args, **kwargs, so that diffusers finds no argument of its config
        # to hand on and the shift stays 1.0 (toolkit/samplers/custom_flowmatch_sampler.py).
        differs={"rounding": "round", "shift": 1.0, "text_rules": "diffusers", "half_steps": True},
        variants={},
        noise=_NOISE,
        sizes=SIZES["sd35"],
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(),
        claims=(
            *read("model", when=of_variant("large", "large-turbo", "3-medium")),
            *HALF_LATENTS,
            *ran("aitk_sd35", "aitk_sd35_lora", "aitk_sd35_bang"),
            *ran("aitk_sd35_lora", topics=("LoRA scale",)),
        ),
    ),
    Way(
        ID,
        "sdxl",
        differs={"offset": 0, "rounding": "round", "text_rules": "diffusers"},
        variants={},
        noise=_NOISE,
        sizes=SIZES["sdxl"],
        samplers=Samplers({**DIFFUSION_WORDS, **_SCHEDULERS}, None, _plain),
        negative="CFG",
        remarks=(),
        claims=(
            *EXCLAMATION,
            *read("guidance", when=rescales),
            *ran("aitk_sdxl_euler", topics=("sigmas",), when=sampled_with("euler")),
            *ran("aitk_sdxl_ddpm", topics=("sigmas",), when=sampled_with("ddpm")),
            *read("sigmas", text=NO_SIGMA_ZERO.text, when=sampled_with("dpmsolver", "k_dpmsolver")),
            *scheduled(*_SCHEDULERS),
            *ran("aitk_sdxl_ddim", "aitk_sdxl_ddpm", "aitk_sdxl_euler"),
            *_LORA_SCALE,
        ),
    ),
    Way(
        ID,
        "chroma",
        # T5 is given no mask; the model masks all padding tokens but one (extensions_built_in/diffusion_models/chroma).
        differs={"rounding": "round", "t5_padding": "one of all"},
        variants={},
        noise=_NOISE,
        sizes=SIZES["chroma"],
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(),
        claims=(*_LORA_SCALE, *read(*OF_SAMPLING)),
    ),
)
