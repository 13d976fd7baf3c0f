"""One adapter: the checked tensors of one module of a LoRA file, and their place in ComfyUI."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from ..errors import LoraError
from .names import Target
from .suffixes import DIFF, DOWN, GLORA, LOHA, LOKR, MID, OFT, RESHAPE, SET, UP

_DAMAGED = "The file is damaged or was written by a trainer with a bug: save this checkpoint again"
_LOHA_NEEDED = LOHA[:4]
#: ComfyUI's weights that a LoRA may widen, and their columns then: Flux' first layer takes the channels of a control
#: picture, too. Black Forest Labs' and diffusers' control LoRAs are so (diffusers, loaders/lora_pipeline.py
#: `_maybe_expand_transformer_param_shape_or_error_`).
WIDENED: Final = {"diffusion_model.img_in": 128}
_RANKED = (DOWN, "hada_w1_b", "lokr_w2_b", "lokr_w1_b")  # the tensors whose rows are the rank, the first there is


class Area(NamedTuple):
    """Rows and columns (of a convolution times its kernel) that an adapter covers; None = all columns (rotations)."""

    rows: int
    columns: int | None


@dataclass(frozen=True)
class Adapter:
    """The tensors of one module by kind (see suffixes.py), and its place in ComfyUI.

    `alpha` is the effective one, so that scale = alpha / rank. None means scale 1. `rank` is None for a full
    difference.
    """

    module: str
    target: Target
    tensors: Mapping[str, Tensor]
    keys: tuple[str, ...]
    alpha: float | None = None

    @cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {kind: tuple(tensor.shape) for kind, tensor in self.tensors.items()}

    @cached_property
    def rank(self) -> int | None:
        """Rows of this module's own down matrix (or of LoHa's and LoKr's inner factor); None without factors."""
        return factored_rank(self._shapes)

    @cached_property
    def area(self) -> Area | None:
        """What of its weight the adapter covers; None for biases alone."""
        return covered(self._shapes)

    @cached_property
    def widened(self) -> tuple[int, ...] | None:
        """The shape to which the weight is widened with zeros before it is changed; None = it stays as it is."""
        if RESHAPE in self.tensors:
            return tuple(int(size) for size in self.tensors[RESHAPE].tolist())
        columns = WIDENED.get(self.target.weight)
        area = self.area
        return None if area is None or columns is None or area.columns != columns else (area.rows, columns)

    @property
    def columns(self) -> int | None:
        """Columns of its weight (of a convolution times its kernel); None where the tensors do not tell."""
        return None if self.area is None else self.area.columns

    @property
    def scale(self) -> float:
        """The factor of the low-rank product: alpha / rank, or 1 when either is unknown."""
        return 1.0 if self.alpha is None or not self.rank else self.alpha / self.rank


def factored_rank(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """The rank by which alpha is divided, from the shapes by kind; None when nothing is factored.

    As in ComfyUI, the second factor's rank counts when both factors of a LoKr are factored.
    """
    for kind in _RANKED:
        if shapes.get(kind):
            return shapes[kind][0]
    return min(shapes[GLORA[0]][:2]) if shapes.get(GLORA[0]) else None


# Inputs of these are as wide as the model
_AS_WIDE: Final = re.compile(r"attn2?\.qkv$|adaLN_modulation\.1$|mlp\.fc1$|final_layer\.linear$")


def model_width(adapters: Iterable[Adapter]) -> int | None:
    """The width of an SD 3 model, from the modules whose input has it; None where there is none."""
    found = (one.columns for one in adapters if _AS_WIDE.search(one.target.weight))
    return next((width for width in found if width), None)


def glora_is_older(shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a GLoRA's factors stand the other way round, a2 @ a1 and b2 @ b1, as early LyCORIS wrote them."""
    return shapes[GLORA[1]][0] > shapes[GLORA[1]][1]


def lycoris_factor(tensors: Mapping[str, Tensor], name: str, core: str) -> Tensor:
    """One factor of LoHa or LoKr: whole, a @ b, or with a Tucker core [r, r, kh, kw] in between.

    Source: github KohakuBlueleaf/LyCORIS, lycoris/functional (`rebuild_tucker`).
    """
    if name in tensors:
        return tensors[name]
    a, b = tensors[f"{name}_a"], tensors[f"{name}_b"]
    return torch.einsum("ijhw,ip,jr->prhw", tensors[core], a, b) if core in tensors else a @ b


def covered(shapes: Mapping[str, tuple[int, ...]]) -> Area | None:
    """What of its weight an adapter covers, from its shapes by kind; None for biases alone."""
    if UP in shapes:
        kernel = prod(shapes[MID][2:]) if MID in shapes else 1
        return Area(shapes[UP][0], prod(shapes[DOWN][1:]) * kernel)
    if DIFF in shapes:
        return Area(shapes[DIFF][0], prod(shapes[DIFF][1:]))
    if SET in shapes:
        return Area(shapes[SET][0], prod(shapes[SET][1:]))
    if OFT in shapes:
        return Area(prod(shapes[OFT][-3:-1]), None)
    if GLORA[0] in shapes:
        outer, inner = (GLORA[3], GLORA[2]) if glora_is_older(shapes) else (GLORA[2], GLORA[3])
        return Area(shapes[outer][0], prod(shapes[inner][1:]))
    if "hada_w1_a" in shapes:
        return Area(*_factor_sizes(shapes, "hada_w1", "hada_t1"))
    if any(kind.startswith("lokr") for kind in shapes):
        rows, columns = _factor_sizes(shapes, "lokr_w1", "")
        more_rows, more_columns = _factor_sizes(shapes, "lokr_w2", "lokr_t2")
        return Area(rows * more_rows, columns * more_columns)
    return None


def _factor_sizes(shapes: Mapping[str, tuple[int, ...]], name: str, core: str) -> tuple[int, int]:
    """Rows and columns of one factor of LoHa or LoKr, as `lycoris_factor` computes it."""
    if name in shapes:
        return shapes[name][0], prod(shapes[name][1:])
    a, b = shapes[f"{name}_a"], shapes[f"{name}_b"]
    return (a[1], b[1] * prod(shapes[core][2:])) if core in shapes else (a[0], prod(b[1:]))


def check_shapes(path: Path, module: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a module whose tensors do not fit together. Raises LoraError naming file, module and shapes.

    The shapes, by kind, are checked before any data is read, because ComfyUI would only log such a module and go on.
    """
    if (UP in shapes) != (DOWN in shapes):
        there, missing = ("up", "down") if UP in shapes else ("down", "up")
        raise LoraError(f"a {there} matrix without its {missing} matrix", path=path, keys=[module], remedy=_DAMAGED)
    if UP in shapes:
        _check_pair(path, module, shapes)
    if any(kind in shapes for kind in LOHA) and not all(kind in shapes for kind in _LOHA_NEEDED):
        _incomplete(path, module, "LoHa", [kind for kind in _LOHA_NEEDED if kind not in shapes])
    if any(kind in shapes for kind in LOKR):
        for factor in ("lokr_w1", "lokr_w2"):
            if factor not in shapes and not {f"{factor}_a", f"{factor}_b"} <= shapes.keys():
                _incomplete(path, module, "LoKr", [factor])
    if any(kind in shapes for kind in GLORA) and not all(kind in shapes for kind in GLORA):
        _incomplete(path, module, "GLoRA", [kind for kind in GLORA if kind not in shapes])


def check_finite(path: Path, key: str, tensor: Tensor) -> None:
    """Refuse NaN and infinity. Raises LoraError naming file and key. Any floating dtype is allowed, 8-bit ones too."""
    if not tensor.is_floating_point():
        return
    values = tensor if tensor.element_size() > 1 else tensor.float()
    if not bool(torch.isfinite(values).all()):
        kind = "NaN" if bool(torch.isnan(values).any()) else "infinite values"
        raise LoraError(
            f"holds {kind}", path=path, keys=[key], remedy="Training has diverged: use an earlier checkpoint"
        )


def _check_pair(path: Path, module: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    up, down, mid = shapes[UP], shapes[DOWN], shapes.get(MID)
    fits = len(up) > 1 and len(down) > 1 and up[1] == down[0] and 0 not in (*up, *down)
    if not fits or (mid is not None and mid[:2] != (up[1], up[1])):  # ComfyUI takes a square middle only
        middle = "" if mid is None else f", mid {list(mid)}"
        raise LoraError(
            f"up {list(up)} and down {list(down)}{middle} do not fit together",
            path=path,
            keys=[module],
            remedy=_DAMAGED,
        )


def _incomplete(path: Path, module: str, algorithm: str, missing: list[str]) -> None:
    keys = [f"{module}.{kind}" for kind in missing]
    raise LoraError(f"{algorithm} tensors are missing", path=path, keys=keys, remedy=_DAMAGED)
