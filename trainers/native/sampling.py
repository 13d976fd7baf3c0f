"""How the pack's own form samples: schedules as the families' authors have them, all else as ComfyUI does it."""

from __future__ import annotations

from typing import Final

from ...families.profile import Remark
from ..claims import NAMED_NOISE, Claim, read, sampled_with, scheduled, tested
from ..trainer import DIFFUSION_WORDS, FLOW_AND_DDIM, Change, Noise, Samplers, Sizes, Way, scheduler

ID: Final = "native"
_NOISE: Final = Noise("torch-cpu", "nchw", "float32", "The host's own noise (comfy/sample.py, prepare_noise).")
_STOCK: Final = "nodes/test_sample_node.py::test_equals_the_stock_sampler"
_NO_SKIP: Final = Remark(
    'Skip-layer guidance is off. Stability\'s own settings for SD 3.5 Medium have it on: write skip_layers: "7, 8, 9" '
    "in the sampling section of the native form (scale 2.5 from 0.01 to 0.2 of the run are its defaults).",
    where_off="skip_layers",
)
#: diffusers' schedulers with SDXL's own spacing.
_SCHEDULERS: Final = {
    word: scheduler(word, "leading")
    for word in ("euler_a", "heun", "dpm_2", "dpm_2_a", "lms", "dpmsolver++", "sde-dpmsolver++", "dpmsingle", "unipc")
}


def _claims(sigmas: Claim, encoder: str, beside: str = _STOCK) -> tuple[Claim, ...]:
    """What holds by comparison with ComfyUI's own nodes or another sampler (`beside`); schedules are the families'."""
    return (
        *NAMED_NOISE,
        tested("noise", "nodes/test_sample_node.py::test_default_noise_is_the_hosts"),
        sigmas,
        tested("token lengths", encoder, "nodes/test_text_encode.py::test_exact_t5_length_as_hugging_face"),
        tested("negative", beside, "nodes/test_sample_node.py::test_no_unconditional_pass_at_cfg_one"),
        tested("size", "spec/test_spec_model.py::test_written_by_hand"),
        tested("guidance", beside),
        tested("LoRA scale", "nodes/test_lora_node.py::test_the_step_is_applied_at_its_strength"),
        tested("precision", beside),
        tested("model", beside),
    )


WAYS: Final = (
    Way(
        ID,
        "flux",
        differs={},
        variants={"schnell": Change({"shifted": False, "t5_length": 256})},
        noise=_NOISE,
        sizes=Sizes(16, "ceil", 16),
        samplers=FLOW_AND_DDIM,
        negative="CFG",
        remarks=(),
        claims=_claims(
            tested("sigmas", "samplers/test_schedules.py::test_flux_sigmas_are_those_of_diffusers"),
            "nodes/test_text_encode.py::test_equals_flux_node",
        ),
    ),
    Way(
        ID,
        "sd35",
        differs={},
        variants={"medium": Change({}, (_NO_SKIP,))},
        noise=_NOISE,
        sizes=Sizes(8, "floor", 0),
        samplers=FLOW_AND_DDIM,
        negative="CFG",
        remarks=(),
        claims=_claims(
            tested("sigmas", "samplers/test_schedules.py::test_flow_timesteps_are_those_of_diffusers"),
            "nodes/test_text_encode.py::test_equals_sd3_node",
        ),
    ),
    Way(
        ID,
        "chroma",
        differs={},
        variants={},
        noise=_NOISE,
        sizes=Sizes(16, "ceil", 16),
        samplers=FLOW_AND_DDIM,
        negative="CFG",
        remarks=(),
        claims=_claims(
            tested("sigmas", "samplers/test_schedules.py::test_flux_sigmas_are_those_of_diffusers"),
            "nodes/test_chroma_text.py::test_padding_is_seen_and_kept_as_each_trainer_does",
            "nodes/test_chroma_in_host.py::test_the_final_latent_is_diffusers",
        ),
    ),
    Way(
        ID,
        "sdxl",
        differs={},
        variants={},
        noise=_NOISE,
        sizes=Sizes(8, "floor", 0),
        samplers=Samplers({**DIFFUSION_WORDS, **_SCHEDULERS}, None),
        negative="CFG",
        remarks=(),
        claims=(
            *scheduled(*_SCHEDULERS),
            *read("sigmas", text="Euler and DDPM take DDIM's timesteps", when=sampled_with("euler", "ddpm")),
            *_claims(
                tested(
                    "sigmas",
                    "samplers/test_schedules.py::test_ddim_timesteps_are_those_of_diffusers_for_every_number_of_steps",
                ),
                "nodes/test_text_encode.py::test_equals_sdxl_node",
            ),
        ),
    ),
)
