"""ai-toolkit's sample section turned into items: inheritance, seeds, templating, inline flags, rounding."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

from ...configs.fields import Section, is_boolean, is_null, is_number
from ...configs.tree import Node
from ...spec.model import MAX_PIXELS, MAX_SEED, MAX_STEPS, MIN_SEED, SampleItem
from .image import Prompt, Rules, Settings, make_item

_FLOW_SAMPLER: Final = "flowmatch"
#: The other names that `toolkit/sampler.py::get_sampler` knows.
_DIFFUSION_SAMPLERS: Final = frozenset(
    (
        *("ddim", "ddpm", "pndm", "lms", "k_lms", "euler", "k_euler", "euler_a", "heun", "dpm_2", "dpm_2_a", "lcm"),
        *("dpmsolver", "dpmsolver++", "k_dpmsolver", "k_dpmsolver++", "dpmsingle", "custom_lcm", "mean_flow"),
    )
)
_DEFAULTS: Final = Settings(width=512, height=512, negative="", guidance=7.0, steps=20, multiplier=1.0)


def read_items(sample: Section, family: str, trigger: str | None, use_flux_cfg: bool) -> list[SampleItem]:
    """All items of a sample section, as `BaseSDTrainProcess.sample` makes them.

    Seeds: the section's, +index with walk_seed; an item's own seed replaces the running one, so without walk_seed it
    holds for all later items too. Raises SpecError naming the field.
    """
    base = _settings(sample, _DEFAULTS)
    rules = Rules(family, use_flux_cfg, sample.number("guidance_rescale") or 0.0, _sampler(sample, family), trigger)
    entries, prompts = _entries(sample, base)
    walk, start = sample.flag("walk_seed") or False, sample.integer("seed", MIN_SEED, MAX_SEED) or 0
    current, items = start, []
    for index, prompt in enumerate(prompts):
        own = entries[index].seed
        current = own if own is not None else start + index if walk else current
        items.append(make_item(sample.reading, rules, prompt, entries[index], index, current))
    _report(sample, rules, items)
    return items


def _report(sample: Section, rules: Rules, items: list[SampleItem]) -> None:
    """Say what has no effect and what is random."""
    reading = sample.reading
    if any(item.seed is None for item in items):
        reading.note("Seed -1 means a new random seed for each image.")
    if any(item.negative_prompt and item.cfg_scale == 1.0 for item in items):
        sample.no_effect("neg")
        reading.note("A negative prompt is kept but has no effect: there is one pass (CFG 1).")
    if rules.rescale:
        sample.no_effect("guidance_rescale")
        if rules.family == "sdxl":
            reading.note(f"guidance_rescale {rules.rescale:g} is not part of an item: set it on the model by hand.")
    if rules.family == "flux" and rules.use_flux_cfg:
        reading.note("model.use_flux_cfg: true CFG with Flux's guidance embedding bypassed by the trainer.")


def _entries(sample: Section, base: Settings) -> tuple[list[Settings], list[Prompt]]:
    """Settings of every entry, and the prompts; entries without a prompt are missing from the latter."""
    listed = "samples" if sample.has("samples") else "prompts"
    if listed == "samples" and sample.has("prompts"):
        sample.reading.note("sample.samples is given, so the trainer does not look at sample.prompts.")
    settings: list[Settings] = []
    prompts: list[Prompt] = []
    for index, node in enumerate(sample.items(listed) or []):
        path = f"{sample.path_of(listed)}[{index}]"
        prompt: Node | None = node
        entry_settings = base
        if listed == "samples":
            entry = _entry(sample, node, path)
            entry_settings, prompt, path = _settings(entry, base), entry.get("prompt"), f"{path}.prompt"
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


def _prompt(sample: Section, node: Node, path: str) -> Prompt:
    text = sample.as_text(node, path)
    if is_number(node) or is_boolean(node, True):
        sample.reading.note(f"{path} is taken as the text {text!r}; the trainer itself needs it in quotes.")
    return Prompt(text, node, path)


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
