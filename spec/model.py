"""What a training run will sample, fully resolved."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from ..errors import SpecError

#: torch's names of the dtypes that trainers compute in.
DTYPES: Final = ("float32", "bfloat16", "float16")

#: What a config may say about sampling beyond the items: name of a `families.profile.Profile` field -> its type.
SAMPLING: Final[dict[str, type]] = {
    "noise": str,
    "rounding": str,
    "long_prompt": str,
    "weighting": bool,
    "empty": str,
    "shifted": bool,
    "base_shift": float,
    "max_shift": float,
    "shift": float,
    "spacing": str,
    "offset": int,
    "final_alpha": str,
    "zero_snr": bool,
    "clip_sample": bool,
    "eta": float,
    "skip_layers": str,
    "skip_scale": float,
    "skip_start": float,
    "skip_end": float,
}

#: Version of the JSON form; it is also the key by which that form is recognised (`"eri_spec": 1`).
SPEC_VERSION: Final = 1


@dataclass(frozen=True)
class SampleItem:
    """One image the trainer makes.

    index: position in the trainer's own numbering, from 0 (it names the file, so it survives `select`).
    prompt: exactly what reaches the text encoders. prompt_2, prompt_3: other text for the second and third
    encoder, None = the same prompt. negative_prompt: "" when the config has none.
    width, height: pixels the trainer really produces, after its own rounding.
    seed: None = a new random seed each time. steps: >= 1.
    cfg_scale: true classifier-free guidance (two passes), 1.0 = off.
    guidance: the value fed to Flux's guidance embedding, None where there is none.
    sampler: the trainer's own word for it, None when it has none. lora_scale: LoRA strength.
    label: the part of the trainer's file name that the prompt alone does not tell, None where there is none.
    """

    index: int
    prompt: str
    width: int
    height: int
    steps: int
    prompt_2: str | None = None
    prompt_3: str | None = None
    negative_prompt: str = ""
    seed: int | None = None
    cfg_scale: float = 1.0
    guidance: float | None = None
    sampler: str | None = None
    lora_scale: float = 1.0
    label: str | None = None


@dataclass(frozen=True)
class SampleSpec:
    """Everything a training config says about its samples, fully resolved.

    family: id of the model family. trainer: trainer id ("eridiffusion", "ai-toolkit", ..., "native").
    items: in the trainer's order, never empty. variant: e.g. "dev", "schnell", "large", "medium",
    "large-turbo"; None where the config does not tell. name: name of the run. sample_every: steps between samples.
    layout: trainer id whose file layout applies. t5_length: T5 tokens the config asks for, None = the trainer's
    own default. precision: torch dtype name the config computes in ("bfloat16", ...), None = not said.
    image_format: file type the config asks for ("jpg", "png", ...), None = the trainer's default.
    source: path of the config, "<text>" when it was text. model_files: what the config calls its base model files,
    by the config's own key (`{"name_or_path": "black-forest-labs/FLUX.1-dev"}`).
    sampling: what the config changes in the trainer's own way of sampling, by the names in `SAMPLING`
    (`{"shift": 14.5}`); empty = the trainer's defaults.
    ignored: dotted names of config fields that do not act on the samples made here. notes: sentences for people on
    what was decided while reading (replaced trigger words, random seeds, rounded sizes, ...).
    total: how many samples the trainer makes at a step where the items are a part of them (some trainers' file names
    depend on it), None = the items are all.
    """

    family: str
    trainer: str
    items: list[SampleItem]
    variant: str | None = None
    name: str = "samples"
    trigger_word: str | None = None
    sample_every: int | None = None
    layout: str = "native"
    t5_length: int | None = None
    precision: str | None = None
    image_format: str | None = None
    source: str = "<text>"
    model_files: dict[str, str] = field(default_factory=dict)
    sampling: dict[str, str | float | bool] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    total: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain dict of the native form (`eri_spec` + the fields above), JSON types only."""
        document: dict[str, Any] = {"eri_spec": SPEC_VERSION}
        for entry in fields(self):
            document[entry.name] = getattr(self, entry.name)
        document["items"] = [dict(vars(item)) for item in self.items]
        document["model_files"], document["sampling"] = dict(self.model_files), dict(self.sampling)
        document["ignored"], document["notes"] = list(self.ignored), list(self.notes)
        if self.total is None:
            del document["total"]
        return document

    def to_json(self, indent: int | None = None) -> str:
        """The native form as JSON text; `read_text` gives back an equal SampleSpec.

        indent: spaces per level, None = one line.
        """
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def select(self, which: str) -> SampleSpec:
        """The same spec with some items only.

        which: item indices as people write them, e.g. "0,2-4"; "" = all. They name `SampleItem.index`, keep the
        spec's order and may repeat. Raises SpecError on anything that is not an index of this spec.
        """
        if not which.strip():
            return self
        wanted: set[int] = set()
        for part in which.split(","):
            match = re.fullmatch(r"\s*([0-9]{1,9})\s*(?:-\s*([0-9]{1,9})\s*)?", part)
            if match is None:
                raise SpecError(
                    f"{part.strip()!r} is no item index", field="items", remedy='Write indices like "0,2-4".'
                )
            first, last = int(match[1]), int(match[2] or match[1])
            known = {item.index for item in self.items if first <= item.index <= last}
            if first not in known or last not in known:
                raise SpecError(
                    f"there is no item {part.strip()} in this config",
                    source=self.source,
                    field="items",
                    remedy=f"Its items are {self.items[0].index} to {self.items[-1].index}.",
                )
            wanted |= known
        return self.part([item for item in self.items if item.index in wanted])

    def part(self, items: list[SampleItem]) -> SampleSpec:
        """The same spec with these of its items only; `total` keeps how many there are."""
        some = len(items) < len(self.items)
        return replace(self, items=items, total=self.total or (len(self.items) if some else None))
