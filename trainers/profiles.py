"""How each trainer samples each family: noise, schedule, token lengths, empty prompts; one table."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any, Final

from ..errors import WorkflowError
from ..families import FAMILIES
from ..families.profile import FALLBACK_NOISE, Profile, Remark
from ..spec import SampleSpec

_REFERENCE: Final = {name: family.reference for name, family in FAMILIES.items()}

_V1: Final = Remark(
    f"Noise is {FALLBACK_NOISE} and the schedule the family's reference; EriDiffusion V1's stand-alone samplers draw "
    "uniform noise and use schedules of their own.",
    ("noise", "sigmas"),
)

_NO_SKIP: Final = (
    'Skip-layer guidance is off. Stability\'s own settings for SD 3.5 Medium have it on: write skip_layers: "7, 8, 9" '
    "in the sampling section of the native form (scale 2.5 from 0.01 to 0.2 of the run are its defaults)."
)

V2_FLUX: Final = Remark(
    "EriDiffusion V2's Flux schedule is not published; Black Forest Labs' with mu kept within 0.5 and 1.15 is used.",
    ("sigmas",),
)
V2_SDXL: Final = Remark(
    "EriDiffusion V2's SDXL sampler is not published: the family's reference settings are used.", ("sigmas",)
)
_HALF: Final = Remark("The trainer steps in half precision, the host in float32: close, not equal.", ("precision",))
_KOHYA_WEIGHTS: Final = Remark(
    "kohya multiplies embeddings by a weight like (word:1.2), ComfyUI moves them away from the empty prompt's: close, "
    "not equal.",
    ("token lengths",),
)
#: musubi-tuner shifts Flux by the same factor at every size; as mu it is this.
_MUSUBI_MU: Final = math.log(14.5)

#: (trainer, family) -> what differs from the reference of that family. Sources: the trainers' sampling code, named in
#: `spec/<trainer>.py` and in `samplers.noise`.
PROFILES: Final[dict[tuple[str, str], Profile]] = {
    ("native", "flux"): _REFERENCE["flux"],
    ("native", "sd35"): _REFERENCE["sd35"],
    ("native", "sdxl"): _REFERENCE["sdxl"],
    ("eridiffusion", "flux"): replace(_REFERENCE["flux"], remarks=(_V1,)),
    ("eridiffusion", "sd35"): replace(_REFERENCE["sd35"], t5_length=154, spacing="linear", remarks=(_V1,)),
    ("eridiffusion", "sdxl"): replace(_REFERENCE["sdxl"], remarks=(_V1,)),
    ("eridiffusion-v2", "flux"): replace(_REFERENCE["flux"], remarks=(V2_FLUX, _HALF)),
    ("eridiffusion-v2", "sd35"): replace(
        _REFERENCE["sd35"], t5_length=77, spacing="linear", rounding="round", remarks=(_HALF,)
    ),
    ("eridiffusion-v2", "sdxl"): replace(_REFERENCE["sdxl"], remarks=(V2_SDXL,)),
    ("ai-toolkit", "flux"): replace(_REFERENCE["flux"], rounding="round"),
    ("ai-toolkit", "sd35"): replace(_REFERENCE["sd35"], rounding="round"),
    ("ai-toolkit", "sdxl"): replace(_REFERENCE["sdxl"], offset=0, rounding="round"),
    ("kohya", "flux"): replace(_REFERENCE["flux"], remarks=(_HALF,)),
    ("kohya", "sd35"): replace(_REFERENCE["sd35"], remarks=(_HALF,)),
    ("kohya", "sdxl"): replace(
        _REFERENCE["sdxl"],
        offset=0,
        final_alpha="1",
        clip_sample=True,
        weighting=True,
        rounding="round",
        remarks=(_KOHYA_WEIGHTS,),
    ),
    ("simpletuner", "flux"): replace(_REFERENCE["flux"], rounding="round"),
    ("simpletuner", "sd35"): replace(_REFERENCE["sd35"], t5_length=154, rounding="round"),
    ("simpletuner", "sdxl"): replace(_REFERENCE["sdxl"], spacing="trailing", rounding="round"),
    ("onetrainer", "flux"): replace(_REFERENCE["flux"], t5_length=77, spacing="timesteps", rounding="round"),
    ("onetrainer", "sd35"): replace(_REFERENCE["sd35"], t5_length=77, rounding="round"),
    ("onetrainer", "sdxl"): replace(_REFERENCE["sdxl"], rounding="round"),
    ("musubi", "flux"): replace(_REFERENCE["flux"], base_shift=_MUSUBI_MU, max_shift=_MUSUBI_MU, remarks=(_HALF,)),
}

#: Trainer's sampler words that need no remark, for flow models.
_FLOW_WORDS: Final = ("flowmatch", "euler", "flow_matching", "flow_match_euler")
#: What a trainer's Euler for SDXL starts from where it is not DDIM's timesteps (diffusers' EulerDiscreteScheduler).
_EULER_SPACING: Final = {"kohya": "linspace", "onetrainer": "linspace"}
_EULER: Final = "Euler's timesteps are fractions in the trainer and the nearest whole ones here: close, not equal."
#: Words for which kohya takes something else than DDIM; all it does not know are DDIM to it.
_KOHYA_SAMPLERS: Final = frozenset(
    (
        *("ddpm", "pndm", "lms", "euler", "euler_a", "dpmsolver", "dpmsolver++", "dpmsingle", "heun"),
        *("dpm_2", "dpm_2_a"),
    )
)
#: Trainers that shift Flux schnell like dev -> its T5 tokens there, None = as for dev.
_SCHNELL_SHIFTED: Final[dict[str, int | None]] = {
    "ai-toolkit": None,
    "eridiffusion-v2": None,
    "kohya": 256,
    "simpletuner": 256,
    "onetrainer": None,
}


def profile_for(spec: SampleSpec, sampler: str | None = None) -> Profile:
    """How `spec.trainer` samples `spec.family`, with the config's own settings and sampler word applied.

    sampler: the trainer's word for the sampler of these items, None = its default. A trainer without a row gets the
    family's reference settings and a note. Source: the trainers' own sampling code, see each row.
    """
    profile = PROFILES.get((spec.trainer, spec.family))
    if profile is None:
        note = f"No sampling profile for trainer {spec.trainer!r}: the family's reference settings are used."
        profile = _REFERENCE[spec.family].remarked(note)
    if spec.precision == "float32":  # as the host
        profile = replace(profile, remarks=tuple(remark for remark in profile.remarks if remark is not _HALF))
    profile = _with_noise(profile, spec)
    if spec.family == "sdxl":
        profile = _diffusion_sampler(profile, spec.trainer, sampler)
    else:
        if sampler is not None and sampler.lower() not in _FLOW_WORDS:
            note = f"Sampler {sampler!r} does not exist for flow models: Euler is used."
            profile = profile.remarked(note)
        if spec.variant == "schnell":
            profile = _schnell(profile, spec)
        if spec.t5_length is not None:
            profile = replace(profile, t5_length=spec.t5_length)
    changes: dict[str, Any] = dict(spec.sampling)
    return _skip_layers(replace(profile, **changes), spec)


def _skip_layers(profile: Profile, spec: SampleSpec) -> Profile:
    """Refuse skip-layer guidance where there is none, and say that Stability uses it on Medium where it is off."""
    if spec.family != "sd35":
        if profile.skip_layers:
            raise WorkflowError(
                f"skip-layer guidance is for SD 3.5, not {spec.family}",
                field="sampling.skip_layers",
                remedy="Leave it out.",
            )
        return profile
    if profile.skip_layers and re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", profile.skip_layers) is None:
        raise WorkflowError(
            f"{profile.skip_layers!r} names no layers",
            field="sampling.skip_layers",
            remedy='Write them as in "7, 8, 9".',
        )
    if spec.variant == "medium" and not profile.skip_layers and spec.trainer == "native":
        return profile.remarked(_NO_SKIP)
    return profile


def _with_noise(profile: Profile, spec: SampleSpec) -> Profile:
    """Ask `samplers.noise` for the trainer's noise; keep the fallback, with a note, where no seed can give it."""
    if spec.trainer in ("native", "eridiffusion") or "noise" in spec.sampling:
        return profile
    from ..samplers.noise import noise_profile

    try:
        own = noise_profile(spec.trainer, spec.family, spec.precision or "bfloat16")
    except ValueError as error:
        return profile.remarked(f"Noise: {error}; {FALLBACK_NOISE} is used instead.", "noise")
    profile = replace(profile, noise=str(own))
    return profile if own.generator == "torch-cpu" else profile.remarked(f"Noise {own}: {own.note}", "noise")


def _schnell(profile: Profile, spec: SampleSpec) -> Profile:
    """Flux schnell: BFL samples it unshifted with 256 tokens; most trainers shift it like dev."""
    if spec.trainer in _SCHNELL_SHIFTED:
        return replace(profile, t5_length=_SCHNELL_SHIFTED[spec.trainer] or profile.t5_length)
    if spec.trainer == "native":
        profile = replace(profile, t5_length=256)
    return replace(profile, shifted=False)


def _diffusion_sampler(profile: Profile, trainer: str, sampler: str | None) -> Profile:
    """Apply the trainer's sampler word to an SDXL profile: Euler takes DDIM's steps, but ends on sigma 0 (alpha 1)."""
    word = (sampler or "ddim").lower()
    if trainer == "kohya":
        word = word.removeprefix("k_")
        word = word if word in _KOHYA_SAMPLERS else "ddim"
    if word == "ddim":
        return profile
    if word == "euler":
        spacing = _EULER_SPACING.get(trainer, profile.spacing)
        profile = replace(profile, final_alpha="1", clip_sample=False, spacing=spacing)
        return profile.remarked(_EULER, "sigmas") if spacing == "linspace" else profile
    if word == "ddpm":
        note = "DDPM draws new noise at every step; the host's generator differs from the trainer's."
        return replace(profile, eta=1.0).remarked(note, "noise")
    note = f"Sampler {sampler!r} is not among those reproduced here (ddim, ddpm, euler): DDIM is used instead."
    return profile.remarked(note, "sigmas")
