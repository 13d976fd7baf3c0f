"""Style "stock": the same samples from ComfyUI's own nodes only, for people without this pack.

One KSampler per sample. What stock nodes cannot do as the trainer does is said in the notes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from ..errors import WorkflowError
from ..families import FAMILIES
from ..families.encoders import CLIP_G, T5XXL
from ..families.profile import CONTROL_FITS, FALLBACK_NOISE, Profile
from ..spec import SampleItem, SampleSpec
from ..trainers.kohya.text import looks_misread, misread_told, repaired, weighted_parts
from ..trainers.profiles import profile_for
from .canvas.ui_nodes import MAX_INTEGER
from .chain import Loaded, Stock
from .graph import Graph, Link

_SAME_SIGMA: Final = 1e-6  # rounding of float32
#: What the front end takes out of a text, or chooses among, when it queues the graph.
_EXPANDED: Final = re.compile(r"[{}]|//|/\*")
#: What was measured on the example models, see tests/parity.
_WEIGHTS: Final = (
    "kohya multiplies embeddings by a prompt's weights, ComfyUI moves them away from the empty prompt's: the pictures "
    "differ (measured, for one word: in (:1.3) by up to 34 of 255, in [ ] by up to 44; by 1.8 and 1.2 on average)."
)
_EXCLAMATION: Final = (
    "An exclamation mark is the padding token of the trainer's CLIP-G and an ordinary one in ComfyUI: the pictures "
    "differ (measured: by up to 163 of 255 with SD 3.5, 126 with SDXL)."
)
#: Prompts of more characters than this seldom fit into CLIP's 77 tokens.
_SHORT_PROMPT: Final = 250


def add_stock(
    graph: Graph, spec: SampleSpec, loaded: Loaded, lora: str | None
) -> tuple[list[str], dict[str, tuple[int, ...]]]:
    """Add one chain of stock nodes per sample of `spec`; every item has a seed.

    lora: the checkpoint's name as the host's LoraLoader lists it, None = none. Returns the notes, and id of each saving
    node -> index of its item. Raises WorkflowError for what stock nodes cannot hold at all.
    """
    stock = Stock(graph, spec, FAMILIES[spec.family], loaded, lora)
    saves: dict[str, tuple[int, ...]] = {}
    profiles: dict[tuple[str | None, float | None], Profile] = {}
    folder = _file_part(spec.name)
    graph.repeated = len(spec.items) > 1
    for number, item in enumerate(spec.items):
        stock.band = number
        profile = profiles.get((item.sampler, item.shift))
        if profile is None:
            profile = profiles[item.sampler, item.shift] = profile_for(spec, item.sampler, item.shift)
            for text in profile.notes:
                stock.note(text)
        _note_profile(stock, profile, item)
        saves[_add_item(stock, profile, item, f"{folder}/{item.index:03d}")] = (item.index,)
    if stock.off_by > _SAME_SIGMA:
        stock.note(
            f"ComfyUI's 'simple' takes its sigmas from a table of {stock.table:,}, which the steps do not "
            f"divide: they are up to {stock.off_by:.1g} off, so that the pictures differ slightly."
        )
    stock.note("Stock nodes save under ComfyUI's own numbered names, without the trainer's folders and prompt files.")
    if lora is not None:
        stock.note(
            "ComfyUI's own LoRA loader skips key names it does not know without an error: eri lora FILE --convert NEW "
            "writes a file with the names it knows. It merges the LoRA into the weights, and 16 or 8 bits round a part "
            "of it away; trainers and LoRA at Step apply it beside the weights."
        )
    return stock.notes, saves


def _add_item(stock: Stock, profile: Profile, item: SampleItem, file: str) -> str:
    """The nodes of one sample, which is saved as `file`; returns the saving node's id."""
    label = f" {item.index}"
    model, clip = _model_and_clip(stock, profile, item)
    positive = _encode(stock, profile, clip, item, f"Prompt{label}", item.prompt)
    negative = _negative(stock, profile, clip, item)
    if item.control_image is not None:
        encoded = _control_latent(stock, profile, item, item.control_image)
        positive = stock.add(
            "reference", "ReferenceLatent", "Follow the control image", conditioning=positive, latent=encoded
        )
    latent = stock.shared(
        "latent", stock.family.empty_latent, "Empty latent", width=item.width, height=item.height, batch_size=1
    )
    seed = item.seed if item.seed is not None else 0
    if seed > MAX_INTEGER:
        raise WorkflowError(
            f"seed {seed} is larger than 2^53 - 1, the largest whole number that the canvas keeps exactly",
            field=f"items[{item.index}].seed",
            remedy="Use style 'eri', whose numbers travel as text.",
        )
    sampler, scheduler = stock.family.stock.sampler(stock, profile, item)
    sample = stock.add(
        "sample", "KSampler", f"Sample{label}", model=model, seed=seed, steps=item.steps, cfg=item.cfg_scale,
        sampler_name=sampler, scheduler=scheduler, positive=positive, negative=negative, latent_image=latent,
        denoise=1.0,
    )  # fmt: skip
    decode = stock.add("decode", "VAEDecode", f"Decode{label}", samples=sample, vae=stock.loaded.vae)
    return stock.add("save", "SaveImage", f"Save{label}", images=decode, filename_prefix=file).node


def _control_latent(stock: Stock, profile: Profile, item: SampleItem, name: str) -> Link:
    """The latent of a control image, which LoadImage takes from ComfyUI's input folder."""
    if profile.control_drawn:
        stock.note("VAEEncode gives the mean of the VAE's distribution, the trainer draws: pictures differ slightly.")
    file = PurePosixPath(name.replace("\\", "/")).name
    image = stock.shared("control", "LoadImage", "Control image", image=file)
    if profile.control_fit == CONTROL_FITS[0]:
        stock.note(
            "ComfyUI's bilinear scaling leaves pixels out where the trainer's takes the mean of them: control images "
            "that are larger than the sample are followed slightly otherwise."
        )
        image = stock.shared(
            "control_size", "ImageScale", "Size of the sample", image=image, upscale_method="bilinear",
            width=item.width, height=item.height, crop="disabled",
        )  # fmt: skip
    else:
        stock.note(
            "VAEEncode cuts control images at all edges to multiples of 8 pixels, the trainer at the right and lower "
            "edge to multiples of 16: only images whose sides 16 divides are followed as there."
        )
    return stock.shared("control_latent", "VAEEncode", "Encode control image", pixels=image, vae=stock.loaded.vae)


def _file_part(name: str) -> str:
    """A run's name as a folder name: SaveImage reads `%` and takes slashes as folders."""
    return "".join(letter if letter.isalnum() or letter in "-_. " else "_" for letter in name).strip(". ") or "samples"


def _model_and_clip(stock: Stock, profile: Profile, item: SampleItem) -> tuple[Link, Link]:
    model, clip = stock.loaded.model, stock.loaded.clip
    if stock.lora is not None:
        model = stock.shared(
            "lora", "LoraLoader", "LoRA checkpoint", model=model, clip=clip,
            lora_name=averaged(stock.lora) if item.ema else stock.lora,
            strength_model=item.lora_scale, strength_clip=item.lora_scale,
        )  # fmt: skip
        clip = Link(model.node, 1)
        if profile.lora_scale >= 0:
            stock.note(
                f"The trainer multiplies the LoRA by {profile.lora_scale:g} and ignores its alpha; LoraLoader "
                f"multiplies by alpha / rank: set its strengths to {profile.lora_scale:g} / (alpha / rank)."
            )
    facts = stock.family.stock
    padded = profile.t5_padding == "all"  # else by one token
    if facts.t5_length is not None and (not padded or profile.t5_length not in (0, facts.t5_length)):
        length = profile.t5_length if padded else 0
        clip = stock.shared(
            "t5_length", "T5TokenizerOptions", "T5 length", clip=clip, min_padding=0 if padded else 1, min_length=length
        )
    model = facts.model(stock, profile, item, model)
    if profile.swapped_heads:
        stock.note(
            "The trainer runs the second self-attention of SD 3.5 Medium with heads and head size swapped; stock nodes "
            "run it as published: the pictures differ."
        )
    if item.cfg_scale != 1.0 and profile.zero_star:
        stock.note(
            "The trainer guides by CFG-Zero* with an empty first step; ComfyUI's CFGZeroStar scales the predicted "
            "latent, not the model's output, so plain guidance is used: the pictures differ."
        )
    if item.cfg_scale != 1.0 and profile.rescale:
        stock.note(
            f"The trainer rescales guidance by {profile.rescale:g}; ComfyUI's RescaleCFG does it on another output of "
            "the model, so plain guidance is used: the pictures differ."
        )
    if item.cfg_scale != 1.0 and profile.cfg_from_step:
        stock.note(
            f"KSampler guides from the first step on, the trainer from step {profile.cfg_from_step} (counted from 0): "
            "the pictures differ."
        )
    return model, clip


def _negative(stock: Stock, profile: Profile, clip: Link, item: SampleItem) -> Link:
    if item.cfg_scale == 1.0:  # never run, so it is one empty prompt for all
        return stock.shared("negative", "CLIPTextEncode", "No negative", text="", clip=stock.loaded.clip)
    return _encode(stock, profile, clip, item, "Negative prompt", item.negative_prompt, extra=False)


def _encode(
    stock: Stock, profile: Profile, clip: Link, item: SampleItem, title: str, text: str, *, extra: bool = True
) -> Link:
    """The conditioning of a prompt, made once per prompt, encoders' texts, guidance and CLIP."""
    further = (item.prompt_2, item.prompt_3) if extra else (None, None)
    given = (text, *(text if other is None else other for other in further))
    mended = profile.text_rules == "kohya" and not profile.weighting
    texts = tuple(
        _mended(stock, one) if mended and encoder != T5XXL else one
        for encoder, one in zip(stock.family.encoders, given, strict=False)
    )
    key = ("text", clip, texts, item.guidance)
    return stock.once(key, lambda: _add_encode(stock, profile, clip, item.guidance, title, texts))


def _add_encode(
    stock: Stock, profile: Profile, clip: Link, guidance: float | None, title: str, texts: tuple[str, ...]
) -> Link:
    facts = stock.family.stock
    words = {text: _words(stock, profile, text, title) for text in dict.fromkeys(texts)}
    if len(words) == 1:
        result = stock.add("prompt", "CLIPTextEncode", title, text=words[texts[0]], clip=clip)
    elif facts.encode_apart is not None:
        result = facts.encode_apart(stock, title, clip, tuple(words[text] for text in texts), guidance)
    else:
        raise WorkflowError(
            f"stock style cannot give {stock.family.title}'s encoders different texts together with per-sample sizes",
            field="spec.items.prompt_2",
            remedy="Use style 'eri'.",
        )
    if texts[0] == "" and profile.empty == "zeros":
        result = stock.add("zeros", "ConditioningZeroOut", "Empty is zeros", conditioning=result)
    return result if facts.guided is None else facts.guided(stock, result, guidance)


def _words(stock: Stock, profile: Profile, text: str, title: str) -> str | Link:
    """A prompt for a stock text widget, so that it means itself.

    Brackets are escaped where weighting is off, kohya's written as ComfyUI's. Braces and comment marks, which the front
    end would expand when it queues the graph, come from a plain string node instead.
    """
    if "embedding:" in text:
        stock.note("'embedding:' in a prompt loads an embedding with stock nodes; to the trainer it is text.")
    if not profile.weighting:
        if "\\(" in text or "\\)" in text:
            stock.note("A backslash before a bracket cannot be written literally with stock nodes.")
        text = _escaped(text)
    elif profile.text_rules == "kohya":
        text = _kohyas_weights(stock, text)
    if profile.text_rules == "diffusers" and "!" in text and CLIP_G in stock.family.encoders:
        stock.note(_EXCLAMATION)
    if _EXPANDED.search(text):
        return stock.add("text", "PrimitiveStringMultiline", f"{title}, literally", value=text)
    return text


def _escaped(text: str) -> str:
    return text.replace("(", "\\(").replace(")", "\\)")


def _mended(stock: Stock, text: str) -> str:
    """A text as kohya's tokenizer repairs it."""
    if looks_misread(text):
        stock.note(misread_told())
    return repaired(text)


def _kohyas_weights(stock: Stock, text: str) -> str:
    """A prompt in kohya's brackets, in ComfyUI's."""
    try:
        parts = [(_escaped(_mended(stock, part)), weight) for part, weight in weighted_parts(text)]
    except ValueError as error:
        raise WorkflowError(
            f"{text[:60]!r} has a weight that is no number ({error}), at which kohya stops",
            field="items.prompt",
            remedy="Correct it.",
        ) from error
    if any(weight != 1.0 for _, weight in parts):
        stock.note(_WEIGHTS)
    return "".join(part if weight == 1.0 else f"({part}:{weight:.6g})" for part, weight in parts)


def _note_profile(stock: Stock, profile: Profile, item: SampleItem) -> None:
    if profile.half_steps and stock.spec.precision != "float32":
        stock.note("The trainer steps in half precision, KSampler in float32: close, not equal.")
    if profile.noise != FALLBACK_NOISE:
        stock.note(f"Stock nodes draw {FALLBACK_NOISE} noise, the trainer {profile.noise}: the pictures differ.")
    if profile.s_churn > 0 or (profile.eta > 0 and stock.family.schedule(profile) != "timesteps"):
        stock.note("KSampler's Euler draws no noise on the way, the trainer does (eta, s_churn): the pictures differ.")
    if profile.memory:
        stock.note("Stock nodes have no memory switches: start ComfyUI with --lowvram or --novram.")
    if profile.rounding == "round":
        stock.note("SaveImage cuts colours off to 8 bits where the trainer rounds: at most 1 of 255 apart.")
    if stock.family.stock.t5_length is not None and 0 < profile.t5_length <= len(item.prompt):
        stock.note(f"The trainer cuts prompts after {profile.t5_length} T5 tokens; stock nodes only pad to that.")
    if profile.long_prompt not in ("truncate", "chunks"):
        stock.note(
            f"The trainer pads every prompt to {profile.long_prompt} tokens; stock nodes take as many chunks as a "
            "prompt needs: the pictures differ."
        )
    if profile.long_prompt == "truncate" and len(item.prompt) > _SHORT_PROMPT:
        stock.note("Prompts of more than 77 CLIP tokens go on in further chunks; the trainer cuts them.")


def averaged(run: str) -> str:
    """Where a run, or a checkpoint's file, keeps its averaged weights (EMA)."""
    if not run.lower().endswith(".safetensors"):
        return f"{run}/ema"
    folder, slash, name = run.replace("\\", "/").rpartition("/")
    return f"{folder}{slash}ema/{name}"


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
    named = "Name the file itself, a run folder on this machine, or one in the loras folders of a ComfyUI"
    raise WorkflowError(
        f"stock nodes need the LoRA's file, and there is no checkpoint of step {step} in {run!r}; steps: {there}",
        field="run",
        remedy={
            "python": f"{named}; stock nodes see no others.",
            "cli": f"{named}, which --host names; stock nodes see no others.",
        },
    )
