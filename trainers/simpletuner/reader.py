"""SimpleTuner: config.json, .toml, .env or a command line, with its library of prompts in a file of its own.

Sources: bghira/SimpleTuner `helpers/training/validation.py` (`prepare_validation_prompt_list`,
`parse_validation_resolutions`, `Validation.validate_prompt`), `helpers/configuration/cmd_args.py`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from ...configs.fields import Reading, Section
from ...configs.limits import Place
from ...configs.parse import parse
from ...configs.script import Unexpanded
from ...configs.second_file import Folders, missing_prompts
from ...configs.tree import Document
from ...errors import SpecError
from ...families import FAMILIES
from ...spec.model import MAX_PIXELS, MAX_SEED, MAX_STEPS, PRECISIONS, SampleItem, SampleSpec
from ..reading import NO_PROMPT, rescaling, run_name, spec_of, take_over, texts_of
from .base import lora_scale, note_base, real_guidance, steps_of, with_average
from .family import family_of
from .options import Options
from .sampling import ID, SCHEDULER_WORDS, SIZE

#: What a flavour loads, helpers/models/*/model.py HUGGINGFACE_PATHS; the first of each is DEFAULT_MODEL_FLAVOUR.
_FLAVOURS: Final = {
    "flux": {
        "krea": "black-forest-labs/FLUX.1-Krea-dev",
        "dev": "black-forest-labs/FLUX.1-dev",
        "schnell": "black-forest-labs/FLUX.1-schnell",
        "kontext": "black-forest-labs/FLUX.1-Kontext-dev",
        "fluxbooru": "terminusresearch/fluxbooru-v0.3",
        "libreflux": "jimmycarter/LibreFlux-SimpleTuner",
    },
    "sd35": {
        "medium": "stabilityai/stable-diffusion-3.5-medium",
        "large": "stabilityai/stable-diffusion-3.5-large",
    },
    "sdxl": {
        "base-1.0": "stabilityai/stable-diffusion-xl-base-1.0",
        "refiner-1.0": "stabilityai/stable-diffusion-xl-refiner-1.0",
        "base-0.9": "stabilityai/stable-diffusion-xl-base-0.9",
        "refiner-0.9": "stabilityai/stable-diffusion-xl-refiner-0.9",
    },
    "chroma": {"base": "lodestones/Chroma1-Base", "hd": "lodestones/Chroma1-HD", "flash": "lodestones/Chroma1-Flash"},
}
#: A base model whose name tells no variant.
_DEFAULTS: Final = {"flux": "dev", "sd35": "medium"}
_NEGATIVE: Final = "blurry, cropped, ugly"
_RESOLUTION: Final = "256"
_MEGAPIXELS_BELOW: Final = 128
_SD3_TOKENS: Final = 154
_BASE: Final = "pretrained_model_name_or_path"
MODEL_FILES: Final = {
    **dict.fromkeys(("pretrained_transformer_model_name_or_path", "pretrained_unet_model_name_or_path"), "model"),
    _BASE: "model",
    "pretrained_vae_model_name_or_path": "vae",
    "vae_path": "vae",
}


@dataclass(frozen=True)
class Prompt:
    """One entry of the trainer's list of prompts. name: its short name in file names. strength: LoRA strength."""

    name: str
    text: str
    strength: float
    place: Place


def read_simpletuner(document: Document, family: str | None) -> SampleSpec:
    """Spec of a SimpleTuner config. Raises SpecError for a model that is not supported or when nothing is sampled."""
    reading = Reading(document)
    options = Options(reading)
    family = family_of(options, family)
    options.node("model_family")
    files, flavour = texts_of(options, MODEL_FILES), options.text("model_flavour")
    if not files.get(_BASE):
        flavour = flavour or next(iter(_FLAVOURS[family]))
        files[_BASE] = _of_flavour(options, family, flavour)
    if options.flag("validation_disable"):
        reading.note("validation_disable: the trainer itself makes no samples.")
    variant = FAMILIES[family].variant_of(files[_BASE]) or _DEFAULTS.get(family)
    if variant == "kontext":
        text = "The base model is a kontext model, whose samples follow images of the data set; here they do not."
        reading.differs("model", text)
    items = with_average(options, _items(options, family, flavour))
    note_base(options, family, flavour)
    if FAMILIES[family].ignores_guidance(variant, reading.note):
        options.no_effect("validation_guidance")
    spec = spec_of(
        reading,
        ID,
        family,
        items,
        variant=variant,
        name=run_name(options.text("output_dir")),
        sample_every=_interval(options),
        t5_length=_t5_length(options, family),
        precision=PRECISIONS.get(options.text("mixed_precision") or "bf16", "float32"),
        image_format=options.text("validation_image_format") or "png",
        model_files=files,
        sampling=_sampling(options, family, flavour),
    )
    spec.ignored.extend(options.unused_extra())
    return spec


def _of_flavour(options: Options, family: str, flavour: str) -> str:
    """The repository that a flavour means, which may be the trainer's default."""
    if flavour not in _FLAVOURS[family]:
        raise options.error(
            "model_flavour", f"there is no flavour {flavour!r}", f"Write one of {', '.join(_FLAVOURS[family])}."
        )
    if not options.has("model_flavour"):
        options.reading.note(f"No base model is named: the trainer's default is {_FLAVOURS[family][flavour]}.")
    return _FLAVOURS[family][flavour]


def _items(options: Options, family: str, flavour: str | None) -> list[SampleItem]:
    """All images: every prompt at every resolution."""
    prompts, sizes = _prompts(options), _sizes(options)
    seed, steps = _seed(options), options.integer("validation_num_inference_steps", 1, MAX_STEPS)
    negative = options.text("validation_negative_prompt")
    negative = _NEGATIVE if negative is None else negative
    scale = options.number("validation_guidance", 7.5)
    steps, real = steps_of(options, flavour, 30 if steps is None else steps), real_guidance(options, flavour)
    cfg = max(real, 1.0) if family == "flux" else max(scale, 1.0)
    _note_guidance(options, family, negative, cfg, scale)
    items: list[SampleItem] = []
    for prompt in prompts:
        for number, (label, *sides) in enumerate(sizes):
            width, height = prompt.place.size(SIZE.pixels, *sides)
            items.append(
                SampleItem(
                    index=len(items),
                    prompt=prompt.text,
                    width=width,
                    height=height,
                    steps=steps,
                    negative_prompt=negative,
                    seed=seed,
                    cfg_scale=cfg,
                    guidance=scale if family == "flux" else None,
                    sampler=_sampler(options, family),
                    lora_scale=prompt.strength,
                    label=f"{prompt.name}_{number}_{label}",
                )
            )
    return items


def _prompts(options: Options) -> list[Prompt]:
    """The empty prompt, the library's, then the one of the config."""
    kind = "lycoris" if options.text("lora_type") == "lycoris" else "adapter"
    strength = options.number(f"validation_{kind}_strength", 1.0)
    root = Place(options.reading, options.section.node, "")
    prompts = []
    if not options.flag("validation_disable_unconditional"):
        options.reading.note(
            "The first prompt is empty, called unconditional, unless validation_disable_unconditional is set."
        )
        prompts.append(Prompt("unconditional", "", strength, root))
    if options.text("validation_prompt_library") not in (None, "false", "False"):
        options.reading.note("validation_prompt_library: the prompts that SimpleTuner brings along are not made here.")
    prompts += _library(options, strength)
    single = options.text("validation_prompt")
    if single is not None and single != "None":
        node = options.node("validation_prompt") or options.section.node
        prompts.append(Prompt("validation", single, strength, Place(options.reading, node, "validation_prompt")))
    if not prompts:
        remedy = "Set validation_prompt or user_prompt_library"
        raise missing_prompts(NO_PROMPT, options.reading.document.source, remedy)
    return prompts


def _library(options: Options, strength: float) -> list[Prompt]:
    """Prompts of user_prompt_library: short name -> text, or a section with prompt (caption, tags) and strength."""
    folders = options.reading.document.folders or Folders()
    found, named = folders.override(), options.text("user_prompt_library")
    if found is None and named is not None and named != "None":
        found = folders.read(options.section, options.key("user_prompt_library"), named)
    if found is None:
        return []
    text, name, _ = found
    reading = Reading(parse(text, name, ".json"))
    root = reading.root()
    prompts = [_library_entry(root, key, strength) for key in root.members if key.strip()]
    take_over(options.reading, reading)
    return prompts


def _library_entry(root: Section, key: str, strength: float) -> Prompt:
    node = root.members[key]
    root.used.add(key)
    place = Place(root.reading, node, key)
    if not isinstance(node.value, dict):
        return Prompt(key.strip(), root.as_text(node, key), strength, place)
    entry = Section(root.reading, node, key)
    name = next((name for name in ("prompt", "caption", "tags") if entry.has(name)), None)
    text = entry.text(name) if name else None
    if text is None:
        raise entry.missing("prompt", "Write the prompt, caption or tags of this entry.")
    own = entry.number("adapter_strength") if entry.get("adapter_strength") is not None else None
    for other in ("bbox_entities", "bbox_keyframes"):
        if entry.has(other):
            place.differs("model", f"{other} is not used: grounding boxes cannot be reproduced.")
    return Prompt(key.strip(), text, strength if own is None else own, place)


def _sizes(options: Options) -> list[tuple[str, int, int]]:
    """Label in file names, width and height of every resolution, before rounding."""
    text = options.text("validation_resolution") or _RESOLUTION
    number = _number(text)
    if number is not None and number < 0:
        raise _no_size(options, text)
    if number is not None and number < _MEGAPIXELS_BELOW:
        side = 1024 if int(number) == 1 else int(int(int(number) * 1e3) / 8) * 8
        options.reading.note(f"validation_resolution {text} counts as megapixels to the trainer: {side} pixels.")
        text = str(side)
    elif number is not None and "." in text:
        raise _no_size(options, text)
    sizes = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*([0-9]{1,6})(?:x([0-9]{1,6}))?\s*", part.lower())
        if match is None:
            raise _no_size(options, part)
        width, height = int(match[1]), int(match[2] or match[1])
        if not 0 < width <= MAX_PIXELS or not 0 < height <= MAX_PIXELS:
            raise _no_size(options, part)
        sizes.append((f"{width}x{height}", width, height))
    return sizes


def _no_size(options: Options, text: str) -> SpecError:
    return options.error(
        "validation_resolution", f"{text!r} is no size", f"Write 1024 or 1024x768, up to {MAX_PIXELS}, comma between."
    )


def _number(text: str) -> float | None:
    try:
        value = float(text) if "." in text else int(text)
        return value if math.isfinite(value) else None
    except (ValueError, OverflowError):
        return None


def _seed(options: Options) -> int | None:
    """validation_seed or seed or 0, whichever is not 0; random with validation_randomize."""
    own = options.integer("validation_seed", 0, MAX_SEED)
    general = options.integer("seed", -(2**63), MAX_SEED)
    if options.flag("validation_randomize"):
        options.reading.note("validation_randomize means a new random seed for each image.")
        for name in ("validation_seed", "seed"):
            options.no_effect(name)
        return None
    if own:
        options.no_effect("seed")
    if own == 0 and general:
        options.reading.note("validation_seed 0 counts as not set to the trainer: seed is used.")
    return (own or general or 0) % 2**64


def _sampler(options: Options, family: str) -> str | None:
    word = options.text("validation_noise_scheduler")
    if word is not None and word not in SCHEDULER_WORDS:
        known = f"Known ones: {', '.join(SCHEDULER_WORDS)}."
        raise options.error("validation_noise_scheduler", f"SimpleTuner knows no scheduler {word!r}", known)
    return (word or "ddim") if family == "sdxl" else word


def _note_guidance(options: Options, family: str, negative: str, cfg: float, scale: float) -> None:
    reading = options.reading
    if family != "flux" or cfg <= 1.0:
        options.no_effect("validation_no_cfg_until_timestep")
    if family == "flux" and cfg == 1.0 and negative:
        reading.note("The negative prompt has no effect: Flux runs one pass up to validation_guidance_real 1.")
    if family != "flux" and options.has("validation_guidance_real"):
        options.no_effect("validation_guidance_real")
    if family != "flux" and scale < 1.0:
        reading.note(f"A guidance of {scale:g} means no guidance: it is read as CFG 1.")
    if (options.integer("num_validation_images", 1, 1000) or 1) > 1:
        reading.note("num_validation_images: only the first image of each prompt is made, the others share its noise.")


def _interval(options: Options) -> int | None:
    for name in ("validation_epoch_interval", "validation_step_interval"):
        node = options.node(name)
        if node is not None and isinstance(node.value, Unexpanded):
            options.reading.note(f"{options.key(name)} is {str(node.value)!r}: how often the trainer samples is open.")
            return None
    epochs = options.integer("validation_epoch_interval", 0, 2**31)
    if epochs:
        options.reading.note(f"The trainer samples every {epochs} epochs.")
    steps = options.integer("validation_step_interval", 0, 2**31)
    return (None if epochs else 100) if steps is None else steps or None


def _t5_length(options: Options, family: str) -> int | None:
    """SD 3.5 takes up to 154 tokens as configured, Chroma any number; Flux ignores the option."""
    length = options.integer("tokenizer_max_length", 1, 4096)
    if length is None or family == "chroma":
        return length
    if family != "sd35":
        options.no_effect("tokenizer_max_length")
        return None
    return length if options.flag("i_know_what_i_am_doing") else min(length, _SD3_TOKENS)


def _sampling(options: Options, family: str, flavour: str | None) -> dict[str, str | float | bool]:
    """Options that change the schedule or the source of noise."""
    changed: dict[str, str | float | bool] = {}
    if options.text("validation_seed_source") == "gpu":
        precision = PRECISIONS.get(options.text("mixed_precision") or "bf16", "float32")
        changed["noise"] = f"torch-cuda/nchw/{precision}"
    if family in ("sd35", "chroma") and options.has("flow_schedule_shift"):
        changed["shift"] = options.number("flow_schedule_shift", 3.0)
    if family == "chroma" and (options.text("pretrained_model_name_or_path") or "").endswith(".safetensors"):
        # a single file is sampled with the scheduler config of Chroma1-Base
        changed["spacing"] = "beta"
    changed |= _skip_layers(options, family) | lora_scale(options)
    late = options.integer("validation_no_cfg_until_timestep", -(2**31), 2**31)
    if family == "flux" and late is not None and real_guidance(options, flavour) > 1.0:
        changed["cfg_from_step"] = max(late, 0)
    if family == "sdxl":
        spacing = options.text("inference_scheduler_timestep_spacing")
        if spacing not in (None, "leading", "trailing", "linspace"):
            raise options.error(
                "inference_scheduler_timestep_spacing",
                f"there is no spacing {spacing!r}",
                "Write leading, trailing or linspace.",
            )
        if spacing is not None:
            changed["spacing"] = spacing
        name = "validation_guidance_rescale"
        changed |= rescaling(options.reading, options.key(name), options.number(name, 0.0))
        if options.flag("rescale_betas_zero_snr"):
            changed["zero_snr"] = True
        predicts = options.text("prediction_type")
        if predicts in ("v_prediction", "sample") and options.text("validation_noise_scheduler") == "perflow":
            raise options.error(
                "prediction_type",
                f"SimpleTuner stops at the scheduler perflow with {predicts!r}",
                "It is for models that predict the noise: choose another scheduler.",
            )
        if predicts in ("epsilon", "v_prediction"):
            changed["prediction"] = predicts
    return changed


def _skip_layers(options: Options, family: str) -> dict[str, str | float | bool]:
    """Skip-layer guidance, which SimpleTuner has for SD 3.5 only; the layers are a JSON list in a text."""
    name = "validation_guidance_skip_layers"
    node = options.node(name)
    if node is not None and isinstance(node.value, list) and family == "sd35":
        options.reading.note(
            f"{options.key(name)} is a list, of which the trainer keeps the last entry and then leaves skip-layer "
            'guidance off, as here; a text like "[7, 8, 9]" turns it on.'
        )
        options.no_effect(name)
        return {}
    layers = options.text(name)
    if layers is None:
        return {}
    if family == "chroma":
        options.reading.differs("guidance", f"{name}: skip-layer guidance of Chroma is not reproduced.")
        return {}
    if family != "sd35" or not re.fullmatch(r"\[\s*[0-9]{1,3}(?:\s*,\s*[0-9]{1,3})*\s*\]", layers):
        raise options.error(name, f"{layers!r} stops the trainer", 'Write a list like "[7, 8, 9]", for SD 3.5 only.')
    return {
        "skip_layers": ", ".join(re.findall("[0-9]+", layers)),
        "skip_scale": options.number("validation_guidance_skip_scale", 2.8),
        "skip_start": options.number(f"{name}_start", 0.01),
        "skip_end": options.number(f"{name}_stop", 0.2),
    }
