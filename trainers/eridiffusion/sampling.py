"""How EriDiffusion V1 samples, as far as its configs ask for it.

Source: CodeAlexx/EriDiffusion `src/inference/*_sampling.rs`, `src/trainers/sampling/generator.rs`.
"""

from __future__ import annotations

from typing import Any, Final

from ...families.profile import FALLBACK_NOISE, Remark
from ..claims import Claim, differs, guided, read, unknown
from ..trainer import DIFFUSION_SAMPLERS, FLOW_SAMPLERS, Change, Noise, Samplers, Sizes, Way

ID: Final = "eridiffusion"
#: Whole latent cells (8), or where the model takes patches of 2 × 2 of them, 16.
SIZES: Final = {"flux": Sizes(16, "floor", 0), "sd35": Sizes(16, "floor", 0), "sdxl": Sizes(8, "floor", 0)}
_NOISE: Final = Noise(
    "rust-stdrng-uniform",
    "nchw",
    "precision",
    "EriDiffusion V1's samplers draw uniform numbers in [-1, 1), not Gaussian ones "
    "(src/inference/*_sampling.rs, prepare_latents); without a seed its noise cannot be reproduced.",
    in_graphs=False,
)
_REMARK: Final = Remark(
    f"Noise is {FALLBACK_NOISE} and the schedule the family's reference; EriDiffusion V1's stand-alone samplers draw "
    "uniform noise and use schedules of their own.",
    ("noise", "sigmas"),
)
_CLAIMS: Final[tuple[Claim, ...]] = (
    *differs("noise", text="V1's own samplers draw uniform numbers, not Gaussian ones"),
    *differs("sigmas", text="V1's samplers use schedules of their own: the family's reference is used"),
    *unknown("token lengths", text="They are assumed: V1's own samples do not tell them"),
    *read("negative"),
    *differs("size", text="This is what the config asks for; V1's code takes a size of its own"),
    *differs("guidance", text="This is what the config asks for; V1's own code has constants instead"),
    *read("LoRA scale"),
    *unknown("precision", text="Its source does not tell what V1's samplers compute in"),
)
_NO_NEGATIVE: Final = differs("negative", text="V1's own SD 3.5 samples leave the config's aside", when=guided)


def _way(
    family: str, values: dict[str, Any], variants: dict[str, Change], samplers: Samplers, claims: tuple[Claim, ...]
) -> Way:
    return Way(
        ID,
        family,
        differs=values,
        variants=variants,
        noise=_NOISE,
        sizes=SIZES[family],
        samplers=samplers,
        negative="CFG",
        remarks=(_REMARK,),
        claims=claims,
    )


WAYS: Final = (
    _way("flux", {}, {"schnell": Change({"shifted": False})}, FLOW_SAMPLERS, _CLAIMS),
    _way("sd35", {"t5_length": 154, "spacing": "linear"}, {}, FLOW_SAMPLERS, (*_NO_NEGATIVE, *_CLAIMS)),
    _way("sdxl", {}, {}, DIFFUSION_SAMPLERS, _CLAIMS),
)
