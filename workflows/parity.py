"""What of a trainer's sampling a graph reproduces, for one config, as its trainer's folder claims it.

The trainers' claims say how far each topic agrees and by which evidence; here they are applied to a config, and said in
words. A topic on which nothing is claimed is not checked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from ..families import FAMILIES
from ..families.encoders import T5XXL
from ..families.profile import Remark
from ..spec import SampleSpec
from ..trainers import layout_owner
from ..trainers.claims import TOPICS, Case, Claim, Kind, first_of
from ..trainers.profiles import draws_as_host, profile_for, way_of
from ..trainers.trainer import Way


@dataclass(frozen=True)
class Match:
    """How one topic agrees with the trainer.

    Args:
        topic: one of `TOPICS`.
        kind: "exact" (the same values, schedules up to float32's rounding), "close", "as its source says", "as
            documented", "different" or "not checked"; see `trainers.claims`.
        detail: a sentence for people.
        figure, unit: the largest difference; a close match always has one.
        checked: the tests that hold the claim, "" = none.
        cause: the sentence of `detail` that says why, "" = there is none.
        pixels: of a close match, the largest difference of a picture where it was run, of 255.
    """

    topic: str
    kind: Kind
    detail: str
    figure: float | None = None
    unit: str = ""
    checked: str = ""
    cause: str = ""
    pixels: int | None = None

    @property
    def difference(self) -> str:
        """The largest difference as people read it, "" = none is known."""
        return "" if self.figure is None else f"{self.figure:.2g} {self.unit}".strip()

    def to_dict(self) -> dict[str, Any]:
        """Plain dict, JSON types only."""
        return asdict(self)


def explain(spec: SampleSpec, instead: Sequence[str] = ()) -> list[Match]:
    """How far `spec` is sampled as the trainer does it, in the order of `TOPICS`.

    instead: sentences on what is loaded in place of what the config names (`models.instead_of`).
    Items with several samplers or shifts give several matches of a topic where these differ. Raises WorkflowError for
    settings that no graph can have (`profiles.profile_for`).
    """
    found: list[Match] = []
    way = way_of(spec.trainer, spec.family)
    for sampler, shift in dict.fromkeys((item.sampler, item.shift) for item in spec.items):
        case = Case(spec, profile_for(spec, sampler, shift), sampler)
        new = [*(_match(topic, way, case) for topic in TOPICS), *_of_the_config(case)]
        found += [match for match in new if match not in found]
    own = {**spec.differences, "model": [*instead, *spec.differences.get("model", ())]}
    found = [match for match in found if match.kind == "different" or not own.get(match.topic)]
    found += [_differs(topic, text) for topic, texts in own.items() for text in texts]
    return sorted(found, key=lambda match: TOPICS.index(match.topic))


def statements(matches: Sequence[Match]) -> list[str]:
    """Sentences for a note beside a graph: the topics of each kind, and why, where something is said of one."""
    by_kind: dict[Kind, list[str]] = {}
    for topic in TOPICS:
        kinds = {match.kind for match in matches if match.topic == topic}
        if len(kinds) == 1:
            by_kind.setdefault(kinds.pop(), []).append(topic)
    found = [f"{said}: {', '.join(by_kind[kind])}." for kind, said in _TOGETHER.items() if kind in by_kind]
    for match in matches:
        if match.kind in ("close", "different"):
            difference = f" (at most {match.difference})" if match.difference else ""
            found.append(f"{match.topic.capitalize()}, {match.kind}{difference}: {match.detail.rstrip('.')}.")
    return found


def untold(remarks: Sequence[Remark], matches: Sequence[Match]) -> list[str]:
    """Texts of the remarks that `statements(matches)` does not make superfluous by sentences on all of their topics."""
    told = {match.topic for match in matches if match.kind in ("close", "different")}
    return [remark.text for remark in remarks if not remark.topics or not told.issuperset(remark.topics)]


#: Kinds whose topics need no sentence each, and what is said of them together.
_TOGETHER: Final[dict[Kind, str]] = {
    "exact": "As in the trainer",
    "as its source says": "As the trainer's source says, which was not run",
    "as documented": "As the trainer's documents say, of which no published code ran",
    "not checked": "Not checked against the trainer",
}


def _match(topic: str, way: Way | None, case: Case) -> Match:
    """What is claimed of a topic, said of this config."""
    detail = _DETAILS[topic](case)
    if topic == "file layout":
        layout = layout_owner(case.spec.layout)
        claim = layout.layout_claim if layout is not None else None
    elif topic == "sigmas" and way is not None and way.samplers.change(case.sampler) is None:
        claim = Claim(topic, "different", f"Sampler {case.sampler!r} is sampled with DDIM")
        claim = claim if case.spec.family == "sdxl" else first_of(way.claims, topic, case)
    elif topic == "sigmas" and case.profile.sampler and case.profile.zero_snr:
        claim = Claim(topic, "different", "Betas of zero terminal SNR are sampled with DDIM only")
    else:
        claim = first_of(way.claims, topic, case) if way is not None else None
    if claim is None:
        return Match(topic, "not checked", f"{detail}. Nobody has compared this with the trainer")
    text = f"{detail}. {claim.text}" if claim.text else detail
    checked = ", ".join(claim.evidence)
    return Match(topic, claim.kind, text, claim.figure, claim.unit, checked, claim.text, claim.pixels)


def _of_the_config(case: Case) -> Iterator[Match]:
    """What differs for a config's own reasons, whatever is claimed of the trainer."""
    open_seeds = [str(item.index) for item in case.spec.items if item.seed is None]
    if open_seeds:
        yield _differs("noise", f"Random seeds: items {', '.join(open_seeds)} draw new ones")
    if draws_as_host(case.profile, case.spec.family) and not case.profile.noise.startswith("torch-cpu"):
        yield _differs("noise", "The noise that DDPM adds at each step is ComfyUI's")


def _differs(topic: str, why: str) -> Match:
    return Match(topic, "different", why, cause=why)


def _sigmas(case: Case) -> str:
    profile = case.profile
    schedule = FAMILIES[case.spec.family].schedule(profile)
    if schedule == "timesteps":
        if profile.sampler:
            return f"{profile.sampler}, {profile.spacing}" + (", Karras' sigmas" if profile.karras else "")
        zero = ", zero terminal SNR" if profile.zero_snr else ""
        zero += ", from the last timestep" if profile.last_first else ""
        return f"{profile.spacing}, offset {profile.offset}, final alpha {profile.final_alpha}{zero}"
    if schedule == "shift":
        every = " for every size" if FAMILIES[case.spec.family].reference.shift == 0 else ""
        return f"{profile.spacing}, shift {profile.shift:g}{every}"
    if schedule == "unshifted":
        return "unshifted (schnell)"
    if profile.base_shift == profile.max_shift:
        return f"{profile.spacing}, shift {math.exp(profile.base_shift):g} for every size"
    return f"{profile.spacing}, mu {profile.base_shift:g} to {profile.max_shift:g} by size"


def _tokens(case: Case) -> str:
    length = case.profile.long_prompt
    long = {"chunks": "longer prompts go on in further chunks", "truncate": "longer prompts are cut"}.get(
        length, f"every prompt is padded to {length}"
    )
    lengths = f"T5 {case.profile.t5_length}" if case.profile.t5_length else ""
    if FAMILIES[case.spec.family].encoders == (T5XXL,):
        return f"{lengths}, {long}; padding: {case.profile.t5_padding}"
    weights = ", weights in its brackets" if case.profile.weighting and case.profile.text_rules == "kohya" else ""
    return f"CLIP 77, {long}{weights}" + (f"; {lengths}" if lengths else "")


def _negative(case: Case) -> str:
    if all(item.cfg_scale == 1.0 for item in case.spec.items):
        return "Not used: one pass (CFG 1)"
    empty = "an empty one is zeros" if case.profile.empty == "zeros" else "an empty one included"
    return f"Encoded like the prompt, {empty}; acts in every step"


def _guidance(case: Case) -> str:
    items = case.spec.items
    scales = ", ".join(dict.fromkeys(f"{item.cfg_scale:g}" for item in items))
    embedded = ", ".join(dict.fromkeys(f"{item.guidance:g}" for item in items if item.guidance is not None))
    skipped = f", skip-layer guidance of layers {case.profile.skip_layers}" if case.profile.skip_layers else ""
    rescaled = f", rescaled by {case.profile.rescale:g}" if case.profile.rescale else ""
    return f"CFG {scales}" + (f", embedded guidance {embedded}" if embedded else "") + skipped + rescaled


def _layout(case: Case) -> str:
    known = layout_owner(case.spec.layout)
    time = "; the time in it is that of saving" if known is not None and known.layout.of(case.spec.family).timed else ""
    return f"Folders and names of {case.spec.layout}{time}"


def _lora(case: Case) -> str:
    scales = ", ".join(dict.fromkeys(f"{item.lora_scale:g}" for item in case.spec.items))
    own = case.profile.lora_scale
    if own >= 0:
        return f"{scales} × {own:g}, whatever the checkpoint's alpha says"
    return f"{scales} × the checkpoint's alpha / rank"


def _precision(case: Case) -> str:
    steps = (case.spec.precision or "bfloat16") if case.profile.half_steps else "float32"
    return f"Steps in {steps}; model and VAE compute as ComfyUI loads them"


_DETAILS: Final[dict[str, Callable[[Case], str]]] = {
    "noise": lambda case: case.profile.noise,
    "sigmas": _sigmas,
    "token lengths": _tokens,
    "negative": _negative,
    "size": lambda case: ", ".join(dict.fromkeys(f"{item.width} × {item.height}" for item in case.spec.items)),
    "guidance": _guidance,
    "file layout": _layout,
    "LoRA scale": _lora,
    "precision": _precision,
    "model": lambda case: "ComfyUI's own network, from the base model's file",
}
