"""How EriDiffusion V1 samples by its documents; no published version of its code could write a sample.

docs/eridiffusion.md maps the documents' names. Their titles: "Flux Sampling Implementation", "SD 3.5 Sampling
Implementation", "Sampling Implementation Status", "Sampling and Inference API Documentation", "Inference Integration
Plan". What they leave open is taken from CodeAlexx/EriDiffusion, src/trainers/{flux_sampling,sd35_sampling,
sdxl_sampling_complete}.rs.
"""

from __future__ import annotations

from typing import Any, Final

from ...families.profile import FALLBACK_NOISE, Remark
from ..claims import SCHEDULERS, Case, Claim, differs, documented, read, unknown
from ..trainer import FLOW_AND_DDIM, Change, Noise, Samplers, Sizes, Way, scheduler

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
    f"Noise is {FALLBACK_NOISE}: the documents ask for Gaussian noise of a seed and name no generator.", ("noise",)
)
#: The words of the documents, and the spellings of the same that other tools have.
_SDXL_WORDS: Final = {
    "ddim": Change({}),
    "euler": scheduler("euler", "leading"),
    "ddpm": Change({"eta": 1.0}),
    **dict.fromkeys(("euler_a", "euler_ancestral"), scheduler("euler_a", "leading")),
    **dict.fromkeys(("dpm++", "dpmpp", "dpm++_2m", "dpmpp_2m", "dpmsolver++"), scheduler("dpmsolver++", "leading")),
}
_TESTS: Final = "spec/test_spec_eridiffusion_documents.py::"


def _plain(sampler: str) -> str:
    return sampler.lower().replace(" ", "_").replace("-", "_")


def _named_another(case: Case) -> bool:
    """Configs of SDXL with another sampler than DDIM."""
    return bool(case.profile.sampler or case.profile.eta) and case.spec.family == "sdxl"


def _claims(sigmas: Claim, tokens: tuple[Claim, ...], negative: str, *more: Claim) -> tuple[Claim, ...]:
    """negative: what the documents say of it."""
    asked = f"{_TESTS}test_sample_sections_are_read_as_they_stand"
    return (
        documented("sigmas", "The sampler by its name, at DDIM's timesteps", *SCHEDULERS, when=_named_another),
        *differs(
            "noise",
            text="The documents ask for Gaussian noise of a seed and name no generator; V1's code drew it on CUDA "
            "without the seed, or uniform numbers",
        ),
        sigmas,
        *tokens,
        documented("negative", negative, f"{_TESTS}test_negative"),
        documented("size", "The config's width and height, 1024 × 1024 without them (SamplingConfig)", asked),
        documented("guidance", "guidance_scale or cfg_scale, 7.5 without them (Flux 3.5)", asked),
        documented("LoRA scale", "w' = w + scale · up · down, with lora_scale; alpha / rank is the source's", asked),
        *unknown("precision", text="Neither documents nor source tell what V1's samplers compute in"),
        *more,
    )


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
    _way(
        "flux",
        {},
        {"schnell": Change({"shifted": False})},
        FLOW_AND_DDIM,
        _claims(
            documented(
                "sigmas",
                "get_flux_schedule(num_steps, shift), the shifted sigmoid; where the config has no shift, by size",
                "samplers/test_schedules.py::test_the_shifted_sigmoid_is_its_formula",
            ),
            read("token lengths", text="The documents name no length; flux_sampling.rs has 512"),
            "Flux runs one pass, with the guidance embedding",
        ),
    ),
    _way(
        "sd35",
        {"t5_length": 154, "spacing": "linear"},
        {},
        FLOW_AND_DDIM,
        _claims(
            documented(
                "sigmas",
                "Linear, or cosine with schedule: cosine; the shift of 3 is that of candle's example, which the "
                "documents take as reference, and shift: 1 is the plain get_linear_schedule(num_steps)",
                f"{_TESTS}test_schedules",
            ),
            (documented("token lengths", "CLIP-L 77, CLIP-G 77, T5-XXL 154", f"{_TESTS}test_token_lengths"),),
            "neg, with classifier-free guidance",
            *differs("model", text="The documents' VAE scale of 0.18215 is not SD 3.5's: the model's own is used"),
        ),
    ),
    _way(
        "sdxl",
        {"offset": 0, "final_alpha": "1", "empty": "zeros"},
        {},
        Samplers(_SDXL_WORDS, None, _plain),
        _claims(
            documented(
                "sigmas",
                "DDIM; its leading timesteps from offset 0 and the final alpha of 1 are those of "
                "sdxl_sampling_complete.rs",
                "samplers/test_schedules.py::test_ddim_timesteps_are_those_of_diffusers_for_every_number_of_steps",
            ),
            (documented("token lengths", "Text embeddings [B, 77, 2048]", f"{_TESTS}test_token_lengths"),),
            "neg; an empty one is zeros",
        ),
    ),
)
