"""Which modules of a LoRA are applied beside the weights of a model, and which are merged into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from torch import Tensor

from ...lora import Adapter, Lora
from ...lora.beside import Layer, Term, bias_terms, terms_of
from ...lora.delta import why_merged
from ...lora.report import is_loaded
from .injection import put_beside
from .layers import layer_of
from .names import Names, Patches, Target

BESIDE: Final = "beside the weights"
INTO: Final = "into the weights"
#: How a LoRA may be applied; the first is what a graph that does not say gets.
APPLY: Final = (BESIDE, INTO)


class Placed(NamedTuple):
    """A LoRA for one model: terms by layer, what the layers are, ComfyUI's patches for the rest with the reasons."""

    terms: dict[str, list[Term]]
    layers: dict[str, Layer]
    patches: dict[Target, Any]
    merged: dict[str, str]
    strength: float

    def put_on(self, patcher: Any) -> None:
        """Apply it to a patcher, a clone of our own."""
        if self.patches:
            patcher.add_patches(self.patches, self.strength)
        if self.terms:
            put_beside(patcher, self.terms, self.layers)

    def __bool__(self) -> bool:
        return bool(self.strength and (self.terms or self.patches))


def merged_whole(lora: Lora, found: Patches, strength: float) -> Placed:
    """Everything into the weights, as ComfyUI's own loader does."""
    names = {adapter.module: "as chosen" for adapter in lora.adapters}
    return Placed({}, {}, found.patches, names, strength)


def beside_where_possible(
    lora: Lora, found: Patches, names: Names, model: Any, base: Mapping[str, Tensor], strength: float
) -> Placed:
    """As much as can be beside the weights of `model`, the module whose weights `names` names; the rest merged.

    base: the weights that a DoRA needs, by name.
    """
    placed = Placed({}, {}, {}, {}, strength)
    for adapter in lora.adapters:
        path = adapter.target.weight
        if not is_loaded(adapter, found.loaded):
            continue
        module = _module(model, path)
        layer = None if module is None else layer_of(module)
        terms = None
        if layer is not None and adapter.widened in (None, (layer.rows, *layer.columns)):
            terms = terms_of(adapter, strength, layer, base.get(f"{path}.weight"))
        if layer is None or terms is None:
            placed.merged[adapter.module] = why_merged(adapter) or _why(adapter, layer)
            _keep(placed.patches, found, _targets(adapter, names, biases=layer is None))
            terms = [] if layer is None else bias_terms(adapter, strength, layer)
        if terms and layer is not None:
            placed.layers[path] = layer
            placed.terms.setdefault(path, []).extend(terms)
    return placed


def _why(adapter: Adapter, layer: Layer | None) -> str:
    if layer is not None and adapter.widened is not None:
        return "widens its weight"
    return "no linear or convolution layer" if layer is None else "a DoRA on a quantised weight"


def _module(model: Any, path: str) -> Any:
    try:
        return model.get_submodule(path)
    except AttributeError:
        return None


def _targets(adapter: Adapter, names: Names, biases: bool) -> list[Target]:
    """Where ComfyUI's loader puts the adapter's tensors."""
    target = names.key_map.get(adapter.target.name)
    return [*([] if target is None else [target]), *([f"{adapter.target.weight}.bias"] if biases else [])]


def _keep(patches: dict[Target, Any], found: Patches, targets: list[Target]) -> None:
    patches.update({target: found.patches[target] for target in targets if target in found.patches})
