"""How EriDiffusion V2 samples.

Sources: CodeAlexx/EriDiffusion@8f1309b (branch master): `crates/eridiffusion-cli/src/bin/sample_flux.rs`,
`sample_sd35.rs`, `sample_sdxl.rs`, `sample_chroma.rs`, `crates/eridiffusion-core/src/sampler/flux_sampler.rs` (L21-49),
`sdxl_sampler.rs` (L56-194), `lora.rs`; flame-core. CodeAlexx/EriTrainer@c2c7ac9 holds the same with other formatting.
"""

from __future__ import annotations

from typing import Final

from ..claims import Case, Claim, differs, read, tested
from ..trainer import FLOW_SAMPLERS, HALF, Change, Noise, Samplers, Sizes, Way, scheduler

ID: Final = "eridiffusion-v2"
SIZES: Final = {
    "flux": Sizes(16, "floor", 0),
    "sd35": Sizes(8, "floor", 0),
    "sdxl": Sizes(8, "floor", 0),
    "chroma": Sizes(16, "floor", 0),
}
_LORA_SCALE: Final = read(
    "LoRA scale",
    text="lora.rs: --lora-alpha / --lora-rank, whatever alpha the file holds; a config without a command line does not "
    "say them, and the file's alpha / rank counts then",
)
_READ: Final = (*_LORA_SCALE, *read("negative", "size", "guidance", "precision"))
_TESTS: Final = "samplers/test_eridiffusion_v2.py::"
_IN_HOST: Final = "nodes/test_eridiffusion_v2_sdxl.py::test_final_latent_is_the_programs"
#: The words of sample_sdxl's --scheduler (L184-188); any other stops it.
SDXL_SCHEDULERS: Final = {
    **dict.fromkeys(("euler_a", "euler-a", "eulera"), scheduler("euler_a", "leading")),
    "ddim": Change({"sampler": ""}),
}
#: The words of sample_chroma's --sampler, as they stand (sample_chroma.rs L338-355); any other stops it.
CHROMA_SAMPLERS: Final = Samplers({"euler": Change({}), "dpmpp_2m": Change({"sampler": "dpmpp_2m"})}, None, plain=str)


def _mu_is_not_kept(case: Case) -> bool:
    """Configs with pictures at which mu leaves 0.5 to 1.15, where one pair of shifts does not hold for all."""
    areas = [item.width * item.height for item in case.spec.items]
    return "base_shift" not in case.spec.sampling and any(not 256**2 <= area <= 1024**2 for area in areas)


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
        remarks=(HALF,),
        claims=(
            *differs(
                "sigmas",
                text="The trainer keeps mu within 0.5 and 1.15, which does not hold here for pictures of several sizes",
                when=_mu_is_not_kept,
            ),
            tested("sigmas", f"{_TESTS}test_flux_sigmas_are_the_programs"),
            *read("noise", "token lengths"),
            *_READ,
        ),
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
        differs={"sampler": "euler_a", "start": "first sigma", "offset": -1, "final_alpha": "1"},
        variants={},
        noise=Noise(
            "rust-stdrng-box-muller-1e-6",
            "nchw",
            "precision",
            "sample_sdxl seeds StdRng with seed + prompt index; Euler A's steps go on with the same stream.",
        ),
        sizes=SIZES["sdxl"],
        samplers=Samplers(SDXL_SCHEDULERS, None),
        negative="CFG > 1",
        remarks=(HALF,),
        claims=(
            Claim("noise", "close", "", (f"{_TESTS}test_noise_is_the_programs",), 5e-7, "before rounding"),
            tested("sigmas", f"{_TESTS}test_sdxl_levels_are_the_programs", _IN_HOST),
            tested("guidance", _IN_HOST),
            *_LORA_SCALE,
            *read("token lengths", "negative", "size", "precision"),
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
        samplers=CHROMA_SAMPLERS,
        negative="CFG",
        remarks=(HALF,),
        claims=(
            tested("sigmas", f"{_TESTS}test_flux_sigmas_are_the_programs", f"{_TESTS}test_dpmpp_2m_is_the_programs"),
            *read("noise", "token lengths"),
            *_READ,
        ),
    ),
)
