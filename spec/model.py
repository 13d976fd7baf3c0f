"""What a training run will sample, fully resolved.

Each field says in its annotation what it means; `dev/native_schema.py` makes the JSON Schema of the native form of it.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Final, NamedTuple

from ..errors import SpecError

MAX_PIXELS: Final = 16384
MAX_STEPS: Final = 10000
MAX_SEED: Final = 2**64 - 1
MIN_SEED: Final = -(2**63)
#: The most step noise: eta (of DDIM a share of at most 1), s_churn and s_noise.
MAX_ETA, MAX_CHURN, MAX_NOISE = 10.0, 100.0, 10.0

#: torch's names of the dtypes that trainers compute in.
DTYPES: Final = ("float32", "bfloat16", "float16")
#: Words a config uses for torch's number formats -> torch's name (ai-toolkit `train_tools.get_torch_dtype`).
PRECISIONS: Final = {
    **dict.fromkeys(("float", "fp32", "single", "float32"), "float32"),
    **dict.fromkeys(("fp16", "half", "float16"), "float16"),
    **dict.fromkeys(("bf16", "bfloat16"), "bfloat16"),
}

#: What a config may say about sampling beyond the items: name of a `Profile` field -> its type and what it means.
SETTINGS: Final[dict[str, tuple[type, str]]] = {
    "noise": (str, "Where the initial noise comes from: generator/layout/dtype, e.g. torch-cpu/nchw/float32."),
    "rounding": (str, "How a pixel becomes one of 256 values: truncate or round."),
    "long_prompt": (
        str, "What happens to prompts over 77 CLIP tokens: truncate, chunks; kohya's max_token_length: 150, 225."
    ),
    "weighting": (bool, "Whether (word:1.2) is syntax."),
    "text_rules": (str, "Whose CLIP tokenizers: plain (ComfyUI's), kohya (its brackets too), diffusers (! pads)."),
    "empty": (str, "What an empty prompt means: encode or zeros."),
    "shifted": (bool, "Flux: false gives schnell's plain schedule. Chroma: false shifts by shift."),
    "base_shift": (float, "Flux, Chroma: mu at 256 image tokens."),
    "max_shift": (float, "Flux, Chroma: mu at 4096 image tokens."),
    "shift": (float, "SD 3.5, Chroma: the shift of the schedule. Flux: a fixed one; 0 shifts by size."),
    "spacing": (
        str,
        "Flux: linear, timesteps; SD 3.5: also cosine, simple; Chroma: also beta, beta timesteps; SDXL: leading, "
        "trailing, linspace.",
    ),
    "t5_padding": (str, "Chroma: what is seen of the padding: all, one, one unseen, one of all, weighted."),
    "offset": (int, "SDXL: added to every timestep of DDIM."),
    "final_alpha": (str, "SDXL: what the last step lands on, alpha[0] or 1."),
    "zero_snr": (bool, "SDXL: betas rescaled to zero terminal SNR."),
    "last_first": (bool, "SDXL: DDIM begins at the last timestep, before those of the spacing, which are one less."),
    "clip_sample": (bool, "SDXL: the predicted picture clipped to [-1, 1] at every step."),
    "eta": (float, "Share of fresh noise in every step. SDXL's DDIM: 0 is DDIM, 1 is DDPM; Euler: ancestral steps."),
    "s_churn": (float, "Euler: noise added before the steps, spread over them."),
    "s_tmin": (float, "The lowest sigma at which s_churn acts."),
    "s_tmax": (float, "The highest sigma at which s_churn acts."),
    "s_noise": (float, "Strength of the noise that steps add."),
    "prediction": (str, "SDXL: what the model predicts, epsilon or v_prediction; empty = ComfyUI tells from the file."),
    "rescale": (float, "Classifier-free guidance rescaled by this phi (Lin et al. 2023); 0 = off."),
    "lora_scale": (float, "What a LoRA is multiplied by in place of its own alpha / rank; -1 = its own."),
    "zero_star": (bool, "Classifier-free guidance as CFG-Zero*, with an empty first step."),
    "cfg_from_step": (int, "The first step, counted from 0, that has classifier-free guidance."),
    "swapped_heads": (
        bool,
        "SD 3.5 Medium: the second self-attention runs with heads and head size swapped, as in sd-scripts.",
    ),
    "half_steps": (bool, "Latents, and Flux's timesteps, are kept in the dtype that the trainer computes in."),
    "control_fit": (str, "Flux Kontext: how a control image is fitted: the sample's size, or its own size."),
    "control_drawn": (bool, "Flux Kontext: a control image's latent is drawn from the VAE's distribution at the seed."),
    "batch_size": (int, "Samples to denoise at once; at most 64 are."),
    "memory": (str, "Memory switches, with commas between them: offload, sequential, attention slicing, VAE tiling."),
    "slice_size": (int, "Attention slicing: queries at a time."),
    "use_lora": (bool, "true: a graph without a LoRA is refused."),
    "skip_layers": (str, "SD 3.5: layers for skip-layer guidance, e.g. 7, 8, 9; empty = off."),
    "skip_scale": (float, "SD 3.5: strength of skip-layer guidance."),
    "skip_start": (float, "SD 3.5: share of the run at which skip-layer guidance starts."),
    "skip_end": (float, "SD 3.5: share of the run at which skip-layer guidance ends."),
}
SAMPLING: Final = {name: kind for name, (kind, _) in SETTINGS.items()}
#: The largest of its whole numbers, where that is not 1000.
MAX_SETTING: Final = {"slice_size": 65536}

#: Version of the JSON form; it is also the key by which that form is recognised (`"eri_spec": 1`).
SPEC_VERSION: Final = 1

_WORD: Final = r"trigger(?:[ _-]?words?)?"
#: A placeholder for a trigger word, in every spelling that configs use.
_PLACEHOLDER: Final = re.compile(
    rf"\[\[\s*{_WORD}\s*\]\]|\[\s*{_WORD}\s*\]|\{{\{{\s*{_WORD}\s*\}}\}}|\{{\s*{_WORD}\s*\}}|<\s*{_WORD}\s*>",
    re.IGNORECASE,
)


class Says(NamedTuple):
    """What a field means, and the least and the greatest number that the native form may hold there."""

    text: str
    low: int | None = None
    high: int | None = None


@dataclass(frozen=True)
class SampleItem:
    """One image the trainer makes."""

    index: Annotated[int, Says("Number of the sample by which its file is named; default: its position.", 0, 2**31)]
    prompt: Annotated[str, Says("Exactly what reaches the text encoders.")]
    width: Annotated[int, Says("Pixels that the trainer really makes, after its own rounding.", 1, MAX_PIXELS)]
    height: Annotated[int, Says("Pixels that the trainer really makes, after its own rounding.", 1, MAX_PIXELS)]
    steps: Annotated[int, Says("Sampling steps.", 1, MAX_STEPS)]
    prompt_2: Annotated[str | None, Says("Other text for the second text encoder; null = the same prompt.")] = None
    prompt_3: Annotated[str | None, Says("Other text for the third text encoder; null = the same prompt.")] = None
    negative_prompt: Annotated[str, Says("Negative prompt.")] = ""
    seed: Annotated[int | None, Says("Seed; null = a new random one each time.", 0, MAX_SEED)] = None
    cfg_scale: Annotated[float, Says("True classifier-free guidance, of two passes; 1 = off.")] = 1.0
    guidance: Annotated[float | None, Says("Flux: value of the guidance embedding; null = there is none.")] = None
    sampler: Annotated[str | None, Says("The trainer's word for the sampler (SDXL: ddim, euler, ddpm).")] = None
    lora_scale: Annotated[float, Says("LoRA strength.")] = 1.0
    label: Annotated[str | None, Says("What the trainer puts in the file's name beside the prompt.")] = None
    shift: Annotated[
        float | None, Says("Flow models: this sample's own shift, 0 = Flux's by size; null = the spec's.")
    ] = None
    control_image: Annotated[
        str | None, Says("Flux Kontext: the image that this sample follows, as the config names it; null = none.")
    ] = None
    ema: Annotated[bool, Says("Made with the average (EMA) of the LoRA's weights.")] = False


#: The run's name where a config does not tell it.
UNNAMED: Final = "samples"


@dataclass(frozen=True)
class SampleSpec:
    """Everything a training config says about its samples, fully resolved."""

    family: Annotated[str, Says("Model family.")]
    trainer: Annotated[str, Says("Whose way of sampling is followed (noise, schedule, token lengths, file names).")]
    items: Annotated[list[SampleItem], Says("The images, in the trainer's order; at least one.")]
    variant: Annotated[str | None, Says("Variant of the family: dev, schnell, krea, large, medium, ….")] = None
    name: Annotated[str, Says("Name of the run; names its folder.")] = UNNAMED
    trigger_word: Annotated[str | None, Says("Trigger word; already put into the prompts.")] = None
    sample_every: Annotated[int | None, Says("Training steps between samples.", 1, 2**31)] = None
    layout: Annotated[str, Says("Whose file names are used; default: the trainer's.")] = "native"
    t5_length: Annotated[int | None, Says("T5 tokens; null = the trainer's own number.", 1, 4096)] = None
    precision: Annotated[str | None, Says("dtype the trainer computes in; some draw their noise in it.")] = None
    image_format: Annotated[str | None, Says("File type: png, jpg, webp; null = the trainer's own.")] = None
    source: Annotated[str, Says("Path of the config that the spec was read from.")] = "<text>"
    model_files: Annotated[dict[str, str], Says("What the config calls its base model files, by its own keys.")] = (
        field(default_factory=dict)
    )
    loras: Annotated[dict[str, float], Says("Further LoRAs in the base model, by name, and strengths.")] = field(
        default_factory=dict
    )
    differences: Annotated[
        dict[str, list[str]], Says("What differs for this config's own reasons: topics of eri explain, sentences.")
    ] = field(default_factory=dict)
    sampling: Annotated[dict[str, str | float | bool], Says("What differs from the trainer's own way of sampling.")] = (
        field(default_factory=dict)
    )
    ignored: Annotated[list[str], Says("Config fields that do not act on the samples.")] = field(default_factory=list)
    notes: Annotated[list[str], Says("Sentences for people on what was decided while reading.")] = field(
        default_factory=list
    )
    total: Annotated[
        int | None, Says("Samples that the trainer makes at a step, where the items are a part of them.", 1, 2**31)
    ] = None

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
        for name in ("loras", "differences"):
            if not document[name]:
                del document[name]
        return document

    def to_json(self, indent: int | None = None) -> str:
        """The native form as JSON text, from which `read_text` gives an equal SampleSpec.

        Args:
            indent: spaces per level, None = one line.
        """
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=indent)

    def select(self, which: str) -> SampleSpec:
        """The same spec with some items only, in the spec's order.

        Args:
            which: values of `SampleItem.index` as people write them, e.g. "0,2-4"; they may repeat; "" = all.

        Raises SpecError on anything that is not an index of this spec.
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
        """The same spec with these of its items only; `total` tells how many it has in all."""
        some = len(items) < len(self.items)
        return replace(self, items=items, total=self.total or (len(self.items) if some else None))


def draw_seeds(spec: SampleSpec) -> tuple[SampleSpec, list[str]]:
    """The spec with a seed in every item, so that it can be sampled again, and a note of those that were drawn.

    Seeds are drawn below 2**32: every trainer and every library takes those.
    """
    drawn = {item.index: secrets.randbelow(2**32) for item in spec.items if item.seed is None}
    if not drawn:
        return spec, []
    items = [replace(item, seed=drawn.get(item.index, item.seed)) for item in spec.items]
    listed = ", ".join(f"{index}: {seed}" for index, seed in drawn.items())
    return replace(spec, items=items), [f"The config leaves seeds to chance. Drawn (item: seed): {listed}."]


def placeholders(text: str) -> list[str]:
    """The placeholders in a text as they are written, each once, in order.

    They are `[trigger]`, `{trigger_word}`, `<trigger-word>`, `{{ trigger }}` and the like, in capitals or not.
    """
    return list(dict.fromkeys(_PLACEHOLDER.findall(text)))


def fill_trigger(text: str, word: str) -> str:
    """The text with every placeholder replaced by the word."""
    return _PLACEHOLDER.sub(lambda _: word, text)
