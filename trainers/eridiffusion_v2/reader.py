"""EriDiffusion V2 (Rust, JSON + flags): its configs hold no prompt, so prompts come from elsewhere.

What it samples can be given as
- the command line that samples (`sample_sd35 --prompts-file p.txt ...`, `train_sd35 --sample-every 250 ...`),
- the training config (JSON), whose `validation_prompts_file` or a file given beside it holds the prompts,
- a prompt library (JSON) or a prompts file (one prompt a line) on its own, with the family given,
- what EriTrainer's window saved (`eritrainer.py`).

Sources: CodeAlexx/EriDiffusion@8f1309b (branch master) `crates/eridiffusion-cli/src/bin/sample_*.rs`, train_config.rs,
sample_library.rs in `crates/eridiffusion-core/src/`; CodeAlexx/EriTrainer@c2c7ac9 `…/bin/train_sd35.rs` (L1028-1207,
L1695-1805: every prompt of the library at `--sample-size` and `--sample-seed`); CodeAlexx/mojodiffusion@f8beba4
serenitymojo/configs/sample_prompts.example.json.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from ...configs.command_line import PROGRAM
from ...configs.fields import Reading, Section
from ...configs.limits import Place
from ...configs.parse import parse
from ...configs.script import Assumed, Unexpanded
from ...configs.second_file import Folders, missing_prompts
from ...configs.tree import Document, Node
from ...errors import FamilyOpenError
from ...families import FAMILIES
from ...spec.model import MAX_PIXELS, MAX_SEED, MAX_STEPS, SampleItem, SampleSpec
from ..onetrainer.reader import ALIASES, MODEL_TYPES
from ..reading import name_family, no_prompt, run_name, spec_of, take_over, texts_of, unsupported
from .eritrainer import is_eritrainer, ui_family, ui_samples, ui_settings
from .programs import NOTATIONS, Settings, from_flags, settings_for
from .sampling import ID, SIZES

_SEEDS: Final = 2**64
#: Layout of what train_sd35 and train_chroma write in their run.
IN_RUN: Final = "eritrainer"
#: What its configs call the files of the base model -> the part.
MODEL_FILES: Final = {
    **dict.fromkeys(("transformer", "base_model_name", "base_model_path"), "model"),
    **dict.fromkeys(("vae_path", "vae_override"), "vae"),
}
#: The Rust names of the model types, without case and separators.
_MODEL_TYPES: Final = {name.replace("_", ""): family for name, family in MODEL_TYPES.items()} | {
    "FLUXDEV1": "flux",
    "STABLEDIFFUSIONXL10BASE": "sdxl",
    **{name.upper().replace("_", "").replace(".", ""): family for name, family in ALIASES.items()},
}
#: Prompts of the Mojo trainers (CodeAlexx/mojodiffusion), with defaults for all.
_SERENITY: Final = "serenity.sample_prompts.v1"


def read_eridiffusion_v2(document: Document, family: str | None) -> SampleSpec:
    """Spec of what an EriDiffusion V2 program samples; see the module for what it can be read from."""
    reading = Reading(document)
    if document.kind == "command":
        root = reading.root()
        settings = from_flags(root, family)
        return _spec(reading, settings, _prompts(reading, root, settings), root)
    if document.kind == "lines" or _is_library(document):
        if family not in FAMILIES:
            problem = "a prompts file does not tell the model family"
            raise FamilyOpenError(problem, source=document.source, remedy=name_family())
        settings = settings_for(family)
        _note_defaults(reading, settings)
        return _spec(reading, settings, _images(reading, settings), None)
    root = reading.root()
    if is_eritrainer(document):
        settings = ui_settings(root, ui_family(root, family))
        return _spec(reading, settings, _of_window(reading, root, settings), root)
    settings = settings_for(family or _family(root))
    _note_defaults(reading, settings)
    every = root.integer("sample_every", 0, 2**31)
    return _spec(reading, replace(settings, every=every or None), _prompts(reading, root, settings), root)


def _is_library(document: Document) -> bool:
    root = document.root.value
    return isinstance(root, list) or "prompts" in root


def _note_defaults(reading: Reading, settings: Settings) -> None:
    reading.note(
        f"Steps, size, guidance and seed are those that {settings.program} takes by itself: none are given here."
    )
    if settings.family in ("sdxl", "sd35"):
        reading.note(
            f"{settings.program} multiplies a LoRA by 1/16 unless --lora-alpha and --lora-rank are given; here it has "
            "the alpha / rank of its file."
        )


def _family(root: Section) -> str:
    kind = root.text("model_type")
    if kind is None:  # as in EriTrainer's runner configs, whose launch line names the model
        base = root.text("base_model_name") or ""
        named = [name for name, family in FAMILIES.items() if family.model_like.fits(base)]
        if len(named) == 1:
            return named[0]
        raise root.missing("model_type", "Write it.")
    found = _MODEL_TYPES.get(re.sub(r"[-_.]", "", kind.upper()))
    if found is None:
        raise unsupported(root, "model_type", repr(kind))
    return found


def _prompts(reading: Reading, root: Section, settings: Settings) -> list[SampleItem]:
    """Images of the prompt that a command gives, or of the file that it or the config names."""
    folders = reading.document.folders or Folders()
    found, keys = folders.override(), ("prompts_file", "validation_prompts_file")
    named = {key: root.text(key) for key in keys}
    given = root.text(settings.prompt_flag) if settings.prompt_flag else None
    if given and named["prompts_file"] is not None:
        raise root.error(
            "prompts_file", "a prompt is given as well, which stops the program", "Keep --prompt or --prompts-file."
        )
    if given and settings.in_run and named["validation_prompts_file"] is not None:  # then the file counts
        root.no_effect(settings.prompt_flag)
        given = None
    if found is None and given:
        node = root.members[settings.prompt_flag]
        if isinstance(node.value, Unexpanded | Assumed):
            raise root.error(
                settings.prompt_flag, f"the shell would replace a part of the prompt {given!r}", "Write the prompt out."
            )
        item = _item(Place(reading, node, settings.prompt_flag), settings, given, settings.seed, 0)
        return [replace(item, label=settings.stem)]
    key = next((key for key in keys if named[key] is not None), None)
    if found is None:
        if key is None:
            raise missing_prompts(
                "no prompt is given (EriDiffusion V2's configs hold none), so there is nothing to sample",
                reading.document.source,
            )
        found = folders.read(root, key, named[key] or "")
    text, name, suffix = found
    second = Reading(parse(text, name, suffix if suffix == ".json" else "", (NOTATIONS,)))
    items = _images(second, settings)
    take_over(reading, second)
    return items


def _images(reading: Reading, settings: Settings) -> list[SampleItem]:
    """Images of a prompts file: plain lines, or a library of prompts with seeds."""
    document = reading.document
    items = _of_lines(reading, settings) if document.kind == "lines" else _of_library(reading, settings)
    if not items:
        raise no_prompt(document.source, "Write one prompt.")
    return items


def _of_lines(reading: Reading, settings: Settings) -> list[SampleItem]:
    """One prompt a line, trimmed; blank lines and those that start with '#' are skipped. Seeds count up."""
    nodes = reading.document.root.value
    items: list[SampleItem] = []
    for node in nodes if isinstance(nodes, list) else []:
        line = str(node.value).strip()
        if line and not line.startswith("#"):
            seed = (settings.seed + (0 if settings.in_run else len(items))) % _SEEDS
            items.append(_item(Place(reading, node, ""), settings, line, seed, len(items)))
    return items


def _of_library(reading: Reading, settings: Settings) -> list[SampleItem]:
    """`{"prompts": [...]}` or the list alone; each prompt once per seed, with the general seed when it has none."""
    root, path = reading.document.root, ""
    if isinstance(root.value, dict):
        section = reading.root()
        nodes, path = section.items("prompts") or [], "prompts"
        if section.text("schema") == _SERENITY:
            return _of_serenity(reading, settings, section, nodes)
    else:
        nodes = root.value if isinstance(root.value, list) else []
    if settings.in_run:
        reading.note(
            f"{settings.program} samples every prompt of the library at its own size and seed, not the library's."
        )
    else:
        reading.note("A prompt library: depending on version, V2's Flux, SD 3.5 and SDXL trainers ignore it.")
    items: list[SampleItem] = []
    for entry, place, prompt in _entries(reading, nodes, path):
        size = entry.integer("size", 1, MAX_PIXELS) if entry.get("size") is not None else None
        own = settings.sized(None if settings.in_run else size).against(entry.text("negative") or "")
        seeds = _seeds(entry)
        for seed in (not settings.in_run and seeds) or [settings.seed]:
            items.append(_item(place, own, prompt, seed, len(items)))
    return items


def _entries(reading: Reading, nodes: list[Node], path: str) -> Iterator[tuple[Section, Place, str]]:
    """The entries of a list of prompts: each as a section, its place, its prompt."""
    for index, node in enumerate(nodes):
        where = f"{path}[{index}]"
        if not isinstance(node.value, dict):
            raise reading.error("a prompt is a section of fields", node, where, 'Write {"prompt": "..."}.')
        entry = Section(reading, node, where)
        prompt = entry.text("prompt")
        if prompt is None:
            raise entry.missing("prompt", "Write the prompt.")
        yield entry, Place(reading, node, where), prompt


def _of_serenity(reading: Reading, settings: Settings, section: Section, nodes: list[Node]) -> list[SampleItem]:
    """Prompts with defaults for all; a prompt may have its own."""
    reading.note(
        "A prompt list of the Mojo trainers, which sample cached captions from noise of their own: here its prompts, "
        f"sizes, steps, scale and seeds are sampled as {settings.program} does."
    )
    defaults = section.section("defaults")
    items: list[SampleItem] = []
    for entry, place, prompt in _entries(reading, nodes, "prompts"):
        for key in ("id", "caps"):
            entry.get(key)
        own = _serenity_settings(entry, settings if defaults is None else _serenity_settings(defaults, settings))
        items.append(_item(place, own, prompt, own.seed, len(items)))
    return items


def _serenity_settings(section: Section, settings: Settings) -> Settings:
    """`settings` with what a section says. Flux takes the scale as embedded guidance."""
    whole = dict.fromkeys(("width", "height"), (1, MAX_PIXELS)) | {"steps": (1, MAX_STEPS), "seed": (0, MAX_SEED)}
    said: dict[str, Any] = {
        key: section.integer(key, low, high) for key, (low, high) in whole.items() if section.get(key) is not None
    }
    if section.get("cfg") is not None:
        said["guidance" if settings.family == "flux" else "cfg"] = section.number("cfg")
    return replace(settings, **said).against(section.text("negative"))


def _of_window(reading: Reading, root: Section, settings: Settings) -> list[SampleItem]:
    """Images of what EriTrainer's window saved."""
    items = [
        _item(Place(reading, entry.node, entry.path), settings.against(negative), prompt, seed, index)
        for index, (entry, prompt, negative, seed) in enumerate(ui_samples(root, settings))
    ]
    if not items:
        raise no_prompt(reading.document.source, "Write one prompt.")
    return items


def _seeds(entry: Section) -> list[int]:
    seeds = []
    for index, node in enumerate(entry.items("seeds") or []):
        one = Section(entry.reading, Node({"seed": node}, node.line, node.column), f"{entry.path_of('seeds')}[{index}]")
        seeds.append(one.integer("seed", 0, MAX_SEED) or 0)
    return seeds


def _item(place: Place, settings: Settings, prompt: str, seed: int, index: int) -> SampleItem:
    pixels = SIZES[settings.family].pixels
    width, height = (
        place.pixels("size", side, pixels(side))
        for side in (settings.width or settings.size, settings.height or settings.size)
    )
    return SampleItem(
        index=index,
        prompt=prompt,
        width=width,
        height=height,
        steps=place.steps("steps", settings.steps),
        negative_prompt=settings.negative,
        seed=seed % _SEEDS,
        cfg_scale=settings.cfg,
        guidance=settings.guidance if settings.family == "flux" else None,
        sampler=settings.sampler,
    )


def _spec(reading: Reading, settings: Settings, items: list[SampleItem], root: Section | None) -> SampleSpec:
    family = settings.family
    if settings.negative and settings.cfg == 1.0:
        reading.note("The negative prompt is kept but has no effect: there is one pass (CFG 1).")
    variant, files, name = settings.variant, {}, run_name(None)
    if root is not None:
        files = texts_of(root, MODEL_FILES)
        variant = variant or FAMILIES[family].variant_of(" ".join(files.values()))
        name = root.text("run_name") or run_name(root.text("output_dir") or root.text("workspace_dir"))
        for key in (PROGRAM, "config"):
            root.get(key)
    spec = spec_of(
        reading,
        ID,
        family,
        items,
        variant=variant,
        name=name,
        sample_every=settings.every,
        precision="bfloat16",
        model_files=files,
        image_format=settings.image_format,
        sampling=_sampling(reading, settings, items),
    )
    return replace(spec, layout=IN_RUN) if settings.in_run else spec


def _sampling(reading: Reading, settings: Settings, items: list[SampleItem]) -> dict[str, str | float | bool]:
    """What was asked for beside the items, and the scale of a LoRA."""
    found: dict[str, str | float | bool] = {}
    if settings.lora_scale is not None:
        found["lora_scale"] = settings.lora_scale
    if settings.family == "sd35":
        return found if settings.shift == 3.0 else found | {"shift": settings.shift}
    if settings.family != "sdxl":
        return found | _shifts(reading, settings, items)
    if settings.rescale > 0:
        found["rescale"] = settings.rescale
    return found | {"prediction": "v_prediction"} if settings.v_prediction else found


def _shifts(reading: Reading, settings: Settings, items: list[SampleItem]) -> dict[str, float]:
    """Flux's and Chroma's mu, which this trainer keeps within 0.5 and 1.15."""
    areas = [item.width * item.height for item in items]
    limits = {1.15 if area > 1024**2 else 0.5 if area < 256**2 else None for area in areas}
    if limits == {None}:
        return {}
    if len(limits) > 1:
        title = FAMILIES[settings.family].title
        reading.note(
            f"The trainer keeps {title}'s mu within 0.5 and 1.15, which does not hold here for sizes beyond 1024."
        )
        return {}
    mu = limits.pop() or 0.5
    return {"base_shift": mu, "max_shift": mu}
