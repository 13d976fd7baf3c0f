"""CLIP tokens as a trainer's own tokenizer gives them where ComfyUI's gives others, and kohya's weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor

from ...errors import NodeInputError
from ...trainers.kohya.text import looks_misread, misread_told, repaired, weighted_parts

Word = tuple[int, float]

#: Whose reading of a text. "plain": ComfyUI's tokenizers. "kohya": CLIPTokenizer of transformers 4 with ftfy, and with
#: `weighting` kohya's own brackets. "diffusers": the CLIP-G of a diffusers repository, where `!` pads.
TEXT_RULES: Final = ("plain", "kohya", "diffusers")
#: kohya's max_token_length, by the word of `long_prompt`.
KOHYA_LENGTHS: Final = {"150": 150, "225": 225}
LONG_PROMPTS: Final = ("chunks", "truncate", *KOHYA_LENGTHS)
_CHUNK: Final = 75


def refuse(settings: Any, encoders: tuple[str, ...], prompts: tuple[str, str, str]) -> None:
    """NodeInputError for settings that no trainer has together.

    Args:
        settings: TextSettings.
        encoders: keys of the CLIP's encoders in ComfyUI's token dictionary.
        prompts: the texts.
    """
    rules, sdxl = settings.text_rules, encoders == ("l", "g")
    if rules not in TEXT_RULES:
        raise NodeInputError(f"text_rules is {rules!r}. Choose one of {', '.join(TEXT_RULES)}.")
    if rules == "diffusers" and settings.weighting:
        raise NodeInputError('text_rules "diffusers" takes prompts literally. Switch weighting off.')
    if rules == "kohya" and settings.weighting and not sdxl:
        raise NodeInputError("kohya's prompt weights exist for SDXL only. Switch weighting off.")
    if settings.long_prompt in KOHYA_LENGTHS and (rules != "kohya" or not sdxl):
        raise NodeInputError(
            f'long_prompt "{settings.long_prompt}" is kohya\'s max_token_length, for SDXL with text_rules "kohya". Set '
            'long_prompt to "chunks" or "truncate", or text_rules to "kohya".'
        )
    if rules == "kohya" and settings.weighting and prompts[1].strip() and prompts[1] != prompts[0]:
        raise NodeInputError(
            "prompt_2 holds a text of its own, but kohya weights one prompt for both encoders. Clear prompt_2, or "
            "switch weighting off."
        )


def misread(table: Sequence[Mapping[str, Any]]) -> str:
    """What is said of rows of EriTripleTextEncode's inputs with text that ftfy would repair, "" where there is none."""
    kohyas = [row for row in table if row.get("text_rules") == "kohya"]
    texts = (row[name] for row in kohyas for name in ("prompt", "prompt_2", "prompt_3"))
    return misread_told() if any(looks_misread(text) for text in texts) else ""


def chunks(tokenizer: Any, key: str, text: str, settings: Any) -> list[list[Word]]:
    """A text as chunks of 77 CLIP tokens with their weights.

    Args:
        tokenizer: ComfyUI's SDTokenizer of the encoder.
        key: "l" or "g".
        settings: TextSettings.
    """
    words = _words(tokenizer, key, text, settings)
    start, end, pad = tokenizer.start_token, tokenizer.end_token, tokenizer.pad_token
    length = KOHYA_LENGTHS.get(settings.long_prompt)
    if length is not None:
        return _of_length(words, length, start, end, pad)
    if settings.long_prompt == "truncate":
        words = words[:_CHUNK]
    pieces = [words[begin : begin + _CHUNK] for begin in range(0, max(len(words), 1), _CHUNK)]
    return [[(start, 1.0), *piece, (end, 1.0), *[(pad, 1.0)] * (_CHUNK - len(piece))] for piece in pieces]


def _words(tokenizer: Any, key: str, text: str, settings: Any) -> list[Word]:
    def ids(part: str) -> list[int]:
        found: list[int] = tokenizer.tokenizer(part)["input_ids"][1:-1]
        return found

    if settings.text_rules == "diffusers":
        if key != "g":
            return [(token, 1.0) for token in ids(text)]
        first, *others = text.split("!")  # a special token is cut out of the text before it is looked up
        return [(token, 1.0) for token in (*ids(first), *(token for part in others for token in (0, *ids(part))))]
    if not settings.weighting:
        return [(token, 1.0) for token in ids(repaired(text))]
    try:
        parts = weighted_parts(text)
    except ValueError as error:
        raise NodeInputError(
            f"prompt has a weight that is no number in {text[:60]!r} ({error}), at which kohya stops. Correct it."
        ) from error
    return [(token, weight) for part, weight in parts for token in ids(repaired(part))]


def _of_length(words: list[Word], length: int, start: int, end: int, pad: int) -> list[list[Word]]:
    """kohya's `max_token_length`: padded to it, then cut; begin and end as `_get_input_ids` sets them."""
    inner = [*words[:length], (end, 1.0)]
    inner = [*inner, *[(pad, 1.0)] * (length + 1 - len(inner))]
    made = []
    for begin in range(0, length, _CHUNK):
        piece, last = inner[begin : begin + _CHUNK], inner[-1][0]
        if pad != end and piece[-1][0] not in (end, pad):
            last = end
        if pad != end and piece[0][0] == pad:
            piece[0] = (end, piece[0][1])
        made.append([(start, 1.0), *piece, (last, 1.0)])
    return made


def weighed(pieces: list[list[Word]], settings: Any) -> Callable[[Tensor], Tensor] | None:
    """What kohya does to a conditioning `[1, 77 n, C]` of SDXL, None where nothing is done to it.

    It is multiplied by the tokens' weights. With `max_token_length` only the first chunk keeps its begin, and only the
    last one its end. Source: `library/strategy_sdxl.py::encode_tokens_with_weights`, `_get_hidden_states_sdxl`.
    """
    if settings.text_rules != "kohya":
        return None
    weights = [weight for piece in pieces for _, weight in piece]

    def done(cond: Tensor) -> Tensor:
        cond = cond * cond.new_tensor(weights)[None, :, None]
        if settings.long_prompt not in KOHYA_LENGTHS:
            return cond
        inner = [cond[:, begin + 1 : begin + 1 + _CHUNK] for begin in range(0, cond.shape[1], _CHUNK + 2)]
        return torch.cat([cond[:, :1], *inner, cond[:, -1:]], dim=1)

    return done
