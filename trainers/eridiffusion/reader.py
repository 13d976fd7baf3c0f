"""EriDiffusion V1 (Rust, YAML). Layout A is `config.process[]` with a sample section, the shape that ai-toolkit has.

The same sections also stand at the top level of a document, and a `validation` section may take sample's place. Layout
B is in `flat.py`; templates sample nothing.
"""

from __future__ import annotations

from typing import Final

from ...configs.fields import Reading, Section
from ...configs.tree import Document
from ...spec.model import MAX_SEED, UNNAMED, SampleItem, SampleSpec
from ..process import first_process, note_disabled_sampling, use_family_fields
from ..reading import spec_of, texts_of
from .fields import (
    MODEL_FILES,
    build_items,
    detect_family,
    pixel_size,
    precision_of,
    prompts_of,
    seed_of,
    t5_length_of,
    variant_from,
)
from .flat import named_family, read_flat, validation_items
from .sample import common_fields
from .sampling import ID

#: Processes that V1 runs; the first of them is the one (`src/trainers/mod.rs::train_from_config`).
PROCESS_TYPES: Final = ("sd_trainer", "flux_trainer")


def read_eridiffusion(document: Document, family: str | None) -> SampleSpec:
    """Spec of an EriDiffusion V1 config, layout A (`config.process[]`) or B (flat); SpecError for templates.

    family: overrides what the config says about its model.
    """
    reading = Reading(document)
    root = reading.root()
    reading.note(
        "No published version of EriDiffusion V1 could write a sample; this is what the config and its documents ask "
        "for (docs/eridiffusion.md)."
    )
    if root.has("config") or root.has("process"):
        return read_process(reading, root, family)
    if root.has("model_kind"):
        raise root.error(
            "model_kind",
            "a training template has no sample section, so there is nothing to sample",
            "Use a config with config.process[].sample or validation.prompts.",
        )
    if root.has("sample"):
        return read_sections(reading, root, root.text("name"), family)
    if not root.has("validation"):
        _refuse_misplaced(root)
    return read_flat(reading, root, family)


def read_process(reading: Reading, root: Section, family: str | None) -> SampleSpec:
    """Spec of the first sd_trainer or flux_trainer process; a bare config section as the document is accepted too."""
    config = root.section("config") if root.has("config") else root
    if config is None:
        raise root.missing("config", "Give `config:` its `name:` and `process:`.")
    process = first_process(config, PROCESS_TYPES, "EriDiffusion")
    root.get("job")
    return read_sections(reading, process, config.text("name"), family)


def read_sections(reading: Reading, process: Section, name: str | None, family: str | None) -> SampleSpec:
    """Spec of a section that holds `model`, `train` and `sample` or `validation`: a process, or a whole document.

    name: of the run.
    """
    model, train, sample = (process.section(key) for key in ("model", "train", "sample"))
    validation = process.section("validation") if sample is None else None
    if sample is None and validation is None:
        _refuse_misplaced(process)
        raise process.missing("sample", "Add a sample section with prompts; without one there is nothing to sample.")
    if model is None and family is None:
        raise process.missing("model", "Add the model section; it tells the family.")
    family = family or (_family(model, train) if model else "")
    use_family_fields(model, ("arch", "is_v3", "is_flux", "is_sdxl", "type", "architecture"))
    note_disabled_sampling(reading, train)
    variant = variant_from(family, model, "name_or_path") or variant_from(family, model, "path")
    trigger = process.text("trigger_word")
    if sample is not None:
        items, every = _items(sample, family, variant, trigger), sample.integer("sample_every", 0, 2**31)
    else:
        items, every = validation_items(process, validation or process, family, variant, trigger), None
    return spec_of(
        reading,
        ID,
        family,
        items,
        variant=variant,
        name=name or UNNAMED,
        trigger_word=trigger,
        sample_every=every or None,
        t5_length=t5_length_of(model, family),
        precision=precision_of(train, "dtype"),
        sampling=reading.sampling,
        model_files=texts_of(model, MODEL_FILES),
    )


def _refuse_misplaced(process: Section) -> None:
    """SpecError for a sample section that stands in another section, where it would be looked for in vain."""
    for key in ("model", "network", "save", "train", "training", "dataset"):
        node = process.get(key)
        section = process.section(key) if node is not None and isinstance(node.value, dict) else None
        if section is not None and section.has("sample"):
            raise section.error("sample", f"it stands below {key}, where nothing is sampled", f"Move it beside {key}.")


def _family(model: Section, train: Section | None) -> str:
    """Family as the flat layout names it, where it does, else as layout A tells it."""
    return named_family(model) or detect_family(model, train)


def _items(sample: Section, family: str, variant: str | None, trigger: str | None) -> list[SampleItem]:
    prompts = prompts_of(sample, "prompts", trigger)
    seed, walk = seed_of(sample, "seed"), sample.flag("walk_seed") or False
    if walk and seed + len(prompts) - 1 > MAX_SEED:
        raise sample.error("seed", "walk_seed leads beyond the largest seed", f"Write at most {MAX_SEED}.")
    height, width = pixel_size(sample, "height", family), pixel_size(sample, "width", family)
    seeds = [seed + index if walk else seed for index in range(len(prompts))]
    return build_items(prompts, seeds, width=width, height=height, **common_fields(sample, family, variant))
