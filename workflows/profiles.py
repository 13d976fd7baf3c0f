"""How each trainer samples each family: noise, schedule, token lengths, empty prompts; one table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ..spec import SampleSpec

#: Noise used where a trainer's own cannot be had: drawn in float32 on the CPU, NCHW, by torch.
FALLBACK_NOISE: Final = "torch-cpu/nchw/float32"


@dataclass(frozen=True)
class Profile:
    """The numbers a graph carries for one trainer and family.

    noise: profile text of EriTrainerNoise, "generator/layout/dtype". t5_length: exact T5 tokens, 0 = no T5.
    long_prompt: more than 77 CLIP tokens are cut ("truncate") or go on in further chunks ("chunks").
    weighting: whether `(word:1.2)` is syntax (True) or text (False). empty: what an empty prompt means,
    "encode" or "zeros". rounding: how a pixel becomes one of 256 values, "truncate" or "round" (diffusers).
    Flux: shifted (False = schnell), base_shift, max_shift. SD 3.5: shift, spacing.
    SDXL: spacing, offset, final_alpha ("alpha[0]" or "1"), zero_snr, clip_sample, eta.
    notes: what a person should know about the match.
    """

    noise: str = FALLBACK_NOISE
    t5_length: int = 0
    weighting: bool = False
    rounding: str = "truncate"
    long_prompt: str = "truncate"
    empty: str = "encode"
    shifted: bool = True
    base_shift: float = 0.5
    max_shift: float = 1.15
    shift: float = 3.0
    spacing: str = "timesteps"
    offset: int = 1
    final_alpha: str = "alpha[0]"
    zero_snr: bool = False
    clip_sample: bool = False
    eta: float = 0.0
    notes: tuple[str, ...] = ()


_REFERENCE: Final[dict[str, Profile]] = {
    "flux": Profile(t5_length=512),
    "sd35": Profile(t5_length=256, spacing="timesteps"),
    "sdxl": Profile(spacing="leading"),
}

_V1_NOTE: Final = (
    f"Noise is {FALLBACK_NOISE} and the schedule the family's reference; EriDiffusion V1's stand-alone samplers draw "
    "uniform noise and use schedules of their own."
)

#: (trainer, family) -> what differs from the reference of that family.
PROFILES: Final[dict[tuple[str, str], Profile]] = {
    ("native", "flux"): _REFERENCE["flux"],
    ("native", "sd35"): _REFERENCE["sd35"],
    ("native", "sdxl"): _REFERENCE["sdxl"],
    ("eridiffusion", "flux"): replace(_REFERENCE["flux"], notes=(_V1_NOTE,)),
    ("eridiffusion", "sd35"): replace(_REFERENCE["sd35"], t5_length=154, spacing="linear", notes=(_V1_NOTE,)),
    ("eridiffusion", "sdxl"): replace(_REFERENCE["sdxl"], notes=(_V1_NOTE,)),
    ("ai-toolkit", "flux"): replace(_REFERENCE["flux"], rounding="round"),
    ("ai-toolkit", "sd35"): replace(_REFERENCE["sd35"], rounding="round"),
    ("ai-toolkit", "sdxl"): replace(_REFERENCE["sdxl"], offset=0, rounding="round"),
}

#: Trainer's sampler words that need no remark, for flow models.
_FLOW_WORDS: Final = ("flowmatch", "euler")


def profile_for(spec: SampleSpec, sampler: str | None = None) -> Profile:
    """How `spec.trainer` samples `spec.family`, with the config's own token length and sampler word applied.

    sampler: the trainer's word for the sampler of these items, None = its default. A trainer without a row gets the
    family's reference settings and a note. Source: the trainers' own sampling code, see each row.
    """
    profile = PROFILES.get((spec.trainer, spec.family))
    if profile is None:
        note = f"No sampling profile for trainer {spec.trainer!r}: the family's reference settings are used."
        profile = replace(_REFERENCE[spec.family], notes=(note,))
    profile = _with_noise(profile, spec)
    if spec.t5_length is not None and spec.family != "sdxl":
        profile = replace(profile, t5_length=spec.t5_length)
    if spec.family == "sdxl":
        return _diffusion_sampler(profile, sampler)
    if sampler is not None and sampler.lower() not in _FLOW_WORDS:
        note = f"Sampler {sampler!r} does not exist for flow models: Euler is used."
        profile = replace(profile, notes=(*profile.notes, note))
    return _schnell(profile, spec) if spec.variant == "schnell" else profile


def _with_noise(profile: Profile, spec: SampleSpec) -> Profile:
    """Ask `samplers.noise` for the trainer's noise; keep the fallback, with a note, where no seed can give it."""
    if spec.trainer in ("native", "eridiffusion"):
        return profile
    from ..samplers.noise import noise_profile

    try:
        own = noise_profile(spec.trainer, spec.family, spec.precision or "bfloat16")
    except ValueError as error:
        return replace(profile, notes=(*profile.notes, f"Noise: {error}; {FALLBACK_NOISE} is used instead."))
    notes = (*profile.notes, f"Noise {own}: {own.note}") if own.generator != "torch-cpu" else profile.notes
    return replace(profile, noise=str(own), notes=notes)


def _schnell(profile: Profile, spec: SampleSpec) -> Profile:
    """Flux schnell: BFL samples it unshifted with 256 tokens; ai-toolkit shifts it like dev and keeps 512."""
    if spec.trainer == "ai-toolkit":
        return profile
    if spec.trainer == "native" and spec.t5_length is None:
        profile = replace(profile, t5_length=256)
    return replace(profile, shifted=False)


def _diffusion_sampler(profile: Profile, sampler: str | None) -> Profile:
    """Apply the trainer's sampler word to an SDXL profile: Euler takes DDIM's steps, but ends on sigma 0 (alpha 1)."""
    word = (sampler or "ddim").lower()
    if word == "ddim":
        return profile
    if word == "euler":
        return replace(profile, final_alpha="1")
    if word == "ddpm":
        note = "DDPM draws new noise at every step; the host's generator differs from the trainer's."
        return replace(profile, eta=1.0, notes=(*profile.notes, note))
    note = f"Sampler {sampler!r} is not among those reproduced here (ddim, ddpm, euler): DDIM is used instead."
    return replace(profile, notes=(*profile.notes, note))
