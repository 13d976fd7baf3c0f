"""The endings of adapter tensor names that several dialects have, and the kind of tensor that each one means.

A name such as `double_blocks.0.img_attn.to_q.lora_A.weight` is a module name plus an ending. The kinds are spelled as
ComfyUI's own loader spells its endings, so that a converted file needs no second table.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

DOWN = "lora_down.weight"
UP = "lora_up.weight"
MID = "lora_mid.weight"
ALPHA = "alpha"
DORA = "dora_scale"
MAGNITUDE = "lora_magnitude_vector"  # PEFT's DoRA magnitude, [out]; ComfyUI wants dora_scale [out, 1]
AITK_MAGNITUDE = "magnitude"  # ai-toolkit's DoRA, whose own formula ComfyUI does not have
UP_BIAS = "lora_B.bias"  # PEFT lora_bias; ComfyUI wants diff_b
DIFF = "diff"
DIFF_BIAS = "diff_b"
OFT = "oft_blocks"
RESCALE = "rescale"
SET = "set_weight"  # takes the place of the weight
RESHAPE = "reshape_weight"  # [rows, columns] to which the weight is widened with zeros first
SCALAR = "scalar"  # LyCORIS' use_scalar: a trained factor on the whole change
GLORA = ("a1.weight", "a2.weight", "b1.weight", "b2.weight")  # W + s (W A + B), A and B of low rank

LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")

# What follows the module's last dot. Who writes which: see the dialects.
_ENDINGS: dict[str, str] = {
    "lora_down.weight": DOWN,
    "lora_up.weight": UP,
    "lora_mid.weight": MID,
    "lora_A.weight": DOWN,
    "lora_B.weight": UP,
    "lora_A": DOWN,
    "lora_B": UP,
    "lora_B.bias": UP_BIAS,
    "lora.down.weight": DOWN,
    "lora.up.weight": UP,
    "lora_linear_layer.down.weight": DOWN,
    "lora_linear_layer.up.weight": UP,
    "lora.A": DOWN,
    "lora.B": UP,
    "lora_a.weight": DOWN,
    "lora_b.weight": UP,
    "lora_down": DOWN,
    "lora_up": UP,
    "lora_magnitude_vector": MAGNITUDE,
    "lora_magnitude_vector.weight": MAGNITUDE,
    "magnitude": AITK_MAGNITUDE,
    "dora_scale": DORA,
    "alpha": ALPHA,
    "lora_alpha": ALPHA,
    "diff": DIFF,
    "diff.weight": DIFF,
    "diff_b": DIFF_BIAS,
    "w_norm": DIFF,
    "b_norm": DIFF_BIAS,
    OFT: OFT,
    RESCALE: RESCALE,
    SET: SET,
    RESHAPE: RESHAPE,
    SCALAR: SCALAR,
    **{kind: kind for kind in (*LOHA, *LOKR, *GLORA)},
}
#: What an ending can mean.
KINDS = frozenset(_ENDINGS.values())
_LONGEST = 3
# Black Forest Labs' control LoRAs bring whole norms: `img_attn.norm.key_norm.scale` (ComfyUI, comfy/lora_convert.py).
_NORMS = ("query_norm.scale", "key_norm.scale")
# A PEFT adapter may carry its adapter's name: `.lora_A.default.weight`, `.lora_magnitude_vector.default`.
_NAMED = frozenset({"lora_A", "lora_B", "lora_magnitude_vector"})
_NO_NAMES = frozenset({"alpha", "scale", "scale_weight", "weight_scale"})
_JOINED = "_lora"  # `to_q_lora.down.weight`: no dot before the ending
_NUMBERED = ("_lora1", "_lora2")  # x-flux: `qkv_lora1.down.weight`; the number is part of the module

# A file with one of these is an adapter; alpha alone could be something else.
EVIDENCE = frozenset({DOWN, UP, DIFF, OFT, SET, *LOHA, *LOKR, *GLORA})


class Split(NamedTuple):
    """A tensor name taken apart: module as the file names it, and the kind of tensor."""

    module: str
    kind: str


def split_own(name: str, endings: Mapping[str, str]) -> Split | None:
    """Take a name apart by the endings that one dialect has (`Dialect.endings`); None when it has none of them."""
    for ending, kind in endings.items():
        module = name.removesuffix(f".{ending}")
        if module not in ("", name):
            return Split(module, kind)
    return None


@lru_cache(maxsize=1 << 16)  # the checkpoints of a run have the same names
def split(name: str) -> Split | None:
    """Take an adapter tensor's name apart. None when its ending is not a known one."""
    if name.endswith(_NORMS):
        return Split(name.removesuffix(".scale"), SET)
    words = name.rsplit(".", _LONGEST)
    for count in range(min(_LONGEST, len(words) - 1), 0, -1):
        kind = _kind(words[-count:])
        if kind is not None:
            module = ".".join(words[:-count])
            return Split(module, kind) if module else None
    return _joined(name, words)


def _kind(ending: list[str]) -> str | None:
    kind = _ENDINGS.get(".".join(ending))
    if kind is None and len(ending) > 1 and ending[0] in _NAMED and ending[1] not in _NO_NAMES:
        return _ENDINGS.get(".".join([ending[0], *ending[2:]]))
    return kind


def _joined(name: str, words: list[str]) -> Split | None:
    """Endings without a dot between module and `lora`."""
    if len(words) < 3 or words[-1] != "weight" or words[-2] not in ("down", "up"):
        return None
    module, kind = ".".join(words[:-2]), DOWN if words[-2] == "down" else UP
    if words[-3].endswith(_NUMBERED):
        return Split(module, kind)
    return Split(module.removesuffix(_JOINED), kind) if words[-3].endswith(_JOINED) else None
