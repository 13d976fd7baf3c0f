"""What is claimed of the match with a trainer, and by which evidence. What nobody claims is "not checked".

"exact" and "close" are said only where the trainer's own code, or an independent implementation of what it calls, was
run beside ours, and a test of the suite holds it. What was only read in its source is "as its source says"; what
follows its documents, of which no published code ever ran, is "as documented".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

from ..families.profile import Profile
from ..spec.model import SampleSpec

Kind = Literal["exact", "close", "as its source says", "as documented", "different", "not checked"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
READ: Final = "as its source says"
DOCUMENTED: Final = "as documented"

TOPICS: Final = (
    *("noise", "sigmas", "token lengths", "negative", "size", "guidance", "file layout", "LoRA scale", "precision"),
    "model",
)
OF_SAMPLING: Final = tuple(topic for topic in TOPICS if topic != "file layout")
#: What one run of a trainer's own code on the same float32 weights shows at once.
SEEN_IN_A_PICTURE: Final = (
    *("noise", "sigmas", "token lengths", "negative", "size", "guidance", "precision", "model"),
)

#: How evidence names a run of a trainer's own code, before the cell of the parity data.
RUNS: Final = "parity/test_trainer_runs.py::"
#: Largest differences. torch-cuda: before rounding. Half precision: of one rounding, as a share.
FIGURES: Final[Mapping[str, float]] = MappingProxyType({"torch-cuda": 3e-6, "bfloat16": 2.0**-8, "float16": 2.0**-11})


class Case(NamedTuple):
    """One config as a claim is asked about it: its items share a sampler word."""

    spec: SampleSpec
    profile: Profile
    sampler: str | None


Condition = Callable[[Case], bool]


@dataclass(frozen=True)
class Claim:
    """How far one topic agrees with the trainer, where `when` holds.

    Args:
        topic: one of `TOPICS`.
        kind: one of `KINDS`; see the module.
        text: a sentence for people: why it differs, what the claim does not cover. Needed for "different".
        evidence: tests that were run, as "file below tests::function[id]". Needed for "exact" and "close";
            "as documented" needs this, or a text that names the statement.
        figure, unit: the largest difference. Needed for "close".
        pixels: of "close", the largest difference of a picture in the runs that are evidence, of 255; None = not run.
        when: the configs it holds for, None = all. Of a topic's claims the first whose `when` holds counts.
    """

    topic: str
    kind: Kind
    text: str = ""
    evidence: tuple[str, ...] = ()
    figure: float | None = None
    unit: str = ""
    when: Condition | None = None
    pixels: int | None = None

    def __post_init__(self) -> None:
        problem = (
            f"there is no topic {self.topic!r}" if self.topic not in TOPICS
            else f"there is no kind {self.kind!r}" if self.kind not in KINDS
            else f"{self.kind} needs the test that was run" if self.kind in ("exact", "close") and not self.evidence
            else "close needs a figure" if self.kind == "close" and self.figure is None
            else "different needs a sentence that says why" if self.kind == "different" and not self.text
            else "as documented needs the statement, or its test"
            if self.kind == DOCUMENTED and not (self.text or self.evidence)
            else ""
        )  # fmt: skip
        if problem:
            raise ValueError(f"claim on {self.topic}: {problem}")


def first_of(claims: tuple[Claim, ...], topic: str, case: Case) -> Claim | None:
    """The claim on a topic that counts for a config, None where there is none: it is not checked."""
    return next((one for one in claims if one.topic == topic and (one.when is None or one.when(case))), None)


def ran(*cells: str, topics: tuple[str, ...] = SEEN_IN_A_PICTURE, when: Condition | None = None) -> tuple[Claim, ...]:
    """Exact in these topics: the trainer's own code was run on these cells of the parity data, and ours is the same.

    The runs are in float32; what a config's own noise or half precision changes is not in them.
    """
    exact = tuple(Claim(topic, "exact", evidence=_runs(cells), when=when) for topic in topics)
    return (*NOISE_NOT_RUN, *(HALF_STEPS if "precision" in topics else ()), *exact)


def ran_with_cuda_noise(*cells: str, pixels: int | None = None) -> tuple[Claim, ...]:
    """As `ran`, for a trainer that draws on CUDA: it was given our numbers, as it asked for them.

    pixels: how far the pictures were apart with noise as far from ours as CUDA's may be, of 255; None = not run.
    """
    tests, far = (*_runs(cells), *CUDA_TESTS), FIGURES["torch-cuda"]
    noise = Claim("noise", "close", GPU_ORDER, tests, far, "before rounding", pixels=pixels)
    return (*NOISE_NOT_RUN, noise, *ran(*cells))


def _runs(cells: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{RUNS}{cell}" for cell in cells)


def scheduled(*words: str) -> tuple[Claim, ...]:
    """With these sampler words: diffusers' scheduler was run, built as the trainer builds it; the trainer was not."""
    when = sampled_with(*words)
    text = "The scheduler was run as the trainer builds it, not the trainer"
    return (Claim("sigmas", "exact", text, SCHEDULERS, when=when),)


def steps_on_cuda(*words: str) -> tuple[Claim, ...]:
    """With these sampler words the trainer draws noise in its steps on CUDA, which goes on from the initial noise."""
    text = f"So is the noise of the steps, which was not compared with a GPU's. {GPU_ORDER}"
    return read("noise", text=text, when=sampled_with(*words))


def tested(topic: str, *tests: str) -> Claim:
    """Exact in this topic: these tests run an independent implementation beside ours."""
    return Claim(topic, "exact", evidence=tests)


def read(*topics: str, text: str = "", when: Condition | None = None) -> tuple[Claim, ...]:
    """These topics are as the trainer's source says; nobody ran it."""
    return tuple(Claim(topic, READ, text, when=when) for topic in topics)


def documented(topic: str, text: str, *tests: str, when: Condition | None = None) -> Claim:
    """This topic is as the trainer's documents say, in the statement that `text` names; its code never ran."""
    return Claim(topic, DOCUMENTED, text, tests, when=when)


def differs(*topics: str, text: str, when: Condition | None = None) -> tuple[Claim, ...]:
    """These topics differ, and why."""
    return tuple(Claim(topic, "different", text, when=when) for topic in topics)


def unknown(*topics: str, text: str) -> tuple[Claim, ...]:
    """These topics cannot be checked, and why."""
    return tuple(Claim(topic, "not checked", text) for topic in topics)


# Conditions.


def sampled_with(*words: str) -> Condition:
    """Configs whose sampler word is one of these, in small letters; "" = none is given."""
    return lambda case: (case.sampler or "").lower() in words


def of_variant(*variants: str) -> Condition:
    """Configs whose base model is one of these variants."""
    return lambda case: case.spec.variant in variants


def guided(case: Case) -> bool:
    """Configs with classifier-free guidance in some item."""
    return any(item.cfg_scale != 1.0 for item in case.spec.items)


def rescales(case: Case) -> bool:
    """Configs that rescale classifier-free guidance."""
    return case.profile.rescale > 0


def in_prompts(holds: Callable[[str], object]) -> Condition:
    """Configs of which some prompt, or negative prompt that is used, has something."""

    def any_prompt(case: Case) -> bool:
        return any(
            holds(item.prompt) or (item.cfg_scale != 1.0 and holds(item.negative_prompt)) for item in case.spec.items
        )

    return any_prompt


def follows_images(case: Case) -> bool:
    """Configs with a control image in some item."""
    return any(item.control_image is not None for item in case.spec.items)


def names_noise(case: Case) -> bool:
    """Configs that name their noise themselves."""
    return "noise" in case.spec.sampling


def steps_in(dtype: str) -> Condition:
    """Configs whose steps are made in this dtype, as in the trainer."""
    computes = computes_in(dtype)
    return lambda case: case.profile.half_steps and computes(case)


def computes_in(*dtypes: str) -> Condition:
    """Configs that compute in one of these, torch's names; bfloat16 where they do not say."""
    return lambda case: (case.spec.precision or "bfloat16") in dtypes


SCHEDULERS: Final = ("nodes/test_trainer_sampler.py::test_final_latent_is_the_schedulers",)
CUDA_TESTS: Final = (
    "samplers/test_noise_generators.py::test_cuda_noise_is_the_published_output",
    "samplers/test_noise_generators.py::test_cuda_noise_is_the_published_output_of_named_gpus",
)
GPU_ORDER: Final = (
    "The generator is reproduced without a GPU; more values than the GPU has threads are drawn in an order that "
    "depends on it: name the trainer's, as in torch-cuda@rtx-3090"
)
NAMED_NOISE: Final = read("noise", text="The config names this noise itself", when=names_noise)
#: Before what was run in float32.
NOISE_NOT_RUN: Final = (
    *NAMED_NOISE,
    *read(
        "noise",
        text="The trainer was run in float32; which dtype it draws in for this config is as its source says",
        when=computes_in("bfloat16", "float16"),
    ),
)


def _in_half(text: str, test: str, when: Callable[[str], Condition], *runs: str) -> tuple[Claim, ...]:
    """A claim for each half precision, whose name stands for {dtype} in the text and is the test's parameter.

    bfloat16's has the tests `runs`, too.
    """
    return tuple(
        Claim(
            "precision", "close", text.format(dtype=dtype),
            (f"{test}[{dtype}]", *(runs if dtype == "bfloat16" else ())), FIGURES[dtype],
            "of a value, each step", when(dtype),
        )
        for dtype in ("bfloat16", "float16")
    )  # fmt: skip


#: Where latents and timesteps are rounded between the steps as in the trainer.
HALF_KEPT: Final = _in_half(
    "Latents and timesteps are rounded to {dtype} as in the trainer. Where the model computes in it too, only the "
    "order of its sums differs, by 0.011 of the largest value in one run: own bfloat16 samples of a small model were "
    "up to 15 of 255 apart, 0.18 on average (kohya), and 14 and 0.25 (musubi-tuner; 59 and 1.6 with steps and model in "
    "float32)",
    "nodes/test_half_steps.py::test_steps_are_those_of_fluxs_own_code",
    steps_in,
    "parity/test_half_runs.py::test_the_picture_is_close[kohya_flux]",
)
#: Where latents are rounded between the steps as by diffusers' scheduler, from a velocity in half precision.
HALF_LATENTS: Final = _in_half(
    "Latents are rounded to {dtype} between the steps, as diffusers' scheduler does. What the model computes is "
    "rounded too, and guidance and timesteps are where the trainer does. Where the model computes in it too, own "
    "bfloat16 samples of a small model were up to 33 of 255 apart, 0.69 on average (diffusers' SD 3 pipeline, three "
    "prompts)",
    "nodes/test_half_steps.py::test_steps_are_those_of_diffusers_scheduler",
    steps_in,
    "parity/test_half_runs.py::test_the_picture_is_close[aitk_sd35]",
)
HALF_STEPS: Final = _in_half(
    "The steps are in float32 here and in {dtype} in the trainer: each rounding is small, but they add up (own "
    "bfloat16 samples of small models were up to 12 of 255 apart, 0.29 on average, with diffusers' SDXL pipeline, 90 "
    "and 1.2 with kohya's SD 3.5, three prompts, and 67 and 1.5 with musubi-tuner's Flux)",
    "workflows/test_parity.py::test_one_rounding_is_the_figure",
    computes_in,
    "parity/test_half_runs.py::test_the_picture_is_close[aitk_sdxl_ddim]",
    "parity/test_half_runs.py::test_the_picture_is_close[kohya_sd35]",
)

#: diffusers' second CLIP tokenizer, for those trainers that take it from a model's repository.
EXCLAMATION: Final = (
    Claim(
        "token lengths",
        "exact",
        "An exclamation mark is the padding token of CLIP-G, as in diffusers' repositories",
        ("nodes/test_text_rules.py::test_tokens_are_those_of_diffusers_repositories",),
        when=in_prompts(lambda text: "!" in text),
    ),
)
