"""ai-toolkit's sample section turned into items: inheritance, seeds, templating, inline flags, rounding."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Final

from ...configs.fields import Reading, Section, is_boolean, is_null, is_number
from ...configs.limits import Place
from ...configs.tree import Node
from ...errors import SpecError
from ...spec.model import MAX_PIXELS, MAX_SEED, MAX_STEPS, MIN_SEED, SampleItem
from ..reading import note_random
from .prompt import FlagError, ParsedPrompt, parse_prompt
from .sampling import SIZES

_FLOW_SAMPLER: Final = "flowmatch"
#: The other names that `toolkit/sampler.py::get_sampler` knows.
_DIFFUSION_SAMPLERS: Final = frozenset(
    (
        *("ddim", "ddpm", "pndm", "lms", "k_lms", "euler", "k_euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "lcm"),
        *("dpmsolver", "dpmsolver++", "k_dpmsolver", "k_dpmsolver++", "dpmsingle", "custom_lcm", "mean_flow"),
    )
)
#: Settings of inline flags that a SampleItem has no place for.
_UNUSED: Final = frozenset(
    ("adapter_conditioning_scale", "refiner_start_at", "extra_values", "num_frames", "fps", "ctrl_img", "ctrl_idx")
)


@dataclass(frozen=True)
class Settings:
    """What a sample entry says, after inheritance. seed, control: its own ones only."""

    width: int
    height: int
    negative: str
    guidance: float
    steps: int
    multiplier: float
    seed: int | None = None
    control: str | None = None


@dataclass(frozen=True)
class Rules:
    """What holds for all images of a config."""

    family: str
    use_flux_cfg: bool
    rescale: float
    sampler: str
    trigger: str | None
    kontext: bool


_DEFAULTS: Final = Settings(width=512, height=512, negative="", guidance=7.0, steps=20, multiplier=1.0)


def read_items(
    sample: Section, family: str, trigger: str | None, *, use_flux_cfg: bool, kontext: bool
) -> list[SampleItem]:
    """All items of a sample section, as `BaseSDTrainProcess.sample` makes them. kontext: each follows a control image.

    Seeds: the section's, +index with walk_seed; an item's own seed replaces the running one, so without walk_seed it
    holds for all later items too. Raises SpecError naming the field.
    """
    base = _settings(sample, _DEFAULTS)
    rescale = sample.number("guidance_rescale") or 0.0
    rules = Rules(family, use_flux_cfg, rescale, _sampler(sample, family), trigger, kontext)
    entries, prompts = _entries(sample, base, kontext)
    walk, start = sample.flag("walk_seed") or False, sample.integer("seed", MIN_SEED, MAX_SEED) or 0
    current, items = start, []
    for index, prompt in enumerate(prompts):
        own = entries[index].seed
        current = own if own is not None else start + index if walk else current
        items.append(_item(*prompt, rules, entries[index], index, current))
    _report(sample, rules, items)
    return items


def _report(sample: Section, rules: Rules, items: list[SampleItem]) -> None:
    """Say what has no effect and what is random."""
    reading = sample.reading
    note_random(reading, items, "Seed -1 means a new random seed for each image.")
    if any(item.negative_prompt and item.cfg_scale == 1.0 for item in items):
        sample.no_effect("neg")
        reading.note("A negative prompt is kept but has no effect: there is one pass (CFG 1).")
    if rules.rescale and rules.family != "sdxl":
        sample.no_effect("guidance_rescale")
    if rules.family == "flux" and rules.use_flux_cfg:
        reading.note("model.use_flux_cfg: true CFG with Flux's guidance embedding bypassed by the trainer.")


def _entries(sample: Section, base: Settings, kontext: bool) -> tuple[list[Settings], list[tuple[Place, str]]]:
    """Settings of every entry, and the prompts; entries without a prompt are missing from the latter."""
    listed = "samples" if sample.has("samples") else "prompts"
    if listed == "samples" and sample.has("prompts"):
        sample.reading.note("sample.samples is given, so the trainer does not look at sample.prompts.")
    settings: list[Settings] = []
    prompts: list[tuple[Place, str]] = []
    for index, node in enumerate(sample.items(listed) or []):
        path = f"{sample.path_of(listed)}[{index}]"
        prompt: Node | None = node
        entry_settings = base
        if listed == "samples":
            entry = _entry(sample, node, path)
            entry_settings, prompt, path = _settings(entry, base), entry.get("prompt"), f"{path}.prompt"
            if kontext and entry.get("ctrl_img") is not None:
                entry_settings = replace(entry_settings, control=entry.text("ctrl_img"))
            if entry.get("seed") is not None:
                entry_settings = replace(entry_settings, seed=entry.integer("seed", MIN_SEED, MAX_SEED))
        settings.append(entry_settings)
        if prompt is not None and not is_null(prompt):
            prompts.append(_prompt(sample, prompt, path))
    if not prompts:
        raise sample.error(listed, "there is no prompt, so there is nothing to sample", "Add at least one prompt.")
    if len(prompts) < len(settings):
        sample.reading.note(
            "Entries without a prompt are dropped, and as in the trainer the later prompts then take the settings of "
            "the entries before them."
        )
    return settings, prompts


def _entry(sample: Section, node: Node, path: str) -> Section:
    if not isinstance(node.value, dict):
        raise sample.reading.error("a sample is a section of fields", node, path, 'Write "- prompt: ...".')
    return Section(sample.reading, node, path)


def _prompt(sample: Section, node: Node, path: str) -> tuple[Place, str]:
    """The place of a prompt, and its text as written."""
    text = sample.as_text(node, path)
    if is_number(node) or is_boolean(node, True):
        sample.reading.note(f"{path} is taken as the text {text!r}; the trainer itself needs it in quotes.")
    return Place(sample.reading, node, path), text


def _settings(section: Section, base: Settings) -> Settings:
    """Fields of a section or entry, without its seed; what is absent comes from `base`."""
    values: dict[str, Any] = {
        "width": section.integer("width", -MAX_PIXELS, MAX_PIXELS),
        "height": section.integer("height", -MAX_PIXELS, MAX_PIXELS),
        "guidance": section.number("guidance_scale"),
        "steps": section.integer("sample_steps", 1, MAX_STEPS),
        "negative": _negative(section),
        "multiplier": _multiplier(section),
    }
    return replace(base, **{key: value for key, value in values.items() if value is not None})


def _negative(section: Section) -> str | None:
    """`neg`; null and an unquoted false (or no, off) mean none."""
    if not section.has("neg"):
        return None
    node = section.get("neg")
    if node is None or (is_boolean(node, True) and str(node.value).lower() in ("false", "no", "off")):
        return ""
    return section.as_text(node, section.path_of("neg"))


def _multiplier(section: Section) -> float | None:
    """`network_multiplier`; a number in quotes counts, other text means 1.0 to the trainer."""
    node = section.get("network_multiplier")
    if node is None or is_number(node) or not isinstance(node.value, str):
        return section.number("network_multiplier")
    try:
        value = float(section.as_text(node, section.path_of("network_multiplier")))
    except ValueError:
        section.reading.note(f"{section.path_of('network_multiplier')}: {node.value!r} is no number, so it is 1.0.")
        return 1.0
    if not math.isfinite(value):
        raise section.error("network_multiplier", f"{node.value!r} is not finite", "Write a number like 1.0.")
    return value


def _sampler(sample: Section, family: str) -> str:
    sampler = sample.text("sampler")
    sampler = "ddpm" if sampler is None else sampler
    if sampler != _FLOW_SAMPLER and sampler not in _DIFFUSION_SAMPLERS and not sampler.startswith("sample_"):
        raise sample.error("sampler", f"ai-toolkit knows no sampler {sampler!r}", "Write flowmatch, ddim, euler, ...")
    if (sampler == _FLOW_SAMPLER) == (family == "sdxl"):
        sample.reading.note(
            f"The sampler {sampler!r} does not fit {family}: in ai-toolkit it gives broken images; "
            f"{'ddpm' if family == 'sdxl' else _FLOW_SAMPLER} is meant there."
        )
    return sampler


def _item(place: Place, text: str, rules: Rules, settings: Settings, index: int, seed: int) -> SampleItem:
    """The image the trainer makes for one prompt: flags override the entry's settings, then sizes are rounded.

    text: the prompt as written. seed: after the config's seed rules, -1 = random. Raises SpecError naming its field.
    """
    try:
        parsed = parse_prompt(_templated(text, rules.trigger))
    except FlagError as error:
        raise _error(place, str(error), "Correct it; the trainer stops on it.") from None
    flags = parsed.settings
    _report_flags(place, rules, parsed)
    steps = flags.get("steps", settings.steps)
    if not 1 <= steps <= MAX_STEPS:
        raise _error(place, f"{steps} steps are out of range", f"Write 1 to {MAX_STEPS}.")
    scale = float(flags.get("guidance_scale", settings.guidance))
    control = flags.get("ctrl_img", settings.control) if rules.kontext else None
    if rules.kontext and control is None:
        raise _error(place, "the sample has no control image, which stops the trainer", "Add --ctrl_img FILE.")
    true_cfg = rules.family != "flux" or rules.use_flux_cfg
    return SampleItem(
        index=index,
        prompt=parsed.prompt,
        width=_pixels(place, "width", flags.get("width", settings.width), rules.family),
        height=_pixels(place, "height", flags.get("height", settings.height), rules.family),
        steps=steps,
        negative_prompt=flags.get("negative_prompt", settings.negative),
        seed=_seed(place, seed, flags.get("seed")),
        cfg_scale=_cfg(place.reading, scale) if true_cfg else 1.0,
        guidance=None if true_cfg else scale,
        sampler=rules.sampler,
        lora_scale=float(flags.get("network_multiplier", settings.multiplier)),
        control_image=control,
    )


def _templated(prompt: str, trigger: str | None) -> str:
    """`inject_trigger_into_prompt(add_if_not_present=False)`: only with a trigger word, which may be ""."""
    if trigger is None:
        return prompt
    return prompt.replace("[name]", trigger).replace("[trigger]", trigger)


def _report_flags(place: Place, rules: Rules, parsed: ParsedPrompt) -> None:
    for part in parsed.dropped:
        place.note(f"the trainer drops {part!r} from the prompt (every '--' starts a flag there).")
    for meant in parsed.meant:
        place.note(f"{meant!r} stays in the prompt: a flag begins with two plain hyphens.")
    used = {"ctrl_img"} if rules.kontext else set()
    for name in sorted((_UNUSED & parsed.settings.keys()) - used):
        place.note(f"the inline flag for {name} is not used.")
    if rules.trigger is None and "[trigger]" in parsed.prompt:
        place.reading.note("[trigger] stays in the prompts as text: the config has no trigger_word.")
    if "prompt_2" in parsed.settings:
        place.note("--p2 has no effect, the trainer overwrites it with the prompt.")
    if "negative_prompt_2" in parsed.settings:
        place.note("--n2 has no effect, the trainer overwrites it with the entry's neg.")
    if rules.family != "sdxl":
        return
    if "negative_prompt" in parsed.settings:
        place.differs("negative", "in the trainer --n reaches CLIP-L only, CLIP-G gets the entry's neg; here both.")
    if parsed.settings.get("guidance_rescale"):
        place.reading.differs("guidance", "--gr is not part of an item: set the rescale on the model by hand.")


def _cfg(reading: Reading, scale: float) -> float:
    """True CFG; at 1 and below the pipelines run one pass."""
    if scale < 1.0:
        reading.note(f"A guidance scale of {scale:g} means no guidance to the pipelines: it is read as CFG 1.")
    return max(scale, 1.0)


def _pixels(place: Place, name: str, value: int, family: str) -> int:
    """A side as the trainer rounds it; diffusers' SD 3 refuses what 16 does not divide."""
    if value > MAX_PIXELS:
        raise _error(place, f"{name} {value} is too large", f"Write at most {MAX_PIXELS}.")
    try:
        size = SIZES[family].pixels(value)
    except ValueError as error:
        below = value - value % SIZES[family].multiple
        raise _error(
            place,
            f"{name} {value} stops the trainer: Stable Diffusion 3 {error}",
            f"Write {below} or {below + SIZES[family].multiple}.",
        ) from error
    if size != value:
        place.reading.note(f"{name} {value} is rounded to {size} as in the trainer.")
    return size


def _seed(place: Place, seed: int, inline: int | None) -> int | None:
    """Seed of torch's generator, None = random.

    -1 means random in the config only: an inline `--d -1` is set after that test and reaches `torch.manual_seed`,
    which takes negative numbers modulo 2^64.
    """
    if inline is None and seed == -1:
        return None
    value = seed if inline is None else inline
    if not MIN_SEED <= value <= MAX_SEED:
        raise _error(place, f"the seed {value} is out of range", f"Write 0 to {MAX_SEED}, or -1.")
    if value < 0:
        place.note(f"the seed {value} is {value % 2**64} to the generator.")
    return value % 2**64


def _error(place: Place, problem: str, remedy: str) -> SpecError:
    return place.reading.error(problem, place.node, place.path, remedy)
