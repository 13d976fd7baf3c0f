"""What of a trainer's sampling a graph reproduces: per topic exact, close (with a figure) or different; visible tables.

`explain` applies them to one config. Every figure is measured in tests/workflows/test_parity.py, or is the bound that
the noise tests hold. "different" covers what is known to differ and what cannot be checked, as unpublished code.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from ..families.profile import Profile, Remark
from ..spec import SampleSpec
from ..trainers.profiles import PROFILES, V2_FLUX, V2_SDXL, profile_for

Kind = Literal["exact", "close", "different"]
TOPICS: Final = (
    *("noise", "sigmas", "token lengths", "negative", "size", "guidance", "file layout", "LoRA scale", "precision"),
)


@dataclass(frozen=True)
class Match:
    """How one topic agrees with the trainer.

    kind: "exact" (the same values, schedules up to float32's rounding), "close" or "different". detail: a sentence for
    people. figure, unit: the largest difference; a close match always has one. checked: what the claim is checked
    against, "" = nothing. topic: one of `TOPICS`.
    """

    topic: str
    kind: Kind
    detail: str
    figure: float | None = None
    unit: str = ""
    checked: str = ""

    def __post_init__(self) -> None:
        if self.topic not in TOPICS or (self.kind == "close" and self.figure is None):
            raise ValueError(f"topic: {self.topic!r} is unknown, or close without a figure")

    @property
    def difference(self) -> str:
        """The largest difference as people read it, "" = none is known."""
        return "" if self.figure is None else f"{self.figure:.2g} {self.unit}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain dict, JSON types only."""
        return asdict(self)


#: Largest differences. Sigmas: 2 to 60 steps, 256 to 6144 tokens. Half precision: of one rounding, as a share.
FIGURES: Final = {
    "flux sigmas": 3.1e-8,
    "sd35 sigmas": 1.4e-7,
    "linear sigmas": 3.1e-8,
    "euler timesteps": 0.5,
    "torch-cuda": 3e-6,
    "box-muller": 3.0,
    "bfloat16": 2.0**-8,
    "float16": 2.0**-11,
}

_FLUX_TIMES: Final = ("flux sigmas", "the trainer's shift formula in double precision; diffusers' scheduler")
_SD35_TIMES: Final = ("sd35 sigmas", "the shift formula in double precision; diffusers' scheduler")
_DDIM_TIMES: Final = ("", "diffusers' DDIM scheduler: whole timesteps, equal")
_UNPUBLISHED: Final = "The trainer's schedule is not published: the family's reference is used."
_V1: Final = "EriDiffusion V1's samplers use schedules of their own: the family's reference is used."

#: (trainer, family) -> (name in FIGURES or "", what the schedule is checked against); a sentence = it is different.
SIGMAS: Final[dict[tuple[str, str], tuple[str, str] | str]] = {
    ("native", "flux"): _FLUX_TIMES,
    ("native", "sd35"): _SD35_TIMES,
    ("native", "sdxl"): _DDIM_TIMES,
    ("eridiffusion", "flux"): _V1,
    ("eridiffusion", "sd35"): _V1,
    ("eridiffusion", "sdxl"): _V1,
    ("eridiffusion-v2", "flux"): V2_FLUX.text,
    ("eridiffusion-v2", "sd35"): ("linear sigmas", "the trainer's formula in double precision"),
    ("eridiffusion-v2", "sdxl"): V2_SDXL.text,
    ("ai-toolkit", "flux"): _FLUX_TIMES,
    ("ai-toolkit", "sd35"): _SD35_TIMES,
    ("ai-toolkit", "sdxl"): _DDIM_TIMES,
    ("kohya", "flux"): _FLUX_TIMES,
    ("kohya", "sd35"): _SD35_TIMES,
    ("kohya", "sdxl"): _DDIM_TIMES,
    ("simpletuner", "flux"): _FLUX_TIMES,
    ("simpletuner", "sd35"): _SD35_TIMES,
    ("simpletuner", "sdxl"): _DDIM_TIMES,
    ("onetrainer", "flux"): _FLUX_TIMES,
    ("onetrainer", "sd35"): _SD35_TIMES,
    ("onetrainer", "sdxl"): _DDIM_TIMES,
    ("musubi", "flux"): _FLUX_TIMES,
}

#: Trainer -> what of its file names cannot be had; a trainer that is not here names them as they are written here.
LAYOUTS_DIFFER: Final = {
    "eridiffusion": "V1 has several patterns; one of them is written.",
    "onetrainer": "The epoch in the name counts as 0: a checkpoint tells its step alone.",
}
_TIMED: Final = ("ai-toolkit", "kohya", "musubi", "onetrainer")


def explain(spec: SampleSpec) -> list[Match]:
    """What of `spec` is sampled exactly, closely or differently, in the order of `TOPICS`.

    Items with several samplers give several matches of a topic where these differ. Raises WorkflowError for settings
    that no graph can have (`profiles.profile_for`).
    """
    found: list[Match] = []
    for sampler in dict.fromkeys(item.sampler for item in spec.items):
        profile = profile_for(spec, sampler)
        new = [
            *_noise(spec, profile),
            *_sigmas(spec, profile, sampler),
            _tokens(spec, profile),
            _negative(spec),
            _size(spec),
            *_guidance(spec, profile),
            _layout(spec),
            _lora(spec),
            _precision(spec),
        ]
        found += [match for match in new if match not in found]
    return sorted(found, key=lambda match: TOPICS.index(match.topic))


def statements(matches: Sequence[Match]) -> list[str]:
    """Sentences for a note beside a graph: which topics are exact, then each that is close or different, and why."""
    loose = {match.topic for match in matches if match.kind != "exact"}
    exact = [topic for topic in TOPICS if topic not in loose and any(match.topic == topic for match in matches)]
    found = [f"As in the trainer: {', '.join(exact)}."] if exact else []
    for match in matches:
        if match.kind != "exact":
            difference = f" (at most {match.difference})" if match.difference else ""
            found.append(f"{match.topic.capitalize()}, {match.kind}{difference}: {match.detail.rstrip('.')}.")
    return found


def untold(remarks: Sequence[Remark], matches: Sequence[Match]) -> list[str]:
    """Texts of the remarks that `statements(matches)` does not make superfluous by sentences on all of their topics."""
    told = {match.topic for match in matches if match.kind != "exact"}
    return [remark.text for remark in remarks if not remark.topics or not told.issuperset(remark.topics)]


def _noise(spec: SampleSpec, profile: Profile) -> list[Match]:
    found = [_generator(spec, profile)]
    open_seeds = [str(item.index) for item in spec.items if item.seed is None]
    if open_seeds:
        found.append(Match("noise", "different", f"Random seeds: items {', '.join(open_seeds)} draw new ones."))
    if profile.eta > 0:
        found.append(Match("noise", "different", "The noise that DDPM adds at each step is the host's."))
    return found


def _generator(spec: SampleSpec, profile: Profile) -> Match:
    name = profile.noise
    own = "noise" in spec.sampling
    if spec.trainer == "eridiffusion" and not own:
        return Match("noise", "different", f"{name}; V1's own samplers draw uniform numbers, not Gaussian ones.")
    known = spec.trainer == "native" or own or (spec.trainer, spec.family) != ("eridiffusion-v2", "sdxl")
    if not known or (spec.trainer, spec.family) not in PROFILES:
        return Match("noise", "different", f"{name}; the trainer's own is not known, a noise file of it would match.")
    if name.startswith("torch-cuda"):
        text = (
            f"{name}, reproduced without a GPU; more values than the GPU has threads are drawn in an order that "
            "depends on it: name the trainer's, as in torch-cuda@rtx-3090."
        )
        checked = "published output of torch on CUDA; Philox's test vectors; Box–Muller in double precision"
        return Match("noise", "close", text, FIGURES["torch-cuda"], "before rounding", checked)
    if name.startswith("rust-stdrng-box-muller"):
        return Match(
            "noise", "close", name, FIGURES["box-muller"], "ulp (float32)", "values of a compiled Rust program"
        )
    checked = "values of a compiled Rust program" if name.startswith("rust") else "torch itself"
    return Match("noise", "exact", name, 0.0, "", checked)


def _sigmas(spec: SampleSpec, profile: Profile, sampler: str | None) -> list[Match]:
    entry = SIGMAS.get((spec.trainer, spec.family), _UNPUBLISHED)
    if isinstance(entry, str):
        return [Match("sigmas", "different", entry)]
    if spec.family == "sdxl":
        if any("not among those reproduced" in note for note in profile.notes):
            return [Match("sigmas", "different", f"Sampler {sampler!r} is sampled with DDIM.")]
        if profile.spacing == "linspace" and profile.final_alpha == "1":
            text = "Euler's timesteps are fractions in the trainer and the nearest whole ones here."
            figure = FIGURES["euler timesteps"]
            return [Match("sigmas", "close", text, figure, "timesteps", "diffusers' Euler scheduler")]
        zero = ", zero terminal SNR" if profile.zero_snr else ""
        text = f"{profile.spacing}, offset {profile.offset}, final alpha {profile.final_alpha}{zero}"
        return [Match("sigmas", "exact", text, 0.0, "timesteps", entry[1])]
    if spec.family == "sd35":
        text = f"{profile.spacing}, shift {profile.shift:g}"
    elif not profile.shifted:
        text = "unshifted (schnell)"
    else:
        text = f"{profile.spacing}, mu {profile.base_shift:g} to {profile.max_shift:g} by size"
    return [Match("sigmas", "exact", text, FIGURES[entry[0]], "of a sigma, float32's rounding", entry[1])]


def _tokens(spec: SampleSpec, profile: Profile) -> Match:
    topic, long = "token lengths", "longer prompts are cut"
    if profile.long_prompt == "chunks":
        long = "longer prompts go on in further chunks"
    text = f"CLIP 77, {long}" + (f"; T5 {profile.t5_length}" if profile.t5_length else "")
    if spec.trainer == "eridiffusion" or (spec.trainer, spec.family) == ("eridiffusion-v2", "sdxl"):
        return Match(topic, "different", f"{text}; assumed, the trainer's own samples do not tell.")
    weights = profile.weighting and any(
        re.search(r"[()\[\]]", text) for item in spec.items for text in (item.prompt, item.negative_prompt)
    )
    if weights:
        return Match(topic, "different", f"{text}; weights like (word:1.2) act by another formula than the trainer's.")
    return Match(topic, "exact", text, checked="the trainer's defaults and the config's own length")


def _negative(spec: SampleSpec) -> Match:
    guided = any(item.cfg_scale != 1.0 for item in spec.items)
    if spec.trainer == "simpletuner" and spec.family == "flux" and guided:
        return Match("negative", "different", "Acts in every step; the trainer may leave CFG out of its first ones.")
    if not guided:
        return Match(
            "negative", "exact", "Not used: one pass (CFG 1), as in the trainer.", checked="the reader's tests"
        )
    text = "Encoded like the prompt, an empty one included; acts in every step."
    if spec.trainer == "eridiffusion":
        return Match("negative", "different", f"{text} V1's own SD 3.5 samples leave the config's aside.")
    return Match("negative", "exact", text, checked="the reader's tests")


def _size(spec: SampleSpec) -> Match:
    sizes = ", ".join(dict.fromkeys(f"{item.width} × {item.height}" for item in spec.items))
    if spec.trainer == "eridiffusion":
        return Match("size", "different", f"{sizes}, as the config asks; V1's code takes its own.")
    return Match(
        "size", "exact", f"{sizes}, after the trainer's rounding", 0.0, "pixels", "its rule, restated in tests"
    )


def _guidance(spec: SampleSpec, profile: Profile) -> list[Match]:
    scales = ", ".join(dict.fromkeys(f"{item.cfg_scale:g}" for item in spec.items))
    embedded = ", ".join(dict.fromkeys(f"{item.guidance:g}" for item in spec.items if item.guidance is not None))
    text = f"CFG {scales}" + (f", embedded guidance {embedded}" if embedded else "")
    if spec.trainer == "eridiffusion":
        return [Match("guidance", "different", f"{text}, as the config asks; V1's own code has constants instead.")]
    found = [Match("guidance", "exact", text, checked="classifier-free guidance as published; the reader's tests")]
    if profile.skip_layers and spec.trainer != "native":
        window = "the host counts the window in noise levels, the trainer in steps"
        found.append(Match("guidance", "different", f"Skip-layer guidance of layers {profile.skip_layers}: {window}."))
    if spec.trainer == "onetrainer" and profile.zero_snr:
        found.append(Match("guidance", "different", "The trainer rescales guidance by 0.7 here; the graph does not."))
    return found


def _layout(spec: SampleSpec) -> Match:
    if spec.layout in LAYOUTS_DIFFER:
        return Match("file layout", "different", LAYOUTS_DIFFER[spec.layout])
    time = "; the time in it is that of saving" if spec.layout in _TIMED else ""
    return Match("file layout", "exact", f"Folders and names of {spec.layout}{time}", checked="the trainer's patterns")


def _lora(spec: SampleSpec) -> Match:
    scales = ", ".join(dict.fromkeys(f"{item.lora_scale:g}" for item in spec.items))
    return Match("LoRA scale", "exact", f"{scales} × the checkpoint's alpha / rank", checked="the host's LoRA loader")


def _precision(spec: SampleSpec) -> Match:
    if spec.trainer == "native":
        return Match("precision", "exact", "The host's own: steps in float32.", checked="it is the host")
    if spec.trainer == "eridiffusion":
        return Match("precision", "different", "What V1's samplers compute in is not known to match.")
    dtype = spec.precision or "bfloat16"
    text = f"Steps: float32 here, {dtype} in the trainer; VAE and model compute as the host loads them."
    if dtype not in FIGURES:
        return Match("precision", "exact", f"Steps in {dtype}, as here.", checked="float32 on both sides")
    return Match("precision", "close", text, FIGURES[dtype], "of a value, each step", "torch's rounding")
