"""How sd-scripts samples.

Sources: kohya-ss/sd-scripts `library/flux_train_utils.py`, `sd3_train_utils.py`, `train_util.py`, `strategy_base.py`,
`strategy_sdxl.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..claims import (
    HALF_KEPT,
    HALF_STEPS,
    NAMED_NOISE,
    OF_SAMPLING,
    SCHEDULERS,
    Case,
    Claim,
    differs,
    in_prompts,
    of_variant,
    ran,
    ran_with_cuda_noise,
    read,
    sampled_with,
    scheduled,
    steps_on_cuda,
)
from ..trainer import FLOW_SAMPLERS, GPU_NOTE, HALF, NO_SIGMA_ZERO, Change, Noise, Samplers, Sizes, Way, scheduler
from .text import looks_misread, repaired

ID: Final = "kohya"
SIZES: Final = {
    "flux": Sizes(16, "floor", 64),
    "sd35": Sizes(8, "floor", 64),
    "sdxl": Sizes(8, "floor", 64),
    "chroma": Sizes(16, "floor", 64),
}
_FLUX_NOISE: Final = Noise(
    "torch-cuda", "packed", "precision", f"flux_train_utils.py, sample_image_inference.{GPU_NOTE}"
)
#: get_my_scheduler; what it leaves out is diffusers' default, a clip_sample that is off it sets.
_SCHEDULERS: Final[Mapping[str, Change]] = {
    "ddpm": scheduler("ddpm", "leading", clip_sample=True),
    "pndm": scheduler("pndm", "leading"),
    "heun": scheduler("heun", "linspace", clip_sample=True),
    **{word: scheduler(word, "linspace") for word in ("dpmsolver++", "dpmsingle")},
    "dpmsolver": scheduler("dpmsolver", "linspace", remarks=(NO_SIGMA_ZERO,)),
    **{
        f"{prefix}{word}": scheduler(word, "linspace")
        for word in ("lms", "euler", "euler_a", "dpm_2", "dpm_2_a")
        for prefix in ("", "k_")
    },
}
#: requirements.txt of sd-scripts 716bad18 (2024-01-04) to 6edbe005 (2025-08-16).
_OLD_DIFFUSERS: Final = f"{NO_SIGMA_ZERO.text} sd-scripts was installed with 0.25.0 until August 2025"
#: Every word that it knows.
SAMPLER_WORDS: Final = ("ddim", *_SCHEDULERS)
#: Words that draw noise in their steps.
_DRAWING: Final = ("ddpm", "euler_a", "k_euler_a", "dpm_2_a", "k_dpm_2_a")
#: networks/lora.py, lora_flux.py, lora_sd3.py; musubi-tuner's networks/lora.py.
LORA_SCALE: Final = "LoRAModule of networks/lora*.py: network_alpha / network_dim, which each file holds as alpha"
_RULES_TESTED: Final = ("nodes/test_text_rules.py::test_tokens_are_kohyas",)
MISREAD: Final[tuple[Claim, ...]] = differs(
    "token lengths",
    text="A prompt looks as if UTF-8 was read in another encoding (as in Ã© for é); kohya's tokenizer repairs that "
    "with ftfy. The graph does so only where the Python of the ComfyUI that samples has ftfy (pip install ftfy), and "
    "Triple Text Encode says which happened; with stock nodes the Python that writes the graph counts. Without ftfy "
    "write the characters that are meant",
    when=in_prompts(looks_misread),
)
_REPAIRED: Final = Claim(
    "token lengths",
    "exact",
    "Typographic quotes, ligatures, entities and wide characters become plain ones in CLIP's prompt, as kohya's "
    "tokenizer (transformers 4 with ftfy) makes them",
    _RULES_TESTED,
    when=in_prompts(lambda text: repaired(text) != text),
)


def _long(case: Case) -> bool:
    return case.profile.long_prompt not in ("truncate", "chunks")


_LONG: Final = (
    Claim(
        "token lengths", "exact", "The prompt's tokens and their order were held against the trainer's code",
        ("nodes/test_text_rules.py::test_long_prompts_are_kohyas",), when=_long,
    ),
)  # fmt: skip


def _plain(sampler: str) -> str:
    """The word, as it is written; what kohya does not know is DDIM to it."""
    return sampler if sampler in SAMPLER_WORDS else "ddim"


WAYS: Final = (
    Way(
        ID,
        "flux",
        differs={"text_rules": "kohya", "half_steps": True},  # flux_train_utils.denoise
        variants={"schnell": Change({"t5_length": 256})},
        noise=_FLUX_NOISE,
        sizes=SIZES["flux"],
        samplers=FLOW_SAMPLERS,
        negative="only `--l` ≠ 1",
        remarks=(),
        claims=(
            *MISREAD,
            *read("sigmas", "token lengths", when=of_variant("schnell")),
            _REPAIRED,
            *HALF_KEPT,
            *ran_with_cuda_noise("kohya_flux", "kohya_flux_lora", pixels=1),
            *ran("kohya_flux_lora", topics=("LoRA scale",)),
        ),
    ),
    Way(
        ID,
        "sd35",
        # sd3_models.py gives `attention` the number of heads where it expects the size of one
        differs={"swapped_heads": True, "text_rules": "kohya"},
        variants=dict.fromkeys(("large", "large-turbo", "3-medium"), Change({"swapped_heads": False})),
        noise=Noise("torch-cpu", "nchw", "float32 then precision", "sd3_train_utils.py, do_sample."),
        sizes=SIZES["sd35"],
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(HALF,),
        claims=(
            *MISREAD,
            _REPAIRED,
            *read("model", when=of_variant("large", "large-turbo", "3-medium")),
            *differs(
                "model",
                text="kohya runs the second self-attention of SD 3.5 Medium with heads and head size swapped; this "
                "config sets it to run as published",
                when=lambda case: not case.profile.swapped_heads,
            ),
            *ran("kohya_sd35", "kohya_sd35_lora"),
            *ran("kohya_sd35_lora", topics=("LoRA scale",)),
        ),
    ),
    Way(
        ID,
        "sdxl",
        differs={
            "offset": 0,
            "final_alpha": "1",
            "clip_sample": True,
            "weighting": True,
            "text_rules": "kohya",
            "rounding": "round",
        },
        variants={},
        noise=Noise("torch-cuda", "nchw", "precision", f"The global CUDA generator right after manual_seed.{GPU_NOTE}"),
        sizes=SIZES["sdxl"],
        samplers=Samplers({"ddim": Change({}), **_SCHEDULERS}, None, _plain),
        negative="CFG > 1",
        remarks=(),
        claims=(
            *MISREAD,
            _REPAIRED,
            *_LONG,
            *ran("kohya_sdxl_euler", topics=("sigmas",), when=sampled_with("euler", "k_euler")),
            Claim("sigmas", "exact", _OLD_DIFFUSERS, SCHEDULERS, when=sampled_with("dpmsolver")),
            *scheduled(*_SCHEDULERS),
            *steps_on_cuda(*_DRAWING),
            *ran_with_cuda_noise("kohya_sdxl", "kohya_sdxl_euler"),
            *read("LoRA scale", text=LORA_SCALE),
        ),
    ),
    Way(
        ID,
        "chroma",
        differs={},
        variants={},
        noise=_FLUX_NOISE,
        sizes=SIZES["chroma"],
        samplers=FLOW_SAMPLERS,
        negative="only `--l` ≠ 1",
        remarks=(HALF,),
        claims=(*NAMED_NOISE, *HALF_STEPS, *read("LoRA scale", text=LORA_SCALE), *read(*OF_SAMPLING)),
    ),
)
