"""How EriDiffusion V2 samples.

Sources: CodeAlexx/EriDiffusionV2 `crates/eridiffusion-cli/src/bin/sample_flux.rs`, `sample_sd35.rs`,
`sample_chroma.rs`; flame-core.
"""

from __future__ import annotations

from typing import Final

from ...families.profile import Remark
from ..claims import differs, read, sampled_with, unknown
from ..trainer import DIFFUSION_SAMPLERS, FLOW_SAMPLERS, HALF, Change, Noise, Samplers, Sizes, UnknownNoise, Way

ID: Final = "eridiffusion-v2"
SIZES: Final = {
    "flux": Sizes(16, "floor", 0),
    "sd35": Sizes(8, "floor", 0),
    "sdxl": Sizes(8, "floor", 0),
    "chroma": Sizes(16, "floor", 0),
}
_FLUX: Final = Remark(
    "EriDiffusion V2's Flux schedule is not published; Black Forest Labs' with mu kept within 0.5 and 1.15 is used.",
    ("sigmas",),
)
_SDXL: Final = Remark(
    "EriDiffusion V2's SDXL sampler is not published: the family's reference settings are used.", ("sigmas",)
)
_MULTISTEP: Final = Remark("Sampler {sampler!r} is not reproduced: Euler is used, the pictures differ.", ("sigmas",))
_READ: Final = read("negative", "size", "guidance", "LoRA scale", "precision")

WAYS: Final = (
    Way(
        ID,
        "flux",
        differs={},
        variants={"schnell": Change({})},
        noise=Noise(
            "rust-stdrng-ziggurat",
            "packed",
            "precision",
            "sample_flux seeds flame-core's host generator with seed + prompt index and draws tokens; read in "
            "flame-core as of April 2026 (src/rng/mod.rs, sample_normal), a later version may differ.",
        ),
        sizes=SIZES["flux"],
        samplers=FLOW_SAMPLERS,
        negative="only `--cfg` > 1",
        remarks=(_FLUX, HALF),
        claims=(*read("noise", "token lengths"), *unknown("sigmas", text=_FLUX.text), *_READ),
    ),
    Way(
        ID,
        "sd35",
        differs={"t5_length": 77, "spacing": "linear", "rounding": "round"},
        variants={},
        noise=Noise(
            "rust-stdrng-box-muller", "nchw", "precision", "sample_sd35 seeds StdRng with seed + prompt index."
        ),
        sizes=SIZES["sd35"],
        samplers=FLOW_SAMPLERS,
        negative="CFG",
        remarks=(HALF,),
        claims=(*read("noise", "sigmas", "token lengths"), *_READ),
    ),
    Way(
        ID,
        "sdxl",
        differs={},
        variants={},
        noise=UnknownNoise(
            "how EriDiffusion V2 draws its SDXL noise is not known (it never samples in the run and its sample_sdxl is "
            "not published); only a noise file written by it can match"
        ),
        sizes=SIZES["sdxl"],
        samplers=DIFFUSION_SAMPLERS,
        negative="CFG",
        remarks=(_SDXL,),
        claims=(
            *unknown("noise", "sigmas", "token lengths", "negative", "size", "guidance", "precision", text=_SDXL.text),
            *read("LoRA scale"),
        ),
    ),
    Way(
        ID,
        "chroma",
        differs={"t5_padding": "all"},
        variants={},
        noise=Noise(
            "rust-stdrng-box-muller", "nchw", "precision", "sample_chroma seeds StdRng with seed + prompt index."
        ),
        sizes=SIZES["chroma"],
        samplers=Samplers({"euler": Change({})}, _MULTISTEP),
        negative="CFG",
        remarks=(HALF,),
        claims=(
            *differs("sigmas", text=_MULTISTEP.text.format(sampler="dpmpp_2m"), when=sampled_with("dpmpp_2m")),
            *read("noise", "sigmas", "token lengths"),
            *_READ,
        ),
    ),
)
