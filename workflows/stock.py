"""Style "stock": the same samples from ComfyUI's own nodes only, for people without this pack.

One KSampler per sample. What stock nodes cannot do as the trainer does is said in the notes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from ..errors import WorkflowError
from ..families.profile import FALLBACK_NOISE, Profile
from ..spec import SampleItem, SampleSpec
from ..trainers.profiles import profile_for
from .canvas.ui_nodes import MAX_INTEGER
from .graph import Graph, Link, Literal
from .models import Loaded

#: T5 tokens the host pads to by itself.
_HOST_T5: Final = {"flux": 256, "sd35": 77}
#: Our spacing -> the host's scheduler (SD 3.5).
_SCHEDULERS: Final = {"timesteps": "normal", "linear": "simple", "simple": "simple", "cosine": "simple"}
#: Entries of the host's table of sigmas, of which its 'simple' scheduler takes every (entries / steps)th.
_TABLE: Final = {"flux": 10_000, "sd35": 1000}
_SAME_SIGMA: Final = 1e-6  # rounding of float32
#: What the front end takes out of a text, or chooses among, when it queues the graph.
_EXPANDED: Final = re.compile(r"[{}]|//|/\*")
#: Prompts of more characters than this seldom fit into CLIP's 77 tokens.
_SHORT_PROMPT: Final = 250


@dataclass
class _Stock:
    """A stock graph in the making; nodes that several samples can share are made once (`shared`)."""

    graph: Graph
    spec: SampleSpec
    loaded: Loaded
    lora: str | None
    notes: list[str] = field(default_factory=list)
    made: dict[tuple[object, ...], Link] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    band: int = 0
    off_by: float = 0.0  # the furthest that a sigma lies from the trainer's

    def add(self, node_id: str, class_type: str, title: str, **inputs: Literal | Link) -> str:
        """Add a node, its id numbered from the second of its kind on, in the band of the sample at hand."""
        number = self.numbers[node_id] = self.numbers.get(node_id, 0) + 1
        unique = node_id if number == 1 else f"{node_id}_{number}"
        self.graph.add(unique, class_type, title, **inputs)
        self.graph.bands[unique] = self.band
        return unique

    def shared(self, key: tuple[object, ...], make: Callable[[], Link]) -> Link:
        """The output that was made for `key`, or the one that `make` adds now."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)


def add_stock(
    graph: Graph, spec: SampleSpec, loaded: Loaded, lora: str | None
) -> tuple[list[str], dict[str, tuple[int, ...]]]:
    """Add one chain of stock nodes per sample of `spec`; every item has a seed.

    lora: the checkpoint's name as the host's LoraLoader lists it, None = none. Returns the notes, and id of each saving
    node -> index of its item. Raises WorkflowError for what stock nodes cannot hold at all.
    """
    stock = _Stock(graph, spec, loaded, lora)
    saves: dict[str, tuple[int, ...]] = {}
    profiles: dict[str | None, Profile] = {}
    folder = _file_part(spec.name)
    graph.repeated = len(spec.items) > 1
    for number, item in enumerate(spec.items):
        stock.band = number
        profile = profiles.get(item.sampler)
        if profile is None:
            profile = profiles[item.sampler] = profile_for(spec, item.sampler)
            for text in profile.notes:
                stock.note(text)
        _note_profile(stock, profile, item)
        saves[_add_item(stock, profile, item, f"{folder}/{item.index:03d}")] = (item.index,)
    if stock.off_by > _SAME_SIGMA:
        stock.note(
            f"ComfyUI's 'simple' takes its sigmas from a table of {_TABLE[spec.family]:,}, which the steps do not "
            f"divide: they are up to {stock.off_by:.1g} off, so that the pictures differ slightly."
        )
    stock.note("Stock nodes save under ComfyUI's own numbered names, without the trainer's folders and prompt files.")
    if lora is not None:
        stock.note(
            "ComfyUI's own LoRA loader skips key names it does not know without an error: eri lora FILE --convert NEW "
            "writes a file with the names it knows."
        )
    return stock.notes, saves


def _add_item(stock: _Stock, profile: Profile, item: SampleItem, file: str) -> str:
    """The nodes of one sample, which is saved as `file`; returns the saving node's id."""
    graph, label = stock.graph, f" {item.index}"
    model, clip = _model_and_clip(stock, profile, item)
    positive = _encode(stock, profile, clip, item, f"Prompt{label}", item.prompt)
    negative = _negative(stock, profile, clip, item)
    size = (item.width, item.height)
    kind = "EmptyLatentImage" if stock.spec.family == "sdxl" else "EmptySD3LatentImage"
    latent = stock.shared(
        ("latent", *size),
        lambda: graph.nodes[
            stock.add("latent", kind, "Empty latent", width=item.width, height=item.height, batch_size=1)
        ].out("latent"),
    )
    seed = item.seed if item.seed is not None else 0
    if seed > MAX_INTEGER:
        raise WorkflowError(
            f"seed {seed} is larger than 2^53 - 1, the largest whole number that the canvas keeps exactly",
            field=f"items[{item.index}].seed",
            remedy="Use style 'eri', whose numbers travel as text.",
        )
    sampler, scheduler = _sampler(stock, profile, item)
    sample = stock.add(
        "sample", "KSampler", f"Sample{label}", model=model, seed=seed, steps=item.steps, cfg=item.cfg_scale,
        sampler_name=sampler, scheduler=scheduler, positive=positive, negative=negative, latent_image=latent,
        denoise=1.0,
    )  # fmt: skip
    decode = stock.add("decode", "VAEDecode", f"Decode{label}", samples=Link(sample, 0), vae=stock.loaded.vae)
    return stock.add("save", "SaveImage", f"Save{label}", images=Link(decode, 0), filename_prefix=file)


def _file_part(name: str) -> str:
    """A run's name as a folder name: SaveImage reads `%` and takes slashes as folders."""
    return "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in name).strip(". ") or "samples"


def _model_and_clip(stock: _Stock, profile: Profile, item: SampleItem) -> tuple[Link, Link]:
    model, clip = stock.loaded.model, stock.loaded.clip
    scale = item.lora_scale
    if stock.lora is not None:
        name = stock.lora
        model = stock.shared(
            ("lora", scale),
            lambda: Link(
                stock.add(
                    "lora", "LoraLoader", "LoRA checkpoint", model=stock.loaded.model, clip=stock.loaded.clip,
                    lora_name=name, strength_model=scale, strength_clip=scale,
                ),
                0,
            ),
        )  # fmt: skip
        clip = Link(model.node, 1)
    family = stock.spec.family
    if family in _HOST_T5 and profile.t5_length not in (0, _HOST_T5[family]):
        plain, length = clip, profile.t5_length
        clip = stock.shared(
            ("t5", plain, length),
            lambda: Link(
                stock.add("t5_length", "T5TokenizerOptions", "T5 length", clip=plain, min_padding=0, min_length=length),
                0,
            ),
        )
    return _skipped(stock, profile, _shifted(stock, profile, item, model)), clip


def _skipped(stock: _Stock, profile: Profile, model: Link) -> Link:
    """The model with skip-layer guidance, where the profile asks for it (SD 3.5)."""
    if not profile.skip_layers:
        return model
    layers, scale, start, end = profile.skip_layers, profile.skip_scale, profile.skip_start, profile.skip_end
    return stock.shared(
        ("skip", model, layers, scale, start, end),
        lambda: Link(
            stock.add(
                "skip_layers", "SkipLayerGuidanceSD3", "Skip-layer guidance", model=model, layers=layers, scale=scale,
                start_percent=start, end_percent=end,
            ),
            0,
        ),
    )  # fmt: skip


def _shifted(stock: _Stock, profile: Profile, item: SampleItem, model: Link) -> Link:
    """The model with the family's shift written out, so that no host default decides."""
    if stock.spec.family == "sd35":
        return stock.shared(
            ("shift", model, profile.shift),
            lambda: Link(stock.add("shift", "ModelSamplingSD3", "Shift", model=model, shift=profile.shift), 0),
        )
    if stock.spec.family == "flux":
        high, low = (profile.max_shift, profile.base_shift) if profile.shifted else (0.0, 0.0)
        return stock.shared(
            ("shift", model, item.width, item.height),
            lambda: Link(
                stock.add(
                    "shift", "ModelSamplingFlux", "Flux shift", model=model, max_shift=high, base_shift=low,
                    width=item.width, height=item.height,
                ),
                0,
            ),
        )  # fmt: skip
    return model


def _sampler(stock: _Stock, profile: Profile, item: SampleItem) -> tuple[str, str]:
    """KSampler's sampler and scheduler, and what they miss."""
    family = stock.spec.family
    if family == "flux":
        if profile.spacing == "timesteps":
            stock.note("ComfyUI's 'simple' steps evenly to 0, the trainer to 0.001 first: the pictures differ.")
        else:
            shift = math.exp(_flux_mu(profile, item)) if profile.shifted else 1.0
            stock.off_by = max(stock.off_by, _off_by(item.steps, _TABLE[family], shift))
        return "euler", "simple"
    if family == "sd35":
        if profile.spacing == "cosine":
            stock.note("ComfyUI has no cosine schedule for SD 3.5: 'simple' is used, the pictures differ.")
        elif profile.spacing == "linear":
            stock.off_by = max(stock.off_by, _off_by(item.steps, _TABLE[family], profile.shift))
        return "euler", _SCHEDULERS[profile.spacing]
    sampler = "ddpm" if profile.eta == 1.0 else "ddim"
    if sampler == "ddpm":
        stock.note(
            "ComfyUI's 'ddpm' draws other noise at every step than the trainer; it starts from noise times the first "
            "sigma and ends on sigma 0: the pictures differ."
        )
    else:
        end = "" if profile.final_alpha == "1" else ", and ends on alpha[0]"
        stock.note(
            "ComfyUI's 'ddim' is Euler: it starts from noise times the first sigma and ends on sigma 0; the trainer "
            f"starts from the noise as it is drawn, a little stronger{end}: slightly off."
        )
    made = -(-999 // max(1000 // item.steps, 1))  # every (1000 // steps)th of the timesteps 1 .. 999
    if made != item.steps:
        stock.note(f"ComfyUI's 'ddim_uniform' makes {made} steps where the trainer makes {item.steps}: other pictures.")
    if profile.offset != 1 or profile.spacing != "leading":
        stock.note(f"ComfyUI's timesteps differ from the trainer's ({profile.spacing}, offset {profile.offset}).")
    return sampler, "ddim_uniform"


@lru_cache(maxsize=256)
def _off_by(steps: int, entries: int, shift: float) -> float:
    """How far the host's 'simple' sigmas lie from those of evenly spaced times, at most; both shifted alike."""

    def sigma(time: float) -> float:
        return shift * time / (1 + (shift - 1) * time)

    taken = (1 - int(step * entries / steps) / entries for step in range(steps))
    return max(abs(sigma(time) - sigma(1 - step / steps)) for step, time in enumerate(taken))


def _flux_mu(profile: Profile, item: SampleItem) -> float:
    """The exponent of the shift for an image's size, as ModelSamplingFlux has it."""
    slope = (profile.max_shift - profile.base_shift) / (4096 - 256)
    return profile.base_shift + slope * (item.width * item.height / 256 - 256)


def _negative(stock: _Stock, profile: Profile, clip: Link, item: SampleItem) -> Link:
    if item.cfg_scale == 1.0:  # never run, so it is one empty prompt for all
        return stock.shared(
            ("unused negative",),
            lambda: Link(stock.add("negative", "CLIPTextEncode", "No negative", text="", clip=stock.loaded.clip), 0),
        )
    return _encode(stock, profile, clip, item, "Negative prompt", item.negative_prompt, extra=False)


def _encode(
    stock: _Stock, profile: Profile, clip: Link, item: SampleItem, title: str, text: str, *, extra: bool = True
) -> Link:
    """The conditioning of a prompt, made once per prompt, encoders' texts, guidance and CLIP."""
    second = item.prompt_2 if extra else None
    third = item.prompt_3 if extra else None
    key = ("text", clip, text, second, third, item.guidance)
    return stock.shared(key, lambda: _add_encode(stock, profile, clip, item.guidance, title, (text, second, third)))


def _add_encode(
    stock: _Stock, profile: Profile, clip: Link, guidance: float | None, title: str, texts: Sequence[str | None]
) -> Link:
    first = texts[0] or ""
    second, third = (first if text is None else text for text in texts[1:])
    words = {text: _words(stock, profile, text, title) for text in dict.fromkeys((first, second, third))}
    family, node_id = stock.spec.family, "prompt"
    if first == second == third:
        node = stock.add(node_id, "CLIPTextEncode", title, text=words[first], clip=clip)
    elif family == "sd35":
        node = stock.add(
            node_id, "CLIPTextEncodeSD3", title, clip=clip, clip_l=words[first], clip_g=words[second],
            t5xxl=words[third], empty_padding="empty_prompt",
        )  # fmt: skip
    elif family == "flux":
        value = 3.5 if guidance is None else guidance
        node = stock.add(
            node_id, "CLIPTextEncodeFlux", title, clip=clip, clip_l=words[first], t5xxl=words[second], guidance=value
        )
    else:
        raise WorkflowError(
            "stock style cannot give SDXL's encoders different texts together with per-sample sizes",
            field="spec.items.prompt_2",
            remedy="Use style 'eri'.",
        )
    result = Link(node, 0)
    if first == "" and profile.empty == "zeros":
        result = Link(stock.add("zeros", "ConditioningZeroOut", "Empty is zeros", conditioning=result), 0)
    if family != "flux":
        return result
    if guidance is None:
        return Link(stock.add("guidance", "FluxDisableGuidance", "No embedded guidance", conditioning=result), 0)
    return Link(stock.add("guidance", "FluxGuidance", "Embedded guidance", conditioning=result, guidance=guidance), 0)


def _words(stock: _Stock, profile: Profile, text: str, title: str) -> Literal | Link:
    """A prompt for a stock text widget, so that it means itself.

    Brackets are escaped where weighting is off. Braces and comment marks, which the front end would expand when it
    queues the graph, come from a plain string node instead.
    """
    if "embedding:" in text:
        stock.note("'embedding:' in a prompt loads an embedding with stock nodes; to the trainer it is text.")
    if not profile.weighting:
        if "\\(" in text or "\\)" in text:
            stock.note("A backslash before a bracket cannot be written literally with stock nodes.")
        text = text.replace("(", "\\(").replace(")", "\\)")
    if _EXPANDED.search(text):
        return Link(stock.add("text", "PrimitiveStringMultiline", f"{title}, literally", value=text), 0)
    return text


def _note_profile(stock: _Stock, profile: Profile, item: SampleItem) -> None:
    if profile.noise != FALLBACK_NOISE:
        stock.note(f"Stock nodes draw {FALLBACK_NOISE} noise, the trainer {profile.noise}: the pictures differ.")
    if profile.rounding == "round":
        stock.note("SaveImage cuts colours off to 8 bits where the trainer rounds: at most 1 of 255 apart.")
    if stock.spec.family in _HOST_T5 and 0 < profile.t5_length <= len(item.prompt):
        stock.note(f"The trainer cuts prompts after {profile.t5_length} T5 tokens; stock nodes only pad to that.")
    if profile.long_prompt == "truncate" and len(item.prompt) > _SHORT_PROMPT:
        stock.note("Prompts of more than 77 CLIP tokens go on in further chunks; the trainer cuts them.")


def lora_file(run: str, step: int | None, offered: Mapping[str, Sequence[str]] | None) -> str | None:
    """The name under which the host's LoraLoader lists the checkpoint of `step` (None = newest) in `run`.

    run: a file, a folder on this machine, or a folder below the host's loras folder (`offered["loras"]` then tells what
    is in it). None for step 0, where the run has no checkpoint of step 0. Raises WorkflowError.
    """
    from ..errors import LoraError
    from ..lora import find_checkpoints, select_checkpoint
    from ..lora.file_names import read_name

    if run.lower().endswith(".safetensors"):
        return run
    folder = Path(run)
    if folder.is_dir():
        try:
            checkpoints = find_checkpoints(folder)
            if step == 0 and not any(entry.step == 0 for entry in checkpoints):
                return None
            chosen = select_checkpoint(checkpoints, step, "latest" if step is None else "exact")
        except LoraError as error:
            raise WorkflowError(str(error), field="run", remedy="Look at the run with: eri lora DIR.") from error
        return (Path(folder.name) / chosen.path.relative_to(folder)).as_posix()
    if step == 0:
        return None
    prefix = run.replace("\\", "/").strip("/") + "/"
    steps: dict[int, str] = {}
    for name in sorted((offered or {}).get("loras", ()), reverse=True):
        below = name.replace("\\", "/").removeprefix(prefix)
        reading = read_name(below) if below != name.replace("\\", "/") else None
        if reading is not None and reading.step is not None:
            steps[reading.step] = name
    if step is None and steps:
        return steps[max(steps)]
    if step in steps:
        return steps[step]
    there = ", ".join(map(str, sorted(steps))) or "none that can be seen from here"
    raise WorkflowError(
        f"stock nodes need the LoRA's file, and there is no checkpoint of step {step} in {run!r}; steps: {there}",
        field="run",
        remedy="Name the file itself, a run folder on this machine, or a host (eri graph --host URL) with the run "
        "in its loras folders; stock nodes see no others.",
    )
