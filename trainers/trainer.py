"""What a trainer has to say of itself: everything that the rest of the pack asks about it.

No part has a default: a trainer that leaves one out is refused when the pack is imported, by the names of both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, Literal, get_args

from ..configs.parse import Notations
from ..configs.tree import Document
from ..families.profile import ANCESTRAL, Profile, Remark
from ..images.saved_names import SavedName
from ..images.template import Layout
from ..lora.schemes import Beside, Scheme
from ..spec.model import SampleSpec
from .claims import Claim

#: What the noise is drawn in: a dtype, the dtype that the config computes in, or float32 rounded to that one.
Drawn = Literal["float32", "precision", "float32 then precision"]
Rounds = Literal["floor", "ceil", "round", "exact"]
#: The parts of the way from config to file name.
SOURCES: Final = ("read", "resolved", "noise", "sigmas", "tokens", "layout")
_FIELDS: Final = frozenset(field.name for field in fields(Profile)) - {"noise", "remarks"}


@dataclass(frozen=True)
class Noise:
    """How a trainer draws its initial noise; names as `samplers.noise.NoiseProfile` has them.

    Args:
        generator, layout: who draws the numbers, and in which order.
        drawn: the dtype, see `Drawn`.
        note: what a person should know about it, with the place in the trainer's source.
        in_graphs: False where a graph takes ComfyUI's own noise instead, as a remark of the trainer says.
    """

    generator: str
    layout: str
    drawn: Drawn
    note: str
    in_graphs: bool = True

    def text(self, precision: str) -> str:
        """The profile text of EriTrainerNoise, for a config that computes in `precision` (torch's name)."""
        if self.drawn == "float32 then precision":
            cast = "" if precision == "float32" else f"/{precision}"
            return f"{self.generator}/{self.layout}/float32{cast}"
        return f"{self.generator}/{self.layout}/{precision if self.drawn == 'precision' else self.drawn}"


@dataclass(frozen=True)
class Sizes:
    """How a trainer rounds one side of a picture.

    Args:
        multiple: of pixels.
        how: down ("floor"), up ("ceil"), to the nearest with halves to even ("round"), or down to 8 and then refused
            where that is no multiple ("exact").
        minimum: in pixels.
    """

    multiple: int
    how: Rounds
    minimum: int

    def pixels(self, value: int) -> int:
        """`value` pixels after rounding; ValueError where the trainer refuses them."""
        if self.how == "exact":
            value = max(self.minimum, value - value % 8)
            if value % self.multiple:
                raise ValueError(f"needs multiples of {self.multiple}")
        whole, rest = divmod(value, self.multiple)
        if self.how == "ceil":
            whole += rest > 0
        elif self.how == "round":
            whole += 2 * rest + whole % 2 > self.multiple
        return max(self.minimum, whole * self.multiple)


@dataclass(frozen=True)
class Change:
    """What a sampler word or a variant changes. values: by fields of `Profile`. remarks: what to say of it."""

    values: Mapping[str, Any]
    remarks: tuple[Remark, ...] = ()

    def __post_init__(self) -> None:
        unknown = self.values.keys() - _FIELDS
        if unknown:
            raise ValueError(f"a profile has no {', '.join(sorted(unknown))}")


@dataclass(frozen=True)
class Samplers:
    """The sampler words of a trainer.

    Args:
        words: those that are reproduced -> what they change.
        other: what to say of any other word; `{sampler!r}` stands for it. None = such a word is an error.
        plain: a word as it is looked up.
    """

    words: Mapping[str, Change]
    other: Remark | None
    plain: Callable[[str], str] = str.lower

    def change(self, sampler: str | None) -> Change | None:
        """What a config's word changes (None = it gives none), None for a word that is not reproduced."""
        return Change({}) if sampler is None else self.words.get(self.plain(sampler))


class _Complete:
    """Refuses an object of which a part is missing, by the names of both."""

    def __new__(cls, *values: Any, **parts: Any) -> Any:
        needed = [field.name for field in fields(cls) if field.default is MISSING]  # type: ignore[arg-type]
        missing = [name for name in needed[len(values) :] if name not in parts]
        if missing:
            who = " × ".join(map(str, values)) or parts.get("id") or "without an id"
            raise TypeError(f"trainer {who}: nothing is said of its {', '.join(missing)}")
        return super().__new__(cls)


@dataclass(frozen=True)
class Way(_Complete):
    """How one trainer samples one family.

    Args:
        trainer, family: ids.
        differs: what differs from the family's reference sampling, by fields of `Profile`.
        variants: what a variant of the family changes, by its id.
        noise: the initial noise.
        sizes: the rounding of width and height.
        samplers: the sampler words.
        negative: when the negative prompt acts, for people; "CFG": wherever classifier-free guidance does.
        remarks: what a person should know about the match.
        claims: what is claimed of it; a topic without a claim is not checked.
    """

    trainer: str
    family: str
    differs: Mapping[str, Any]
    variants: Mapping[str, Change]
    noise: Noise
    sizes: Sizes
    samplers: Samplers
    negative: str
    remarks: tuple[Remark, ...]
    claims: tuple[Claim, ...]

    def __post_init__(self) -> None:
        where = f"trainer {self.trainer} × {self.family}"
        unknown = self.differs.keys() - _FIELDS
        if unknown:
            raise ValueError(f"{where}: differs: a profile has no {', '.join(sorted(unknown))}")
        if self.sizes.how not in get_args(Rounds):
            raise ValueError(f"{where}: sizes: there is no rounding {self.sizes.how!r}")
        if any(claim.topic == "file layout" for claim in self.claims):
            raise ValueError(f"{where}: claims: the file layout is claimed for the trainer, in layout_claim")


@dataclass(frozen=True, kw_only=True)
class Trainer(_Complete):
    """One trainer.

    Args:
        id: our word for it in configs, graphs and on the command line.
        title: its name for people.
        repository: where its source is.
        sources: each of `SOURCES` -> where its source says it.
        listed: place in lists for people, counted on from the last: a node's choices are only ever appended to.
        families: ids of the families that its configs are read for.
        files: its configs, for people.
        family_told_by: what in them tells the family, for people.
        seeds: the seed without one, and how seeds go on from prompt to prompt, for people.
        notations: what they are written in.
        recognise: whether a config is this trainer's; see the registry for the order.
        doubt: what to say where another trainer could read a config that was recognised, None = nothing.
        read: the reader; it takes the config and a family that overrides its own.
        variables: whether it replaces `${VAR}` in its configs by variables of the environment.
        tells_placeholder: whether the reader itself says that this trigger placeholder stays in a prompt.
        model_files: what its configs call the files of the base model (as in `SampleSpec.model_files`) -> the part:
            "model", "vae", an encoder's id, "encoder" where the file's name tells which one it is; of several keys of a
            part the first that is given counts.
        ways: how it samples, one for each family.
        layout: how it names its samples.
        layout_claim: what is claimed of that, None = nobody checked it.
        saved: the forms of the names of the samples that it saves itself.
        checkpoints: how it names its checkpoints.
        checkpoints_beside: files that tell its checkpoints where these carry another's names.
    """

    id: str
    title: str
    repository: str
    sources: Mapping[str, str]
    listed: int
    families: tuple[str, ...]
    files: str
    family_told_by: str
    seeds: tuple[str, str]
    notations: Notations
    recognise: Callable[[Document], bool]
    doubt: Callable[[Document], str | None]
    read: Callable[[Document, str | None], SampleSpec]
    variables: bool
    tells_placeholder: Callable[[str], bool]
    model_files: Mapping[str, str]
    ways: tuple[Way, ...]
    layout: Layout
    layout_claim: Claim | None
    saved: tuple[SavedName, ...]
    checkpoints: tuple[Scheme, ...]
    checkpoints_beside: tuple[Beside, ...]

    def __post_init__(self) -> None:
        unsaid = [part for part in SOURCES if part not in self.sources]
        if unsaid:
            raise ValueError(f"trainer {self.id}: sources: nothing is said of its {', '.join(unsaid)}")
        said = [way.family for way in self.ways]
        for family in self.families:
            if said.count(family) != 1:
                raise ValueError(
                    f"trainer {self.id}: ways: it reads {family}, but has {said.count(family)} ways for it"
                )
        for way in self.ways:
            if way.family not in self.families or way.trainer != self.id:
                raise ValueError(f"trainer {self.id}: ways: {way.trainer} × {way.family} is none of its families'")

    def way(self, family: str) -> Way | None:
        """How it samples a family, None where it does not."""
        return next((way for way in self.ways if way.family == family), None)


def nobody_else(_: Document) -> None:
    """The `doubt` of a trainer whose configs no other trainer could read."""


def no_placeholder(_: str) -> bool:
    """The `tells_placeholder` of a reader that says nothing of trigger placeholders."""
    return False


#: For the note of noise that is drawn on CUDA.
GPU_NOTE: Final = (
    " More values than the GPU has threads are drawn in an order that depends on the GPU: name the trainer's, as in "
    "torch-cuda@rtx-3090."
)
#: For `Way.remarks`, where the trainer's steps are no float32 steps.
HALF: Final = Remark("The trainer steps in half precision, ComfyUI in float32: close, not equal.", ("precision",))

#: The words of flow models' samplers: trainers have only Euler.
FLOW_SAMPLERS: Final = Samplers(
    dict.fromkeys(("flowmatch", "euler", "flow_matching", "flow_match_euler"), Change({})),
    Remark("Sampler {sampler!r} does not exist for flow models: Euler is used."),
)
#: The same with DDIM, whose eta draws noise; another word is an error.
FLOW_AND_DDIM: Final = Samplers({**FLOW_SAMPLERS.words, "ddim": Change({"sampler": "ddim"})}, None)
#: Those of SDXL. Euler takes DDIM's steps where the list of timesteps has even gaps, but ends on sigma 0 (alpha 1), as
#: DDPM does (diffusers `scheduling_ddpm.py`, `previous_timestep` and `one`).
DIFFUSION_WORDS: Final[Mapping[str, Change]] = {
    "ddim": Change({}),
    "euler": Change({"final_alpha": "1", "clip_sample": False}),
    "ddpm": Change({"final_alpha": "1", "eta": 1.0}),
}


#: For the word "dpmsolver". diffusers 0.25.0 `scheduling_dpmsolver_multistep.py:279`: the last sigma is the table's
#: lowest; run beside 0.38 with final_sigmas_type sigma_min it gives the same bits.
NO_SIGMA_ZERO: Final = Remark(
    "DPM-Solver ends on sigma_min, as in diffusers up to 0.25. Later ones refuse the scheduler that the trainer asks "
    "for (algorithm_type dpmsolver with a last sigma of 0), so that it makes no such samples with them.",
    ("sigmas",),
)


def scheduler(
    sampler: str,
    spacing: str,
    *,
    karras: bool = False,
    clip_sample: bool = False,
    remarks: tuple[Remark, ...] = (),
) -> Change:
    """The change of a word that stands for another of diffusers' schedulers.

    Args:
        sampler: a word of samplers.trainer_levels.ALGORITHMS.
        spacing: diffusers' timestep_spacing.
        karras, clip_sample: as the trainer sets use_karras_sigmas and clip_sample.
        remarks: what to say of it.
    """
    values = {"sampler": sampler, "spacing": spacing, "karras": karras, "clip_sample": clip_sample}
    return Change(values | ({"eta": 1.0} if sampler in ANCESTRAL else {}), remarks)
