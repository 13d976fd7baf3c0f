"""The results of a CLIP, remembered while the CLIP lives.

From one training step to the next, a LoRA that does not change the text encoders gives the same CLIP, but ComfyUI runs
every node after the LoRA again. The prompts need not be encoded again then. When memory is short, this also means that
the text encoders and the model need not push each other off the device.
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
    """Return what `encode()` gives, from memory when this CLIP was asked the same before.

    The tensors are shared, so nobody may change them in place. `encode` is always called for a CLIP with hooks, and for
    texts that name embedding files, because these may change. `key` holds the texts and settings.
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
