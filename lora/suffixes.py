"""The endings of adapter tensor names, in every spelling, and the kind of tensor that each one means.

A name such as `double_blocks.0.img_attn.to_q.lora_A.weight` is a module name plus an ending. The kinds are spelt as the
host's own loader spells its endings, so that a converted file needs no second table.
"""

from __future__ import annotations

import re
from typing import NamedTuple

DOWN = "lora_down.weight"
UP = "lora_up.weight"
MID = "lora_mid.weight"
ALPHA = "alpha"
DORA = "dora_scale"
MAGNITUDE = "lora_magnitude_vector"  # PEFT's DoRA magnitude, [out]; the host wants dora_scale [out, 1]
UP_BIAS = "lora_B.bias"  # PEFT lora_bias; the host wants diff_b
DIFF = "diff"
DIFF_BIAS = "diff_b"

LOHA = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2")
LOKR = ("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")

# Longest first where one is the end of another. A PEFT adapter may carry its adapter's name: `.lora_A.default.weight`.
_SPELLINGS: tuple[tuple[str, str], ...] = (
    (r"\.lora_down\.weight", DOWN),
    (r"\.lora_up\.weight", UP),
    (r"\.lora_mid\.weight", MID),
    (r"\.lora_A(?:\.[^.]+)?\.weight", DOWN),
    (r"\.lora_B(?:\.[^.]+)?\.weight", UP),
    (r"\.lora_A", DOWN),
    (r"\.lora_B", UP),
    (r"\.lora_B(?:\.[^.]+)?\.bias", UP_BIAS),
    (r"\.lora_magnitude_vector(?:\.[^.]+)?(?:\.weight)?", MAGNITUDE),
    (r"\.dora_scale", DORA),
    (r"\.alpha", ALPHA),
    (r"\.diff(?:\.weight)?", DIFF),
    (r"\.diff_b", DIFF_BIAS),
    *((rf"\.{kind}", kind) for kind in (*LOHA, *LOKR)),
)
_PATTERN = re.compile("(?P<module>.+?)(?:" + "|".join(f"({spelling})" for spelling, _ in _SPELLINGS) + ")$")
_KINDS = tuple(kind for _, kind in _SPELLINGS)

# A file with one of these is an adapter; alpha alone, or a full weight difference alone, could be something else.
EVIDENCE = frozenset({DOWN, UP, DIFF, *LOHA, *LOKR})


class Split(NamedTuple):
    """A tensor name taken apart: module as the file names it, and the kind of tensor."""

    module: str
    kind: str


def split(name: str) -> Split | None:
    """Take an adapter tensor's name apart; None when its ending is none of the known ones."""
    match = _PATTERN.match(name)
    if match is None or match.lastindex is None:
        return None
    # Group 1 is the module; the one alternative that took part is the last group.
    return Split(match["module"], _KINDS[match.lastindex - 2])
