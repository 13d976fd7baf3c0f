"""EriDiffusion V1, layout B: flat sections `model`, `training`, `dataset`, `validation`.

Size, seed and negative prompt are no fields of its `validation`; where one gives them, they count.
"""

from __future__ import annotations

from typing import Final

from ...configs.fields import Reading, Section
from ...families import FAMILIES
from ...spec.model import MAX_PIXELS, MAX_SEED, SampleItem, SampleSpec
from ..reading import run_name, spec_of, texts_of, unsupported
from .fields import DEFAULT_SEED, build_items, pixel_size, prompts_of, rounded, t5_length_of
from .sample import common_fields
from .sampling import ID

_FAMILIES: Final = {"sd35": "sd35", "sd3": "sd35", "sd3.5": "sd35", "flux": "flux", "sdxl": "sdxl"}
#: Section and field -> the part, as in `Trainer.model_files`.
MODEL_FILES: Final = {
    "model.path": "model",
    "vae.path": "vae",
    "text_encoders.clip_path": "clip_l",
    **{f"text_encoders.{encoder}_path": encoder for encoder in ("clip_l", "clip_g")},
    "text_encoders.t5_path": "t5xxl",
}
_VARIANTS: Final = {"flux": ("dev", "schnell"), "sd35": ("medium", "large", "large-turbo"), "sdxl": ()}


def read_flat(reading: Reading, root: Section, family: str | None) -> SampleSpec:
    """Spec of a flat config: prompts, steps and guidance from `validation`, size = dataset.resolution squared."""
    model, validation = root.section("model"), root.section("validation")
    if validation is None:
        raise root.missing("validation", "Add `validation:` with prompts; without it there is nothing to sample.")
    training = root.section("training")
    family = _family(root, model, family)
    variant = _variant(model, family)
    output = training.text("output_dir") if training else None
    items = validation_items(root, validation, family, variant, root.text("trigger_word"))
    files: dict[str, str] = {}
    for place in MODEL_FILES:
        name, _, key = place.partition(".")
        value = texts_of(root.section(name), (key,)).get(key)
        if value is not None:
            files[place] = value
    return spec_of(
        reading,
        ID,
        family,
        items,
        variant=variant,
        name=run_name(output),
        trigger_word=root.text("trigger_word"),
        sample_every=_interval(training),
        t5_length=t5_length_of(model, family),
        sampling=reading.sampling,
        model_files=files,
    )


def validation_items(
    root: Section, validation: Section, family: str, variant: str | None, trigger: str | None
) -> list[SampleItem]:
    """Items of a `validation` section; what it does not say comes from the sections beside it in `root`."""
    prompts = prompts_of(validation, "prompts", trigger)
    seed = _seed(root, validation)
    height, width = _size(root, validation, family)
    shared = common_fields(validation, family, variant)
    return build_items(prompts, [seed] * len(prompts), width=width, height=height, **shared)


def named_family(model: Section) -> str | None:
    """Family as `model.type` or `model.architecture` names it, None without either; SpecError when it is not ours."""
    for key in ("type", "architecture"):
        value = model.text(key)
        if value is not None:
            found = _FAMILIES.get(value.lower())
            if found is None:
                raise unsupported(model, key, repr(value))
            return found
    return None


def _family(root: Section, model: Section | None, family: str | None) -> str:
    named = named_family(model) if model and family is None else None
    if model is not None:
        for key in ("type", "architecture"):
            model.get(key)
    found = family or named
    if found is None:
        raise (model or root).missing("type" if model else "model", "Write `model:` with `type: flux`, sd35 or sdxl.")
    return found


def _variant(model: Section | None, family: str) -> str | None:
    if model is None:
        return None
    given, path = model.text("variant"), model.text("path")
    if given is None:
        return FAMILIES[family].variant_of(path) if path else None
    word = given.lower().replace("_", "-")
    if word not in _VARIANTS[family]:
        known = ", ".join(_VARIANTS[family]) or "none"
        raise model.error("variant", f"{given!r} is no variant of {family}", f"Known variants: {known}.")
    return word


def _seed(root: Section, validation: Section) -> int:
    """validation.seed, else training.seed, else the trainer's default."""
    for section in (validation, root.section("training")):
        seed = section.integer("seed", 0, MAX_SEED) if section else None
        if seed is not None:
            return seed
    root.reading.note(f"training.seed is absent: {DEFAULT_SEED}, the trainer's default for samples, is used.")
    return DEFAULT_SEED


def _size(root: Section, validation: Section, family: str) -> tuple[int, int]:
    """Height and width: the section's own, else its resolution or the data's, square."""
    if validation.has("width") or validation.has("height"):
        return pixel_size(validation, "height", family), pixel_size(validation, "width", family)
    for name in ("validation", "dataset", "data"):
        section = validation if name == "validation" else root.section(name)
        side = section.integer("resolution", 1, MAX_PIXELS) if section else None
        if section is not None and side is not None:
            root.reading.note(f"The config has no sample size: {name}.resolution is used, square.")
            side = rounded(section, "resolution", side, family)
            return side, side
    return pixel_size(validation, "height", family), pixel_size(validation, "width", family)


def _interval(training: Section | None) -> int | None:
    values = [training.integer(key, 0, 2**31) for key in ("validation_steps", "eval_steps")] if training else []
    return next((value for value in values if value), None)
