"""kohya sd-scripts: a training config (TOML) that names a prompt file, the GUI's form (JSON), or a prompt file alone.

Sources: kohya-ss/sd-scripts `library/train_util.py` (`sample_images_common`, `sample_image_inference`),
`library/flux_train_utils.py`, `library/sd3_train_utils.py`, `train_network.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ...configs.fields import Reading, Section
from ...configs.flat_args import FlatSection
from ...configs.limits import Place
from ...configs.parse import parse
from ...configs.prompt_flags import KOHYA, Grammar
from ...configs.script import part_of
from ...configs.second_file import Folders, missing_prompts
from ...configs.tree import Document
from ...errors import FamilyUnknownError, SpecError
from ...families import FAMILIES
from ...spec.model import PRECISIONS, SampleItem, SampleSpec
from ..reading import masked, name_family, note_random, quantised, spec_of, take_over, texts_of
from .family import family_of
from .gui import GuiForm, gui_entries, is_gui_form
from .lora_scripts import exported_entries
from .prompts import NOTATIONS, Entry, is_prompt_file, read_entries
from .sampling import ID, SAMPLER_WORDS, SIZES
from .text import weighted_parts

_STEPS: Final = {"flux": 20, "sd35": 30, "sdxl": 30, "chroma": 20}
_CFG: Final = {"flux": 1.0, "sd35": 7.5, "sdxl": 7.5, "chroma": 1.0}
#: One function samples both; it feeds Chroma's guidance layer, too.
_BY_FLUX_SCRIPT: Final = ("flux", "chroma")
_SIDE: Final = 512
_GUIDANCE: Final = 3.5
RANDOM: Final = "Prompts without a seed get a new random one each time."
#: Flux's VAE is `ae` alone.
MODEL_FILES: Final = {"pretrained_model_name_or_path": "model", "ae": "vae", "vae": "vae"} | {
    encoder: encoder for encoder in ("clip_l", "clip_g", "t5xxl")
}
#: Settings that do nothing for these families, and why.
_WITHOUT_EFFECT: Final = {
    "controlnet_image": "it acts only where a ControlNet is trained",
    "cfg_trunc_ratio": "only other model families use it",
    "renorm_cfg": "only other model families use it",
    "flow_shift": "only other model families use it",
}
#: What accelerate takes; with fp8 the noise stays in float32.
_MIXED: Final = ("no", "fp16", "bf16", "fp8")
_PROMPT_FILES: Final = (".txt", ".toml", ".json")
_MASKS: Final = ("apply_t5_attn_mask", "apply_lg_attn_mask")


@dataclass(frozen=True)
class Rules:
    """What holds for all images of a config."""

    family: str
    sampler: str


def read_kohya(document: Document, family: str | None) -> SampleSpec:
    """Spec of a training config or a prompt file; the latter does not tell the family, so it must be given."""
    reading = Reading(document)
    if is_prompt_file(document):
        return _from_prompts(reading, family)
    if is_gui_form(document):
        form = GuiForm(reading, family)
        return _from_config(reading, form, form.family)
    return _from_config(reading, arguments(reading), family)


def arguments(reading: Reading) -> FlatSection:
    """The training arguments of a document; those of the file that a command line names lie under its own.

    Source: kohya-ss/sd-scripts `library/train_util.py::read_config_from_file`.
    """
    args = FlatSection(reading)
    if reading.document.kind == "command":
        args.spell_out({"config_file": "config", "sample_prompts": "sample_p"})
    named = args.text("config_file") if reading.document.kind == "command" else None
    if named is None:
        return args
    folders = reading.document.folders or Folders()
    suffixed = named if named.endswith(".toml") else part_of(named, f"{named}.toml")
    text, name, _ = folders.read(args, "config_file", suffixed, prompts=False)
    under = Reading(parse(text, name, ".toml"))
    args.lay_under(FlatSection(under))
    for note in under.notes:
        reading.note(note)
    return args


def _from_prompts(reading: Reading, family: str | None) -> SampleSpec:
    if family not in FAMILIES:
        raise FamilyUnknownError(
            "a prompt file does not tell the model family",
            source=reading.document.source,
            remedy=name_family(", or read the training config instead"),
        )
    reading.note("Only a prompt file was read: precision, token length and sampler are the trainer's defaults.")
    return spec_of(reading, ID, family, _items(reading, Rules(family, "ddim"), read_entries(reading, KOHYA)))


def _from_config(reading: Reading, args: FlatSection, family: str | None) -> SampleSpec:
    family = family_of(args, family)
    variant = FAMILIES[family].variant_of(args.text("pretrained_model_name_or_path") or "")
    sampler = args.text("sample_sampler") or "ddim"
    if family != "sdxl":
        args.no_effect("sample_sampler")
    FAMILIES[family].ignores_guidance(variant, reading.note)
    items = prompt_items(reading, args, KOHYA, lambda second, entries: _items(second, Rules(family, sampler), entries))
    for key in _MASKS:
        if args.flag(key) and family not in ("sdxl", "chroma"):
            masked(reading, key)
    for key in ("fp8_base", "fp8_base_unet"):
        if args.flag(key):
            quantised(reading, key, "base model" if key == "fp8_base_unet" or family == "sdxl" else "base model and T5")
    merged_loras(reading, args)
    if family == "chroma" and not args.flag("apply_t5_attn_mask"):
        reading.note("apply_t5_attn_mask is off, on which the trainer stops with Chroma; it is read as on.")
    return spec_of(
        reading,
        ID,
        family,
        items,
        variant=variant,
        name=args.text("output_name") or "last",
        sample_every=interval(args, epochs_win=True),
        t5_length=_t5_length(args, family),
        precision=_precision(args, family),
        model_files=texts_of(args, (*MODEL_FILES, "network_weights")),
        sampling=_long_prompts(args, family) | _prediction(reading, args, family),
    )


def prompt_items(
    reading: Reading, args: Section, grammar: Grammar, items: Callable[[Reading, list[Entry]], list[SampleItem]]
) -> list[SampleItem]:
    """Items of the prompt file that a config names, or of the one given instead; reports both files' oddities.

    The GUI's form holds the prompts themselves.
    """
    folders = reading.document.folders or Folders()
    key = "prompt_file" if (args.text("prompt_file") or "").strip() else "sample_prompts"  # lora-scripts' page has both
    found = folders.override()
    named = _prompt_file(args, key)
    own = gui_entries(args) if isinstance(args, GuiForm) else exported_entries(args)
    if found is None and own and key == "sample_prompts":
        return items(reading, own)
    if found is None:
        if not named or isinstance(args, GuiForm):
            source = reading.document.source
            raise missing_prompts("the config has no sample_prompts, so the trainer samples nothing", source)
        found = folders.read(args, key, part_of(named, named.strip()))
    text, name, suffix = found
    if suffix not in _PROMPT_FILES:
        raise SpecError(
            f"{suffix or 'no suffix'}: the trainer reads prompts from .txt, .toml and .json only",
            source=name,
            remedy="Rename the file.",
        )
    second = Reading(parse(text, name, suffix, (NOTATIONS,)))
    made = items(second, read_entries(second, grammar))
    take_over(reading, second)
    return made


def _prompt_file(args: Section, key: str) -> str | None:
    """The file that a config names; SpecError where the prompts themselves stand there, on which the trainer stops."""
    node = args.get(key)
    flag = args.reading.document.kind == "command" and node is not None and node.source is None
    if node is None or flag or isinstance(args, GuiForm):
        return args.text(key)
    text = node.value.strip() if isinstance(node.value, str) else "\n"
    if "\n" in text or (" " in text and not text.endswith(_PROMPT_FILES)):
        raise args.error(
            key,
            "the name of a prompt file is expected, not prompts",
            "Write them into a .txt file, one a line, and name it here.",
        )
    return args.text(key)


def interval(args: Section, *, epochs_win: bool) -> int | None:
    """Steps between samples; None when the trainer counts epochs or never samples."""
    steps, epochs = (_count(args, f"sample_every_n_{unit}") for unit in ("steps", "epochs"))
    if any(args.is_unknown(f"sample_every_n_{unit}") for unit in ("steps", "epochs")):
        return None
    if epochs is not None and epochs > 0:
        also = "" if steps is None else "; sample_every_n_steps is ignored then" if epochs_win else " as well"
        args.reading.note(f"The trainer samples every {epochs} epochs{also}.")
        if epochs_win:
            return None
    elif (steps is None or steps <= 0) and not args.flag("sample_at_first"):
        args.reading.note("The trainer itself makes no samples: neither steps nor epochs between them are set.")
    return steps if steps is not None and steps > 0 else None


def _count(args: Section, key: str) -> int | None:
    """A number that has no part in the samples themselves, so that it need not be known."""
    if args.is_unknown(key):
        args.get(key)
        return None
    return args.integer(key, -(2**31), 2**31)


def _t5_length(args: Section, family: str) -> int | None:
    length = args.integer("t5xxl_max_token_length", 1, 4096)
    if length is not None and family == "sdxl":
        args.no_effect("t5xxl_max_token_length")
        return None
    return length


def _precision(args: Section, family: str) -> str:
    """dtype of the noise: the VAE's for Flux and SD 3.5, the U-Net's for SDXL (fp16 where its weights are fp8)."""
    named = args.text("mixed_precision") or "no"
    if named not in _MIXED:
        raise args.error("mixed_precision", f"there is no mixed precision {named!r}", f"Write {' or '.join(_MIXED)}.")
    precision = PRECISIONS.get(named, "float32")
    if family == "sdxl":
        return "float16" if args.flag("fp8_base") else precision
    return "float32" if args.flag("no_half_vae") else precision


def merged_loras(reading: Reading, args: Section) -> None:
    """`base_weights`: LoRAs that are merged into the base model before training, each with its multiplier."""
    named, strengths = _listed(args, "base_weights"), _listed(args, "base_weights_multiplier")
    for number, text in enumerate(named):
        try:
            strength = float(strengths[number]) if number < len(strengths) else 1.0
        except ValueError:
            problem = f"{strengths[number]!r} is no number"
            raise args.error("base_weights_multiplier", problem, "Write one for each LoRA.") from None
        reading.loras[text] = strength
        reading.note(f"base_weights: the samples are made with {text} ({strength:g}) in the base model, as here.")


def _listed(args: Section, key: str) -> list[str]:
    node = args.get(key)
    if node is None:
        return []
    entries = node.value if isinstance(node.value, list) else [node]
    return [args.as_text(entry, args.path_of(key)) for entry in entries]


def _prediction(reading: Reading, args: Section, family: str) -> dict[str, str | float | bool]:
    if not args.flag("v_parameterization"):
        return {}
    if family != "sdxl":
        args.no_effect("v_parameterization")
        return {}
    reading.note("v_parameterization: the model is sampled as one that predicts v (v_prediction).")
    return {"prediction": "v_prediction"}


def _long_prompts(args: Section, family: str) -> dict[str, str | float | bool]:
    """max_token_length 150 and 225 pad SDXL's prompts to as many tokens, in chunks of 75."""
    length = args.integer("max_token_length", 75, 225)
    if family != "sdxl":
        args.no_effect("max_token_length")
    if family != "sdxl" or length in (None, 75):
        return {}
    if length not in (150, 225):
        raise args.error("max_token_length", f"the trainer has no max_token_length {length}", "Write 75, 150 or 225.")
    return {"long_prompt": str(length)}


def _items(reading: Reading, rules: Rules, entries: list[Entry]) -> list[SampleItem]:
    items = [_item(reading, rules, entry, index) for index, entry in enumerate(entries)]
    note_random(reading, items, RANDOM)
    if rules.family in _BY_FLUX_SCRIPT and any(item.negative_prompt and item.cfg_scale == 1.0 for item in items):
        title = FAMILIES[rules.family].title
        reading.note(f"A negative prompt is kept but has no effect: {title} runs one pass (CFG 1) unless --l is given.")
    return items


def _item(reading: Reading, rules: Rules, entry: Entry, index: int) -> SampleItem:
    """One image; sizes are rounded down, at least 64."""
    place, given, family = Place(reading, entry.node, entry.path), entry.settings, rules.family
    for key in given.keys() & _WITHOUT_EFFECT.keys():
        place.note(f"{key} is not used: {_WITHOUT_EFFECT[key]}.")
    fed = family in _BY_FLUX_SCRIPT
    if not fed and "guidance_scale" in given:
        place.note("guidance_scale (--g) is not used: only Flux has embedded guidance.")
    if family != "sdxl" and "sample_sampler" in given:
        place.note("sample_sampler (--ss) is not used: the trainer samples this family with Euler.")
    sampler = given.get("sample_sampler", rules.sampler)
    if family == "sdxl" and sampler not in SAMPLER_WORDS:
        place.note(
            f"sample_sampler (--ss) is {sampler!r}, which the trainer does not know: it samples with DDIM. It knows "
            f"{', '.join(SAMPLER_WORDS)}."
        )
    scale = place.finite("scale", given.get("scale", _CFG[family]))
    if family == "sdxl" and scale < 1.0:
        place.note(f"a scale of {scale:g} means no guidance: it is read as CFG 1.")
        scale = 1.0
    guidance = place.finite("guidance_scale", given.get("guidance_scale", _GUIDANCE)) if fed else None
    if family == "chroma" and guidance:
        place.note(f"--g is {guidance:g}: Chroma was trained with 0, which --g 0 gives.")
    width, height = place.size(SIZES[family].pixels, given.get("width", _SIDE), given.get("height", _SIDE))
    if family == "sdxl":
        _check_weights(place, "prompt", entry.prompt)
        _check_weights(place, "negative_prompt", given.get("negative_prompt") or "")
    return SampleItem(
        index=index,
        prompt=entry.prompt,
        width=width,
        height=height,
        steps=place.steps("sample_steps", given.get("sample_steps", _STEPS[family])),
        negative_prompt=given.get("negative_prompt") or "",
        seed=place.seed(given.get("seed")),
        cfg_scale=scale,
        guidance=guidance,
        sampler=sampler if family == "sdxl" else None,
    )


def _check_weights(place: Place, name: str, text: str) -> None:
    try:
        weighted_parts(text)
    except ValueError as error:
        raise place.error(
            name,
            f"{text[:60]!r} has a weight that is no number ({error}), at which the trainer stops",
            "Write it as in (word:1.3), or a backslash before the brackets.",
        ) from error
