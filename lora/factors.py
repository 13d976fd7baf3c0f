"""Factors on the whole change of a module that ComfyUI's loader leaves out; they are multiplied into a tensor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from torch import Tensor

from ..errors import LoraError
from .adapter import factored_rank
from .dialects.peft import by_pattern, place
from .metadata import LoraFile
from .suffixes import ALPHA, GLORA, LOKR, SCALAR, UP

# The change is proportional to one tensor of each kind of adapter, a GLoRA's to two
_PROPORTIONAL: Final = ((UP,), ("hada_w1_a",), ("lokr_w1",), ("lokr_w1_a",), (GLORA[0], GLORA[2]))


def factor_of(file: LoraFile, module: str, tensors: Mapping[str, Tensor]) -> float:
    """The factor of one module: LyCORIS' trained scalar, and the scale of a LoKr whose two factors are whole.

    ComfyUI divides alpha by the rank of a factored LoKr and takes scale 1 for a whole one, as LyCORIS does, which
    stores alpha = rank there. PEFT's scale is alpha / r for both. A header of lycoris.kohya whose whole factors carry
    the header's own alpha means alpha / dim (github Comfy-Org/ComfyUI, issue 15114).
    """
    scalar = float(tensors[SCALAR].reshape(-1)[0]) if SCALAR in tensors and tensors[SCALAR].numel() else 1.0
    if LOKR[0] not in tensors:
        return scalar
    if factored_rank({kind: tuple(tensor.shape) for kind, tensor in tensors.items()}) is not None:
        return scalar
    return scalar * (_peft_scale(file, module) or _header_scale(file, tensors) or 1.0)


def with_factor(tensors: Mapping[str, Tensor], factor: float) -> Mapping[str, Tensor]:
    """The tensors of a module with the factor multiplied in, in float32, and without the scalar that stated it."""
    if factor == 1.0 and SCALAR not in tensors:
        return tensors
    kinds = next((kinds for kinds in _PROPORTIONAL if kinds[0] in tensors), ()) if factor != 1.0 else ()
    changed = {kind: factor * tensors[kind].float() for kind in kinds}
    return {kind: changed.get(kind, tensor) for kind, tensor in tensors.items() if kind != SCALAR}


def _peft_scale(file: LoraFile, module: str) -> float | None:
    config, name = file.adapter_config, place(module).module
    if config.get("peft_type") != "LOKR":
        return None
    rank = by_pattern(config.get("rank_pattern"), name, config.get("r"))
    alpha = by_pattern(config.get("alpha_pattern"), name, config.get("alpha"))
    if not isinstance(rank, int) or not isinstance(alpha, int | float) or rank <= 0:
        raise LoraError(
            f"adapter_config.json has r {rank!r} and alpha {alpha!r}, no numbers", path=file.path, remedy="Repair it"
        )
    return float(alpha) / rank


def _header_scale(file: LoraFile, tensors: Mapping[str, Tensor]) -> float | None:
    dim, stated = file.metadata.get("ss_network_dim", ""), file.metadata.get("ss_network_alpha", "")
    if file.metadata.get("ss_network_module") != "lycoris.kohya" or not dim.isdecimal() or ALPHA not in tensors:
        return None
    alpha = float(tensors[ALPHA].reshape(-1)[0])
    try:
        return alpha / int(dim) if int(dim) and alpha == float(stated) else None
    except ValueError:
        return None
