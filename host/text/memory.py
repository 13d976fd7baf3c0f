"""What a CLIP has encoded, remembered while it lives.

From one training step to the next the same CLIP comes out of a LoRA that leaves the text encoders alone, but the host
runs every node behind the LoRA again. The prompts need not be encoded again then; above all, where memory is short, the
text encoders need not push the model off its device and the model them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import comfy.sd
import torch

#: The most that is remembered for one CLIP: 60 prompts of 512 T5 tokens in float32. The oldest go first.
LIMIT_BYTES: Final = 512 << 20

Conditioning = list[list[Any]]


class _Kept(NamedTuple):
    conditioning: Conditioning
    size: int


_KEPT: WeakKeyDictionary[Any, OrderedDict[tuple[Any, ...], _Kept]] = WeakKeyDictionary()


def recall(clip: Any, key: tuple[Any, ...], encode: Callable[[], Conditioning]) -> Conditioning:
    """What `encode()` gives, from memory where this CLIP was asked the same before.

    key: texts and settings. The tensors are shared: nobody may change them in place. A CLIP with hooks, and one whose
    texts name embedding files, which may change, is always asked.
    """
    named = any("embedding:" in part for part in key if isinstance(part, str))
    if not isinstance(clip, comfy.sd.CLIP) or _has_hooks(clip) or named:
        return encode()
    kept = _KEPT.setdefault(clip, OrderedDict())
    # what other nodes can change about a CLIP without making another one of it
    key = (clip.patcher.patches_uuid, clip.layer_idx, repr(sorted(clip.tokenizer_options.items())), *key)
    entry = kept.pop(key, None)
    if entry is None:
        conditioning = encode()
        entry = _Kept(conditioning, sum(tensor.nbytes for tensor in _tensors(conditioning)))
    kept[key] = entry
    while len(kept) > 1 and sum(one.size for one in kept.values()) > LIMIT_BYTES:
        kept.popitem(last=False)
    return [[cond, dict(extra)] for cond, extra in entry.conditioning]


def _has_hooks(clip: Any) -> bool:
    return bool(clip.use_clip_schedule or clip.apply_hooks_to_conds or clip.patcher.forced_hooks)


def _tensors(conditioning: Conditioning) -> Iterable[torch.Tensor]:
    for cond, extra in conditioning:
        yield from (value for value in (cond, *extra.values()) if torch.is_tensor(value))
