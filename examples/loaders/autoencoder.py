"""TAESD's structure with fewer channels per resolution, and its exact embedding into the host's 64-channel TAESD.

A narrow network is the wide one with zero weights: rectifiers keep zero channels at zero, so padding every tensor
with zeros gives the same function. That is how the small autoencoders are stored small and still run as the host's
own `comfy.taesd.taesd.TAESD`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

#: channels at full, 1/2, 1/4 and 1/8 resolution
ENCODER_WIDTHS = (12, 24, 40, 64)
DECODER_WIDTHS = (16, 32, 48, 64)


def _conv(inputs: int, outputs: int, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias)


class Block(nn.Module):
    """Three convolutions and a skip, as in TAESD."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(_conv(width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` to the same shape."""
        return F.relu(self.conv(x) + x)


class Clamp(nn.Module):
    """Soft clamp to -3..3."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return 3.0 * (x / 3.0).tanh()


def encoder(latent_channels: int) -> nn.Sequential:
    """Pictures `[B, 3, 8h, 8w]` in 0..1 to raw latents `[B, latent_channels, h, w]`."""
    full, half, quarter, eighth = ENCODER_WIDTHS
    return nn.Sequential(
        _conv(3, full),
        Block(full),
        _conv(full, half, 2, bias=False),
        Block(half),
        Block(half),
        Block(half),
        _conv(half, quarter, 2, bias=False),
        Block(quarter),
        Block(quarter),
        Block(quarter),
        _conv(quarter, eighth, 2, bias=False),
        Block(eighth),
        Block(eighth),
        Block(eighth),
        _conv(eighth, latent_channels),
    )


def decoder(latent_channels: int) -> nn.Sequential:
    """Raw latents `[B, latent_channels, h, w]` to pictures `[B, 3, 8h, 8w]`, about 0..1."""
    full, half, quarter, eighth = DECODER_WIDTHS
    return nn.Sequential(
        Clamp(),
        _conv(latent_channels, eighth),
        nn.ReLU(),
        Block(eighth),
        Block(eighth),
        Block(eighth),
        nn.Upsample(scale_factor=2),
        _conv(eighth, quarter, bias=False),
        Block(quarter),
        Block(quarter),
        Block(quarter),
        nn.Upsample(scale_factor=2),
        _conv(quarter, half, bias=False),
        Block(half),
        Block(half),
        Block(half),
        nn.Upsample(scale_factor=2),
        _conv(half, full, bias=False),
        Block(full),
        _conv(full, 3),
    )


def widen(state: dict[str, Tensor], wide: dict[str, Tensor]) -> dict[str, Tensor]:
    """Pad every tensor of `state` with zeros to the shape of its namesake in `wide`; raises KeyError if one lacks."""
    padded = {}
    for name, target in wide.items():
        tensor = state[name]
        if tensor.ndim == 0:
            padded[name] = tensor
            continue
        pad = [
            amount
            for have, want in zip(reversed(tensor.shape), reversed(target.shape), strict=True)
            for amount in (0, want - have)
        ]
        padded[name] = F.pad(tensor, pad)
    return padded
