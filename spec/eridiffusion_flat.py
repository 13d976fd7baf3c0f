"""EriDiffusion V1, layout B: flat sections `model`, `training`, `dataset`, `validation`."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Final

from .eridiffusion_fields import (
    DEFAULT_SEED,
    TRAINER,
    build_items,
    guidance_of,
    model_files_of,
    prompts_of,
    rounded,
    steps_of,
    t5_length_of,
)
from .families import MAX_PIXELS, MAX_SEED, variant_of
from .fields import Reading, Section
from .model import FAMILIES, SampleSpec

_FAMILIES: Final = {"sd35": "sd35", "sd3": "sd35", "sd3.5": "sd35", "flux": "flux", "sdxl": "sdxl"}
_VARIANTS: Final = {"flux": ("dev", "schnell"), "sd35": ("medium", "large", "large-turbo"), "sdxl": ()}


def read_flat(reading: Reading, root: Section, family: str | None) -> SampleSpec:
    """Spec of a flat config: prompts, steps and guidance from `validation`, size = dataset.resolution squared."""
    model, validation = root.section("model"), root.section("validation")
    if validation is None:
        raise root.missing("validation", "Add `validation:` with prompts; without it there is nothing to sample.")
    training = root.section("training")
    family = _family(root, model, family)
    variant = _variant(model, family)
    prompts = prompts_of(validation, "prompts", None)
    seed = _seed(reading, training)
    output = training.text("output_dir") if training else None
    side = _side(root, family)
    scales = guidance_of(validation, "guidance_scale", family, variant)
    items = build_items(
        prompts, [seed] * len(prompts), (side, side), steps_of(validation, "num_inference_steps"), scales, "", None
    )
    files = {f"model.{key}": value for key, value in model_files_of(model, ("path",)).items()}
    for name, keys in (("text_encoders", ("clip_path", "clip_l_path", "clip_g_path", "t5_path")), ("vae", ("path",))):
        section = root.section(name)
        files |= {f"{name}.{key}": value for key, value in model_files_of(section, keys).items()}
    return SampleSpec(
        family=family,
        variant=variant,
        trainer=TRAINER,
        layout=TRAINER,
        items=items,
        name=PurePosixPath(output.replace("\\", "/")).name if output else "samples",
        sample_every=_interval(training),
        t5_length=t5_length_of(model, family),
        source=reading.document.source,
        model_files=files,
        notes=reading.notes,
        ignored=reading.ignored(),
    )


def _family(root: Section, model: Section | None, family: str | None) -> str:
    named = {key: model.text(key) for key in ("type", "architecture")} if model else {}
    if family is not None:
        return family
    for key, value in named.items():
        if model is not None and value is not None:
            found = _FAMILIES.get(value.lower())
            if found is None:
                raise model.error(
                    key, f"the model family {value!r} is not supported", f"Supported are {', '.join(FAMILIES)}."
                )
            return found
    raise (model or root).missing("type" if model else "model", "Write `model:` with `type: flux`, sd35 or sdxl.")


def _variant(model: Section | None, family: str) -> str | None:
    if model is None:
        return None
    given, path = model.text("variant"), model.text("path")
    if given is None:
        return variant_of(family, path) if path else None
    word = given.lower().replace("_", "-")
    if word not in _VARIANTS[family]:
        known = ", ".join(_VARIANTS[family]) or "none"
        raise model.error("variant", f"{given!r} is no variant of {family}", f"Known variants: {known}.")
    return word


def _seed(reading: Reading, training: Section | None) -> int:
    seed = training.integer("seed", 0, MAX_SEED) if training else None
    if seed is None:
        reading.note(f"training.seed is absent: {DEFAULT_SEED}, the trainer's default for samples, is used.")
        return DEFAULT_SEED
    return seed


def _side(root: Section, family: str) -> int:
    for name in ("dataset", "data"):
        section = root.section(name)
        side = section.integer("resolution", 1, MAX_PIXELS) if section else None
        if section is not None and side is not None:
            root.reading.note(f"The config has no sample size: {name}.resolution is used, square.")
            return rounded(section, "resolution", side, family)
    raise root.missing("dataset.resolution", "Write `dataset:` with `resolution: 1024`; samples are that size, square.")


def _interval(training: Section | None) -> int | None:
    values = [training.integer(key, 0, 2**31) for key in ("validation_steps", "eval_steps")] if training else []
    return next((value for value in values if value), None)
