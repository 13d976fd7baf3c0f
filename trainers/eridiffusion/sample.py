"""What EriDiffusion V1's documents put into a `sample` section, by every name that they have for it.

The documents are mapped in docs/eridiffusion.md. Fields of their Rust structs (SamplingConfig, GuidanceConfig,
AncestralSamplerConfig, MemoryEfficientSamplingConfig) stand in the section itself or in one called as the struct.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from ...configs.fields import Section
from ...families import FAMILIES
from ...spec.model import MAX_STEPS
from ..trainer import FLOW_SAMPLERS
from .sampling import WAYS

_STRUCTS: Final = (
    *("sampling_config", "guidance_config", "ancestral_sampler_config", "memory_efficient_sampling_config"),
)
DEFAULT_STEPS: Final = 30
DEFAULT_SIDE: Final = 1024
_SCALES: Final = {"schnell": 1.0, "flux": 3.5}
_SAMPLERS: Final = {"sdxl": "ddim"}
#: Schedules by their words, by family -> what they change of a `Profile`.
_SCHEDULES: Final[dict[str, dict[str, dict[str, str | float | bool]]]] = {
    "flux": {"shifted_sigmoid": {"shifted": True}, "linear": {"shifted": False}},
    "sd35": {"linear": {"spacing": "linear"}, "cosine": {"spacing": "cosine"}},
    "sdxl": {word: {"spacing": word} for word in ("leading", "trailing", "linspace")},
}
#: AncestralSamplerConfig.
_STEP_NOISE: Final = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise")
#: MemoryEfficientSamplingConfig -> mode of EriMemoryPolicy.
_MEMORY: Final = {
    "enable_cpu_offload": "offload",
    "enable_sequential_cpu_offload": "sequential",
    "enable_attention_slicing": "attention slicing",
}
#: Queries a slice that EriMemoryPolicy takes at least.
_SMALLEST_SLICE: Final = 16


class Found(NamedTuple):
    """A field's section and name, and its value, None where it is not given."""

    section: Section
    key: str
    value: Any


def found(sample: Section, read: Callable[[Section, str], Any], *names: str) -> Found:
    """A field by any of its names; SpecError naming both where two of them say different things."""
    places = [sample, *(part for name in _STRUCTS if (part := sample.section(name)) is not None)]
    given = [Found(part, key, read(part, key)) for key in names for part in places if part.has(key)]
    for other in given[1:]:
        if other.value != given[0].value:
            first = f"{given[0].section.path_of(given[0].key)}: {given[0].value}"
            raise other.section.error(
                other.key, f"{other.value} contradicts {first}; they mean the same", "Leave one of them out."
            )
    return given[0] if given else Found(sample, names[0], None)


def common_fields(sample: Section, family: str, variant: str | None) -> dict[str, Any]:
    """The fields of `SampleItem` that all images share, but for their size; what acts on the graph goes to the reading.

    Raises SpecError naming the field.
    """
    negative = found(sample, Section.text, "neg", "negative_prompt")
    cfg, guidance = _scale(sample, family, variant)
    if family == "flux" and negative.value:
        negative.section.no_effect(negative.key)
        sample.reading.note("The negative prompt is kept but has no effect: Flux runs one pass (CFG 1).")
    settings = sample.reading.sampling
    settings |= _schedule(sample, family)
    settings |= _step_noise(sample)
    settings |= _memory(sample)
    batch = found(sample, lambda part, key: part.integer(key, 1, 64), "batch_size").value
    settings |= {"batch_size": batch} if batch else {}
    return {
        "steps": _or_default(sample, DEFAULT_STEPS, _steps, "sample_steps", "num_inference_steps"),
        "negative_prompt": negative.value or "",
        "cfg_scale": cfg,
        "guidance": guidance,
        "sampler": _sampler(sample, family),
        "lora_scale": _lora_scale(sample),
    }


def _steps(section: Section, key: str) -> int | None:
    return section.integer(key, 1, MAX_STEPS)


def _or_default(sample: Section, default: float, read: Callable[[Section, str], Any], *names: str) -> Any:
    value = found(sample, read, *names).value
    if value is None:
        sample.reading.note(f"{sample.path_of(names[0])} is absent: {default:g}, the documents' default, is used.")
    return default if value is None else value


def _scale(sample: Section, family: str, variant: str | None) -> tuple[float, float | None]:
    """`cfg_scale, guidance` of the one number that guidance_scale and cfg_scale are."""
    names = ("guidance_scale", "cfg_scale")
    given = found(sample, Section.number, *names)
    if found(sample, Section.flag, "bypass_guidance").value:
        sample.reading.note("bypass_guidance: there is no guidance, of either kind.")
        return 1.0, None
    if given.value is not None and FAMILIES[family].ignores_guidance(variant, sample.reading.note):
        given.section.no_effect(given.key)
    default = _SCALES.get(variant or "", _SCALES.get(family, 7.5))
    return FAMILIES[family].guidance_fields(_or_default(sample, default, Section.number, *names))


def _sampler(sample: Section, family: str) -> str:
    """The sampler's word; SpecError for one that the family has not."""
    given = found(sample, Section.text, "sampler")
    known = next(way.samplers for way in WAYS if way.family == family)
    if family == "sdxl" and given.value in FLOW_SAMPLERS.words and given.value not in known.words:
        given.section.no_effect(given.key)
        sample.reading.note(f"Sampler {given.value!r} is for flow models: DDIM is used.")
        return _SAMPLERS[family]
    if given.value is not None and known.change(given.value) is None:
        raise given.section.error(
            given.key,
            f"there is no sampler {given.value!r} for {FAMILIES[family].title}",
            f"Known ones: {', '.join(known.words)}.",
        )
    return given.value or _SAMPLERS.get(family, "euler")


def _schedule(sample: Section, family: str) -> dict[str, str | float | bool]:
    given, shift = found(sample, Section.text, "schedule"), found(sample, Section.number, "shift")
    known = _SCHEDULES[family]
    if given.value is not None and given.value not in known:
        raise given.section.error(
            given.key,
            f"there is no schedule {given.value!r} for {FAMILIES[family].title}",
            f"Known ones: {', '.join(known)}.",
        )
    settings = dict(known.get(given.value, {}))
    if shift.value is None:
        return settings
    if family == "sdxl" or settings.get("shifted") is False:
        shift.section.no_effect(shift.key)
        return settings
    if shift.value <= 0:
        raise shift.section.error(shift.key, f"{shift.value:g} is no shift", "Write a number above 0.")
    return {**settings, "shift": shift.value, **({"shifted": True} if family == "flux" else {})}


def _step_noise(sample: Section) -> dict[str, float]:
    values = {}
    for name in _STEP_NOISE:
        given = found(sample, Section.number, name)
        if given.value is None:
            continue
        if given.value < 0:
            raise given.section.error(name, f"{given.value:g} is below 0", "Write 0 or more; 0 draws no noise.")
        values[name] = given.value
    return values


def _memory(sample: Section) -> dict[str, str | int]:
    modes = [mode for key, mode in _MEMORY.items() if found(sample, Section.flag, key).value]
    size = found(sample, lambda part, key: part.integer(key, 1, 65536), "slice_size")
    if "sequential" in modes:  # which offloads, too
        modes = [mode for mode in modes if mode != "offload"]
    if size.value is not None and "attention slicing" not in modes:
        size.section.no_effect(size.key)
    settings: dict[str, str | int] = {"memory": ", ".join(modes)} if modes else {}
    if size.value is None or "attention slicing" not in modes:
        return settings
    if size.value < _SMALLEST_SLICE:
        sample.reading.note(f"slice_size counts queries here: {_SMALLEST_SLICE} are taken, the fewest.")
    return {**settings, "slice_size": max(size.value, _SMALLEST_SLICE)}


def _lora_scale(sample: Section) -> float:
    """0 without the LoRA; a graph with it needs a checkpoint, which the spec then says."""
    used, scale = found(sample, Section.flag, "use_lora"), found(sample, Section.number, "lora_scale")
    if used.value is False:
        if scale.value is not None:
            scale.section.no_effect(scale.key)
        return 0.0
    if used.value:
        sample.reading.sampling["use_lora"] = True
    return 1.0 if scale.value is None else float(scale.value)
