"""OneTrainer: a training config (JSON) with its samples or the name of their file, or that file on its own.

Sources: Nerogar/OneTrainer `modules/util/config/SampleConfig.py`, `BaseConfig.py::from_dict`, `TrainConfig.py`,
`modules/modelSampler/*Sampler.py`, `modules/trainer/GenericTrainer.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final

from ...configs.fields import Reading, Section
from ...configs.parse import parse
from ...configs.second_file import Folders
from ...configs.tree import Document
from ...errors import FamilyOpenError
from ...families import FAMILIES
from ...spec.model import SampleItem, SampleSpec
from ..reading import masked, name_family, quantised, run_name, spec_of, take_over, unsupported
from .items import read_items
from .sampling import ID

#: model_type as the GUI and the CLI write it; EriDiffusion V2 takes these names over.
MODEL_TYPES: Final = {
    "FLUX_DEV_1": "flux",
    "FLUX_FILL_DEV_1": "flux",
    "STABLE_DIFFUSION_3": "sd35",
    "STABLE_DIFFUSION_35": "sd35",
    "STABLE_DIFFUSION_XL_10_BASE": "sdxl",
    "STABLE_DIFFUSION_XL_10_BASE_INPAINTING": "sdxl",
    "CHROMA_1": "chroma",
}
#: Variants of a base model whose name tells none.
_DEFAULTS: Final = {"FLUX_DEV_1": "dev", "FLUX_FILL_DEV_1": "fill", "STABLE_DIFFUSION_3": "3-medium"}
#: What OneTrainer-WebUi and its packages "serenity" and "eritrainer" write instead (serenity/core/config.py).
ALIASES: Final = {
    **dict.fromkeys(("flux", "flux_dev", "flux_dev_1", "flux_schnell", "flux_fill", "flux_fill_dev"), "flux"),
    **dict.fromkeys(("sd3", "sd_3", "sd35", "sd_35", "sd3.5"), "sd35"),
    **{f"stable_diffusion_{version}": "sd35" for version in ("3", "35", "3.5")},
    **dict.fromkeys(("sdxl", "sdxl_10_base", "sdxl_base", "sdxl_inpainting", "sdxl_inpaint"), "sdxl"),
    **dict.fromkeys(("chroma", "chroma_1"), "chroma"),
}
#: DataType -> torch's name; what computes in no float type of torch's samples in float16.
_PRECISIONS: Final = {"FLOAT_16": "float16", "FLOAT_32": "float32", "TFLOAT_32": "float32", "BFLOAT_16": "bfloat16"}
#: Number formats of fewer than 16 bits, and the parts of a model that may have one.
_QUANTISED: Final = re.compile(r"FLOAT_8|INT_8|NFLOAT_4|(?:FLOAT|INT)_W8A8|GGUF")
#: The version of a config from which its transformer stands in a section of that name (TrainConfig.py __migration_8).
_TRANSFORMERS: Final = 9
_DEFAULT_FILE: Final = "training_samples/samples.json"
_DEFAULT_T5: Final = 77
_MAX_T5: Final = 512


#: `prior`, `unet` and the encoders of these families have no file of their own (modules/modelLoader).
MODEL_FILES: Final = {
    **dict.fromkeys(("transformer.model_name", "prior.model_name", "base_model_name"), "model"),
    "vae.model_name": "vae",
}


def read_onetrainer(document: Document, family: str | None) -> SampleSpec:
    """Spec of a training config or of a samples file; the latter does not tell the family, so it must be given."""
    reading = Reading(document)
    if isinstance(document.root.value, list):
        if family not in FAMILIES:
            raise FamilyOpenError(
                "a samples file does not tell the model family",
                source=document.source,
                remedy=name_family(", or read the training config"),
            )
        reading.note("Only a samples file was read: precision and token length are the trainer's defaults.")
        items = read_items(reading, document.root, "", family, from_file=True)
        return _spec(reading, None, items, family)
    root = reading.root()
    family = family or _family(root)
    return _spec(reading, root, _items(reading, root, family), family)


def _items(reading: Reading, root: Section, family: str) -> list[SampleItem]:
    """Samples of the config itself where it has them, else those of the file it names."""
    folders = reading.document.folders or Folders()
    found = folders.override()
    if found is None:
        listed = root.get("samples")
        if listed is not None:
            return read_items(reading, listed, "samples", family, from_file=False)
        named = root.text("sample_definition_file_name")
        if named is None:
            reading.note(f"The config names no samples: {_DEFAULT_FILE}, the trainer's default, is read.")
        found = folders.read(root, "sample_definition_file_name", named or _DEFAULT_FILE)
    else:
        root.get("samples")
        root.get("sample_definition_file_name")
    text, name, _ = found
    second = Reading(parse(text, name, ".json"))
    if not isinstance(second.document.root.value, list):
        raise second.error("a samples file is a list", second.document.root, None, "Name OneTrainer's samples file.")
    items = read_items(second, second.document.root, "", family, from_file=True)
    take_over(reading, second)
    return items


def _spec(reading: Reading, root: Section | None, items: list[SampleItem], family: str) -> SampleSpec:
    def text(key: str) -> str | None:
        return root.text(key) if root else None

    if root is not None:
        _note_weights(reading, root, family)
    kind = text("model_type") or ""
    if "FILL" in kind or "INPAINTING" in kind:
        reading.differs("model", f"{kind}: the trainer samples an inpainting model; here it samples as a plain one.")
    sampling = _sampling(reading, root, family) if root else {}
    if sampling.get("last_first"):
        items = [replace(item, steps=item.steps + _one_more(item)) for item in items]
    return spec_of(
        reading,
        ID,
        family,
        items,
        variant=FAMILIES[family].variant_of(text("base_model_name") or "") or _DEFAULTS.get(kind),
        name=run_name(text("workspace_dir") or "workspace/run"),
        sample_every=_interval(root) if root else None,
        t5_length=_t5_length(root, family),
        precision=_PRECISIONS.get(text("train_dtype") or "FLOAT_16", "float16"),
        image_format=(text("sample_image_format") or "JPG").lower(),
        model_files=_model_files(root, family) if root else {},
        sampling=sampling,
    )


def _model_files(root: Section, family: str) -> dict[str, str]:
    """What is named; an empty text names nothing, and only Flux and Chroma have a transformer of its own."""
    files = {}
    for place in MODEL_FILES:
        section, dot, key = place.rpartition(".")
        if section in ("transformer", "prior") and (family not in ("flux", "chroma") or section != _transformer(root)):
            continue
        found = root.section(section) if dot else root
        text = found.text(key) if found is not None else None
        if text:
            files[place] = text
    return files


def _transformer(root: Section) -> str:
    """The section of the transformer."""
    version = root.members.get("__version")
    text = "" if version is None else str(version.value)
    known = text.isdecimal() and len(text) < 100 and int(text) >= _TRANSFORMERS
    return "transformer" if known or root.members.get("prior") is None else "prior"


def _family(root: Section) -> str:
    kind = root.text("model_type")
    if kind is None:
        raise root.missing("model_type", "OneTrainer takes Stable Diffusion 1.5 then, which is not supported.")
    if kind not in MODEL_TYPES and kind not in ALIASES:
        raise unsupported(root, "model_type", repr(kind), MODEL_TYPES)
    return MODEL_TYPES.get(kind) or ALIASES[kind]


def _note_weights(reading: Reading, root: Section, family: str) -> None:
    """Say so where the base model is quantised, and whose weights make the samples.

    Sources: Nerogar/OneTrainer@23df383 modules/util/enum/DataType.py `is_quantized`, modules/trainer/GenericTrainer.py
    (`__sample_during_training`, `__save`, `__backup`).
    """
    own = root.text("weight_dtype") or ""
    parts = {"unet" if family == "sdxl" else _transformer(root): "base model", "vae": "VAE"}
    numbers = ("", "_2", "_3")[: len(FAMILIES[family].encoders)]
    parts |= {f"text_encoder{one}": f"text encoder{one.replace('_', ' ')}" for one in numbers}
    for part, what in parts.items():
        node, flat = root.members.get(part), f"{part}_weight_dtype"
        inside = node.value.get("weight_dtype") if node is not None and isinstance(node.value, dict) else None
        if inside is not None and _QUANTISED.match(str(inside.value)):
            section = root.section(part)
            quantised(reading, f"{part}.weight_dtype", what, (section.text("weight_dtype") or "") if section else "")
        elif root.has(flat) and _QUANTISED.match(root.text(flat) or ""):
            quantised(reading, flat, what, root.text(flat) or "")
    if _QUANTISED.match(own):
        quantised(reading, "weight_dtype", "model", own)
    if "model" in reading.differences:
        root.get("quantization")  # which layers
    embeddings = root.members.get("additional_embeddings")
    if embeddings is not None and isinstance(embeddings.value, list) and embeddings.value:
        root.get("additional_embeddings")
        text = "additional_embeddings: the trainer's prompts may hold trained words, which are plain text here."
        reading.differs("token lengths", text)
    if (root.text("ema") or "OFF") == "OFF":
        return
    reading.note("ema: the trainer samples averaged weights (EMA) and saves them; those in backup/ are not averaged.")
    if root.flag("non_ema_sampling") is not False:
        reading.note(
            "non_ema_sampling: the trainer samples the weights that are not averaged, too, into '… - no-ema'. Its "
            "backups hold them: with the folder backup of the run as the run those are made."
        )


def _interval(root: Section) -> int | None:
    """Steps between samples where the trainer counts steps."""
    if root.has("sample_every") and not root.has("sample_after"):  # OneTrainer-WebUi's, in steps
        return root.integer("sample_every", 0, 2**31) or None
    unit = root.text("sample_after_unit") or "MINUTE"
    every = root.number("sample_after")
    skipped = root.integer("sample_skip_first", 0, 2**31)
    if skipped:
        root.reading.note(f"sample_skip_first: the trainer leaves out its first {skipped} samples.")
    if unit == "STEP":
        return int(every if every is not None else 10) or None
    words = unit.lower() if unit in ("NEVER", "ALWAYS") else f"every {every if every is not None else 10:g} {unit}"
    root.reading.note(f"The trainer samples {words.lower()}, which is no number of steps.")
    return None


def _t5_length(root: Section | None, family: str) -> int | None:
    """Flux: text_encoder_2_sequence_length, 77 when absent, the tokenizer's 512 when null."""
    key = "text_encoder_2_sequence_length"
    if family != "flux" or root is None or not root.has(key):
        return _DEFAULT_T5 if family == "flux" else None
    return _MAX_T5 if root.get(key) is None else root.integer(key, 1, 4096)


def _sampling(reading: Reading, root: Section, family: str) -> dict[str, str | float | bool]:
    """Zero terminal SNR of an SDXL run; layer skips and the attention mask have no place in a spec and are named.

    The run's own scheduler is rescaled, those that sample are not: they are made of its config, which stays
    (modules/util/create.py, modules/util/convert/rescale_noise_scheduler_to_zero_terminal_snr.py).
    """
    for key in ("text_encoder_layer_skip", "text_encoder_2_layer_skip", "text_encoder_3_layer_skip"):
        if root.has(key) and root.integer(key, -100, 100):
            text = f"{key} is not 0: the trainer takes an earlier layer of that encoder, here the usual one."
            reading.differs("token lengths", text)
    transformer = root.section(_transformer(root)) if family not in ("sdxl", "chroma") else None
    if transformer is not None and transformer.flag("attention_mask"):
        masked(reading, transformer.path_of("attention_mask"))
    if family != "sdxl" or not root.flag("rescale_noise_scheduler_to_zero_terminal_snr"):
        return _forced_prediction(root) if family == "sdxl" else {}
    reading.note(
        "rescale_noise_scheduler_to_zero_terminal_snr: the trainer samples with guidance rescale 0.7 and starts at the "
        "last timestep, for which DDIM takes one step more, and the model predicts v."
    )
    # StableDiffusionXLSampler.py: cfg_rescale; StableDiffusionXLLoRASetup.py: force_v_prediction
    return {"last_first": True, "rescale": 0.7, "prediction": "v_prediction"}


def _one_more(item: SampleItem) -> bool:
    """Whether a sample has a step more, at the last timestep: the other schedulers begin there."""
    return (item.sampler or "").lower() == "ddim"


def _forced_prediction(root: Section) -> dict[str, str | float | bool]:
    """What the model predicts where a fine-tune says so; LoRA and embedding runs take the base model's.

    Source: Nerogar/OneTrainer@23df383 modules/modelSetup/StableDiffusionXLFineTuneSetup.py:70-75.
    """
    if root.text("training_method") == "FINE_TUNE":
        for field, kind in (("force_v_prediction", "v_prediction"), ("force_epsilon_prediction", "epsilon")):
            if root.flag(field):
                return {"prediction": kind}
    return {}
