"""Which modules of a LoRA are applied beside the weights of a model, and which are merged into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from torch import Tensor

from ...lora import Adapter, Lora
from ...lora.beside import Layer, Term, bias_terms, terms_of
from ...lora.convert import bias_name
from ...lora.delta import why_merged
from ...lora.report import is_loaded
from ...lora.suffixes import DIFF_BIAS
from .injection import put_beside
from .names import Names, Patches, Target, host_patches

BESIDE: Final = "beside the weights"
INTO: Final = "into the weights"
#: How a LoRA may be applied; the first is what a graph that does not say gets.
APPLY: Final = (BESIDE, INTO)


class Placed(NamedTuple):
    """A LoRA for one model.

    Args:
        terms: what is put beside its layers, by path.
        layers: what these layers are.
        patches: ComfyUI's for the rest.
        merged: the modules of the rest, each with the reason.
        loaded: the names that are the model's, as `load_report` takes them.
        strength: of the LoRA.
    """

    terms: dict[str, list[Term]]
    layers: dict[str, Layer]
    patches: dict[Target, Any]
    merged: dict[str, str]
    loaded: set[str]
    strength: float

    def put_on(self, patcher: Any) -> None:
        """Apply it to a patcher, a clone of our own."""
        if self.patches:
            patcher.add_patches(self.patches, self.strength)
        if self.terms:
            put_beside(patcher, self.terms, self.layers)

    def __bool__(self) -> bool:
        return bool(self.strength and (self.terms or self.patches))


def merged_whole(lora: Lora, keys: dict[str, Tensor], names: Names, strength: float) -> Placed:
    """Everything into the weights, as ComfyUI's own loader does; `keys` are the LoRA's for it."""
    found = host_patches(keys, names, names.key_map)
    merged = {adapter.module: "as chosen" for adapter in lora.adapters}
    return Placed({}, {}, found.patches, merged, found.loaded, strength)


def beside_where_possible(
    lora: Lora, keys: dict[str, Tensor], names: Names, base: Mapping[str, Tensor], strength: float
) -> Placed:
    """As much as can be beside the weights of the model that has these names; the rest merged.

    keys: the LoRA's for ComfyUI's loader, which is asked for the rest alone. base: the weights that a DoRA needs, by
    name.
    """
    known = [adapter for adapter in lora.adapters if is_loaded(adapter, names.known)]
    tried = [(adapter, *_beside(adapter, names, base, strength)) for adapter in known]
    rest = [adapter.target for adapter, _, terms in tried if terms is None]
    ours = {target.name for target in rest} | {bias_name(target).removesuffix(f".{DIFF_BIAS}") for target in rest}
    found = host_patches(keys, names, ours)
    placed = Placed({}, {}, {}, {}, found.loaded, strength)
    for adapter, layer, terms in tried:
        path = adapter.target.weight
        if terms is None:
            if not is_loaded(adapter, found.loaded):
                continue
            placed.merged[adapter.module] = why_merged(adapter) or _why(adapter, layer)
            _keep(placed.patches, found, _targets(adapter, names, biases=layer is None))
            terms = [] if layer is None else bias_terms(adapter, strength, layer)
        else:
            placed.loaded.add(adapter.target.name)
        if terms and layer is not None:
            placed.layers[path] = layer
            placed.terms.setdefault(path, []).extend(terms)
    return placed


def _beside(
    adapter: Adapter, names: Names, base: Mapping[str, Tensor], strength: float
) -> tuple[Layer | None, list[Term] | None]:
    """The adapter's layer, and what it does beside it; None where there is none, or no form beside it."""
    path = adapter.target.weight
    layer = names.layers.get(path)
    if layer is None or adapter.widened not in (None, (layer.rows, *layer.columns)):
        return layer, None
    return layer, terms_of(adapter, strength, layer, base.get(f"{path}.weight"))


def _why(adapter: Adapter, layer: Layer | None) -> str:
    if layer is not None and adapter.widened is not None:
        return "widens its weight"
    return "no linear or convolution layer" if layer is None else "a DoRA on a quantised weight"


def _targets(adapter: Adapter, names: Names, biases: bool) -> list[Target]:
    """Where ComfyUI's loader puts the adapter's tensors."""
    target = names.key_map.get(adapter.target.name)
    return [*([] if target is None else [target]), *([f"{adapter.target.weight}.bias"] if biases else [])]


def _keep(patches: dict[Target, Any], found: Patches, targets: list[Target]) -> None:
    patches.update({target: found.patches[target] for target in targets if target in found.patches})
