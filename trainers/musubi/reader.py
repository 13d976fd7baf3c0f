"""musubi-tuner: of our families it trains FLUX.1 Kontext. Training config (TOML) with a prompt file, or that alone.

Sources: kohya-ss/musubi-tuner `training/trainer_base.py::sample_image_inference`,
`flux_kontext_train_network.py::do_inference`, `training/sampling_prompts.py`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

from ...configs.command_line import PROGRAM
from ...configs.fields import Reading, Section
from ...configs.limits import Place
from ...configs.prompt_flags import MUSUBI
from ...configs.tree import Document
from ...families.others import other_by_name, other_by_program
from ...spec.model import UNNAMED, SampleItem, SampleSpec
from ..kohya.prompts import Entry, is_prompt_file, read_entries
from ..kohya.reader import RANDOM, arguments, interval, merged_loras, prompt_items
from ..reading import note_random, quantised, spec_of, texts_of
from .sampling import ID, SHIFT, SIZE

_SIDE: Final = 256
_STEPS: Final = 20
_GUIDANCE: Final = 2.5
MODEL_FILES: Final = {"dit": "model", "vae": "vae", "text_encoder1": "t5xxl", "text_encoder2": "clip_l"}
_WITHOUT_EFFECT: Final = (
    *("cfg_scale", "negative_prompt", "frame_count", "end_image_path", "one_frame", "image_path"),
    "control_video_path",
)


def read_musubi(document: Document, family: str | None) -> SampleSpec:
    """Spec of a training config or a prompt file. Raises SpecError for every other model of that trainer."""
    reading = Reading(document)
    if is_prompt_file(document):
        reading.note("Only a prompt file was read; it is taken as one for FLUX.1 Kontext.")
        items = _items(reading, read_entries(reading, MUSUBI))
        return _spec(reading, items, None)
    args = arguments(reading)
    if family is None and args.text(PROGRAM) is None:
        _check_model(args)
    for key, what in (("fp8_base", "base model"), ("fp8_scaled", "base model"), ("fp8_t5", "T5")):
        if args.flag(key):
            quantised(reading, key, what)
    merged_loras(reading, args)
    items = prompt_items(reading, args, MUSUBI, lambda second, entries: _moved(reading, second, entries))
    return _spec(reading, items, args)


def _moved(reading: Reading, second: Reading, entries: list[Entry]) -> list[SampleItem]:
    items = _items(second, entries)
    reading.sampling |= second.sampling
    return items


def _spec(reading: Reading, items: list[SampleItem], args: Section | None) -> SampleSpec:
    return spec_of(
        reading,
        ID,
        "flux",
        items,
        variant="kontext",
        name=(args.text("output_name") if args else None) or UNNAMED,
        sample_every=interval(args, epochs_win=False) if args else None,
        precision="bfloat16",
        model_files=texts_of(args, (*MODEL_FILES, "network_weights")),
        sampling=reading.sampling,
    )


def _check_model(args: Section) -> None:
    """SpecError unless the config is for FLUX.1 Kontext, by network module and the model's name."""
    module, dit = args.text("network_module"), (args.text("dit") or "").lower()
    named = module is None or module.rsplit(".", 1)[-1] in ("lora_flux", "loha", "lokr", "kohya")
    if named and ("kontext" in dit or (module or "").endswith("lora_flux")) and args.get("model_version") is None:
        return
    key, only = "network_module" if module else "dit", "Of musubi-tuner's models only FLUX.1 Kontext is supported."
    other = other_by_program(module or "") or other_by_name(
        f"{args.text('model_version') or dit}".replace("kontext", "")
    )
    if other is not None:
        raise args.error(key, f"this config trains {other}, which is not supported", only)
    raise args.error(key, f"this is no FLUX.1 Kontext config (network_module {module!r}, dit {dit!r})", only)


def _items(reading: Reading, entries: list[Entry]) -> list[SampleItem]:
    items = [_item(reading, entry, index) for index, entry in enumerate(entries)]
    shifts = {item.shift for item in items}
    if len(shifts) == 1:  # one shift for all is the spec's
        reading.sampling |= _sampling(shifts.pop())
        items = [replace(item, shift=None) for item in items]
    note_random(reading, items, RANDOM)
    return items


def _sampling(shift: float | None) -> dict[str, str | float | bool]:
    """Flux's schedule with one shift for all sizes: a mu that is the same for each; 0 is Flux's own, by size."""
    if shift is None:
        return {}
    low, high = (math.log(shift),) * 2 if shift else (0.5, 1.15)
    return {"base_shift": low, "max_shift": high}


def _shift(place: Place, shift: float | None) -> float | None:
    """A prompt's own flow shift; None for the trainer's default, 0 for `--fs 0`, which asks for Flux's own."""
    if shift is None:
        return 0.0
    if place.finite("discrete_flow_shift", shift) < 0:
        raise place.error("discrete_flow_shift", f"the flow shift {shift:g} is negative", "Write 0 or more.")
    return None if shift == SHIFT else float(shift)


def _item(reading: Reading, entry: Entry, index: int) -> SampleItem:
    """One image."""
    place, given = Place(reading, entry.node, entry.path), entry.settings
    for key in _WITHOUT_EFFECT:
        if key in given:
            place.note(f"{key} is not used: Kontext's samples are single pictures made in one pass.")
    control = given.get("control_image_path")
    if isinstance(control, list):
        if control[1:]:
            place.note(f"of the control images the trainer follows the first only: {control[0]}.")
        control = control[0] if control else None
    width, height = place.size(SIZE.pixels, given.get("width", _SIDE), given.get("height", _SIDE))
    return SampleItem(
        index=index,
        prompt=entry.prompt,
        width=width,
        height=height,
        steps=place.steps("sample_steps", given.get("sample_steps", _STEPS)),
        negative_prompt=given.get("negative_prompt") or "",
        seed=place.seed(given.get("seed")),
        guidance=place.finite("guidance_scale", given.get("guidance_scale", _GUIDANCE)),
        shift=_shift(place, given.get("discrete_flow_shift", SHIFT)),
        control_image=control,
    )
