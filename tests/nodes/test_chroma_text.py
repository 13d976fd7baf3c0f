"""Chroma's prompts: T5 alone, beside transformers' T5 of the same weights fed as the trainers feed it."""

from __future__ import annotations

import itertools
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes import small_models
from comfyui_eridiffusion.tests.nodes.chroma_models import chroma_clip, transformers_t5

LENGTH = 32  # 512 in the trainers
WIDTH, HEIGHT = 96, 64
PROMPTS = ("a cat", "a long prompt (with: marks) of embedding:words, and some more of them after that", "")
CLOSE = 1e-5


@cache
def models() -> tuple[Any, Any]:
    """ComfyUI's CLIP of Chroma, and transformers' T5EncoderModel of the same weights."""
    clip = chroma_clip()
    return clip, transformers_t5(clip)


def padded(prompt: str) -> tuple[Tensor, Tensor]:
    """Token ids [1, LENGTH] and their mask, as `tokenizer(prompt, padding="max_length", truncation=True)` gives."""
    tokenizer = models()[0].tokenizer.clip_t5xxl.tokenizer
    made = tokenizer(prompt, padding="max_length", max_length=LENGTH, truncation=True, return_tensors="pt")
    return made.input_ids, made.attention_mask


@torch.no_grad()
def by_transformers(prompt: str, seen: str) -> tuple[Tensor, int]:
    """T5's output for all LENGTH tokens, and how many of them take part in Chroma: the prompt's and one padding token.

    seen: by T5: "prompt" (diffusers, kohya), "prompt and one" (OneTrainer) or "all" (ai-toolkit, EriDiffusion V2).
    """
    ids, mask = padded(prompt)
    used = min(int(mask.sum()) + 1, LENGTH)
    masks = {"prompt": mask, "prompt and one": (torch.arange(LENGTH)[None] < used).long(), "all": None}
    out: Tensor = models()[1](ids, attention_mask=masks[seen])[0]
    return out, used


def same(found: Tensor, expected: Tensor) -> bool:
    return found.shape == expected.shape and float((found - expected).abs().max()) < CLOSE * float(expected.abs().max())


def by_node(comfy_host: Any, prompt: str, padding: str, **more: Any) -> list[Any]:
    text = {"prompt": prompt, "prompt_2": "", "prompt_3": "", "weighting": False, "empty": "encode"}
    given = {"clip": models()[0], "t5_length": LENGTH, "width": WIDTH, "height": HEIGHT, **text, **more}
    conditioning: list[Any] = h.node(comfy_host, "EriTripleTextEncode", **given, t5_padding=padding)
    return conditioning


#: t5_padding -> which tokens T5 sees, and whether Chroma gets all of them.
WAYS = {
    "one": ("prompt and one", False),
    "one unseen": ("prompt", False),
    "one of all": ("all", False),
    "all": ("all", True),
    "weighted": ("prompt", True),
}


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("padding", WAYS)
def test_padding_is_seen_and_kept_as_each_trainer_does(comfy_host: Any, padding: str, prompt: str) -> None:
    seen, whole = WAYS[padding]
    ((cond, extra),) = by_node(comfy_host, prompt, padding)
    expected, used = by_transformers(prompt, seen)
    assert same(cond, expected if whole else expected[:, :used])
    assert extra["pooled_output"] is None
    assert ("attention_mask" in extra) == (padding == "weighted")
    assert not models()[0].cond_stage_model.t5xxl.enable_attention_masks


def test_the_ways_differ(comfy_host: Any) -> None:
    made = [by_node(comfy_host, "a cat", padding)[0][0] for padding in ("one", "one unseen", "one of all")]
    assert not any(same(a, b) for a, b in itertools.combinations(made, 2))


@pytest.mark.parametrize("prompt", PROMPTS)
def test_one_padding_token_is_the_stock_nodes(comfy_host: Any, prompt: str) -> None:
    """T5TokenizerOptions with one padding token, which Chroma's template calls the official way."""
    clip = h.node(comfy_host, "T5TokenizerOptions", clip=models()[0], min_padding=1, min_length=0)
    escaped = prompt.replace("(", "\\(").replace(")", "\\)")
    (stock,) = h.node(comfy_host, "CLIPTextEncode", clip=clip, text=escaped)
    assert torch.equal(by_node(comfy_host, prompt, "one", t5_length=2 * LENGTH)[0][0], stock[0])


def test_prompts_as_long_as_the_length_have_no_padding(comfy_host: Any) -> None:
    words = "lantern " * 40
    _, mask = padded(words)
    assert int(mask.sum()) == LENGTH
    for padding, (seen, _) in WAYS.items():
        assert same(by_node(comfy_host, words, padding)[0][0], by_transformers(words, seen)[0]), padding


def test_weights_are_of_the_size_of_the_picture(comfy_host: Any) -> None:
    """Image tokens are 16 pixels wide and high, rounded up; the scores of padding are 1 lower."""
    ((_, extra),) = by_node(comfy_host, "a cat", "weighted", width=40, height=64)
    used = by_transformers("a cat", "prompt")[1]
    part = torch.cat([(torch.arange(LENGTH) < used).float(), torch.ones(3 * 4)])
    assert extra["attention_mask_img_shape"] == (4, 3)
    assert torch.equal(extra["attention_mask"], part[None, :, None] * part[None, None, :])


@pytest.mark.parametrize("more", [{"t5_length": 0}, {"clip": "flux"}])
def test_padding_is_for_t5_alone_and_a_length(comfy_host: Any, more: dict[str, Any]) -> None:
    if "clip" in more:
        more = {"clip": small_models.flux_clip()}
    with pytest.raises(comfy_host.pack("errors").NodeInputError, match=r"t5_padding.*Set t5_padding to"):
        by_node(comfy_host, "a cat", "one unseen", **more)
