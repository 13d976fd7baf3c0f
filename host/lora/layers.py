"""What ComfyUI's layers are beside their numbers: linear or convolution, and of which size."""

from __future__ import annotations

from typing import Any, Final

from torch import nn

from ...lora.beside import Layer

_CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def layer_of(module: Any) -> Layer | None:
    """The layer's kind and sizes; None for what has no form beside its weight (norms, embeddings, bare parameters)."""
    if isinstance(module, _CONVOLUTIONS):
        if module.groups != 1 or module.padding_mode != "zeros":
            return None
        how = {"stride": module.stride, "padding": module.padding, "dilation": module.dilation}
        return Layer(module.out_channels, (module.in_channels, *module.kernel_size), how)
    if all(hasattr(module, name) for name in ("in_features", "out_features", "weight")):  # Linear, quantised too
        return Layer(module.out_features, (module.in_features,))
    return None
