"""ai-toolkit (ostris; YAML, JSON, JSONC): `config.process[]` with a sample section.

Sources: ostris/ai-toolkit `toolkit/config.py`, `toolkit/config_modules.py` (`SampleConfig`, `SampleItem`,
`GenerateImageConfig`, `ModelConfig`), `jobs/process/BaseSDTrainProcess.py::sample`.
"""

from __future__ import annotations

from typing import Final

from ...configs.fields import Reading, Section
from ...configs.tree import Document
from ...families import FAMILIES
from ...families.others import other_by_name
from ...spec.model import PRECISIONS, UNNAMED, SampleSpec
from ..process import first_process, is_process, note_disabled_sampling, use_family_fields
from ..reading import spec_of, texts_of, unsupported
from .base import note_average, read_base
from .items import read_items
from .sampling import ID

#: Processes built on BaseSDTrainProcess, which samples.
PROCESS_TYPES: Final = (
    *("sd_trainer", "diffusion_trainer", "ui_trainer", "textual_inversion_trainer", "concept_slider"),
    *("concept_replacer", "image_reference_slider_trainer", "ultimate_slider_trainer"),
)
#: The arch whose samples each follow a control image.
KONTEXT: Final = "flux_kontext"
_ARCHES: Final = {
    **dict.fromkeys(("flux", "flex1", KONTEXT), "flux"),
    "sd3": "sd35",
    **dict.fromkeys(("sdxl", "ssd", "vega"), "sdxl"),
    "chroma": "chroma",
}
#: `ModelConfig`: without arch the first of these flags names it.
_FLAGS: Final = {"is_v2": "sd2", "is_v3": "sd3", "is_xl": "sdxl"} | {
    f"is_{arch}": arch for arch in ("pixart", "pixart_sigma", "auraflow", "flux", "lumina2", "vega", "ssd")
}
#: Of the families here only Chroma has its VAE from the extras, another model's folder.
MODEL_FILES: Final = {"name_or_path": "model", "vae_path": "vae"}
_OTHER_FILES: Final = ("extras_name_or_path", "assistant_lora_path", "refiner_name_or_path")


def read_ai_toolkit(document: Document, family: str | None) -> SampleSpec:
    """Spec of an ai-toolkit config; `[name]` is replaced by config.name everywhere first.

    family: overrides what the config says about its model.
    """
    reading = Reading(document, yaml11=True, variables=True)
    root = reading.root()
    process, run_name = _process(root)
    model, train, sample = (process.section(key) for key in ("model", "train", "sample"))
    if sample is None:
        raise process.missing("sample", "Add a sample section with prompts; without one there is nothing to sample.")
    if model is None or model.text("name_or_path") is None:
        raise (model or process).missing("name_or_path" if model else "model", "ai-toolkit stops without it.")
    family = family or _family(model)
    use_family_fields(model, ("arch", *_FLAGS))
    kontext = family == "flux" and (model.text("arch") or "").split(":")[0] == KONTEXT
    variant = "kontext" if kontext else FAMILIES[family].variant_of(model.text("name_or_path") or "")
    trigger = process.text("trigger_word")
    note_disabled_sampling(reading, train)
    if process.has("first_sample"):
        first = process.path_of("first_sample")
        reading.note(f"{first} is used by the trainer before the first step only; it is not read.")
    if FAMILIES[family].ignores_guidance(variant, reading.note):
        sample.no_effect("guidance_scale")
    if process.get("adapter") is not None:
        reading.differs("model", f"{process.path_of('adapter')} acts on the trainer's own samples; it is not read.")
    sampling = read_base(reading, model, sample, family)
    note_average(reading, train)
    precision = train.text("dtype") if train else None
    flux_cfg = bool(model.flag("use_flux_cfg"))
    if kontext and flux_cfg:
        model.no_effect("use_flux_cfg")
    return spec_of(
        reading,
        ID,
        family,
        read_items(sample, family, trigger, use_flux_cfg=flux_cfg and not kontext, kontext=kontext),
        variant=variant,
        name=process.text("name") or run_name,
        trigger_word=trigger,
        sample_every=_interval(sample),
        precision=PRECISIONS.get(precision) if precision is not None else "float32",
        image_format=(sample.text("format") or "jpg").lstrip("."),
        model_files=texts_of(model, (*MODEL_FILES, *_OTHER_FILES)),
        sampling=sampling,
    )


def _process(root: Section) -> tuple[Section, str]:
    """The process that samples, and the run's name."""
    reading, config = root.reading, root.section("config")
    if config is None and is_process(root.node) and root.text("type") in PROCESS_TYPES:
        reading.note("This is a process section alone, as the trainer's log has it: config.name is not in it.")
        return root, UNNAMED
    if config is None:
        raise root.missing("config", "Give `config:` its `name:` and `process:`.")
    run_name = config.text("name")
    if run_name is None:
        raise config.missing("name", "ai-toolkit names the run's folder by it.")
    if root.get("job") is None:
        reading.note("ai-toolkit needs `job: extension` at the top; it is missing here.")
    reading.replace = ("[name]", run_name)
    return first_process(config, PROCESS_TYPES, "ai-toolkit"), run_name


def _family(model: Section) -> str:
    """Family by `model.arch`, text after ':' dropped, else by the first `is_...` flag, else Stable Diffusion 1."""
    arch, key = model.text("arch"), "arch"
    if arch is None:
        key = next((flag for flag in _FLAGS if model.flag(flag)), "name_or_path")
        arch = _FLAGS.get(key, "sd1")
    found = _ARCHES.get(arch.split(":")[0])
    if found is None:
        named = other_by_name(model.text("name_or_path") or "") if key == "name_or_path" else None
        raise unsupported(model, key, repr(named or arch))
    if arch in ("ssd", "vega"):
        model.reading.note(f"{arch} is a distilled SDXL: the base model has to be that one.")
    return found


def _interval(sample: Section) -> int | None:
    """Steps between samples: 100 by default, 0 or null = never."""
    if not sample.has("sample_every"):
        return 100
    return (sample.integer("sample_every", 0, 2**31) or None) if sample.get("sample_every") else None
