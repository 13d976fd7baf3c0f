"""The numbers a graph carries for one config: the family's reference, then the trainer's way, then the config."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from ..errors import WorkflowError
from ..families import FAMILIES
from ..families.noise_profile import NoiseProfile
from ..families.profile import ANCESTRAL, CONTROL_FITS, MEMORY_MODES, Profile, Remark
from ..spec.model import MAX_CHURN, MAX_ETA, MAX_NOISE, SampleSpec
from . import TRAINERS
from .trainer import Way


def way_of(trainer: str, family: str) -> Way | None:
    """How a trainer samples a family, None where nothing is known of that."""
    return TRAINERS[trainer].way(family) if trainer in TRAINERS else None


def profile_for(spec: SampleSpec, sampler: str | None = None, shift: float | None = None) -> Profile:
    """How `spec.trainer` samples `spec.family`, with the config's own settings and sampler word applied.

    sampler: the trainer's word for the sampler of these items, None = its default. shift: that of these items, None =
    the spec's. A trainer of which nothing is known gets the family's reference settings and a remark. Raises
    WorkflowError for settings that no graph can have.
    """
    profile, way = FAMILIES[spec.family].reference, way_of(spec.trainer, spec.family)
    if way is None:
        note = f"No sampling profile for trainer {spec.trainer!r}: the family's reference settings are used."
        profile = profile.remarked(note)
    else:
        profile = _with_noise(_changed(profile, way.differs, way.remarks), spec, way)
        profile = _with_words(profile, spec, way, sampler)
    if profile.t5_length and spec.t5_length is not None:
        profile = replace(profile, t5_length=spec.t5_length)
    profile = _changed(profile, spec.sampling)
    if shift is not None:
        profile = _with_shift(profile, spec.family, shift)
    if profile.offset < 0:
        profile = _from_the_top(profile, spec)
    profile = _with_step_noise(profile, spec)
    _check_noise(profile, spec.family)
    if draws_as_host(profile, spec.family) and not profile.noise.startswith("torch-cpu"):
        note = "DDPM draws new noise at every step; ComfyUI's generator differs from the trainer's."
        profile = profile.remarked(note, "noise")
    for name in ("final_alpha", "zero_snr"):
        if profile.sampler and name in spec.sampling:
            profile = profile.remarked(f"{name} acts with DDIM only, not with {profile.sampler}.", "sigmas")
    _check_sd35(profile, spec)
    _check_control(spec)
    _check_choices(profile, spec.family)
    return replace(profile, remarks=tuple(remark for remark in profile.remarks if _applies(remark, profile, spec)))


def _changed(profile: Profile, values: Mapping[str, Any], remarks: tuple[Remark, ...] = ()) -> Profile:
    return replace(profile, **values, remarks=(*profile.remarks, *remarks))


def _with_noise(profile: Profile, spec: SampleSpec, way: Way) -> Profile:
    """The trainer's own noise."""
    if "noise" in spec.sampling:
        return profile
    if not way.noise.in_graphs:
        return profile
    own = way.noise.text(spec.precision or "bfloat16")
    profile = replace(profile, noise=own)
    return profile if own.startswith("torch-cpu") else profile.remarked(f"Noise {own}: {way.noise.note}", "noise")


def _with_words(profile: Profile, spec: SampleSpec, way: Way, sampler: str | None) -> Profile:
    """What the sampler word and the variant change."""
    change = way.samplers.change(sampler)
    if change is None:
        other = way.samplers.other
        if other is None:
            raise WorkflowError(
                f"there is no sampler {sampler!r} for {spec.family}",
                field="sampler",
                remedy=f"Known ones: {', '.join(way.samplers.words)}.",
            )
        profile = profile.remarked(other.text.format(sampler=sampler), *other.topics)
    else:
        profile = _changed(profile, change.values, change.remarks)
    variant = way.variants.get(spec.variant or "")
    return profile if variant is None else _changed(profile, variant.values, variant.remarks)


def _check_control(spec: SampleSpec) -> None:
    """Refuse control images of models that follow none."""
    if (spec.family, spec.variant) == ("flux", "kontext"):
        return
    for item in spec.items:
        if item.control_image is not None:
            raise WorkflowError(
                f"only Flux Kontext follows control images, not {spec.family} {spec.variant or ''}".rstrip(),
                field=f"items[{item.index}].control_image",
                remedy="Leave it out, or set variant to kontext.",
            )


def _with_shift(profile: Profile, family: str, shift: float) -> Profile:
    """One shift for every size; 0 is the reference's by size, for a family that has one."""
    schedule = FAMILIES[family].schedule(profile)
    by_size = schedule in ("shift by size", "unshifted")
    if schedule == "timesteps" or not math.isfinite(shift) or shift < 0 or (shift == 0 and not by_size):
        raise WorkflowError(
            f"the samples of {family} cannot have shift {shift:g}",
            field="items.shift",
            remedy="Leave it out." if schedule == "timesteps" else "Write a number above 0.",
        )
    reference = FAMILIES[family].reference
    if reference.shift == 0:  # Flux, where 0 is the shift by size
        return replace(
            profile, shifted=True, shift=shift, base_shift=reference.base_shift, max_shift=reference.max_shift
        )
    return replace(profile, shifted=shift == 0, shift=shift) if by_size else replace(profile, shift=shift)


def draws_as_host(profile: Profile, family: str) -> bool:
    """Whether DDIM, SDXL's own sampler, draws noise in its steps, which is ComfyUI's."""
    return profile.eta > 0 and _sampler(profile, family) == "ddim"


def _sampler(profile: Profile, family: str) -> str:
    """The sampler's word, that of the family's own where none is named."""
    return profile.sampler or ("ddim" if FAMILIES[family].schedule(profile) == "timesteps" else "euler")


def _with_step_noise(profile: Profile, spec: SampleSpec) -> Profile:
    """eta and s_churn by the sampler that has them; WorkflowError where none has.

    On SDXL, Euler with eta is ancestral Euler, and DDIM with s_churn is Euler, whose steps are the same.
    """
    steps_down = FAMILIES[spec.family].schedule(profile) == "timesteps"
    asked = _sampler(profile, spec.family)
    _check_step_noise(profile, asked, 1.0 if not steps_down else 1000.0)
    if profile.s_churn > 0 and profile.eta > 0 and steps_down:
        raise WorkflowError(
            f"eta is {profile.eta:g} and s_churn {profile.s_churn:g}, but SDXL's samplers draw one of the two",
            field="sampling.s_churn",
            remedy="Set one of them to 0.",
        )
    if profile.s_churn > 0 and asked != "euler":
        if not steps_down or profile.sampler:
            raise _no_noise("s_churn", asked, "euler")
        note = "s_churn: Euler is sampled in place of DDIM; its steps are the same, and it ends on alpha 1."
        return replace(profile, sampler="euler").remarked(note, "sigmas")
    if profile.eta > 0 and steps_down and asked == "euler":
        return replace(profile, sampler="euler_a")
    if profile.eta > 0 and "eta" in spec.sampling and asked not in ("ddim", "euler", *ANCESTRAL):
        raise _no_noise("eta", asked, ", ".join(("ddim", "euler", *ANCESTRAL)))
    return profile


def _check_step_noise(profile: Profile, sampler: str, highest: float) -> None:
    """Refuse what the nodes do not take. highest: the largest sigma."""
    most = {"eta": 1.0 if sampler == "ddim" else MAX_ETA, "s_churn": MAX_CHURN, "s_noise": MAX_NOISE}
    limits = {**most, "s_tmin": highest}
    for name, limit in limits.items():
        value = getattr(profile, name)
        if not 0.0 <= value <= limit:
            raise WorkflowError(
                f"{name} is {value:g}, with the sampler {sampler} it is 0 to {limit:g}",
                field=f"sampling.{name}",
                remedy="Correct it, or leave it out.",
            )
    if profile.s_churn > 0 and profile.s_tmin > profile.s_tmax:
        raise WorkflowError(
            f"no sigma is above s_tmin, {profile.s_tmin:g}, and below s_tmax, {profile.s_tmax:g}: s_churn never acts",
            field="sampling.s_tmin",
            remedy="Correct it, or leave it out.",
        )


def _check_noise(profile: Profile, family: str) -> None:
    """Refuse noise that there is not, and in the steps noise of which it is not known how it goes on."""
    try:
        noise = NoiseProfile.parse(profile.noise)
    except ValueError as error:
        problem = str(error).removeprefix("profile: ")
        raise WorkflowError(
            f"{profile.noise!r} is no noise: {problem}", field="sampling.noise", remedy="Correct it, or leave it out."
        ) from error
    for name in ("eta", "s_churn"):
        if getattr(profile, name) > 0 and not draws_as_host(profile, family) and not noise.goes_on:
            raise WorkflowError(
                f"{name} is {getattr(profile, name):g}, but the steps have no noise: of {noise} it is not known how it "
                "goes on after the initial noise",
                field=f"sampling.{name}",
                remedy="Set it to 0, or take noise of torch-cpu or torch-cuda in nchw.",
            )


def _no_noise(setting: str, sampler: str, known: str) -> WorkflowError:
    return WorkflowError(
        f"{setting} does not act on the sampler {sampler}",
        field=f"sampling.{setting}",
        remedy=f"Set it to 0, or take one of these samplers: {known}.",
    )


#: Beyond it 1001 - 1000 // steps is 1000; CodeAlexx/EriDiffusion master, sampler/sdxl_sampler.rs::compute_alpha_bar.
_MOST_FROM_THE_TOP: Final = 500


def _from_the_top(profile: Profile, spec: SampleSpec) -> Profile:
    """diffusers' offset that leads to the timesteps 1001 - (i + 1) · (1000 // steps) of EriDiffusion V2."""
    counts = list(dict.fromkeys(item.steps for item in spec.items)) or [30]
    if max(counts) > _MOST_FROM_THE_TOP:
        raise WorkflowError(
            f"{max(counts)} steps begin at timestep 1000, which ComfyUI's table of noise levels does not have",
            field="items.steps",
            remedy=f"Take at most {_MOST_FROM_THE_TOP} steps.",
        )
    profile = replace(profile, offset=1001 - counts[0] * (1000 // counts[0]))
    if len(counts) == 1:
        return profile
    return profile.remarked(f"Timesteps are those of {counts[0]} steps; other numbers of steps begin lower.", "sigmas")


def _applies(remark: Remark, profile: Profile, spec: SampleSpec) -> bool:
    """Steps in float32 need no remark on precision; some remarks are about a setting that is off."""
    if remark.topics == ("precision",) and spec.precision == "float32":
        return False
    return not (remark.where_off and getattr(profile, remark.where_off))


def _check_choices(profile: Profile, family: str) -> None:
    """Refuse a word that there is not; what is known is said."""
    spacings, fit = FAMILIES[family].spacings, profile.control_fit
    for field, word, known, problem in (
        ("control_fit", fit, CONTROL_FITS, f"{fit!r} is no way to fit a control image"),
        ("spacing", profile.spacing, spacings, f"there is no schedule {profile.spacing!r} for {family}"),
        *(("memory", mode, MEMORY_MODES, f"there is no memory switch {mode!r}") for mode in profile.memory_modes),
    ):
        if word not in known:
            remedy = f"Known ones: {', '.join(known)}."
            raise WorkflowError(problem, field=f"sampling.{field}", remedy=remedy)


def _check_sd35(profile: Profile, spec: SampleSpec) -> None:
    """Refuse what other families do not have, and skip-layer guidance that names no layers."""
    for name, title in (("skip_layers", "skip-layer guidance is"), ("swapped_heads", "swapped heads are")):
        if getattr(profile, name) and spec.family != "sd35":
            raise WorkflowError(
                f"{title} for SD 3.5, not {spec.family}", field=f"sampling.{name}", remedy="Leave it out."
            )
    if profile.skip_layers and re.fullmatch(r"\s*\d+(\s*,\s*\d+)*\s*", profile.skip_layers) is None:
        raise WorkflowError(
            f"{profile.skip_layers!r} names no layers",
            field="sampling.skip_layers",
            remedy='Write them as in "7, 8, 9".',
        )
