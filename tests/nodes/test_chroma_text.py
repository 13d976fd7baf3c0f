"""Chroma's prompts: T5 alone, beside transformers' T5 of the same weights fed as the trainers feed it."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from comfyui_eridiffusion.tests.nodes import sampling_helpers as h
from comfyui_eridiffusion.tests.nodes.chroma_models import chroma_clip, transformers_t5

LENGTH = 32  # 512 in the trainers
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


@pytest.mark.parametrize("prompt", ["a cat", ""])
def test_the_stock_nodes_give_onetrainers(comfy_host: Any, prompt: str) -> None:
    """T5TokenizerOptions with one padding token, the model author's way in ComfyUI: T5 sees the padding token."""
    clip = h.node(comfy_host, "T5TokenizerOptions", clip=models()[0], min_padding=1, min_length=0)
    conditioning = h.node(comfy_host, "CLIPTextEncode", clip=clip, text=prompt)
    expected, used = by_transformers(prompt, "prompt and one")
    assert same(conditioning[0][0], expected[:, :used])
    assert not same(conditioning[0][0], by_transformers(prompt, "prompt")[0][:, :used])
    assert not same(conditioning[0][0], by_transformers(prompt, "all")[0][:, :used])


@pytest.mark.parametrize("prompt", PROMPTS)
def test_all_of_a_fixed_length(comfy_host: Any, prompt: str) -> None:
    """EriDiffusion V2: every padding token is seen by T5 and by Chroma."""
    text = {"prompt": prompt, "prompt_2": "", "prompt_3": "", "weighting": False, "empty": "encode"}
    found = h.node(comfy_host, "EriTripleTextEncode", clip=models()[0], t5_length=LENGTH, width=64, height=64, **text)
    assert same(found[0][0], by_transformers(prompt, "all")[0])
    assert found[0][1]["pooled_output"] is None
