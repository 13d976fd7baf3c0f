"""Train the narrow TAESD autoencoders: 16 latent channels (Flux, SD 3.5) and 4 (SDXL)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from loaders.autoencoder import decoder, encoder
from torch import Tensor, nn

from . import domain
from .runtime import Checkpointer, Ema, descend, one_cycle

log = logging.getLogger(__name__)

LATENT_NOISE = 0.05
#: how often a decoder's second training draws a small star, beside one for every other shape and size
SMALL_STARS = 12.0


def _scenes() -> list[domain.Scene]:
    """The pictures an autoencoder learns on: shapes only, held-out combinations and trigger shapes included.

    It learns to redraw edges and colours; no prompt is involved, so nothing about held-out *prompts* leaks.
    """
    every = (*domain.SHAPES, *domain.TRIGGERS.values())
    return [
        domain.Scene(c, s, b, size)
        for s in every
        for c in domain.COLOURS
        for b in domain.COLOURS
        if c != b
        for size in domain.SIZES
    ]


def train(work: Path, latent_channels: int, steps: int, batch: int = 16, seed: int = 1) -> dict[str, Tensor]:
    """Train or resume; returns the averaged weights as `encoder.N…` and `decoder.N…` plus raw latent mean and std."""
    torch.manual_seed(seed)
    network = nn.ModuleDict({"encoder": encoder(latent_channels), "decoder": decoder(latent_channels)})
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            module.weight.data.mul_(0.7)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    scenes = _scenes()

    def draw(generator: torch.Generator) -> Tensor:
        chosen = [scenes[i] for i in torch.randint(len(scenes), (batch,), generator=generator).tolist()]
        return domain.draw(chosen, 64, 64, generator, domain.WIDE)

    file = work / f"autoencoder{latent_channels}"
    return _with_statistics(_fit(file, network, network, draw, steps, seed, rate=2e-3, decay=0.995))


def sharpen(work: Path, state: dict[str, Tensor], cycles: Sequence[int], seed: int = 2) -> dict[str, Tensor]:
    """Train the decoder alone further, small stars above all, which `train` leaves round; latents stay as they were.

    One one-cycle rate per entry of `cycles`, that many steps each. Returns the whole state that `train` returned, with
    the decoder's averaged weights in place of the old ones.
    """
    channels = state["encoder.14.weight"].shape[0]
    scenes = _scenes()
    weights = torch.tensor([SMALL_STARS if (s.shape, s.size) == ("star", "small") else 1.0 for s in scenes])

    def draw(generator: torch.Generator) -> Tensor:
        chosen = [scenes[i] for i in torch.multinomial(weights, 12, generator=generator).tolist()]
        return domain.draw(chosen, 64, 64, generator, domain.NARROW)

    for number, steps in enumerate(cycles, start=seed):
        network = load(state, channels)
        part = network["decoder"].train().requires_grad_(True)
        file = work / f"autoencoder{channels}-sharp{number}"
        made = _fit(file, network, part, draw, steps, number, rate=1.2e-3, decay=0.98)
        state = {**state, **{f"decoder.{name}": value for name, value in made.items()}}
    return _with_statistics(state)


def _fit(
    file: Path,
    network: nn.ModuleDict,
    part: nn.Module,
    draw: Callable[[torch.Generator], Tensor],
    steps: int,
    seed: int,
    *,
    rate: float,
    decay: float,
) -> dict[str, Tensor]:
    """Teach `part` of the network to redraw what `draw` gives, resuming from `file`; returns its averaged weights."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(part.parameters(), lr=rate, weight_decay=1e-4, betas=(0.9, 0.98))
    schedule = one_cycle(optimizer, steps)
    average = Ema(part, decay)
    keeper = Checkpointer(file, part, average, optimizer, schedule)
    for step in range(keeper.resume(), steps):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        pictures = draw(generator).contiguous(memory_format=torch.channels_last)
        loss = descend(lambda: _error(network, pictures, generator), optimizer, schedule)  # noqa: B023 - called now
        average.update(part)
        keeper.after_step(step, steps, loss=loss)
    return average.state()


def _error(network: nn.ModuleDict, pictures: Tensor, generator: torch.Generator) -> Tensor:
    """How far redrawn pictures [B, 3, h, w] are off, through slightly noisy latents, which should be small."""
    latent = network["encoder"](pictures)
    latent = latent + LATENT_NOISE * torch.randn(latent.shape, generator=generator)
    difference = network["decoder"](latent) - pictures
    return difference.abs().mean() + 2.0 * difference.square().mean() + 1e-4 * latent.square().mean()


def load(state: dict[str, Tensor], latent_channels: int) -> nn.ModuleDict:
    """The network of a state that `train` returned, ready to encode and decode."""
    network = nn.ModuleDict({"encoder": encoder(latent_channels), "decoder": decoder(latent_channels)})
    network.load_state_dict({k: v for k, v in state.items() if "." in k})
    return network.eval().requires_grad_(False)


@torch.no_grad()
def _with_statistics(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Add the mean and standard deviation of raw latents, and report the error on pictures not trained on."""
    channels = state["encoder.14.weight"].shape[0]
    network = load(state, channels)
    generator = torch.Generator().manual_seed(77)
    scenes = domain.training_scenes()
    chosen = [scenes[i] for i in torch.randint(len(scenes), (256,), generator=generator).tolist()]
    pictures = domain.draw(chosen, 64, 64, generator, domain.WIDE)
    latent = network["encoder"](pictures)
    error = float((network["decoder"](latent).clamp(0, 1) - pictures).abs().mean())
    log.info("autoencoder %d: mean absolute error %.4f", channels, error)
    return {**state, "mean": latent.mean(), "std": latent.std(), "error": torch.tensor(error)}
