"""How sd-scripts samples.

Sources: kohya-ss/sd-scripts `library/flux_train_utils.py`, `sd3_train_utils.py`, `train_util.py`, `strategy_base.py`.
"""

from __future__ import annotations

import re
from typing import Final

from ...families.profile import Remark
from ..claims import (
    HALF_STEPS,
    NAMED_NOISE,
    OF_SAMPLING,
    Claim,
    differs,
    in_prompts,
    of_variant,
    ran,
    ran_with_cuda_noise,
    read,
    sampled_with,
)
from ..trainer import (
    DIFFUSION_WORDS,
    FLOW_SAMPLERS,
    GPU_NOTE,
    HALF,
    NOT_REPRODUCED,
    UNEVEN_EULER,
    UNEVEN_EULER_TEXT,
    Change,
    Noise,
    Samplers,
    Sizes,
    Way,
)

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
_WEIGHTS: Final = Remark(
    "kohya multiplies embeddings by a weight like (word:1.2), ComfyUI moves them away from the empty prompt's; [word] "
    "is a weight in kohya and text in ComfyUI: the pictures differ.",
    ("token lengths",),
)
#: Words for which kohya takes something else than DDIM; all it does not know are DDIM to it.
_KNOWN: Final = frozenset(
    (
        *("ddpm", "pndm", "lms", "euler", "euler_a", "dpmsolver", "dpmsolver++", "dpmsingle", "heun"),
        *("dpm_2", "dpm_2_a"),
    )
)
#: The slow CLIPTokenizer of transformers 4 repairs these with ftfy before it looks them up.
_REPAIRED: Final = re.compile(r"[\u2018-\u201f\ufb00-\ufb06]|&#?\w+;")
_TOKENS: Final[tuple[Claim, ...]] = differs(
    "token lengths",
    text="kohya's tokenizer (transformers 4 with ftfy) turns typographic quotes, ligatures and &amp; into plain "
    "characters, ComfyUI's does not: prompts that hold one give other tokens",
    when=in_prompts(_REPAIRED.search),
)


def _plain(sampler: str) -> str:
    word = sampler.lower().removeprefix("k_")
    return word if word in _KNOWN else "ddim"


WAYS: Final = (
    Way(
        ID,
        "flux",
        differs={},
        variants={"schnell": Change({"t5_length": 256})},
        noise=_FLUX_NOISE,
        sizes=SIZES["flux"],
        samplers=FLOW_SAMPLERS,
        negative="only `--l` ≠ 1",
        remarks=(HALF,),
        claims=(
            *_TOKENS,
            *read("sigmas", "token lengths", when=of_variant("schnell")),
            *ran_with_cuda_noise("kohya_flux", "kohya_flux_lora"),
            *ran("kohya_flux_lora", topics=("LoRA scale",)),
        ),
    ),
    Way(
        ID,
        "sd35",
        differs={},
        variants={},
        noise=Noise("torch-cpu", "nchw", "float32 then precision", "sd3_train_utils.py, do_sample."),
        sizes=SIZES["sd35"],
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(HALF,),
        claims=(
            *_TOKENS,
            *ran("kohya_sd35", topics=("noise", "sigmas", "size")),
            *read("model", when=of_variant("large", "large-turbo")),
            *differs(
                "model",
                text="In SD 3.5 Medium kohya runs the second self-attention in 64 heads of 24 instead of 24 of 64 "
                "(library/sd3_models.py gives the number of heads where the size of one is expected); ComfyUI runs the "
                "model as published, so that pictures differ",
            ),
            *read("token lengths", "negative", "guidance", "LoRA scale", "precision"),
        ),
    ),
    Way(
        ID,
        "sdxl",
        differs={"offset": 0, "final_alpha": "1", "clip_sample": True, "weighting": True, "rounding": "round"},
        variants={},
        noise=Noise("torch-cuda", "nchw", "precision", f"The global CUDA generator right after manual_seed.{GPU_NOTE}"),
        sizes=SIZES["sdxl"],
        samplers=Samplers({**DIFFUSION_WORDS, "euler": UNEVEN_EULER}, NOT_REPRODUCED, _plain),
        negative="CFG > 1",
        remarks=(_WEIGHTS,),
        claims=(
            *differs(
                "token lengths",
                text="kohya multiplies embeddings by a weight like (word:1.2), ComfyUI moves them away from the empty "
                "prompt's; [word] is a weight in kohya and text, so other tokens, in ComfyUI",
                when=in_prompts(re.compile(r"(?<!\\)[()\[\]]").search),
            ),
            *_TOKENS,
            *differs("sigmas", text=UNEVEN_EULER_TEXT, when=sampled_with("euler", "k_euler")),
            *read("sigmas", when=sampled_with("ddpm", "k_ddpm")),
            *ran_with_cuda_noise("kohya_sdxl"),
            *read("LoRA scale"),
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
        claims=(*_TOKENS, *NAMED_NOISE, *HALF_STEPS, *read(*OF_SAMPLING)),
    ),
)
