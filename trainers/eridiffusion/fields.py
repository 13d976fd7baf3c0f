"""The fields that EriDiffusion V1's two config layouts share, each read by the trainer's own rule.

Sources: CodeAlexx/EriDiffusion `src/config/trainer_config.rs`, `src/trainers/mod.rs::detect_model_type`,
`crates/training/src/eridiffusion_config.rs::default_seed`.
"""

from __future__ import annotations

from typing import Any, Final

from ...configs.fields import Reading, Section, is_boolean, is_null, is_number, shown
from ...configs.tree import Node
from ...families import FAMILIES
from ...families.others import other_by_name
from ...spec.model import MAX_PIXELS, MAX_SEED, PRECISIONS, SampleItem, fill_trigger, placeholders
from ..reading import unsupported
from .sample import DEFAULT_SIDE, found
from .sampling import SIZES

DEFAULT_SEED: Final = 42
MODEL_FILES: Final = {
    "name_or_path": "model",
    "vae_path": "vae",
    "clip_path": "clip_l",
    "clip_l_path": "clip_l",
    "clip_g_path": "clip_g",
    "t5_path": "t5xxl",
    "text_encoder_path": "encoder",
    "text_encoder_2_path": "encoder",
}
_ARCHES: Final = {
    **dict.fromkeys(("sd35", "sd3.5", "sd_3.5"), "sd35"),
    **dict.fromkeys(("sdxl", "sd_xl"), "sdxl"),
    "flux": "flux",
    **dict.fromkeys(("sd15", "sd1.5", "sd_1.5"), "sd15"),
    **dict.fromkeys(("sd21", "sd2.1", "sd_2.1"), "sd21"),
}
#: `detect_model_type`'s rules on the lower-cased path; then names it misses; then its rules for old families.
_NAMES: Final = (
    ("sd35", ("sd3.5", "sd35", "sd_3.5")),
    ("flux", ("flux",)),
    ("sdxl", ("sdxl", "sd_xl")),
    ("sd35", ("sd3_5", "sd3-5", "stable-diffusion-3")),
    ("sdxl", ("stable-diffusion-xl",)),
    ("sd21", ("sd2", "v2")),
    ("sd15", ("sd1", "v1-5", "v1.5")),
)


def detect_family(model: Section, train: Section | None) -> str:
    """Family of a layout A config (`detect_model_type`: arch, flags, path, training hints); SpecError if not ours.

    Two additions, because its answer would be Flux for any file name it does not know: `is_sdxl` counts (as in
    `config/mod.rs::get_model_arch`), and so do the usual names of SD 3.5 and SDXL that its path rule misses.
    """
    found, key = _detect(model, train)
    if found in FAMILIES:
        return found
    raise unsupported(model, key, repr(found))


def _detect(model: Section, train: Section | None) -> tuple[str, str]:
    """Family and the field of the model section that told."""
    arch = model.text("arch")
    if arch is not None and arch.lower() in _ARCHES:
        return _ARCHES[arch.lower()], "arch"
    for key, family in (("is_v3", "sd35"), ("is_flux", "flux"), ("is_sdxl", "sdxl")):
        if model.flag(key):
            return family, key
    path = (model.text("name_or_path") or "").lower()
    for family, words in _NAMES:
        if any(word in path for word in words):
            return family, "name_or_path"
    other = other_by_name(path)
    if arch is not None or other is not None:
        return arch or str(other), "arch" if arch else "name_or_path"
    return _guess(model.reading, train), "name_or_path"


def _guess(reading: Reading, train: Section | None) -> str:
    """The trainer's last resort: hints in the train section (bypass_guidance_embedding is true by default there)."""
    hints = {key: train.flag(key) if train else None for key in ("linear_timesteps", "bypass_guidance_embedding")}
    if hints["linear_timesteps"]:
        family, why = "sd35", "train.linear_timesteps is true"
    elif hints["bypass_guidance_embedding"] is not False:
        family, why = "flux", "train.bypass_guidance_embedding is true, its default"
    else:
        family, why = "sdxl", "nothing says otherwise"
    reading.note(f"The model family is guessed as the trainer does: {family}, because {why}. Name it if that is wrong.")
    return family


def prompts_of(section: Section, key: str, trigger: str | None) -> list[str]:
    """Prompts of a list of text, with the trigger word put in; SpecError when there are none."""
    nodes = section.items(key)
    if not nodes:
        raise section.error(key, "there is no prompt, so there is nothing to sample", "Add at least one prompt.")
    return [_prompt(section.reading, node, f"{section.path_of(key)}[{i}]", trigger) for i, node in enumerate(nodes)]


def _prompt(reading: Reading, node: Node, path: str, trigger: str | None) -> str:
    if not isinstance(node.value, str) or is_null(node):
        raise reading.error(
            f"{'nothing' if is_null(node) else shown(node)} stands where a prompt should be",
            node,
            path,
            'Write the prompt as text, in quotes when it holds a ": " (EriDiffusion has no samples: list).',
        )
    if is_number(node) or is_boolean(node, False):
        reading.note(f"{path} is taken as the text {node.value!r}; the trainer itself needs it in quotes.")
    prompt = node.value
    present = placeholders(prompt)
    if not present:
        return prompt
    if trigger is None:
        reading.note(f"{present[0]} stays in the prompts as text: the config has no trigger_word.")
        return prompt
    reading.note(
        f"{' and '.join(present)} in prompts became the trigger word {trigger!r}; the trainer leaves it as is."
    )
    return fill_trigger(prompt, trigger)


def pixel_size(section: Section, key: str, family: str) -> int:
    """Pixels of one side, 1024 if absent, after rounding down to whole latent cells (8) or, for 2x2 patches, 16."""
    given = found(section, lambda part, name: part.integer(name, 1, MAX_PIXELS), key)
    if given.value is None:
        section.reading.note(f"{section.path_of(key)} is absent: {DEFAULT_SIDE}, the documents' default, is used.")
    return rounded(given.section, key, given.value or DEFAULT_SIDE, family)


def rounded(section: Section, key: str, value: int, family: str) -> int:
    """A side rounded down to what the family's latents can hold."""
    cell = SIZES[family].multiple
    if value < cell:
        raise section.error(key, f"{value} pixels are less than one latent cell", f"Write at least {cell}.")
    result = SIZES[family].pixels(value)
    if result != value:
        section.reading.note(f"{section.path_of(key)}: {value} is rounded down to {result}, a multiple of {cell}.")
    return result


def seed_of(section: Section, key: str) -> int:
    """The seed, 42 when absent; SpecError for a negative one, which the trainer cannot read."""
    section = found(section, Section.get, key).section
    node = section.get(key)
    if node is not None and node.plain and str(node.value).startswith("-"):
        raise section.error(
            key,
            f"EriDiffusion's seed is unsigned, {node.value} cannot be read",
            "Write 0 or more (there is no random).",
        )
    seed = section.integer(key, 0, MAX_SEED)
    if seed is None:
        section.reading.note(f"{section.path_of(key)} is absent: the trainer's default {DEFAULT_SEED} is used.")
    return DEFAULT_SEED if seed is None else seed


def t5_length_of(model: Section | None, family: str) -> int | None:
    """`model.t5_max_length`, None when absent or when the family has no T5."""
    length = model.integer("t5_max_length", 1, 4096) if model else None
    if model is not None and length is not None and family == "sdxl":
        model.no_effect("t5_max_length")
        return None
    return length


def precision_of(section: Section | None, key: str) -> str | None:
    """torch dtype name of a training section's number format, None where it names none."""
    node = section.get(key) if section else None
    return PRECISIONS.get(str(node.value)) if node is not None else None


def build_items(prompts: list[str], seeds: list[int], **common: Any) -> list[SampleItem]:
    """One item per prompt, with its seed. common: the fields of SampleItem that all share."""
    pairs = enumerate(zip(prompts, seeds, strict=True))
    return [SampleItem(index=index, prompt=prompt, seed=seed, **common) for index, (prompt, seed) in pairs]


def variant_from(family: str, model: Section | None, key: str) -> str | None:
    """Variant that a model section's file name tells."""
    name = model.text(key) if model else None
    return FAMILIES[family].variant_of(name) if name else None
