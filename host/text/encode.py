"""Prompts to CONDITIONING through ComfyUI's own tokenizers and encoders, with exact lengths and literal text."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import comfy.model_management
import comfy.sd1_clip
import comfy.utils
import torch
from torch import Tensor

from ...errors import NodeInputError
from ...families import ENCODERS, FAMILIES, Family
from ..inputs import finite, rows
from ..notice import announce
from . import rules
from .memory import recall

Chunk = list[tuple[Any, ...]]
Tokens = dict[str, list[Chunk]]

#: Stands in for "embedding:" in a literal prompt's tokenizer; no prompt contains it.
_NEVER: Final = "\x00\x00no-embedding\x00\x00"

#: Token dictionary keys of the encoders that a CLIP may have, in the order prompt, prompt_2, prompt_3: those of the
#: families, and each encoder alone.
_ORDERS: Final = {
    frozenset(order): order
    for order in (*(family.tokens for family in FAMILIES.values()), *((one.tokens,) for one in ENCODERS.values()))
}
#: Of these, those that also run with some of their encoders; and those whose conditioning tells the picture's size.
_PARTIAL: Final = {family.tokens for family in FAMILIES.values() if family.fewest_encoders < len(family.encoders)}
_SIZED: Final = {family.tokens for family in FAMILIES.values() if family.size_ids}
_NAMES: Final = {encoder.tokens: encoder.title for encoder in ENCODERS.values()}
_PROMPTS: Final = ("prompt", "prompt_2", "prompt_3")

#: Width of SD 3.5's context: CLIP-L beside CLIP-G, padded to T5's.
_SD35_WIDTH: Final = 4096

#: "all": T5 sees all padding and the model gets it (Flux, SD 3.5). Chroma's model gets one padding token, and T5 sees
#: "one" (OneTrainer), none ("one unseen": Chroma's author, kohya) or all ("one of all": ai-toolkit). "weighted": T5
#: sees none, the model gets all, with attention scores 1 lower than the prompt's (diffusers, SimpleTuner).
PADDINGS: Final = ("all", "one", "one unseen", "one of all", "weighted")
_END: Final = 1  # T5's end token
#: Pixels of an image token's side.
_TOKEN: Final = 16


@dataclass(frozen=True)
class TextSettings:
    """How prompts become tokens; see `encode`."""

    t5_length: int = 0
    weighting: bool = False
    empty: str = "encode"
    width: int = 1024
    height: int = 1024
    long_prompt: str = "chunks"
    missing: str = "host"
    t5_padding: str = "all"
    text_rules: str = "plain"

    @property
    def literal(self) -> bool:
        """Whether ComfyUI's own syntax is text."""
        return not self.weighting or self.text_rules != "plain"


def encode_inputs(inputs: Mapping[str, Any]) -> Any:
    """Return CONDITIONING for EriTripleTextEncode's inputs: a list for lists, one for single values.

    Equal rows are encoded once and share one result, which nobody changes in place. Later runs with the same CLIP share
    it too.

    Args:
        inputs: the inputs by name. ComfyUI gives lists, with one entry per row or one for all.

    Raises NodeInputError for lists that do not fit each other, and as `encode`.
    """
    alone = isinstance(inputs["prompt"], str)
    table = [inputs] if alone else rows(inputs)
    told = rules.misread(table)
    if told:
        announce("Triple Text Encode", told)
    if alone:
        return _encode_row(inputs)
    results = []
    progress = comfy.utils.ProgressBar(len(table)) if len(table) > 1 else None
    for row in table:
        comfy.model_management.throw_exception_if_processing_interrupted()
        results.append(_encode_row(row))
        if progress is not None:
            progress.update(1)
    return results


def _encode_row(row: Mapping[str, Any]) -> list[list[Any]]:
    prompts = (row["prompt"], row["prompt_2"], row["prompt_3"])
    settings = TextSettings(**{k: v for k, v in row.items() if k not in ("clip", *_PROMPTS)})
    return recall(row["clip"], (*prompts, settings), lambda: encode(row["clip"], prompts, settings))


def encode(clip: Any, prompts: tuple[str, str, str], settings: TextSettings) -> list[list[Any]]:
    """Return the CONDITIONING of up to three prompts.

    It equals CLIPTextEncodeSD3, -Flux, -SDXL and CLIPTextEncode bit for bit when the settings agree.

    Args:
        clip: a CLIP of SD 3.5 (with any of its encoders), Flux or SDXL, or one with a single encoder.
        prompts: the texts for CLIP-L, CLIP-G and T5 (SD 3.5), CLIP-L and T5 (Flux), or CLIP-L and CLIP-G (SDXL). An
            empty second or third text repeats the first; a blank one (" ") is an empty text of its own.
        settings: has these fields:

            - t5_length: the exact number of T5 tokens, padded or cut. 0 follows ComfyUI's own rule (at least 77, for
              Flux 256, without an upper limit).
            - weighting: True lets `(word:1.2)` and `embedding:` act as in ComfyUI; False takes them as text.
            - empty: what an empty prompt gives. "encode": what the encoders give for "". "zeros": all zeros, when all
              of them are empty. "none": no tokens for that encoder (SD 3.5; CLIPTextEncodeSD3's empty_padding "none").
            - width, height: pixels for SDXL's size ids.
            - long_prompt: what happens to more CLIP tokens than fit. "chunks": further chunks of 77, as in ComfyUI.
              "truncate": they are cut off, as in most trainers. "150", "225": kohya's max_token_length for SDXL; every
              prompt has that many, and one begin and one end.
            - missing: what an SD 3.5 CLIP without some encoder gives. "host": as in ComfyUI, zeros for one missing
              CLIP, no tokens for a missing T5 or for both CLIPs. "zeros": zero tokens there too, as in diffusers.
            - t5_padding: one of `PADDINGS`. All but "all" are for Chroma, whose CLIP is T5 alone, and need a
              t5_length.
            - text_rules: one of `rules.TEXT_RULES`, for the CLIP encoders. With "kohya", `weighting` means kohya's
              brackets (SDXL).

    Raises NodeInputError.
    """
    if clip is None:
        raise NodeInputError(
            f"clip is empty: the checkpoint holds no text encoder. Load them with {_loaders()} and connect that."
        )
    tokens = tokenize(clip, prompts, settings)
    weighed = rules.weighed(tokens["l"], settings) if tuple(tokens) == ("l", "g") else None
    if weighed is not None:
        tokens = {key: [[(token, 1.0) for token, _ in chunk] for chunk in chunks] for key, chunks in tokens.items()}
    with unseen_padding(clip, settings.t5_padding):
        conditioning = clip.encode_from_tokens_scheduled(
            {key: cut_tokens(chunks, settings.t5_padding) for key, chunks in tokens.items()},
            add_dict=_size_ids(settings) if tuple(tokens) in _SIZED else {},
        )
    if weighed is not None:
        conditioning = [[weighed(cond), extra] for cond, extra in conditioning]
    if not finite(conditioning):
        raise NodeInputError(
            f"clip gave NaN or infinite values for {prompts[0][:60]!r}: the text encoders overflowed in half "
            "precision, or their file is damaged. Start ComfyUI with --fp32-text-enc, or load other weights of them."
        )
    if settings.t5_padding != "all":
        used = used_tokens(tokens["t5xxl"][0])
        pictured = (used, settings.t5_padding, settings.width, settings.height)
        conditioning = [with_padding(entry, *pictured) for entry in conditioning]
    if settings.missing == "zeros" and tuple(tokens) in _PARTIAL:
        conditioning = [_with_missing(clip.cond_stage_model, tokens, entry) for entry in conditioning]
    if settings.empty == "zeros" and not any(prompt.strip() for prompt in prompts):
        return [_zeroed(cond, extra) for cond, extra in conditioning]
    return conditioning


def _size_ids(settings: TextSettings) -> dict[str, int]:
    width, height = settings.width, settings.height
    return {"width": width, "height": height, "crop_w": 0, "crop_h": 0, "target_width": width, "target_height": height}


def tokenize(clip: Any, prompts: tuple[str, str, str], settings: TextSettings) -> Tokens:
    """ComfyUI's token dictionary for `encode`'s arguments; the CLIP is left as it is."""
    keywords: dict[str, Any] = {}
    texts = prompts
    if settings.t5_length:
        keywords["tokenizer_options"] = {"t5xxl_min_length": settings.t5_length}
    if settings.literal:
        keywords["disable_weights"] = True
        clip = literal_clip(clip)
        texts = (literal(prompts[0]), literal(prompts[1]), literal(prompts[2]))
    by_text: dict[str, Tokens] = {}

    def tokens_of(text: str) -> Tokens:
        if text not in by_text:
            by_text[text] = clip.tokenize(text, **keywords)
        return by_text[text]

    order = _order(tokens_of(texts[0]), prompts, settings)
    tokens: Tokens = {}
    for position, key in enumerate(order):
        text = prompts[position] or prompts[0]
        if settings.empty == "none" and not text.strip():
            tokens[key] = []
        elif settings.text_rules != "plain" and key in ("l", "g"):
            tokens[key] = rules.chunks(getattr(clip.tokenizer, f"clip_{key}"), key, text, settings)
        else:
            tokens[key] = [list(chunk) for chunk in tokens_of(texts[position] or texts[0])[key]]
    if settings.t5_length and tokens.get("t5xxl"):
        tokens["t5xxl"] = exact_length(tokens["t5xxl"], settings.t5_length)
    if settings.long_prompt == "truncate":
        tokens.update({key: _first_chunk(clip, key, tokens[key]) for key in ("l", "g") if key in tokens})
    return _same_chunks(tokens, tokens_of("")) if {"l", "g"} <= set(tokens) else tokens


def _order(tokens: Tokens, prompts: tuple[str, str, str], settings: TextSettings) -> tuple[str, ...]:
    """The encoders of a CLIP in the order of the prompts. Refuses what this CLIP cannot do."""
    order = _ORDERS.get(frozenset(tokens))
    if order is None:
        raise NodeInputError(
            f"clip has the text encoders {', '.join(sorted(tokens))}; this node knows those of "
            f"{_titles(FAMILIES.values())}. Use the stock text-encode node of that model."
        )
    known = " and ".join(_NAMES[key] for key in order)
    for name, text in list(zip(_PROMPTS, prompts, strict=True))[len(order) :]:
        if text.strip() and text != prompts[0]:
            raise NodeInputError(
                f"{name} holds a text, but this CLIP has only {known}. Clear {name}, or connect the CLIP of a model "
                "with more text encoders."
            )
    if settings.t5_padding != "all" and (order != ("t5xxl",) or not settings.t5_length):
        raise NodeInputError(
            f't5_padding is "{settings.t5_padding}", which is for Chroma (T5 alone) and needs a t5_length; this CLIP '
            f'has {known}, t5_length is {settings.t5_length}. Set t5_padding to "all", or t5_length to 512.'
        )
    rules.refuse(settings, order, prompts)
    if settings.empty == "none" and order not in _PARTIAL:
        only = _titles(family for family in FAMILIES.values() if family.tokens in _PARTIAL)
        raise NodeInputError(
            f'empty = "none" exists for {only} only; this CLIP has {known}. Set empty to "encode" or "zeros".'
        )
    return order


def _titles(families: Iterable[Family]) -> str:
    return ", ".join(family.title for family in families)


def _loaders() -> str:
    """ComfyUI's loaders of text encoders, each with the families for which it is."""
    loaders = sorted({family.clip_loader for family in FAMILIES.values()})
    listed = (
        f"{loader} ({_titles(family for family in FAMILIES.values() if family.clip_loader == loader)})"
        for loader in loaders
    )
    return " or ".join(listed)


def exact_length(chunks: list[list[tuple[Any, ...]]], length: int) -> list[list[tuple[Any, ...]]]:
    """Cut a T5 token chunk (already padded to at least `length`) to `length`; the end token stays the last.

    As `tokenizer(text, padding="max_length", truncation=True, max_length=length)` does. Raises NodeInputError when
    the tokenizer splits T5 prompts into several chunks, whose joint length cannot be set.
    """
    if len(chunks) != 1:
        raise NodeInputError("This CLIP splits T5 prompts into chunks, so t5_length cannot hold. Set t5_length to 0.")
    chunk = chunks[0]
    if len(chunk) <= length:
        return [chunk]
    end = next((item for item in reversed(chunk) if _is(item, 1)), (1, 1.0))
    return [[*chunk[: length - 1], end]]


def literal(text: str) -> str:
    r"""Text that ComfyUI's tokenizer turns back into `text` itself: its `\(` and `\)` escapes are escaped."""
    return re.sub(r"\\(?=[()])", r"\\\\", text)


def literal_clip(clip: Any) -> Any:
    """A clone of a CLIP whose tokenizers do not look for "embedding:"; the given CLIP is left as it is."""
    clone = clip.clone()
    clone.tokenizer = copy.copy(clip.tokenizer)
    for name, part in vars(clip.tokenizer).items():
        if isinstance(part, comfy.sd1_clip.SDTokenizer):
            part = copy.copy(part)
            part.embedding_identifier = _NEVER
            setattr(clone.tokenizer, name, part)
    return clone


def _first_chunk(clip: Any, key: str, chunks: list[list[tuple[Any, ...]]]) -> list[list[tuple[Any, ...]]]:
    """One chunk: what truncation at the encoder's length gives, also when ComfyUI would break at a word."""
    if len(chunks) <= 1:
        return chunks
    tokenizer = getattr(clip.tokenizer, f"clip_{key}", None)
    start, end = getattr(tokenizer, "start_token", 49406), getattr(tokenizer, "end_token", 49407)
    length = getattr(tokenizer, "max_length", 77)
    words = [item for chunk in chunks for item in _words(chunk, start, end)]
    return [[(start, 1.0), *words[: length - 2], (end, 1.0)]]


def _words(chunk: list[tuple[Any, ...]], start: int, end: int) -> list[tuple[Any, ...]]:
    inner = chunk[1:] if _is(chunk[0], start) else chunk
    stop = next((n for n, item in enumerate(inner) if _is(item, end)), len(inner))
    return inner[:stop]


def _is(item: tuple[Any, ...], token: int) -> bool:
    return not torch.is_tensor(item[0]) and item[0] == token


def _same_chunks(tokens: Tokens, empty: Tokens) -> Tokens:
    longest = max(len(tokens["l"]), len(tokens["g"]))
    for key in ("l", "g"):
        while len(tokens[key]) < longest:
            tokens[key] = tokens[key] + [list(chunk) for chunk in empty[key]]
    return tokens


def _zeroed(cond: torch.Tensor, extra: dict[str, Any]) -> list[Any]:
    extra = dict(extra)
    if extra.get("pooled_output") is not None:
        extra["pooled_output"] = torch.zeros_like(extra["pooled_output"])
    return [torch.zeros_like(cond), extra]


def _with_missing(model: Any, tokens: Tokens, entry: list[Any]) -> list[Any]:
    """SD 3.5's conditioning with zero tokens when ComfyUI leaves out both CLIPs or T5."""
    cond, extra = entry
    clip_there = model.clip_l is not None or model.clip_g is not None
    t5_there = model.t5xxl is not None

    def zeros(key: str) -> torch.Tensor:
        return cond.new_zeros((cond.shape[0], sum(len(chunk) for chunk in tokens[key]), _SD35_WIDTH))

    before = [] if clip_there or not t5_there else [zeros("l")]  # without any encoder ComfyUI has put them there
    after = [] if t5_there else [zeros("t5xxl")]
    return [torch.cat([*before, cond, *after], dim=1), extra]


def used_tokens(chunk: Chunk) -> int:
    """How many of a chunk's tokens Chroma's model gets: up to the last end token, and one padding token if there is."""
    ends = [place for place, item in enumerate(chunk) if not torch.is_tensor(item[0]) and item[0] == _END]
    return min(ends[-1] + 2, len(chunk)) if ends else len(chunk)


def cut_tokens(chunks: list[Chunk], padding: str) -> list[Chunk]:
    """The tokens that T5 is given, of those padded to the full length."""
    return [chunk[: used_tokens(chunk)] for chunk in chunks] if padding in ("one", "one unseen") else chunks


@contextmanager
def unseen_padding(clip: Any, padding: str) -> Iterator[None]:
    """A CLIP whose T5 masks padding while this lasts, where `padding` asks for that."""
    encoder = clip.cond_stage_model.t5xxl if padding in ("one unseen", "weighted") else None
    if encoder is None:
        yield
        return
    before = encoder.enable_attention_masks
    encoder.enable_attention_masks = True
    try:
        yield
    finally:
        encoder.enable_attention_masks = before


def with_padding(entry: list[Any], used: int, padding: str, width: int, height: int) -> list[Any]:
    """A conditioning as Chroma's model gets it.

    Args:
        entry: conditioning [1, L, C] and its options.
        used: tokens that take part, see `used_tokens`.
        width, height: of the picture in pixels.
    """
    cond, extra = entry
    if padding == "one of all":
        return [cond[:, :used], extra]
    if padding == "weighted":
        rows, columns = -(-height // _TOKEN), -(-width // _TOKEN)
        mask = _weights(cond, used, rows * columns)
        return [cond, {**extra, "attention_mask": mask, "attention_mask_img_shape": (rows, columns)}]
    return entry


def _weights(cond: Tensor, used: int, image_tokens: int) -> Tensor:
    """1 between two tokens that take part, else 0, which ComfyUI's attention adds to the scores; [1, N, N]."""
    part = cond.new_ones(cond.shape[1] + image_tokens)
    part[used : cond.shape[1]] = 0
    return (part[:, None] * part[None, :])[None]
